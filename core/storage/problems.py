"""Things a person must look at, each once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from core.storage.database import Database, upsert
from core.storage.runs import TOPIC
from core.storage.tables import Problem
from core.storage.wakeup import raise_topic

# All unknown calls are one problem: whoever shares our number or our address makes them by the dozen.
UNKNOWN_CALL = "webhook:unknown"
# A misdirected webhook is no longer news a day after the last one.
UNKNOWN_CALL_LASTS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ProblemView:
    key: str
    kind: str
    detail: str
    first_at: datetime
    last_at: datetime
    count: int


def report(session: Session, key: str, kind: str, detail: str, now: datetime, *, lasts: timedelta | None = None) -> None:
    """Record a problem, or count it again. With `lasts` it is no longer shown so long after it was last reported."""
    expires_at = now + lasts if lasts is not None else None
    upsert(
        session,
        Problem,
        {"key": key, "kind": kind, "detail": detail, "first_at": now, "last_at": now, "count": 1, "expires_at": expires_at},
        "key",
        {"last_at": now, "count": Problem.count + 1, "detail": detail, "resolved_at": None, "expires_at": expires_at},
    )


def report_unknown_call(session: Session, carrier_call_id: str, now: datetime) -> None:
    """A signed webhook is about a call that nobody here placed."""
    row = session.get(Problem, UNKNOWN_CALL)
    if row is None or row.resolved_at is not None or (row.expires_at is not None and row.expires_at <= now):
        # `orch status` shows what the call-scheduler last read: a new problem is to be read now.
        raise_topic(session, TOPIC)
    detail = (
        f"the carrier asked about a call that nobody here placed, last {carrier_call_id}: does something else use this account or address?"
    )
    report(session, UNKNOWN_CALL, "webhook", detail, now, lasts=UNKNOWN_CALL_LASTS)


def resolve(session: Session, key: str, now: datetime) -> None:
    row = session.get(Problem, key)
    if row is not None and row.resolved_at is None:
        row.resolved_at = now


def resolve_all(session: Session, prefix: str, now: datetime) -> None:
    """Every open problem whose key begins so."""
    session.execute(
        update(Problem).where(Problem.key.startswith(prefix, autoescape=True), Problem.resolved_at.is_(None)).values(resolved_at=now)
    )


class ProblemStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, key: str, kind: str, detail: str, now: datetime, *, lasts: timedelta | None = None) -> None:
        with self._database.write() as session:
            report(session, key, kind, detail, now, lasts=lasts)

    def report_unknown_call(self, carrier_call_id: str, now: datetime) -> None:
        with self._database.write() as session:
            report_unknown_call(session, carrier_call_id, now)

    def open(self, now: datetime | None = None) -> list[ProblemView]:
        """Neither resolved nor out of date at `now` (None: the present)."""
        now = now or datetime.now(UTC)
        current = or_(Problem.expires_at.is_(None), Problem.expires_at > now)
        with self._database.read() as session:
            rows = session.scalars(select(Problem).where(Problem.resolved_at.is_(None), current).order_by(Problem.last_at.desc())).all()
        return [ProblemView(row.key, row.kind, row.detail, row.first_at, row.last_at, row.count) for row in rows]
