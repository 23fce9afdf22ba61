"""Things a person must look at, each once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.storage.database import Database, upsert
from core.storage.tables import Problem


@dataclass(frozen=True, slots=True)
class ProblemView:
    key: str
    kind: str
    detail: str
    first_at: datetime
    last_at: datetime
    count: int


def report(session: Session, key: str, kind: str, detail: str, now: datetime) -> None:
    """Record a problem, or count it again."""
    upsert(
        session,
        Problem,
        {"key": key, "kind": kind, "detail": detail, "first_at": now, "last_at": now, "count": 1},
        "key",
        {"last_at": now, "count": Problem.count + 1, "detail": detail, "resolved_at": None},
    )


def resolve(session: Session, key: str, now: datetime) -> None:
    row = session.get(Problem, key)
    if row is not None and row.resolved_at is None:
        row.resolved_at = now


class ProblemStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, key: str, kind: str, detail: str, now: datetime) -> None:
        with self._database.write() as session:
            report(session, key, kind, detail, now)

    def open(self) -> list[ProblemView]:
        with self._database.read() as session:
            rows = session.scalars(select(Problem).where(Problem.resolved_at.is_(None)).order_by(Problem.last_at.desc())).all()
        return [ProblemView(row.key, row.kind, row.detail, row.first_at, row.last_at, row.count) for row in rows]
