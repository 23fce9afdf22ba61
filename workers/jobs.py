"""Jobs by name, and the worker that owns each. Imports nothing heavy: the CLI reads it on every `orch trigger`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class JobInfo:
    name: str
    worker: str
    summary: str


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a run did. `changed`: worth a row in the database. `next_due`: run again then, before the period is over."""

    changed: bool
    summary: Mapping[str, object]
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """`run(now)` is called in a thread, never twice at once. A wake-up of one of `topics` runs it immediately."""

    name: str
    period_seconds: float
    run: Callable[[datetime], JobReport]
    topics: tuple[str, ...] = ()


JOBS = (
    JobInfo("window_scan", "window-scheduler", "opens the call windows that are due"),
    JobInfo("call_dispatch", "call-scheduler", "dials the calls that are due"),
    JobInfo("call_orchestrator", "call-scheduler", "carries engagements on: signals, waits, retries"),
    JobInfo("call_reconciliation", "call-scheduler", "asks the carrier about calls whose end we did not hear"),
)


def job_named(text: str) -> JobInfo:
    """The job called `text` (`-` reads as `_`). Raises InvalidInput that lists the names and the nearest one."""
    wanted = text.strip().lower().replace("-", "_")
    for job in JOBS:
        if job.name == wanted:
            return job
    import difflib

    names = [job.name for job in JOBS]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InvalidInput(f"no job is called {text!r}; {hint}Jobs: {', '.join(names)}")
