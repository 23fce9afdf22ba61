"""The way out of `unresolved`: a person has looked at the carrier's console, and says what became of the dial."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from core.calls.settlement import Settlement
from core.domain.calls import AttemptStatus, CallState
from core.domain.contacts import clean_remark
from core.domain.outcomes import Outcome
from core.errors import Conflict
from core.logs import get_logger
from core.storage.attempts import call_of, latest_attempt
from core.storage.calls import set_state
from core.storage.database import Database
from core.storage.problems import resolve
from core.storage.runs import add_event, lock_run


class Found(StrEnum):
    """What a person may have found out."""

    ANSWERED = "answered"
    HUNG_UP_EARLY = "hung_up_early"
    VOICEMAIL = "voicemail"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    NEVER_PLACED = "never_placed"  # no phone rang


_TALKED = frozenset({Found.ANSWERED, Found.HUNG_UP_EARLY})


def resolve_call(
    database: Database, settlement: Settlement, call_id: str, found: Found, *, by: str, note: str | None, now: datetime
) -> None:
    """Settle the unknown attempt of an unresolved call, once, and free its number. Nothing is dialled again because of it.

    A report of the carrier that comes later, and shows that the person was wrong, reopens the attempt (see Settlement.apply).
    Raises Conflict when the call is not unresolved, or no longer, and InvalidInput for a note that is not a line of text.
    """
    note = clean_remark(note, "note")
    with database.write() as session:
        lock_run(session, call_id)
        call = call_of(session, call_id)
        if call.state != CallState.UNRESOLVED:
            raise Conflict(f"call {call_id[:8]} is not unresolved but {call.state}; see `orch call show {call_id[:8]}`")
        attempt = latest_attempt(session, call_id)
        if attempt is None or attempt.status != AttemptStatus.UNKNOWN or attempt.outcome is not None:
            raise Conflict(f"call {call_id[:8]} has been settled meanwhile; see `orch call show {call_id[:8]}`")
        if found is Found.NEVER_PLACED and attempt.carrier_call_id is not None:
            raise Conflict(
                f"the carrier had this call once, as {attempt.carrier_call_id}: it was placed; say what became of it, not never_placed"
            )
        outcome = Outcome.FAILED if found is Found.NEVER_PLACED else Outcome(found)
        reason = f"{found.replace('_', ' ')}, says {by}"
        settlement.settle_by_hand(session, attempt, outcome, reason, by, now)
        # Its time is over: evidence that comes later may settle it otherwise, but no retry fits into it any more.
        call.closes_at = min(call.closes_at or now, now)
        set_state(call, CallState.COMPLETED if found in _TALKED else CallState.MISSED, reason, now)
        resolve(session, f"unresolved:{call_id}", now)
        add_event(database, session, attempt.run_id, "resolved", {"as": found, "by": by, "note": note}, now)
    get_logger().info("call.resolved", call=call_id, attempt=attempt.id, found=found, by=by)
