"""Opens due call windows: contact + window -> scheduled call."""

from __future__ import annotations

import sys
from datetime import datetime

from core import bootstrap
from core.storage.contacts import WINDOWS_TOPIC
from workers.runtime import JobReport, JobSpec, Runtime, run_worker

NAME = "window-scheduler"


async def start(runtime: Runtime) -> None:
    scheduler = bootstrap.window_scheduler(runtime.settings, runtime.db)

    def window_scan(now: datetime) -> JobReport:
        report = scheduler.tick(now)
        summary = {"due": report.due, "opened": report.opened, "missed": report.missed, "skipped": dict(report.skipped)}
        return JobReport(changed=report.changed, summary=summary, next_due=report.next_opens_at)

    runtime.add_job(JobSpec("window_scan", runtime.settings.jobs.window_scan, window_scan, topics=(WINDOWS_TOPIC,)))


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start))
