"""The one row every dial locks first: the kill switch, the pace of dialling, and the carrier's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.storage.calls import ENGAGEMENT_QUEUE
from core.storage.database import Database, insert_or_ignore
from core.storage.problems import report, resolve
from core.storage.runs import wake_all
from core.storage.tables import DialControl

ROW = 1
SPEECH_PROBLEM = "speech"
PUBLIC_URL_PROBLEM = "public_url"
ALARM_LASTS = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Pause:
    since: datetime
    reason: str


def lock_control(session: Session) -> DialControl:
    insert_or_ignore(session, DialControl, {"id": ROW})
    return session.scalars(select(DialControl).where(DialControl.id == ROW).with_for_update()).one()


def note_queue(session: Session, seconds: float, now: datetime) -> None:
    """How long the carrier says that a call waits before it rings, as it took the last one."""
    row = session.get(DialControl, ROW)
    if row is None or (not seconds and not row.carrier_queue_seconds):
        # No queue then and none now: nothing to write down.
        return
    row = lock_control(session)
    row.carrier_queue_seconds = seconds
    row.carrier_queue_at = now


class ControlStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> Pause | None:
        with self._database.read() as session:
            row = session.get(DialControl, ROW)
        return Pause(row.paused_at, row.paused_reason or "") if row is not None and row.paused_at is not None else None

    def pause(self, reason: str, now: datetime) -> bool:
        """Stop all dialling at once; phones that ring stop ringing. False: it was paused already."""
        with self._database.write() as session:
            row = lock_control(session)
            if row.paused_at is not None:
                return False
            row.paused_at = now
            row.paused_reason = reason
            wake_all(session, ENGAGEMENT_QUEUE, now)
        return True

    def resume(self, now: datetime) -> bool:
        """Dial again. False: it was not paused."""
        with self._database.write() as session:
            row = lock_control(session)
            if row.paused_at is None:
                return False
            row.paused_at = None
            row.paused_reason = None
            wake_all(session, ENGAGEMENT_QUEUE, now)
        return True

    def skew(self) -> float | None:
        """How many seconds the carrier's clock is ahead of ours, as last seen."""
        with self._database.read() as session:
            row = session.get(DialControl, ROW)
        return row.clock_skew_seconds if row is not None else None

    def reach(self) -> tuple[datetime, str | None] | None:
        """When our public URL was last tried, and what was wrong; None: it never was."""
        with self._database.read() as session:
            row = session.get(DialControl, ROW)
        return (row.public_url_checked_at, row.public_url_problem) if row is not None and row.public_url_checked_at is not None else None

    def record_reach(self, problem: str | None, now: datetime) -> None:
        with self._database.write() as session:
            row = lock_control(session)
            row.public_url_checked_at = now
            row.public_url_problem = problem
            if problem is None:
                resolve(session, PUBLIC_URL_PROBLEM, now)
            else:
                # Nobody asks while nobody is to be dialled: an old answer is no alarm.
                report(session, PUBLIC_URL_PROBLEM, "public_url", f"nobody is dialled: {problem}", now, lasts=ALARM_LASTS)

    def record_speech(self, problem: str | None, now: datetime) -> None:
        """Whether the media server can hear and speak. While it cannot, calls run in standard mode. Written when it changes."""
        with self._database.read() as session:
            row = session.get(DialControl, ROW)
        if (row.speech_problem if row is not None else None) == problem:
            return
        with self._database.write() as session:
            lock_control(session).speech_problem = problem
            if problem is None:
                resolve(session, SPEECH_PROBLEM, now)
            else:
                report(session, SPEECH_PROBLEM, "speech", f"calls run in standard mode: {problem}", now)

    def record_skew(self, seconds: float, now: datetime) -> None:
        """How far the carrier's clock is ahead of ours. Written only when it moved by a second or more."""
        with self._database.read() as session:
            row = session.get(DialControl, ROW)
        if row is not None and row.clock_skew_seconds is not None and abs(row.clock_skew_seconds - seconds) < 1:
            return
        with self._database.write() as session:
            row = lock_control(session)
            row.clock_skew_seconds = seconds
            row.clock_checked_at = now
