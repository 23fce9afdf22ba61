"""Was anybody rung wrongly? What the phone network's ledger and orch's database say, compared. Only reads."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from workers.phone_simulator.ledger import CallRecord, Ledger

FINAL = {"completed", "missed", "unresolved", "failed", "cancelled"}
# Outcomes after which a scheduled call is not tried again.
CONCLUSIVE = {"answered", "hung_up_early", "rejected", "cancelled"}


@dataclass
class Findings:
    wrong: list[str] = field(default_factory=list)
    # Explained, and on the record: an alarm that a person would look at.
    open_questions: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def judge(home: Path, *, min_gap: timedelta, max_retries: int) -> Findings:
    """Everything this installation ever did. A finding in `wrong` is a person called wrongly, or not called and nobody able to say why."""
    ledger = Ledger(home / "data" / "phone_network.db")
    database = sqlite3.connect(f"file:{home / 'data' / 'orch.db'}?mode=ro", uri=True, timeout=30)
    database.row_factory = sqlite3.Row
    try:
        found = Findings()
        rung = ledger.rung()
        _network(rung, ledger, found, min_gap)
        _attempts(rung, database, found)
        _calls(database, found, max_retries)
        return found
    finally:
        ledger.close()
        database.close()


def _network(rung: dict[str, list[CallRecord]], ledger: Ledger, found: Findings, min_gap: timedelta) -> None:
    """What can be told from the network alone."""
    found.counts["rings"] = sum(map(len, rung.values()))
    for first, second in ledger.overlaps():
        found.wrong.append(f"{first.to} was rung twice at once: {first.sid} and {second.sid}")
    for number, calls in rung.items():
        for earlier, later in pairwise(calls):
            # A second of grace: the gap is counted from decision to decision, and the ledger sees requests.
            if later.created_at - earlier.created_at < min_gap - timedelta(seconds=1):
                found.wrong.append(f"{number} was rung again after {(later.created_at - earlier.created_at).total_seconds():.1f} s")
        for call in calls:
            if call.asked("Url") is None or _attempt_of(call) is None:
                found.wrong.append(f"{call.sid} names no attempt")
            if not call.is_over:
                found.wrong.append(f"{call.sid} to {number} is still {call.status}")


def _attempts(rung: dict[str, list[CallRecord]], database: sqlite3.Connection, found: Findings) -> None:
    """Each ring belongs to one attempt, each attempt rang at most once, and orch knows which."""
    attempts = {row["id"]: row for row in database.execute("SELECT * FROM attempts")}
    strays = {row["carrier_call_id"] for row in database.execute("SELECT carrier_call_id FROM stray_calls")}
    refused = {
        row["phone"]: _instant(row["do_not_call_at"]) for row in database.execute("SELECT * FROM numbers WHERE do_not_call_at IS NOT NULL")
    }
    found.counts["attempts"] = len(attempts)
    found.counts["numbers that said stop"] = len(refused)
    ring_of: dict[str, CallRecord] = {}
    for number, calls in rung.items():
        for call in calls:
            attempt_id = _attempt_of(call)
            row = attempts.get(attempt_id or "")
            if row is None:
                found.wrong.append(f"{call.sid} to {number} belongs to no attempt")
                continue
            if attempt_id in ring_of:
                found.wrong.append(f"attempt {attempt_id} rang {number} twice: {ring_of[attempt_id].sid} and {call.sid}")
            ring_of[str(attempt_id)] = call
            if row["carrier_call_id"] != call.sid and call.sid not in strays and row["status"] != "unknown":
                found.wrong.append(f"{call.sid} rang for attempt {attempt_id}, which knows of {row['carrier_call_id']}")
            said_stop = refused.get(number)
            if said_stop is not None and call.created_at > said_stop + timedelta(seconds=1):
                found.wrong.append(f"{number} said stop at {said_stop:%H:%M:%S} and was rung at {call.created_at:%H:%M:%S}")
            if call.created_at < _instant(row["created_at"]) - timedelta(seconds=1):
                found.wrong.append(f"{call.sid} was placed before its attempt was written down")
    alarms = {row["key"] for row in database.execute("SELECT key FROM problems WHERE resolved_at IS NULL")}
    for attempt_id, row in attempts.items():
        if row["status"] == "ended":
            if row["outcome"] is None:
                found.wrong.append(f"attempt {attempt_id} ended without an outcome")
            continue
        if row["status"] == "unknown" and f"unknown:{attempt_id}" in alarms:
            found.open_questions.append(f"attempt {attempt_id}: {row['reason']}")
        else:
            found.wrong.append(f"attempt {attempt_id} is {row['status']} for ever")


def _calls(database: sqlite3.Connection, found: Findings, max_retries: int) -> None:
    """Each opened window is one call, each call has an end and a reason, and none was tried after it was done."""
    found.counts["calls"] = 0
    for call in database.execute("SELECT * FROM scheduled_calls"):
        found.counts["calls"] += 1
        found.counts[f"calls {call['state']}"] = found.counts.get(f"calls {call['state']}", 0) + 1
        tries = database.execute("SELECT * FROM attempts WHERE scheduled_call_id = ? ORDER BY ordinal", (call["id"],)).fetchall()
        open_question = any(row["status"] == "unknown" for row in tries)
        if call["state"] not in FINAL and not open_question:
            found.wrong.append(f"call {call['id']} is {call['state']} for ever: {call['reason']}")
        if call["state"] in FINAL and not call["reason"]:
            found.wrong.append(f"call {call['id']} is {call['state']}, and nobody can say why")
        dialled = [row for row in tries if row["carrier_call_id"] is not None]
        if len(dialled) > 1 + max_retries:
            found.wrong.append(f"call {call['id']} was dialled {len(dialled)} times")
        for row in tries[:-1]:
            if row["outcome"] in CONCLUSIVE:
                found.wrong.append(f"call {call['id']} was dialled again after {row['outcome']}")
    not_once = """
        SELECT w.id FROM call_windows w LEFT JOIN scheduled_calls c ON c.window_id = w.id
        WHERE w.removed_at IS NULL GROUP BY w.id HAVING count(c.id) <> 1
    """
    for row in database.execute(not_once):
        found.wrong.append(f"window {row['id']} was not opened exactly once")
    for row in database.execute("SELECT id, owner FROM runs WHERE state = 'running'"):
        found.wrong.append(f"run {row['id']} is held by {row['owner']} for ever")


def _attempt_of(call: CallRecord) -> str | None:
    return next(iter(parse_qs(urlsplit(call.asked("Url") or "").query).get("attempt", [])), None)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
