"""`/simulator/...`: looks into the network, and rings us from a simulated phone. No part of Twilio's interface.

`GET phones`, `GET calls`, `GET calls/SID`, `GET ledger`, `POST calls` with from, to and behaviour.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.ledger import CallRecord
from workers.phone_simulator.network import PhoneNetwork
from workers.phone_simulator.rest_answers import Answer, Asked
from workers.phone_simulator.values import check_whole, first_values, is_possible_number
from workers.phone_simulator.weather import PRESETS, Weather

_MOST_CALLS = 1000


async def inspect(network: PhoneNetwork, asked: Asked) -> Answer:
    match asked.method, asked.named["what"], asked.named.get("which"):
        case "GET", "phones", None:
            return Answer(200, _phones(network))
        case "GET", "ledger", None:
            return Answer(200, _ledger(network))
        case "GET", "calls", None:
            fields = first_values(asked.fields)
            check_whole(fields, "limit", 1, _MOST_CALLS)
            return Answer(200, {"calls": [_call(each) for each in network.ledger.newest(int(fields.get("limit", 50)))]})
        case "GET", "calls", str(sid):
            return Answer(200, _everything(network, sid))
        case "POST", "calls", None:
            return Answer(201, _ring_us(network, first_values(asked.fields)))
    raise ApiError(20404, asked.path)


def _phones(network: PhoneNetwork) -> dict[str, Any]:
    book, everywhere = network.book, network.options.weather
    return {
        "our_numbers": sorted(network.numbers),
        "seed": network.options.seed,
        "weather": _differences(everywhere),
        "weather_name": next((name for name, preset in PRESETS.items() if preset == everywhere), None),
        "phones": [
            {
                "numbers": list(entry.numbers),
                "behaviours": list(entry.names),
                "choice": "in turn" if entry.sequence else "by chance" if entry.weights else "always",
                "weather": None if entry.weather is None else _differences(entry.weather.over(everywhere)),
            }
            for entry in book.callees
        ],
        "otherwise": {"behaviours": list(book.otherwise.names), "choice": "by chance" if book.otherwise.weights else "always"},
        "behaviours": {name: behaviour.kind for name, behaviour in book.behaviours.items()},
    }


def _differences(weather: Weather) -> dict[str, Any]:
    """From calm weather."""
    return weather.model_dump(mode="json", exclude_defaults=True, exclude={"start_from"})


def _ledger(network: PhoneNetwork) -> dict[str, Any]:
    rung = network.ledger.rung()
    return {
        "calls": sum(map(len, rung.values())),
        "open": [call.sid for calls in rung.values() for call in calls if not call.is_over],
        "at_once": [[first.sid, second.sid] for first, second in network.ledger.overlaps()],
        "numbers": [
            {
                "number": number,
                "placed": len(calls),
                "rung": sum(call.started_at is not None for call in calls),
                "answered": sum(call.answered_at is not None for call in calls),
                "calls": [_call(call) for call in calls],
            }
            for number, calls in sorted(rung.items())
        ],
    }


def _call(call: CallRecord) -> dict[str, Any]:
    attempt = parse_qs(urlsplit(call.asked("Url") or "").query).get("attempt")
    return {
        "sid": call.sid,
        "direction": call.direction,
        "from": call.from_,
        "to": call.to,
        "phone": call.phone,
        "status": call.status,
        "behaviour": call.behaviour,
        "answered_by": call.answered_by,
        "attempt": attempt[0] if attempt else None,
        "parent": call.parent_sid,
        "created_at": _iso(call.created_at),
        "ringing_at": _iso(call.started_at),
        "answered_at": _iso(call.answered_at),
        "ended_at": _iso(call.ended_at),
        "seconds": call.seconds,
        "sip_code": call.sip_code,
    }


def _everything(network: PhoneNetwork, sid: str) -> dict[str, Any]:
    """Raises ApiError 20404. A call may be named by the beginning of its sid."""
    found = network.ledger.matching(sid)
    if len(found) != 1:
        raise ApiError(20404, f"/simulator/calls/{sid}" if not found else f"{sid} (it is not one call but {len(found)})")
    call = found[0]
    events = [{"at": _iso(event.at), "kind": event.kind, **event.detail} for event in network.ledger.events(call.sid)]
    return {
        **_call(call),
        "request": call.request,
        "legs": [_call(leg) for leg in network.ledger.legs(call.sid)],
        "recordings": [
            {**asdict(recording), **{name: _iso(getattr(recording, name)) for name in ("created_at", "updated_at", "started_at")}}
            for recording in network.ledger.recordings(call.sid)
        ],
        "events": events,
    }


def _ring_us(network: PhoneNetwork, fields: dict[str, str]) -> dict[str, Any]:
    unknown = fields.keys() - {"from", "to", "behaviour"}
    if unknown:
        raise ApiError(20001, f"unknown: {', '.join(sorted(unknown))}; known: from, to, behaviour")
    phone = fields.get("from", "")
    if not is_possible_number(phone):
        raise ApiError(20001, f"from: {phone or 'nothing'} is not a phone number such as +12025550110")
    number = fields.get("to") or min(network.numbers)
    return _call(network.ring_us(phone, number, fields.get("behaviour")))


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
