"""Bringing the database's schema up to the code, one process at a time.

Alembic is imported when there is something to do: it costs 0.1 s and 12 MB, and nearly always there is not.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from core.storage.database import DatabaseUnavailable
from core.storage.schema_version import newest_revision

if TYPE_CHECKING:
    from alembic.config import Config

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


def revision(url: str) -> str | None:
    """The revision of the database's schema; None: it has none. Changes nothing. Raises DatabaseUnavailable."""
    shown = make_url(url).render_as_string(hide_password=True)
    engine = create_engine(url, connect_args={"timeout": 2.0} if url.startswith("sqlite") else {"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            return _current_revision(connection)
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
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def _upgrade(connection: Connection, shown: str) -> bool:
    current = _current_revision(connection)
    connection.commit()
    if current == newest_revision():
        return False

    from alembic import command
    from alembic.script import ScriptDirectory

    made = config(connection)
    scripts = ScriptDirectory.from_config(made)
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseUnavailable(f"database {shown} was written by a newer orch (schema {current}); start that version")
    command.upgrade(made, "head")
    connection.commit()
    return True


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    current: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return current


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
