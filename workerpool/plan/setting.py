"""The budgets that a plan is made for, and how they are called on the command line. Values, any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workerpool.config import Options

Budget = Literal["rate", "host-rate", "key-rate", "connections", "host-connections", "workers"]
"""What may bind a batch, by the name of its option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a pool would be told. `label`: the OPTIONS of ``--compare``; empty for what was said.

    `has_connections`: whether the user said how many sockets in all. Otherwise they are more with more workers, and so
    bind nothing, unless the process may open fewer files.
    """

    options: Options
    label: str = ""
    has_connections: bool = True

    def words(self, budget: Budget) -> str:
        """The option and its value."""
        budgets = self.options.budgets
        values: dict[Budget, object] = {
            "rate": budgets.rate,
            "host-rate": budgets.host_rate,
            "key-rate": budgets.key_rate,
            "connections": budgets.max_connections,
            "host-connections": budgets.host_connections,
            "workers": self.options.workers,
        }
        at_most = "auto, at most " * (budget == "host-connections" and budgets.learns_connections)
        return f"--{budget} {at_most}{values[budget]}"
