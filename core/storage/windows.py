"""Due call windows: found by their next opening, so that a scan costs the number of due windows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.domain.calls import CallState, Origin
from core.domain.windows import Occurrence, tzdata_version
from core.errors import InvalidInput
from core.storage.calls import create_call
from core.storage.contacts import reschedule
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.tables import CallWindow, Contact, ScheduledCall, WorkerUptime

BATCH = 500


def due_windows(session: Session, now: datetime, limit: int = BATCH) -> Sequence[tuple[CallWindow, Contact]]:
    return session.execute(
        select(CallWindow, Contact)
        .join(Contact, Contact.id == CallWindow.contact_id)
        .where(CallWindow.next_opens_at <= now)
        .order_by(CallWindow.next_opens_at, CallWindow.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=CallWindow)
    ).all()


def any_due(database: Database, now: datetime) -> bool:
    with database.read() as session:
        return session.scalars(select(CallWindow.id).where(CallWindow.next_opens_at <= now).limit(1)).first() is not None


def next_opening(database: Database) -> datetime | None:
    with database.read() as session:
        return session.scalar(select(func.min(CallWindow.next_opens_at)))


def contacts_with_windows(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(CallWindow.contact_id.distinct())).where(CallWindow.next_opens_at.is_not(None))) or 0


def open_occurrence(
    session: Session,
    window: CallWindow,
    contact: Contact,
    occurrence: Occurrence,
    plan: str,
    calls_per_day: int,
    simulated: bool,
    now: datetime,
) -> str | None:
    """The day's scheduled call, born of this occurrence. None: the day has its call already."""
    served = select(ScheduledCall.id).where(ScheduledCall.window_id == window.id, ScheduledCall.opening_date == occurrence.opening_date)
    if session.scalars(served.limit(1)).first() is not None:
        # The same opening, looked at again because its contact moved or the zone's rules changed.
        return None
    for key in origin_keys(window, contact, occurrence, calls_per_day):
        call_id = create_call(
            session,
            contact=contact,
            origin=Origin.WINDOW,
            origin_key=key,
            plan=plan,
            opens_at=occurrence.opens_at,
            closes_at=occurrence.closes_at,
            now=now,
            window_id=window.id,
            opening_date=occurrence.opening_date,
            simulated=simulated,
        )
        if call_id is not None:
            return call_id
    return None


def record_missed(
    session: Session,
    window: CallWindow,
    contact: Contact,
    occurrence: Occurrence,
    plan: str,
    calls_per_day: int,
    simulated: bool,
    reason: str,
    now: datetime,
) -> bool:
    """An occurrence that closed before anybody served it. False: the day had its call, so nothing was missed."""
    keys = origin_keys(window, contact, occurrence, calls_per_day)
    served = session.scalar(select(func.count()).select_from(ScheduledCall).where(ScheduledCall.origin_key.in_(keys))) or 0
    if served >= len(keys):
        return False
    # Its own key: a morning nobody could serve must not use up the evening's call.
    return insert_or_ignore(
        session,
        ScheduledCall,
        {
            "id": new_id(),
            "contact_id": contact.id,
            "origin": Origin.WINDOW,
            "origin_key": f"missed:{window.id}:{occurrence.opening_date.isoformat()}",
            "window_id": window.id,
            "opening_date": occurrence.opening_date,
            "opens_at": occurrence.opens_at,
            "closes_at": occurrence.closes_at,
            "plan": plan,
            "state": CallState.MISSED,
            "reason": reason,
            "retry_count": 0,
            "simulated": simulated,
            "created_at": now,
            "updated_at": now,
        },
    )


def origin_keys(window: CallWindow, contact: Contact, occurrence: Occurrence, calls_per_day: int) -> list[str]:
    if window.on_date is not None:
        return [f"window:{window.id}"]
    day = occurrence.opening_date.isoformat()
    return [f"day:{contact.id}:{day}:{number}" for number in range(1, calls_per_day + 1)]


def reschedule_for_tzdata(database: Database, now: datetime) -> int:
    """Recompute openings that an older time-zone database promised. Returns how many."""
    current = tzdata_version()
    moved = 0
    while True:
        with database.read() as session:
            if session.scalars(select(CallWindow.id).where(*_stale(current)).limit(1)).first() is None:
                return moved
        with database.write() as session:
            rows = session.execute(
                select(CallWindow, Contact).join(Contact, Contact.id == CallWindow.contact_id).where(*_stale(current)).limit(BATCH)
            ).all()
            for window, contact in rows:
                # A zone that is no longer known is reported when the window is due.
                window.tzdata_version = current
                with suppress(InvalidInput):
                    # From the old promise on, so that an opening which is due now stays due.
                    reschedule(window, contact.timezone, min(window.next_opens_at or now, now))
                    moved += 1


def _stale(current: str) -> tuple[ColumnElement[bool], ...]:
    return (CallWindow.tzdata_version != current, CallWindow.next_opens_at.is_not(None))


class UptimeLog:
    """When a worker was up, in intervals: what tells "orch was down" from "orch was too slow"."""

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker
        self._id: str | None = None

    def seen(self, now: datetime) -> None:
        with self._database.write() as session:
            row = session.get(WorkerUptime, self._id) if self._id else None
            if row is None:
                self._id = new_id()
                session.add(WorkerUptime(id=self._id, worker=self._worker, up_from=now, up_until=now))
            else:
                row.up_until = now

    def was_up(self, session: Session, start: datetime, end: datetime) -> bool:
        """Was any copy of this worker seen up during [start, end)?"""
        return (
            session.scalars(
                select(WorkerUptime.id)
                .where(WorkerUptime.worker == self._worker, WorkerUptime.up_from < end, WorkerUptime.up_until > start)
                .limit(1)
            ).first()
            is not None
        )
