"""Engines, transactions, and the cipher that sealed columns pass through. SQLite and PostgreSQL, one way of use."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
from sqlalchemy import Engine, create_engine, event, func, inspect, make_url, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.errors import OrchError
from core.storage.tables import Base

# Session is handed out by `read` and `write`: those that pass it on name its type from here.
__all__ = ["Cipher", "Database", "DatabaseUnavailable", "Session", "insert_or_ignore", "new_id", "upsert"]


class DatabaseUnavailable(OrchError):
    """The database cannot be reached or is locked by somebody else."""


class Cipher(Protocol):
    """Encryption at rest. `context` binds a value to its place: it opens nowhere else."""

    def seal(self, plain: bytes, context: bytes) -> bytes: ...
    def open(self, sealed: bytes, context: bytes) -> bytes: ...


def new_id() -> str:
    """A fresh row id: 32 hex characters."""
    return uuid.uuid4().hex


class Database:
    """One per process. `read()` never blocks a writer; `write()` holds the write lock from its first statement.

    On SQLite the two use separate engines: a recipe that begins every transaction immediately lets one held
    reader block all writers. Writers of one process queue on a lock of ours, because SQLite's own busy handler
    is unfair and was seen to make one of several writers wait for seconds.
    """

    def __init__(self, url: str, cipher: Cipher | None = None, *, busy_seconds: float = 30.0) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._cipher = cipher
        self._write_lock = threading.Lock()
        if self.is_sqlite:
            self.path: Path | None = Path(str(make_url(url).database))
            self._reader = _sqlite_engine(url, "BEGIN", busy_seconds)
            self._writer = _sqlite_engine(url, "BEGIN IMMEDIATE", busy_seconds)
        else:
            self.path = None
            self._reader = self._writer = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=10, hide_parameters=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view for as long as the block lasts: keep it short. Nothing is committed."""
        with _translated(self.url), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end of the block, rolled back by an exception. No network calls inside."""
        if not self.is_sqlite:
            with _translated(self.url), Session(self._writer, expire_on_commit=False) as session, session.begin():
                yield session
            return
        with self._write_lock, _translated(self.url), Session(self._writer, expire_on_commit=False) as session, session.begin():
            session.connection()  # takes the write lock now, not at the first change
            yield session

    def lease_now(self, session: Session, now: datetime) -> datetime:
        """The time leases are measured by: the server's on PostgreSQL, where several machines' clocks would disagree."""
        if self.is_sqlite:
            return now
        read: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return read

    def seal(self, plain: str | dict[str, Any], context: str) -> bytes:
        """Encrypt text or JSON for a `*_sealed` column. Raises OrchError when this process was given no keys."""
        raw = plain.encode() if isinstance(plain, str) else orjson.dumps(plain)
        return self._require_cipher().seal(raw, context.encode())

    def open_text(self, sealed: bytes, context: str) -> str:
        return self._require_cipher().open(sealed, context.encode()).decode()

    def open_json(self, sealed: bytes, context: str) -> dict[str, Any]:
        opened: dict[str, Any] = orjson.loads(self._require_cipher().open(sealed, context.encode()))
        return opened

    def _require_cipher(self) -> Cipher:
        if self._cipher is None:
            raise OrchError("this process was opened without encryption keys and cannot read or write speech")
        return self._cipher

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()


def insert_or_ignore(session: Session, table: type[Base], values: dict[str, Any]) -> bool:
    """Insert a row unless one of its unique keys is taken. True if it was inserted."""
    insert = _insert_for(session)
    key = inspect(table).primary_key[0]
    # What comes back is counted, not `rowcount`: PostgreSQL's driver reports -1 for such a statement.
    return session.execute(insert(table).values(**values).on_conflict_do_nothing().returning(key)).first() is not None


def upsert(session: Session, table: type[Base], values: dict[str, Any], key: str, update: dict[str, Any]) -> None:
    """Insert a row, or apply `update` to the one that has the same `key`."""
    insert = _insert_for(session)
    session.execute(insert(table).values(**values).on_conflict_do_update(index_elements=[key], set_=update))


def _insert_for(session: Session) -> Any:
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert
    # Loads every driver that SQLAlchemy knows for it: 20 ms that SQLite's users need not wait for.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


def _sqlite_engine(url: str, begin: str, busy_seconds: float) -> Engine:
    # Parameters hold names and numbers, and exceptions are logged.
    engine = create_engine(url, connect_args={"timeout": busy_seconds}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own idea of when a transaction begins would undo ours.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL everywhere: opt-outs, pauses and webhooks answered 200 must survive a power cut as dials must.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise DatabaseUnavailable(f"database {shown}: {str(error.orig).strip().splitlines()[0]}") from error
