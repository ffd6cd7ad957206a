"""How a run went, folded as it goes, in memory that does not grow: jobs keep it, and reports show it."""

from workerpool.history.execution import Execution, Limits
from workerpool.history.fold import Fold, Sample
from workerpool.history.histogram import Histogram
from workerpool.history.history import History, Pause
from workerpool.history.series import COLUMNS, Series

__all__ = ["COLUMNS", "Execution", "Fold", "Histogram", "History", "Limits", "Pause", "Sample", "Series"]
