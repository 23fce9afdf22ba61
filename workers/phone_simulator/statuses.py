"""A call's change of status: written down together with the callback that it makes due."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from workers.phone_simulator.call_resource import status_fields
from workers.phone_simulator.ledger import FINAL_STATUSES, CallRecord, Fields
from workers.phone_simulator.ledger_writer import LedgerWriter, NewCallback
from workers.phone_simulator.weather import Dice

_EVENTS = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"} | dict.fromkeys(FINAL_STATUSES, "completed")
_SIP_CODES = {"completed": 200, "busy": 486, "no-answer": 487, "canceled": 487, "failed": 404}


@dataclass(frozen=True, slots=True)
class Ending:
    status: str
    sip_code: int


def ending(status: str, sip_code: int | None = None) -> Ending:
    return Ending(status, sip_code if sip_code is not None else _SIP_CODES[status])


def record_status(
    ledger: LedgerWriter, call: CallRecord, account_sid: str, dice: Dice, new: Ending, now: datetime, extra: Fields | None = None
) -> None:
    """Write the new status down. `extra` are fields of the final callback alone."""
    final = new.status in FINAL_STATUSES
    connected = new.status == "completed" and call.answered_at is not None
    seconds = None
    if final:
        # Twilio counts a second that was begun.
        seconds = math.ceil((now - call.answered_at).total_seconds()) if connected and call.answered_at else 0
    sip_code = new.sip_code if final else None
    after = replace(call, status=new.status, updated_at=now, seconds=seconds, sip_code=sip_code)
    callbacks: list[NewCallback] = []
    url = call.asked("StatusCallback")
    wanted = call.request.get("StatusCallbackEvent") or ["completed"]
    if url is not None and _EVENTS[new.status] in wanted:
        fields = [*status_fields(after, account_sid, now), *(extra or [])]
        callbacks = deliveries(dice, f"status {call.callbacks}", "status", url, call.asked("StatusCallbackMethod") or "POST", fields, now)
    ledger.move(call.sid, new.status, now, seconds=seconds, sip_code=sip_code, callbacks=callbacks)


def deliveries(dice: Dice, key: str, purpose: str, url: str, method: str, fields: Fields, now: datetime) -> list[NewCallback]:
    """One callback as the weather sends it: late, twice, or not at all."""
    return [
        NewCallback(purpose, url, method, fields, now + timedelta(seconds=sending.after), lost=sending.lost)
        for sending in dice.deliveries(key)
    ]
