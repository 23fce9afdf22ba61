"""Bringing the database's schema up to the code, one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from core.storage.database import DatabaseUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
# Any fixed number of ours: PostgreSQL's advisory locks are named by one.
ADVISORY_LOCK = 0x6F726368


def migrate(url: str) -> bool:
    """Apply what is missing, under a lock. True if something was. Raises DatabaseUnavailable."""
    shown = make_url(url).render_as_string(hide_password=True)
    with _one_at_a_time(url):
        engine = _engine(url)
        try:
            with engine.connect() as connection:
                if not url.startswith("sqlite"):
                    connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": ADVISORY_LOCK})
                    connection.commit()
                return _upgrade(connection, shown)
        except OperationalError as error:
            raise DatabaseUnavailable(f"database {shown}: {str(error.orig).strip().splitlines()[0]}") from error
        finally:
            engine.dispose()


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if url.startswith("sqlite"):
        # SQLite can undo DDL, but its driver begins no transaction for it: a crash would leave half of a schema.
        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def config(connection: Connection) -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def _upgrade(connection: Connection, shown: str) -> bool:
    made = config(connection)
    scripts = ScriptDirectory.from_config(made)
    current = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    if current == scripts.get_current_head():
        return False
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseUnavailable(f"database {shown} was written by a newer orch (schema {current}); start that version")
    command.upgrade(made, "head")
    connection.commit()
    return True


@contextmanager
def _one_at_a_time(url: str) -> Iterator[None]:
    if not url.startswith("sqlite"):
        yield
        return
    path = Path(str(make_url(url).database))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".migrate.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
