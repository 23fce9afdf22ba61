"""The tables of the network's ledger, and how those of an older version are brought up to date."""

from __future__ import annotations

import sqlite3

CALL_COLUMNS = """sid, to_number, from_number, status, direction, answered_by, behaviour, created_at, updated_at, started_at, answered_at,
ended_at, seconds, queue_ms, sip_code, callbacks, request, parent_sid, visit, listed_at, deleted_at"""

RECORDING_COLUMNS = """sid, call_sid, status, source, channels, track, created_at, updated_at, started_at, seconds, request"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    to_number TEXT NOT NULL,
    from_number TEXT NOT NULL,
    status TEXT NOT NULL,
    direction TEXT NOT NULL,
    answered_by TEXT,
    behaviour TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    started_at REAL,
    answered_at REAL,
    ended_at REAL,
    seconds INTEGER,
    queue_ms INTEGER NOT NULL,
    sip_code INTEGER,
    callbacks INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL,
    parent_sid TEXT,
    visit INTEGER NOT NULL DEFAULT 0,
    listed_at REAL NOT NULL DEFAULT 0,
    deleted_at REAL
);
CREATE INDEX IF NOT EXISTS calls_by_number ON calls (to_number);
CREATE TABLE IF NOT EXISTS callbacks (
    id INTEGER PRIMARY KEY,
    call_sid TEXT NOT NULL,
    url TEXT NOT NULL,
    method TEXT NOT NULL,
    fields TEXT NOT NULL,
    done_at REAL,
    purpose TEXT NOT NULL DEFAULT 'status',
    send_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS callbacks_waiting ON callbacks (id) WHERE done_at IS NULL;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    call_sid TEXT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_call ON events (call_sid);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind);
CREATE TABLE IF NOT EXISTS recordings (
    number INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    call_sid TEXT NOT NULL,
    status TEXT NOT NULL,
    source TEXT NOT NULL,
    channels INTEGER NOT NULL,
    track TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    started_at REAL NOT NULL,
    seconds INTEGER,
    request TEXT NOT NULL,
    inbound BLOB,
    outbound BLOB
);
CREATE INDEX IF NOT EXISTS recordings_by_call ON recordings (call_sid);
"""

# Columns that the ledger of an earlier version lacks. The words after the name are those of the schema above.
_ADDED = {
    "calls": ("parent_sid TEXT", "visit INTEGER NOT NULL DEFAULT 0", "listed_at REAL NOT NULL DEFAULT 0", "deleted_at REAL"),
    "callbacks": ("purpose TEXT NOT NULL DEFAULT 'status'", "send_at REAL NOT NULL DEFAULT 0"),
}


def prepare(database: sqlite3.Connection) -> None:
    """Make the tables, or add what an older ledger lacks."""
    database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _SCHEMA)
    for table, columns in _ADDED.items():
        present = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column.partition(" ")[0] not in present:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
