"""The jobs of one worker: woken by period, by topic, by a due time or by a person; run in threads, one at a time each.

APScheduler with a memory store only wakes. What is due is in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from core.clock import Clock, require_utc
from core.storage.jobs import JobRecord, JobStore, TakenTrigger, trigger_topic
from core.storage.wakeup import WakeupListener
from workers.jobs import JobReport, JobSpec

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from core.storage.database import Database

T = TypeVar("T")

# A job that always says it is due at once must not occupy a core.
MIN_GAP = timedelta(milliseconds=50)


class Jobs(Protocol):
    """What the schedule asks of `core.storage.jobs.JobStore`."""

    def record(self, job: JobRecord) -> None: ...
    def take(self, worker: str, now: datetime) -> list[TakenTrigger]: ...
    def finish(self, trigger_id: str, ok: bool, result: str, now: datetime) -> None: ...


@dataclass(slots=True)
class _Job:
    spec: JobSpec
    running: bool = False
    wanted: bool = False
    triggers: list[str] = field(default_factory=list)
    registered: bool = False
    last_run_at: datetime | None = None
    last_duration_ms: float | None = None
    last_result: str | None = None
    last_error: str | None = None
    next_due: datetime | None = None


class Schedule:
    """Use it from the event loop only."""

    def __init__(self, worker: str, database: Database, clock: Clock, log: BoundLogger) -> None:
        self._worker, self._database, self._clock, self._log = worker, database, clock, log
        self._store: Jobs = JobStore(database)
        self._jobs: dict[str, _Job] = {}
        # UTC given, because finding the local zone reads files and warns on odd machines.
        self._alarms = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        # Our own: work that the worker hands to the default pool must not delay a job, nor the other way round.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="job")
        self._listener: WakeupListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._taking = False
        self._take_again = False

    def add(self, spec: JobSpec) -> None:
        """Before `start`. Raises ValueError for a name given twice."""
        if spec.name in self._jobs:
            raise ValueError(f"job {spec.name} was added twice")
        self._jobs[spec.name] = _Job(spec)

    @property
    def running(self) -> int:
        """Jobs that run at this moment."""
        return sum(job.running for job in self._jobs.values())

    def start(self) -> None:
        """Run every job once, now, and from then on when it is woken."""
        loop = asyncio.get_running_loop()
        for job in self._jobs.values():
            self._alarms.add_job(
                self._by_period, IntervalTrigger(seconds=job.spec.period_seconds, timezone=UTC), args=(job,), id=job.spec.name
            )
            self._want(job)
        self._alarms.start()
        topics = {topic for job in self._jobs.values() for topic in job.spec.topics} | {trigger_topic(self._worker)}

        def on_wake(raised: frozenset[str]) -> None:
            # From the listener's thread; the loop may have been closed in the meantime.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._woken, raised)

        self._listener = WakeupListener(self._database, sorted(topics), on_wake)
        self._listener.start()

    def stop(self) -> None:
        """Start no more runs; those that run go on until they end."""
        self._stopping = True
        if self._alarms.running:
            self._alarms.shutdown(wait=False)

    async def close(self) -> None:
        """After `stop`: wait for the bookkeeping of ended runs and end the threads. Runs that are stuck are left behind."""
        if self._listener is not None:
            await asyncio.to_thread(self._listener.close)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def live(self) -> dict[str, dict[str, object]]:
        """Each job as it is now, for the heartbeat."""
        return {
            name: {
                "period_seconds": job.spec.period_seconds,
                "running": job.running,
                "next_run": _iso(self._next_run(job)),
                "last_run": _iso(job.last_run_at),
                "duration_ms": job.last_duration_ms,
                "last_result": job.last_result,
                "last_error": job.last_error,
            }
            for name, job in self._jobs.items()
        }

    # Waking.

    async def _by_period(self, job: _Job) -> None:
        self._want(job)

    async def _by_due_time(self, job: _Job) -> None:
        job.next_due = None
        self._want(job)

    def _woken(self, topics: frozenset[str]) -> None:
        if trigger_topic(self._worker) in topics:
            self._keep(self._take_triggers())
        for job in self._jobs.values():
            if topics.intersection(job.spec.topics):
                self._want(job)

    async def _take_triggers(self) -> None:
        if self._taking:
            self._take_again = True
            return
        self._taking = True
        try:
            while True:
                self._take_again = False
                if not self._stopping:
                    for trigger in await self._in_thread(lambda: self._store.take(self._worker, self._clock.now())):
                        await self._accept(trigger)
                if not self._take_again:
                    return
        except Exception:  # noqa: BLE001
            # The database may be away for a while; the next trigger, or the next start, asks again.
            self._log.exception("job.triggers_not_read")
        finally:
            self._taking = False

    async def _accept(self, trigger: TakenTrigger) -> None:
        job = self._jobs.get(trigger.job)
        if job is None:
            reason = f"{self._worker} has no job {trigger.job}"
            await self._in_thread(lambda: self._store.finish(trigger.id, False, reason, self._clock.now()))
            return
        job.triggers.append(trigger.id)
        self._want(job)

    def _want(self, job: _Job) -> None:
        job.wanted = True
        if not job.running and not self._stopping:
            job.running = True
            self._keep(self._run(job))

    def _keep(self, work: Any) -> None:
        # The loop holds tasks weakly; without this set they may be collected half way.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Running.

    async def _run(self, job: _Job) -> None:
        try:
            while job.wanted and not self._stopping:
                job.wanted = False
                triggers, job.triggers = job.triggers, []
                await self._run_once(job, triggers)
        finally:
            job.running = False
            for trigger in job.triggers:
                # Taken, but we are stopping: say so now rather than leave somebody waiting.
                await self._finish(trigger, False, f"{self._worker} is stopping")
            job.triggers = []

    async def _run_once(self, job: _Job, triggers: list[str]) -> None:
        had_error = job.last_error is not None
        began, now = time.monotonic(), self._clock.now()
        report: JobReport | None = None
        try:
            report = await self._in_thread(lambda: job.spec.run(now))
            job.last_result, job.last_error = json.dumps(dict(report.summary), default=str), None
        except Exception as error:  # noqa: BLE001
            # Whatever a job raises, the worker and its other jobs go on, and the job runs again at its next time.
            job.last_error = f"{type(error).__name__}: {error}"
            self._log.exception("job.failed", job=job.spec.name)
        job.last_run_at, job.last_duration_ms = now, round((time.monotonic() - began) * 1000, 1)
        self._log.debug("job.finished", job=job.spec.name, duration_ms=job.last_duration_ms, result=job.last_result)
        self._plan_due(job, report.next_due if report is not None else None)
        changed = report is not None and report.changed
        if changed or not job.registered or had_error != (job.last_error is not None):
            await self._record(job)
        for trigger in triggers:
            await self._finish(trigger, job.last_error is None, job.last_error or job.last_result or "")

    def _plan_due(self, job: _Job, due: datetime | None) -> None:
        alarm = f"{job.spec.name}:due"
        if self._stopping:
            return
        if due is None:
            job.next_due = None
            if self._alarms.get_job(alarm) is not None:
                self._alarms.remove_job(alarm)
            return
        job.next_due = max(require_utc(due, "next_due"), self._clock.now() + MIN_GAP)
        self._alarms.add_job(self._by_due_time, "date", run_date=job.next_due, args=(job,), id=alarm, replace_existing=True)

    def _next_run(self, job: _Job) -> datetime | None:
        if not self._alarms.running:
            return None
        alarm = self._alarms.get_job(job.spec.name)
        times = [at for at in (alarm.next_run_time if alarm is not None else None, job.next_due) if at is not None]
        return min(times, default=None)

    async def _record(self, job: _Job) -> None:
        record = JobRecord(
            name=job.spec.name,
            worker=self._worker,
            period_seconds=job.spec.period_seconds,
            next_run_at=self._next_run(job),
            last_run_at=job.last_run_at,
            last_duration_ms=job.last_duration_ms,
            last_result=job.last_result,
            last_error=job.last_error,
        )
        try:
            await self._in_thread(lambda: self._store.record(record))
            job.registered = True
        except Exception:  # noqa: BLE001
            # The record is for people; a job that did its work must not fail over it. The next run tries again.
            self._log.exception("job.not_recorded", job=job.spec.name)

    async def _finish(self, trigger: str, ok: bool, result: str) -> None:
        try:
            await self._in_thread(lambda: self._store.finish(trigger, ok, result, self._clock.now()))
        except Exception:  # noqa: BLE001
            # As above; whoever waits for this trigger is told by their own deadline.
            self._log.exception("job.trigger_not_finished", trigger=trigger)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")
