"""A call as Twilio's REST interface and webhooks write it.

Source: the OpenAPI document of the 2010 API; docs/voice/twiml, "request parameters"; docs/usage/webhooks/voice-webhooks.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime
from typing import Any

import phonenumbers

from workers.phone_simulator.ledger import CallRecord, Fields

API_VERSION = "2010-04-01"
_SUBRESOURCES = (
    *("events", "notifications", "payments", "recordings", "siprec", "streams", "transcriptions"),
    *("user_defined_message_subscriptions", "user_defined_messages"),
)
_SUBRESOURCE_PATHS = {
    "user_defined_message_subscriptions": "UserDefinedMessageSubscriptions",
    "user_defined_messages": "UserDefinedMessages",
}


def as_json(call: CallRecord, account_sid: str) -> dict[str, Any]:
    base = f"/{API_VERSION}/Accounts/{account_sid}/Calls/{call.sid}"
    return {
        "sid": call.sid,
        "date_created": rfc2822(call.created_at),
        "date_updated": rfc2822(call.updated_at),
        "parent_call_sid": call.parent_sid,
        "account_sid": account_sid,
        "to": call.to,
        "to_formatted": formatted(call.to),
        "from": call.from_,
        "from_formatted": formatted(call.from_),
        "phone_number_sid": "PN" + "0" * 31 + "1",
        # `initiated` is known to callbacks but not to the REST interface.
        "status": "queued" if call.status == "initiated" else call.status,
        "start_time": None if call.started_at is None else rfc2822(call.started_at),
        "end_time": None if call.ended_at is None else rfc2822(call.ended_at),
        "duration": str(call.seconds) if call.status == "completed" else None,
        "price": None,
        "price_unit": "USD",
        "direction": call.direction,
        "answered_by": call.answered_by,
        "api_version": API_VERSION,
        "forwarded_from": None,
        "group_sid": None,
        "caller_name": None,
        "queue_time": str(call.queue_ms),
        "trunk_sid": None,
        "uri": f"{base}.json",
        "subresource_uris": {name: f"{base}/{_SUBRESOURCE_PATHS.get(name, name.capitalize())}.json" for name in _SUBRESOURCES},
    }


def webhook_fields(call: CallRecord, account_sid: str) -> Fields:
    """What every webhook about a call carries. Unknown places are sent empty, as Twilio does."""
    fields = [
        ("CallSid", call.sid),
        ("AccountSid", account_sid),
        ("From", call.from_),
        ("To", call.to),
        ("Caller", call.from_),
        ("Called", call.to),
        ("CallStatus", call.status),
        ("ApiVersion", API_VERSION),
        ("Direction", call.direction),
    ]
    for who, number in (("From", call.from_), ("To", call.to), ("Caller", call.from_), ("Called", call.to)):
        fields += [(f"{who}City", ""), (f"{who}State", ""), (f"{who}Zip", ""), (f"{who}Country", country(number))]
    if call.parent_sid is not None:
        fields.append(("ParentCallSid", call.parent_sid))
    return fields


def status_fields(call: CallRecord, account_sid: str, now: datetime) -> Fields:
    """A status callback; `call.callbacks` have been made due before it."""
    fields = [
        *webhook_fields(call, account_sid),
        ("Timestamp", rfc2822(now)),
        ("CallbackSource", "call-progress-events"),
        ("SequenceNumber", str(call.callbacks)),
    ]
    if call.is_over:
        seconds = call.seconds or 0
        fields += [("CallDuration", str(seconds)), ("Duration", str(-(-seconds // 60)))]
        if call.sip_code is not None:
            fields.append(("SipResponseCode", str(call.sip_code)))
    return fields


def rfc2822(instant: datetime) -> str:
    return format_datetime(instant)


def formatted(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    if parsed.country_code != 1:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)


def country(number: str) -> str:
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(number)) or ""
    except phonenumbers.NumberParseException:
        return ""
