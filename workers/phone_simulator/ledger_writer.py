"""The simulator's own access to the ledger: one writer, on its event loop."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from workers.phone_simulator.ledger import FINAL_STATUSES, CallRecord, Fields, Ledger, Recording, Request
from workers.phone_simulator.ledger_schema import CALL_COLUMNS, RECORDING_COLUMNS, prepare


@dataclass(frozen=True, slots=True)
class NewCallback:
    """A callback that becomes due at `send_at`. A lost one is written down and never sent."""

    purpose: str
    url: str
    method: str
    fields: Fields
    send_at: datetime
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that is not known to have been sent."""

    id: int
    call_sid: str
    purpose: str
    url: str
    method: str
    fields: Fields
    send_at: datetime


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on rows, and its parameters. The text is written in this package, never taken from a request."""

    condition: str
    parameters: tuple[object, ...] = ()


class LedgerWriter(Ledger):
    """Written without waiting for the disk: a killed process loses nothing, a power cut may lose the last seconds of a phone network
    that does not exist.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        prepare(self._db)

    # Calls.

    def add_call(self, call: CallRecord) -> None:
        marks = ", ".join("?" * 21)
        self._db.execute(
            f"INSERT INTO calls ({CALL_COLUMNS}) VALUES ({marks})",  # noqa: S608
            (
                *(call.sid, call.to, call.from_, call.status, call.direction, call.answered_by, call.behaviour),
                *(call.created_at.timestamp(), call.updated_at.timestamp(), None, None, None, None),
                *(call.queue_ms, call.sip_code, call.callbacks, json.dumps(call.request)),
                *(call.parent_sid, call.visit, call.listed_at, call.deleted_at),
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
        callbacks: Sequence[NewCallback] = (),
    ) -> None:
        """A change of status and the sendings of the one callback it makes due, in one transaction."""
        at = now.timestamp()
        column = {"ringing": "started_at", "in-progress": "answered_at"}.get(
            status, "ended_at" if status in FINAL_STATUSES else "updated_at"
        )
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            f"UPDATE calls SET status = ?, updated_at = ?, {column} = ?, seconds = ?, sip_code = ?, "  # noqa: S608
            "callbacks = callbacks + ? WHERE sid = ?",
            (status, at, at, seconds, sip_code, 1 if callbacks else 0, sid),
        )
        self._insert_event(sid, "status", {"status": status, **({"sip_code": sip_code} if sip_code is not None else {})}, at)
        self._insert_callbacks(sid, callbacks, at)
        self._db.execute("COMMIT")

    def set_answered_by(self, sid: str, answered_by: str) -> None:
        self._db.execute("UPDATE calls SET answered_by = ? WHERE sid = ?", (answered_by, sid))

    def set_request(self, sid: str, request: Request) -> None:
        self._db.execute("UPDATE calls SET request = ? WHERE sid = ?", (json.dumps(request), sid))

    def hide_call(self, sid: str, now: datetime) -> None:
        """Deleted for the REST interface. The ledger forgets nothing."""
        self._db.execute("UPDATE calls SET deleted_at = ? WHERE sid = ?", (now.timestamp(), sid))

    def page(self, where: Sequence[Where], limit: int, before: str | None) -> list[CallRecord]:
        """Calls that match, newest first; those older than the call `before`."""
        condition, parameters = _together(where, before, "calls")
        return self._calls(f"WHERE {condition} ORDER BY number DESC LIMIT ?", (*parameters, limit))

    def visits(self, phone: str, direction: str) -> int:
        """How many calls there have been between this phone and us, in this direction."""
        column = "from_number" if direction == "inbound" else "to_number"
        query = f"SELECT count(*) FROM calls WHERE {column} = ? AND (direction = 'inbound') = ?"  # noqa: S608
        (count,) = self._db.execute(query, (phone, direction == "inbound")).fetchone()
        return int(count)

    def open_calls(self) -> list[CallRecord]:
        marks = ", ".join("?" * len(FINAL_STATUSES))
        return self._calls(f"WHERE status NOT IN ({marks}) ORDER BY number", sorted(FINAL_STATUSES))

    # Callbacks.

    def next_callback(self, call_sid: str) -> Callback | None:
        """The one to be sent first of those that wait."""
        return next(iter(self._callbacks("AND call_sid = ? ORDER BY send_at, id LIMIT 1", (call_sid,))), None)

    def waiting_callbacks(self) -> list[Callback]:
        return self._callbacks("ORDER BY id", ())

    def callback_done(self, callback_id: int, now: datetime) -> None:
        self._db.execute("UPDATE callbacks SET done_at = ? WHERE id = ?", (now.timestamp(), callback_id))

    # Recordings.

    def add_recording(self, recording: Recording, callbacks: Sequence[NewCallback] = ()) -> None:
        at = recording.created_at.timestamp()
        marks = ", ".join("?" * 11)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            f"INSERT INTO recordings ({RECORDING_COLUMNS}) VALUES ({marks})",  # noqa: S608
            (
                *(recording.sid, recording.call_sid, recording.status, recording.source, recording.channels, recording.track),
                *(at, at, recording.started_at.timestamp(), recording.seconds, json.dumps(recording.request)),
            ),
        )
        self._insert_event(recording.call_sid, "recording", {"recording_sid": recording.sid, "status": recording.status}, at)
        self._insert_callbacks(recording.call_sid, callbacks, at)
        self._db.execute("COMMIT")

    def end_recording(
        self, recording: Recording, sound: tuple[bytes, bytes] | None, now: datetime, callbacks: Sequence[NewCallback] = ()
    ) -> None:
        """Keep its new status, its length and its sound."""
        at = now.timestamp()
        inbound, outbound = sound if sound is not None else (None, None)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "UPDATE recordings SET status = ?, updated_at = ?, seconds = ?, inbound = ?, outbound = ? WHERE sid = ?",
            (recording.status, at, recording.seconds, inbound, outbound, recording.sid),
        )
        detail = {"recording_sid": recording.sid, "status": recording.status, "seconds": recording.seconds}
        self._insert_event(recording.call_sid, "recording", detail, at)
        self._insert_callbacks(recording.call_sid, callbacks, at)
        self._db.execute("COMMIT")

    def recording_page(self, where: Sequence[Where], limit: int, before: str | None) -> list[Recording]:
        condition, parameters = _together(where, before, "recordings")
        return self._recordings(f"WHERE {condition} ORDER BY number DESC LIMIT ?", (*parameters, limit))

    def open_recordings(self) -> list[Recording]:
        return self._recordings("WHERE status = 'in-progress' ORDER BY number", ())

    # Events.

    def event(self, call_sid: str | None, kind: str, **detail: object) -> None:
        self._insert_event(call_sid, kind, detail, datetime.now(UTC).timestamp())

    def warn(self, call_sid: str | None, code: int, text: str) -> None:
        self.event(call_sid, "warning", code=code, text=text)

    def weather(self, call_sid: str | None, what: str, **detail: object) -> None:
        """Trouble that nobody caused."""
        self.event(call_sid, "weather", what=what, **detail)

    def _insert_event(self, call_sid: str | None, kind: str, detail: object, at: float) -> None:
        self._db.execute("INSERT INTO events (call_sid, at, kind, detail) VALUES (?, ?, ?, ?)", (call_sid, at, kind, json.dumps(detail)))

    def _insert_callbacks(self, call_sid: str, callbacks: Sequence[NewCallback], at: float) -> None:
        for number, each in enumerate(callbacks):
            self._db.execute(
                "INSERT INTO callbacks (call_sid, purpose, url, method, fields, send_at, done_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(call_sid, each.purpose, each.url, each.method, json.dumps(each.fields), each.send_at.timestamp()),
                    at if each.lost else None,
                ),
            )
            what = "callback_lost" if each.lost else "callback_repeated" if number else None
            if what is not None:
                self._insert_event(call_sid, "weather", {"what": what, "purpose": each.purpose, "fields": dict(each.fields)}, at)

    def _callbacks(self, rest: str, parameters: Sequence[object]) -> list[Callback]:
        query = f"SELECT id, call_sid, purpose, url, method, fields, send_at FROM callbacks WHERE done_at IS NULL {rest}"  # noqa: S608
        return [
            Callback(id_, sid, purpose, url, method, [(n, v) for n, v in json.loads(fields)], datetime.fromtimestamp(send_at, UTC))
            for id_, sid, purpose, url, method, fields, send_at in self._db.execute(query, parameters)
        ]


def _together(where: Sequence[Where], before: str | None, table: str) -> tuple[str, list[object]]:
    conditions = ["1", *(each.condition for each in where)]
    parameters = [parameter for each in where for parameter in each.parameters]
    if before is not None:
        conditions.append(f"number < (SELECT number FROM {table} WHERE sid = ?)")  # noqa: S608
        parameters.append(before)
    return " AND ".join(conditions), parameters
