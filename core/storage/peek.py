"""A glance into an SQLite database without SQLAlchemy: for the shell's completion, which has a few milliseconds.

Read-only, nothing sealed, and never the base of a decision. Where it cannot look, it sees nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def sqlite_file(home: Path, url: str | None) -> Path | None:
    """The file behind ORCH_DATABASE_URL as `core.settings` reads it; None for another kind of database."""
    if not url:
        return home / "data" / "orch.db"
    return home / url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None


def contacts(file: Path | None, *, limit: int, seconds: float) -> list[tuple[str, str]]:
    """Ids and names, the latest contact first. Empty when the database does not answer within `seconds`."""
    return _rows(file, "SELECT id, name FROM contacts ORDER BY created_at DESC LIMIT ?", limit, seconds)


def calls(file: Path | None, *, limit: int, seconds: float) -> list[tuple[str, str]]:
    """Ids and states of calls, the latest first. Empty when the database does not answer within `seconds`."""
    return _rows(file, "SELECT id, state FROM scheduled_calls ORDER BY created_at DESC LIMIT ?", limit, seconds)


def _rows(file: Path | None, query: str, limit: int, seconds: float) -> list[tuple[str, str]]:
    if file is None or not file.is_file():
        return []
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=seconds)) as database,
    ):
        return [(str(first), str(second)) for first, second in database.execute(query, (limit,))]
    return []
