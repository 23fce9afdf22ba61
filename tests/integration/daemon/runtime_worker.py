"""A worker on the real runtime. Its jobs append to the file named by the first argument, and obey files beside it.

With `fail` beside it `window_scan` raises; with `busy` beside it one thing is in flight.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from core.errors import SettingsError
from workers.runtime import JobReport, JobSpec, Runtime, run_worker

NAME, DIARY = sys.argv[1], Path(sys.argv[2])


def beside(name: str) -> bool:
    return DIARY.with_name(name).exists()


def write(line: str) -> None:
    with DIARY.open("a") as diary:
        diary.write(line + "\n")


async def start(runtime: Runtime) -> None:
    if beside("wrong-setting"):
        raise SettingsError("ORCH_PORT=banana is not allowed; it must be a number")
    runs = 0

    def window_scan(now: datetime) -> JobReport:
        nonlocal runs
        runs += 1
        write(f"window_scan {runs}")
        if beside("fail"):
            raise ValueError("the sky fell")
        # Due again soon after the first run, though its period is long.
        return JobReport(changed=False, summary={"runs": runs}, next_due=now + timedelta(seconds=0.3) if runs == 1 else None)

    async def stop(word: str) -> None:
        write(word)

    runtime.add_job(JobSpec("window_scan", 3600, window_scan, topics=("windows",)))
    runtime.in_flight = lambda: int(beside("busy"))
    runtime.status_extra = lambda: {"work": "writes a diary", "paused": "a test"}
    runtime.on_stop(lambda: stop("stopped first-added"))
    runtime.on_stop(lambda: stop("stopped last-added"))
    write("started")


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start, argv=sys.argv[3:]))
