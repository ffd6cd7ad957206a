"""Which modules are mutated, and which tests they have to fail: quick ones, which look at no clock.

A mutant is tried with those of its area's tests that reach its line.
"""

from __future__ import annotations

from dataclasses import dataclass

LIMITS = "workerpool/limits"


@dataclass(frozen=True)
class Area:
    """Modules, by name or by pattern, and their tests."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = (
    Area(
        modules=tuple(f"{LIMITS}/{name}.py" for name in ("bucket", "memory", "windows", "tokens")),
        tests=(
            "tests/contract/test_rates.py",
            "tests/property/test_bucket.py",
            "tests/property/test_retry_budget.py",
            "tests/property/test_windows.py",
        ),
    ),
    Area(
        modules=(f"{LIMITS}/circuit.py",),
        tests=("tests/unit/test_circuit.py",),
    ),
    Area(
        modules=tuple(f"{LIMITS}/{name}.py" for name in ("adaptive", "announced", "connections", "learning")),
        tests=(
            "tests/property/test_adaptive.py",
            "tests/unit/test_adaptive.py",
            "tests/unit/test_announced.py",
            "tests/unit/test_learned_connections.py",
            "tests/unit/test_learned_rate.py",
            "tests/unit/test_rate_arithmetic.py",
            "tests/unit/test_two_learners.py",
        ),
    ),
    Area(
        modules=(f"{LIMITS}/headers.py", f"{LIMITS}/answer.py"),
        tests=("tests/unit/test_limit_headers.py", "tests/unit/test_retry.py"),
    ),
    Area(
        modules=(f"{LIMITS}/file/*.py",),
        tests=(
            "tests/contract/test_rates.py",
            "tests/unit/test_budget_accounts.py",
            "tests/unit/test_budget_file.py",
            "tests/unit/test_budget_members.py",
            "tests/unit/test_budget_rows.py",
            "tests/unit/test_claims.py",
            "tests/unit/test_file_budget.py",
            "tests/unit/test_file_budget_places.py",
        ),
    ),
    Area(
        modules=tuple(f"{LIMITS}/redis/{name}.py" for name in ("budget", "leased", "terms", "times")),
        tests=(
            "tests/unit/test_leased.py",
            "tests/unit/test_redis_budget.py",
            "tests/unit/test_redis_member.py",
            "tests/unit/test_redis_terms.py",
        ),
    ),
    Area(
        modules=("workerpool/retry.py",),
        tests=("tests/unit/test_retry.py",),
    ),
    Area(
        modules=("workerpool/scheduler/*.py",),
        tests=(
            "tests/property/test_parked.py",
            "tests/property/test_retry_budget.py",
            "tests/property/test_scheduler.py",
            "tests/property/test_slow_hosts.py",
            "tests/unit/test_admission.py",
            "tests/unit/test_callers.py",
            "tests/unit/test_delays.py",
            "tests/unit/test_grants.py",
            "tests/unit/test_hold_ups.py",
            "tests/unit/test_hosts.py",
            "tests/unit/test_places.py",
            "tests/unit/test_register.py",
            "tests/unit/test_ring.py",
            "tests/unit/test_scheduler.py",
            "tests/unit/test_shared_places.py",
            "tests/unit/test_slow_hosts.py",
            "tests/unit/test_slow_start.py",
            "tests/unit/test_waiting_for_tokens.py",
        ),
    ),
    Area(
        modules=tuple(f"workerpool/batch/job/{name}.py" for name in ("ledger", "reader", "schema")),
        tests=("tests/unit/test_ledger.py", "tests/unit/test_ledger_rows.py", "tests/property/test_inputs.py"),
    ),
)
