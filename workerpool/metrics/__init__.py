"""What a pool and its run do, as Prometheus reads it.

| module | owns |
|---|---|
| `families` | the metrics: their names, their help, and how they come from a pool's statistics |
| `durations` | how long requests took, in buckets |
| `metrics` | what of these there is: counts outcomes, serves them to a scrape, writes them to a file |

The only user of prometheus_client, which is imported when there are metrics.
"""

from workerpool.metrics.metrics import Metrics

__all__ = ["Metrics"]
