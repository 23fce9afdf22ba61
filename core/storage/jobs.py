"""The job table and the triggers people pull."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from core.errors import NotFound
from core.storage.database import Database, new_id, upsert
from core.storage.tables import Job, Trigger
from core.storage.wakeup import raise_topic

TRIGGER_LIFETIME = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class JobRecord:
    name: str
    worker: str
    period_seconds: float
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_duration_ms: float | None
    last_result: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class TakenTrigger:
    id: str
    job: str


@dataclass(frozen=True, slots=True)
class TriggerView:
    """`state` is pending, running, done, failed or expired."""

    id: str
    job: str
    state: str
    result: str | None


def trigger_topic(worker: str) -> str:
    return f"triggers:{worker}"


class JobStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, job: JobRecord) -> None:
        values = asdict(job)
        with self._database.write() as session:
            upsert(session, Job, values, "name", {k: v for k, v in values.items() if k != "name"})

    def all(self) -> list[JobRecord]:
        with self._database.read() as session:
            rows = session.scalars(select(Job).order_by(Job.worker, Job.name)).all()
        return [
            JobRecord(
                row.name,
                row.worker,
                row.period_seconds,
                row.next_run_at,
                row.last_run_at,
                row.last_duration_ms,
                row.last_result,
                row.last_error,
            )
            for row in rows
        ]

    def request(self, job: str, worker: str, requested_by: str, now: datetime, expires_in: timedelta = TRIGGER_LIFETIME) -> str:
        """Ask `worker` to run `job` now. Returns the trigger's id."""
        trigger = Trigger(
            id=new_id(),
            job=job,
            worker=worker,
            requested_by=requested_by,
            requested_at=now,
            expires_at=now + expires_in,
            state="pending",
        )
        with self._database.write() as session:
            session.add(trigger)
            raise_topic(session, trigger_topic(worker))
        return trigger.id

    def take(self, worker: str, now: datetime) -> list[TakenTrigger]:
        """This worker's pending triggers, now running. Those nobody took in time expire instead."""
        mine = (Trigger.worker == worker, Trigger.state == "pending")
        with self._database.read() as session:
            if session.scalars(select(Trigger.id).where(*mine).limit(1)).first() is None:
                return []
        with self._database.write() as session:
            session.execute(
                update(Trigger)
                .where(*mine, Trigger.expires_at <= now)
                .values(state="expired", finished_at=now, result="nobody took it in time")
            )
            taken = session.execute(update(Trigger).where(*mine).values(state="running").returning(Trigger.id, Trigger.job)).all()
        return [TakenTrigger(trigger_id, job) for trigger_id, job in taken]

    def finish(self, trigger_id: str, ok: bool, result: str, now: datetime) -> None:
        with self._database.write() as session:
            session.execute(
                update(Trigger).where(Trigger.id == trigger_id).values(state="done" if ok else "failed", finished_at=now, result=result)
            )

    def get(self, trigger_id: str) -> TriggerView:
        """Raises NotFound."""
        with self._database.read() as session:
            row = session.get(Trigger, trigger_id)
        if row is None:
            raise NotFound(f"no trigger {trigger_id}")
        return TriggerView(row.id, row.job, row.state, row.result)
