"""The run ledger: who carries which run, what it waits for, and what reached it.

A claim carries a lease and a fence. The fence rises with every claim, and every later write checks it, so an owner
that lost its lease without noticing can no longer change anything.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, true, update
from sqlalchemy.orm import Session

from core.domain.runs import ENDED_RUN_STATES, RunState
from core.errors import FenceLost
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.tables import Run, RunEvent, Signal
from core.storage.wakeup import raise_topic

TOPIC = "calls"
# The kind of a signal that says: words of an attempt came after it was settled.
LATE_WORDS = "late_words"


@dataclass(frozen=True, slots=True)
class Owner:
    """One process, told apart from any other that ever had its pid."""

    host: str
    boot_id: str
    pid: int
    started: str  # clock ticks since boot, from /proc

    def __str__(self) -> str:
        return f"{self.host}|{self.boot_id}|{self.pid}|{self.started}"

    @classmethod
    def parse(cls, text: str) -> Owner:
        host, boot_id, pid, started = text.split("|")
        return cls(host, boot_id, int(pid), started)

    @classmethod
    def this_process(cls) -> Owner:
        return cls(socket.gethostname(), _boot_id(), os.getpid(), _started(os.getpid()) or "")

    def is_dead(self) -> bool:
        """True only if proven: same machine, and either an earlier boot or no such process any more."""
        if self.host != socket.gethostname():
            return False
        return self.boot_id != _boot_id() or _started(self.pid) != self.started


@dataclass(frozen=True, slots=True)
class Claim:
    run_id: str
    workflow: str
    subject_id: str
    position: str
    fence: int
    errors: int


@dataclass(frozen=True, slots=True)
class SignalView:
    id: int
    kind: str
    attempt_id: str | None
    payload: dict[str, Any]


def create_run(session: Session, *, workflow: str, version: str, queue: str, subject_id: str, position: str, now: datetime) -> str:
    run = Run(
        id=new_id(),
        workflow=workflow,
        version=version,
        driver="plain",
        queue=queue,
        subject_id=subject_id,
        state=RunState.QUEUED,
        position=position,
        wake_at=now,
        created_at=now,
        updated_at=now,
    )
    session.add(run)
    raise_topic(session, TOPIC)
    return run.id


class RunLedger:
    def __init__(self, database: Database, owner: Owner, *, lease: timedelta = timedelta(seconds=60)) -> None:
        self._database = database
        self._owner = owner
        self._lease = lease

    def claim_due(self, queue: str, now: datetime, limit: int, *, position: str | None = None) -> list[Claim]:
        """Take up to `limit` runs whose time or signal has come, or whose owner's lease ran out; only those at `position`, if given."""
        with self._database.read() as session:
            due = self._due(queue, now, self._database.lease_now(session, now), position)
            if session.scalars(select(Run.id).where(due).limit(1)).first() is None:
                return []
        with self._database.write() as session:
            lease_now = self._database.lease_now(session, now)
            due = self._due(queue, now, lease_now, position)
            rows = session.scalars(
                select(Run).where(due).order_by(Run.wake_at, Run.created_at).limit(limit).with_for_update(skip_locked=True)
            ).all()
            claims = []
            for run in rows:
                run.state = RunState.RUNNING
                run.owner = str(self._owner)
                run.fence += 1
                run.lease_until = lease_now + self._lease
                run.updated_at = now
                claims.append(Claim(run.id, run.workflow, run.subject_id, run.position, run.fence, run.attempt))
        return claims

    @staticmethod
    def _due(queue: str, now: datetime, lease_now: datetime, position: str | None) -> ColumnElement[bool]:
        return and_(
            Run.queue == queue,
            true() if position is None else Run.position == position,
            or_(
                and_(Run.state.in_((RunState.QUEUED, RunState.WAITING)), Run.wake_at <= now),
                and_(Run.state == RunState.RUNNING, Run.lease_until < lease_now),
            ),
        )

    def renew(self, claims: Sequence[Claim], now: datetime) -> None:
        """Extend the leases of runs still worked on."""
        if not claims:
            return
        with self._database.write() as session:
            until = self._database.lease_now(session, now) + self._lease
            for claim in claims:
                session.execute(update(Run).where(Run.id == claim.run_id, Run.fence == claim.fence).values(lease_until=until))

    def release_dead(self, now: datetime, is_dead: Callable[[Owner], bool] = Owner.is_dead) -> int:
        """Put runs back whose owner is proven dead, without waiting for the lease. Returns how many."""
        with self._database.read() as session:
            owned = session.execute(select(Run.id, Run.owner, Run.fence).where(Run.state == RunState.RUNNING)).all()
        dead = [(run_id, fence) for run_id, owner, fence in owned if owner and is_dead(Owner.parse(owner))]
        if not dead:
            return 0
        with self._database.write() as session:
            for run_id, fence in dead:
                session.execute(
                    update(Run)
                    .where(Run.id == run_id, Run.fence == fence, Run.state == RunState.RUNNING)
                    # The fence rises so that even a ghost of the old owner can no longer write.
                    .values(state=RunState.WAITING, wake_at=now, owner=None, lease_until=None, fence=Run.fence + 1, updated_at=now)
                )
            raise_topic(session, TOPIC)
        return len(dead)

    def next_wake(self, queue: str) -> datetime | None:
        """When the earliest waiting run is due."""
        with self._database.read() as session:
            return session.scalars(
                select(Run.wake_at)
                .where(Run.queue == queue, Run.state.in_((RunState.QUEUED, RunState.WAITING)), Run.wake_at.is_not(None))
                .order_by(Run.wake_at)
                .limit(1)
            ).first()

    def give_back(self, claim: Claim, now: datetime) -> None:
        """Let go of a run where it stands, due at once for whoever claims it next."""
        with self._database.write() as session:
            session.execute(
                update(Run)
                .where(Run.id == claim.run_id, Run.fence == claim.fence, Run.state == RunState.RUNNING)
                .values(state=RunState.WAITING, wake_at=now, owner=None, lease_until=None, updated_at=now)
            )

    def fail_step(self, claim: Claim, error: str, now: datetime, wait: timedelta) -> None:
        """A step raised: give the run back and try again after `wait`."""
        with self._database.write() as session:
            session.execute(
                update(Run)
                .where(Run.id == claim.run_id, Run.fence == claim.fence, Run.state == RunState.RUNNING)
                .values(
                    state=RunState.WAITING,
                    wake_at=now + wait,
                    owner=None,
                    lease_until=None,
                    attempt=Run.attempt + 1,
                    error=error[:2000],
                    updated_at=now,
                )
            )


def fenced(session: Session, claim: Claim) -> Run:
    """The claimed run's row, locked. Raises FenceLost when somebody else has claimed it since."""
    run = session.scalars(select(Run).where(Run.id == claim.run_id).with_for_update()).one()
    if run.fence != claim.fence:
        raise FenceLost(f"run {claim.run_id} was taken over (fence {run.fence}, ours {claim.fence})")
    return run


def move(run: Run, position: str, now: datetime) -> None:
    """Go on at `position` in the same claim."""
    run.position = position
    run.updated_at = now


def wait(session: Session, run: Run, *, position: str, waiting_for: str, wake_at: datetime | None, now: datetime) -> None:
    """Let go of the run until `wake_at` or a signal. A signal that is already here wakes it at once."""
    pending = session.scalars(select(Signal.id).where(Signal.run_id == run.id, Signal.consumed_at.is_(None)).limit(1)).first()
    run.state = RunState.WAITING
    run.position = position
    run.waiting_for = waiting_for
    run.wake_at = now if pending is not None else wake_at
    run.owner = None
    run.lease_until = None
    run.attempt = 0
    run.error = None
    run.updated_at = now


def end(run: Run, state: RunState, now: datetime) -> None:
    run.state = state
    run.waiting_for = None
    run.wake_at = None
    run.owner = None
    run.lease_until = None
    run.ended_at = now
    run.updated_at = now


def add_signal(
    session: Session,
    *,
    run_id: str,
    attempt_id: str | None,
    source: str,
    external_id: str,
    kind: str,
    payload: dict[str, Any],
    now: datetime,
) -> bool:
    """Store what reached a run, once, and wake it. False: it was here already."""
    stored = insert_or_ignore(
        session,
        Signal,
        {
            "run_id": run_id,
            "attempt_id": attempt_id,
            "source": source,
            "external_id": external_id,
            "kind": kind,
            "payload": payload,
            "received_at": now,
        },
    )
    if stored:
        wake_run(session, run_id, now)
    return stored


def wake_run(session: Session, run_id: str, now: datetime) -> None:
    """Make a waiting run due now. A running one looks for signals itself before it waits."""
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state == RunState.WAITING, or_(Run.wake_at.is_(None), Run.wake_at > now))
        .values(wake_at=now)
    )
    raise_topic(session, TOPIC)


def revive(session: Session, run_id: str, position: str, now: datetime) -> bool:
    """Make an ended run go on at `position`: what it had given up on has shown up. False: it had not ended."""
    run = session.scalars(select(Run).where(Run.id == run_id).with_for_update()).one()
    if run.state not in ENDED_RUN_STATES:
        return False
    run.state = RunState.WAITING
    run.position = position
    run.wake_at = now
    run.ended_at = None
    run.updated_at = now
    raise_topic(session, TOPIC)
    return True


def lock_run(session: Session, subject_id: str) -> None:
    """Lock a subject's run. Runs are locked before calls, calls before attempts: two orders would be a deadlock on PostgreSQL."""
    session.execute(select(Run.id).where(Run.subject_id == subject_id).with_for_update())


def wake_all(session: Session, queue: str, now: datetime) -> None:
    """Make every waiting run of a queue look again: dialling was paused or resumed."""
    asleep = and_(Run.queue == queue, Run.state == RunState.WAITING, or_(Run.wake_at.is_(None), Run.wake_at > now))
    # In one order, as whoever locks several does.
    session.scalars(select(Run.id).where(asleep).order_by(Run.id).with_for_update()).all()
    session.execute(update(Run).where(asleep).values(wake_at=now))
    raise_topic(session, TOPIC)


def take_signals(session: Session, run: Run, now: datetime) -> list[SignalView]:
    """The run's unread signals, oldest first, now read. Late words are left: `take_late_words` reads them."""
    return _take(session, run, Signal.kind != LATE_WORDS, now)


def take_late_words(session: Session, run: Run, now: datetime) -> list[SignalView]:
    """The unread notes that words of an attempt came after its settlement, now read."""
    return _take(session, run, Signal.kind == LATE_WORDS, now)


def has_late_words(session: Session, run_id: str) -> bool:
    unread = select(Signal.id).where(Signal.run_id == run_id, Signal.consumed_at.is_(None), Signal.kind == LATE_WORDS).limit(1)
    return session.scalars(unread).first() is not None


def _take(session: Session, run: Run, wanted: ColumnElement[bool], now: datetime) -> list[SignalView]:
    rows = session.scalars(select(Signal).where(Signal.run_id == run.id, Signal.consumed_at.is_(None), wanted).order_by(Signal.id)).all()
    for row in rows:
        row.consumed_at = now
    return [SignalView(row.id, row.kind, row.attempt_id, row.payload) for row in rows]


def add_event(database: Database, session: Session, run_id: str, kind: str, detail: dict[str, Any] | None, now: datetime) -> None:
    sealed = database.seal(detail, f"run-event:{run_id}:{kind}") if detail else None
    session.add(RunEvent(run_id=run_id, at=now, kind=kind, detail_sealed=sealed))


def event_detail(database: Database, event: RunEvent) -> dict[str, Any]:
    return database.open_json(event.detail_sealed, f"run-event:{event.run_id}:{event.kind}") if event.detail_sealed else {}


def request_cancel(session: Session, subject_id: str, now: datetime) -> None:
    run = session.scalars(select(Run).where(Run.subject_id == subject_id).with_for_update()).first()
    if run is not None and run.state not in ENDED_RUN_STATES:
        run.cancel_requested = True
        wake_run(session, run.id, now)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot (field 22 of proc(5) stat), or None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended: it will write nothing any more.
    return None if fields[0] == "Z" else fields[19]
