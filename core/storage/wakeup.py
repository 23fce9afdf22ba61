"""Waking the worker that must act, the moment a commit makes work due.

A topic is raised in the transaction that makes work due. SQLite: `wakeups(topic, seq)`, watched by polling
`PRAGMA data_version` on a connection of its own, which costs microseconds and no commit. PostgreSQL: NOTIFY.
A lost wake-up is harmless: every job also runs by its period.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence

from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from core.storage.database import Database, upsert
from core.storage.tables import Wakeup

CHANNEL = "orch_wakeups"
POLL_SECONDS = 0.03


def raise_topic(session: Session, topic: str) -> None:
    """Wake whoever listens to `topic` when this transaction commits."""
    if session.get_bind().dialect.name == "sqlite":
        upsert(session, Wakeup, {"topic": topic, "seq": 1}, "topic", {"seq": Wakeup.seq + 1})
    else:
        session.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": CHANNEL, "topic": topic})


class WakeupListener:
    """Calls `on_wake(topics)` from a thread of its own whenever one of its topics was raised, and once at the start."""

    def __init__(self, database: Database, topics: Sequence[str], on_wake: Callable[[frozenset[str]], None]) -> None:
        self._database = database
        self._topics = frozenset(topics)
        self._on_wake = on_wake
        self._stop = threading.Event()
        watch = self._watch_sqlite if database.is_sqlite else self._watch_postgresql
        self._thread = threading.Thread(target=watch, name="wakeups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _watch_sqlite(self) -> None:
        while not self._stop.is_set():
            # A replaced or briefly unreadable file must not end the watch for good.
            with contextlib.suppress(sqlite3.Error):
                self._poll_sqlite()
            self._stop.wait(1.0)

    def _poll_sqlite(self) -> None:
        connection = sqlite3.connect(f"file:{self._database.path}?mode=ro", uri=True, isolation_level=None)
        try:
            seen = self._sequences(connection)
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            self._on_wake(self._topics)
            while not self._stop.wait(POLL_SECONDS):
                current = connection.execute("PRAGMA data_version").fetchone()[0]
                if current == version:
                    continue
                version = current
                sequences = self._sequences(connection)
                raised = frozenset(topic for topic, sequence in sequences.items() if seen.get(topic) != sequence)
                seen = sequences
                if raised:
                    self._on_wake(raised)
        finally:
            connection.close()

    def _sequences(self, connection: sqlite3.Connection) -> dict[str, int]:
        rows = connection.execute("SELECT topic, seq FROM wakeups").fetchall()
        return {topic: sequence for topic, sequence in rows if topic in self._topics}

    def _watch_postgresql(self) -> None:
        import psycopg

        address = make_url(self._database.url).set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._stop.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(address, autocommit=True) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                # What was raised while nobody listened is found by running once.
                self._on_wake(self._topics)
                while not self._stop.is_set():
                    for notice in connection.notifies(timeout=0.5, stop_after=1):
                        if notice.payload in self._topics:
                            self._on_wake(frozenset({notice.payload}))
            self._stop.wait(1.0)
