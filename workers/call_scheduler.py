"""Drives engagements: dials, retries, reconciles."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import datetime

from core import bootstrap
from core.storage.calls import CallStore
from core.storage.control import ControlStore
from core.storage.problems import ProblemStore
from core.storage.runs import TOPIC
from workers.runtime import JobReport, JobSpec, Runtime, run_worker

NAME = "call-scheduler"
DRAIN_LOOK_SECONDS = 0.5


async def start(runtime: Runtime) -> None:
    parts = bootstrap.call_parts(runtime.settings, runtime.db)
    parts.driver.recover(runtime.clock.now())
    control, problems, calls = ControlStore(runtime.db), ProblemStore(runtime.db), CallStore(runtime.db)
    # Read after each step and kept: the heartbeat shows it each second, and must not ask the database for it.
    shown: dict[str, object] = {}

    def look() -> None:
        nonlocal shown
        pause = control.paused()
        found: dict[str, object] = {"problems": [f"{problem.kind}: {problem.detail}" for problem in problems.open(runtime.clock.now())]}
        if pause is not None:
            found["paused"] = pause.reason
        going_on = calls.live_attempts(runtime.clock.now())
        found["live_calls"] = going_on
        found["work"] = f"{going_on} call{'' if going_on == 1 else 's'}"
        shown = found

    def step(now: datetime) -> JobReport:
        report = parts.driver.step_due(now)
        look()
        return JobReport(changed=report.claimed > 0, summary={"claimed": report.claimed, "errors": report.errors}, next_due=report.next_due)

    def call_reconciliation(now: datetime) -> JobReport:
        # A process that died while another kept the daemon going is noticed here.
        parts.driver.recover(now)
        report = parts.watch.tick(now)
        return JobReport(changed=bool(report.settled or report.adopted or report.absent or report.errors), summary=asdict(report))

    # Until the last watch has counted them, there may be some.
    live = 1

    def watch_once() -> int:
        now = runtime.clock.now()
        parts.driver.step_due(now)
        # A callback that was lost would keep everybody waiting for a call that is long over.
        parts.watch.check_live(now)
        return calls.live_attempts(now)

    async def watch_the_last() -> None:
        """What rings or talks when we are told to stop is watched to its end: nobody else asks the carrier about it."""
        nonlocal live
        await runtime.draining.wait()
        parts.driver.drain()
        while True:
            try:
                live = await asyncio.to_thread(watch_once)
            except Exception:
                # The drain has its deadline; until then the database may come back.
                runtime.log.exception("calls.last_watch_failed")
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    async def stop() -> None:
        last_watch.cancel()
        try:
            stopped = await asyncio.to_thread(parts.watch.stop_unanswered, "stopping", runtime.clock.now())
            if stopped:
                runtime.log.warning("calls.stopped_ringing", count=stopped)
        finally:
            parts.driver.close()

    last_watch = asyncio.create_task(watch_the_last())

    runtime.add_job(JobSpec("call_dispatch", runtime.settings.jobs.call_dispatch, step, topics=(TOPIC,)))
    runtime.add_job(JobSpec("call_orchestrator", runtime.settings.jobs.call_orchestrator, step))
    runtime.add_job(JobSpec("call_reconciliation", runtime.settings.jobs.call_reconciliation, call_reconciliation))
    runtime.in_flight = lambda: parts.driver.in_flight + (live if runtime.draining.is_set() else 0)
    runtime.status_extra = lambda: dict(shown)
    runtime.on_stop(stop)


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start))
