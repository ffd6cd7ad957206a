"""A batch around a pool: requests from `sources`, records of their outcomes to `sinks`, by a `Run`.

| module | owns |
|---|---|
| `run` | one execution: its end, its deadline, its housekeeper; and what it needs of `Books` |
| `result`, `codes` | how it ended, as a value, in words and as an exit code |
| `progress` | how far it is, and at what pace |
| `straight` | the books of a run that keeps nothing |
| `job/` | a run that survives its process, whose books are a ledger |
| `sources/` | requests out of files, standard input or a program |
| `sinks/` | places for records: files, databases, standard output, a function |
| `schemas/` | JSON answers as typed rows, in place of records |
| `record` | what is written of an outcome |
| `columns`, `arrow` | the types of its fields or of a schema's, and as Arrow's |
| `tables` | outcomes as rows, Arrow tables and data frames, for programs |
"""
