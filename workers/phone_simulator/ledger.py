"""What the phone network did, as it happened: every call, status, request and webhook. Any process may read it while it is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

FINAL_STATUSES = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})

_COLUMNS = """sid, to_number, from_number, status, direction, answered_by, behaviour, created_at, updated_at, started_at, answered_at,
ended_at, seconds, queue_ms, sip_code, callbacks, request"""

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
    request TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_by_number ON calls (to_number);
CREATE TABLE IF NOT EXISTS callbacks (
    id INTEGER PRIMARY KEY,
    call_sid TEXT NOT NULL,
    url TEXT NOT NULL,
    method TEXT NOT NULL,
    fields TEXT NOT NULL,
    done_at REAL
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
"""

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call. `queue_ms` is the estimate given at its creation, `seconds` the connected time, `request` the fields of its create."""

    sid: str
    to: str
    from_: str
    status: str
    direction: str
    answered_by: str | None
    behaviour: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    seconds: int | None
    queue_ms: int
    sip_code: int | None
    callbacks: int
    request: dict[str, list[str]]

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    def asked(self, name: str) -> str | None:
        """A field of the create request; None when it was not given or is empty."""
        values = self.request.get(name)
        return values[0] if values and values[0] else None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Kinds: request, status, webhook, verb, stream, mark, said, heard, dtmf, warning."""

    call_sid: str | None
    at: datetime
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Callback:
    """A status callback that is due and not known to have been sent."""

    id: int
    call_sid: str
    url: str
    method: str
    fields: Fields


class Ledger:
    """Read access, also from another process and while the simulator runs. Raises sqlite3.OperationalError when there is no such file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=10, check_same_thread=False)

    def close(self) -> None:
        self._db.close()

    def call(self, sid: str) -> CallRecord | None:
        return next(iter(self._calls("WHERE sid = ?", (sid,))), None)

    def calls(self, to: str | None = None) -> list[CallRecord]:
        """Every call ever placed, oldest first."""
        return self._calls("WHERE to_number = ? ORDER BY number", (to,)) if to is not None else self._calls("ORDER BY number", ())

    def events(self, call_sid: str | None = None, kind: str | None = None) -> list[Event]:
        """What happened, in order. Without a call: everything, requests that named no call included."""
        rows = self._db.execute(
            "SELECT call_sid, at, kind, detail FROM events WHERE (?1 IS NULL OR call_sid = ?1) AND (?2 IS NULL OR kind = ?2) ORDER BY id",
            (call_sid, kind),
        )
        return [Event(sid, _instant(at), found, json.loads(detail)) for sid, at, found, detail in rows]

    def warnings(self, call_sid: str | None = None) -> list[Event]:
        """What Twilio's debugger would show: whatever our side did wrong. `detail` has `code` and `text`."""
        return self.events(call_sid, "warning")

    def overlaps(self) -> list[tuple[CallRecord, CallRecord]]:
        """Pairs of calls to one number that were open at the same time: nobody may be rung twice at once."""
        by_number: dict[str, list[CallRecord]] = {}
        for call in self.calls():
            by_number.setdefault(call.to, []).append(call)
        return [
            (first, second)
            for calls in by_number.values()
            for first, second in combinations(calls, 2)
            if first.ended_at is None or second.created_at < first.ended_at
        ]

    def _calls(self, where: str, parameters: Sequence[object]) -> list[CallRecord]:
        # Every `where` is written in this file.
        return [_record(row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM calls {where}", parameters)]  # noqa: S608


class LedgerWriter(Ledger):
    """The simulator's own access: one writer, on its event loop.

    Written without waiting for the disk: a killed process loses nothing, a power cut may lose the last seconds of a phone network
    that does not exist.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _SCHEMA)

    def add_call(self, call: CallRecord) -> None:
        marks = ", ".join("?" * 17)
        self._db.execute(
            f"INSERT INTO calls ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
            (
                *(call.sid, call.to, call.from_, call.status, call.direction, call.answered_by, call.behaviour),
                *(call.created_at.timestamp(), call.updated_at.timestamp(), None, None, None, None),
                *(call.queue_ms, call.sip_code, call.callbacks, json.dumps(call.request)),
            ),
        )

    def move(
        self,
        sid: str,
        status: str,
        now: datetime,
        *,
        seconds: int | None = None,
        sip_code: int | None = None,
        callback: tuple[str, str, Fields] | None = None,
    ) -> None:
        """A change of status and the callback it makes due (url, method, fields), in one transaction."""
        at = now.timestamp()
        column = {"ringing": "started_at", "in-progress": "answered_at"}.get(
            status, "ended_at" if status in FINAL_STATUSES else "updated_at"
        )
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            f"UPDATE calls SET status = ?, updated_at = ?, {column} = ?, seconds = ?, sip_code = ?, "  # noqa: S608
            "callbacks = callbacks + ? WHERE sid = ?",
            (status, at, at, seconds, sip_code, 0 if callback is None else 1, sid),
        )
        self._insert_event(sid, "status", {"status": status, **({"sip_code": sip_code} if sip_code is not None else {})}, at)
        if callback is not None:
            url, method, fields = callback
            self._db.execute(
                "INSERT INTO callbacks (call_sid, url, method, fields) VALUES (?, ?, ?, ?)", (sid, url, method, json.dumps(fields))
            )
        self._db.execute("COMMIT")

    def set_answered_by(self, sid: str, answered_by: str) -> None:
        self._db.execute("UPDATE calls SET answered_by = ? WHERE sid = ?", (answered_by, sid))

    def waiting_callbacks(self, call_sid: str | None = None) -> list[Callback]:
        rows = self._db.execute(
            "SELECT id, call_sid, url, method, fields FROM callbacks WHERE done_at IS NULL AND (?1 IS NULL OR call_sid = ?1) ORDER BY id",
            (call_sid,),
        )
        return [Callback(id_, sid, url, method, [(n, v) for n, v in json.loads(fields)]) for id_, sid, url, method, fields in rows]

    def callback_done(self, callback_id: int, now: datetime) -> None:
        self._db.execute("UPDATE callbacks SET done_at = ? WHERE id = ?", (now.timestamp(), callback_id))

    def event(self, call_sid: str | None, kind: str, **detail: object) -> None:
        self._insert_event(call_sid, kind, detail, datetime.now(UTC).timestamp())

    def warn(self, call_sid: str | None, code: int, text: str) -> None:
        self.event(call_sid, "warning", code=code, text=text)

    def page(self, filters: Iterable[tuple[str, str]], limit: int, before: str | None) -> list[CallRecord]:
        """Calls that match, newest first; those older than the call `before`."""
        columns = {"To": "to_number", "From": "from_number", "Status": "status"}
        conditions, parameters = ["1"], []
        for name, value in filters:
            conditions.append(f"{columns[name]} = ?")
            parameters.append(value)
        if before is not None:
            conditions.append("number < (SELECT number FROM calls WHERE sid = ?)")
            parameters.append(before)
        return self._calls(f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?", (*parameters, limit))

    def count(self, to: str) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM calls WHERE to_number = ?", (to,)).fetchone()
        return int(count)

    def open_calls(self) -> list[CallRecord]:
        marks = ", ".join("?" * len(FINAL_STATUSES))
        return self._calls(f"WHERE status NOT IN ({marks}) ORDER BY number", sorted(FINAL_STATUSES))

    def _insert_event(self, call_sid: str | None, kind: str, detail: object, at: float) -> None:
        self._db.execute("INSERT INTO events (call_sid, at, kind, detail) VALUES (?, ?, ?, ?)", (call_sid, at, kind, json.dumps(detail)))


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _record(row: tuple[Any, ...]) -> CallRecord:
    (
        sid,
        to,
        from_,
        status,
        direction,
        answered_by,
        behaviour,
        created,
        updated,
        started,
        answered,
        ended,
        seconds,
        queue_ms,
        sip,
        sent,
        request,
    ) = row
    return CallRecord(
        sid=sid,
        to=to,
        from_=from_,
        status=status,
        direction=direction,
        answered_by=answered_by,
        behaviour=behaviour,
        created_at=_instant(created),
        updated_at=_instant(updated),
        started_at=None if started is None else _instant(started),
        answered_at=None if answered is None else _instant(answered),
        ended_at=None if ended is None else _instant(ended),
        seconds=seconds,
        queue_ms=queue_ms,
        sip_code=sip,
        callbacks=sent,
        request=json.loads(request),
    )
