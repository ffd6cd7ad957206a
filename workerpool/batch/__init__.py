"""A batch around a pool: `source` reads its requests, `run` executes it, `sinks` take its records.

What is written of an outcome is `record`'s; how a line becomes a request is `rows`'; bytes become lines in `lines`.
"""
