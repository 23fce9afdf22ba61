"""What the phone network did, as it happened: every call, status, request and webhook. Any process may read it while it is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from workers.phone_simulator.ledger_schema import CALL_COLUMNS, RECORDING_COLUMNS

FINAL_STATUSES = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})

Fields = list[tuple[str, str]]
Request = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call. `queue_ms` is the estimate given at its creation, `seconds` the connected time, `request` the fields of its create.

    `visit` counts the earlier calls between the same phone and us; `listed_at` is when the list begins to show the call.
    """

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
    request: Request
    parent_sid: str | None = None
    visit: int = 0
    listed_at: float = 0.0
    deleted_at: float | None = None

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def phone(self) -> str:
        """The simulated phone's number, whoever called whom."""
        return self.from_ if self.direction == "inbound" else self.to

    def asked(self, name: str) -> str | None:
        """A field of the create request; None when it was not given or is empty."""
        values = self.request.get(name)
        return values[0] if values and values[0] else None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Kinds: request, status, webhook, verb, stream, mark, said, heard, dtmf, recording, weather, warning.
    """

    call_sid: str | None
    at: datetime
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """`seconds` is None while it is going on; `request` holds what was asked for, callback and trim."""

    sid: str
    call_sid: str
    status: str
    source: str
    channels: int
    track: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    seconds: int | None
    request: Request

    def asked(self, name: str) -> str | None:
        values = self.request.get(name)
        return values[0] if values and values[0] else None


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

    def newest(self, limit: int) -> list[CallRecord]:
        """The last calls, newest first."""
        return self._calls("ORDER BY number DESC LIMIT ?", (limit,))

    def matching(self, beginning: str) -> list[CallRecord]:
        """Calls whose sid begins so."""
        return self._calls("WHERE substr(sid, 1, ?) = ? ORDER BY number LIMIT 20", (len(beginning), beginning))

    def legs(self, parent_sid: str) -> list[CallRecord]:
        """The calls that `<Dial>` placed from this one."""
        return self._calls("WHERE parent_sid = ? ORDER BY number", (parent_sid,))

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

    def rung(self) -> dict[str, list[CallRecord]]:
        """The calls placed to each number, oldest first; calls that phones made to us are not among them."""
        by_number: dict[str, list[CallRecord]] = {}
        for call in self._calls("WHERE direction <> 'inbound' ORDER BY number", ()):
            by_number.setdefault(call.to, []).append(call)
        return by_number

    def overlaps(self) -> list[tuple[CallRecord, CallRecord]]:
        """Pairs of calls to one number that were open at the same time: nobody may be rung twice at once."""
        return [
            (first, second)
            for calls in self.rung().values()
            for first, second in combinations(calls, 2)
            if first.ended_at is None or second.created_at < first.ended_at
        ]

    def recording(self, sid: str) -> Recording | None:
        return next(iter(self._recordings("WHERE sid = ?", (sid,))), None)

    def recordings(self, call_sid: str | None = None) -> list[Recording]:
        """Oldest first, deleted ones included."""
        return self._recordings("WHERE (?1 IS NULL OR call_sid = ?1) ORDER BY number", (call_sid,))

    def sound(self, sid: str) -> tuple[bytes, bytes] | None:
        """What a recording holds, mu-law: the other party's track and ours. None when there is none (any more)."""
        row = self._db.execute("SELECT inbound, outbound FROM recordings WHERE sid = ? AND inbound IS NOT NULL", (sid,)).fetchone()
        return None if row is None else (row[0], row[1])

    def _calls(self, where: str, parameters: Sequence[object]) -> list[CallRecord]:
        # Every `where` is written in this package.
        return [_call(row) for row in self._db.execute(f"SELECT {CALL_COLUMNS} FROM calls {where}", parameters)]  # noqa: S608

    def _recordings(self, where: str, parameters: Sequence[object]) -> list[Recording]:
        rows = self._db.execute(f"SELECT {RECORDING_COLUMNS} FROM recordings {where}", parameters)  # noqa: S608
        return [
            Recording(*row[:6], *(_instant(at) for at in row[6:9]), seconds=row[9], request=json.loads(row[10]))  # type: ignore[misc]
            for row in rows
        ]


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _call(row: tuple[Any, ...]) -> CallRecord:
    times = [None if at is None else _instant(at) for at in row[7:12]]
    seconds, queue_ms, sip_code, callbacks, request, *rest = row[12:]
    return CallRecord(*row[:7], *times, seconds, queue_ms, sip_code, callbacks, json.loads(request), *rest)  # type: ignore[call-arg]
