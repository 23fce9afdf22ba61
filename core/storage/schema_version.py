"""Which revision of the schema this program is of, and whether a database has it. The standard library alone.

SQLAlchemy is a third of a second of every command that only wants to know that there is nothing to do.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

VERSIONS = Path(__file__).parent / "migrations" / "versions"
_SQLITE = "sqlite:///"


def newest_revision() -> str:
    """The last one: their files are named by their numbers."""
    return max(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


def is_known_current(url: str) -> bool:
    """True if the database surely has this program's schema. False decides nothing: it may be absent, locked, or a server's."""
    if not url.startswith(_SQLITE) or "?" in url:
        return False
    path = Path(url.removeprefix(_SQLITE))
    with contextlib.suppress(sqlite3.Error, OSError):
        if path.is_file():
            with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
                return found == [(newest_revision(),)]
    return False
