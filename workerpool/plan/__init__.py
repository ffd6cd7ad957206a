"""What a batch will take before anything of it is sent: bounds by arithmetic, and a run on simulated time."""

from workerpool.plan.planning import Plan, Prediction, estimate, simulate
from workerpool.plan.records import Records
from workerpool.plan.setting import Setting
from workerpool.plan.text import as_text
from workerpool.plan.workload import Workload, read_workload

__all__ = [
    "Plan",
    "Prediction",
    "Records",
    "Setting",
    "Workload",
    "as_text",
    "estimate",
    "read_workload",
    "simulate",
]
