"""Would Twilio take this create, this update, this recording?

Source: the OpenAPI document (CreateCall, UpdateCall, CreateCallRecording), docs/iam/test-credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workers.phone_simulator.api_errors import MAGIC_FROM, MAGIC_TO, ApiError
from workers.phone_simulator.values import (
    Order,
    check_each,
    check_known,
    check_one_of,
    check_url,
    check_whole,
    first_values,
    is_e164,
    is_possible_number,
)

STATUS_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
RECORDING_EVENTS = frozenset({"in-progress", "completed", "absent"})
LONGEST_TWIML = 4000

RECORDING_FIELDS = frozenset(
    {
        *("RecordingChannels", "RecordingTrack", "Trim"),
        *("RecordingStatusCallback", "RecordingStatusCallbackMethod", "RecordingStatusCallbackEvent"),
    }
)
CREATE_FIELDS = RECORDING_FIELDS | {
    *("To", "From", "Url", "Method", "FallbackUrl", "FallbackMethod", "Twiml", "ApplicationSid", "CallReason"),
    *("StatusCallback", "StatusCallbackMethod", "StatusCallbackEvent", "Timeout", "TimeLimit", "SendDigits", "Record"),
    *("MachineDetection", "MachineDetectionTimeout", "MachineDetectionSpeechThreshold"),
    *("MachineDetectionSpeechEndThreshold", "MachineDetectionSilenceTimeout"),
    *("AsyncAmd", "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod"),
}
UPDATE_FIELDS = {
    *("Status", "Url", "Method", "Twiml", "FallbackUrl", "FallbackMethod"),
    *("StatusCallback", "StatusCallbackMethod", "TimeLimit"),
}
_METHODS = ("Method", "FallbackMethod", "StatusCallbackMethod", "AsyncAmdStatusCallbackMethod", "RecordingStatusCallbackMethod")
_URLS = {"Url": 21205, "FallbackUrl": 21205, "StatusCallback": 21609, "AsyncAmdStatusCallback": 21609, "RecordingStatusCallback": 21609}
_BOUNDS = {
    "Timeout": (1, 600),
    "TimeLimit": (1, 86400),
    "MachineDetectionTimeout": (3, 59),
    "MachineDetectionSpeechThreshold": (1000, 6000),
    "MachineDetectionSpeechEndThreshold": (500, 5000),
    "MachineDetectionSilenceTimeout": (2000, 10000),
}


def check_create(order: Order, numbers: frozenset[str]) -> None:
    """Raises ApiError for the first thing wrong. `numbers` are those that may call."""
    check_known(order, CREATE_FIELDS, "in a call")
    fields = first_values(order)
    _check_numbers(fields, numbers)
    if "ApplicationSid" in fields:
        raise ApiError(21218, fields["ApplicationSid"])
    if "Url" not in fields and "Twiml" not in fields:
        raise ApiError(21205, "Url parameter is required")
    _check_common(fields)
    check_each(order, "StatusCallbackEvent", STATUS_EVENTS, 21626)
    if not re.fullmatch(r"[0-9A-D#*wW]{0,32}", fields.get("SendDigits", "")):
        raise ApiError(21206, fields["SendDigits"])
    check_one_of(fields, "MachineDetection", "Enable", "DetectMessageEnd")
    check_one_of(fields, "AsyncAmd", "true", "false")
    check_one_of(fields, "Record", "true", "false")
    if len(fields.get("CallReason", "")) > 50:
        raise ApiError(20001, "CallReason is longer than 50 characters")
    check_recording(order)


def check_recording(order: Order) -> None:
    """The fields that a recording has wherever it is asked for. Raises ApiError."""
    fields = first_values(order)
    check_one_of(fields, "RecordingChannels", "mono", "dual")
    check_one_of(fields, "RecordingTrack", "inbound", "outbound", "both")
    check_one_of(fields, "Trim", "trim-silence", "do-not-trim")
    check_each(order, "RecordingStatusCallbackEvent", RECORDING_EVENTS)
    _check_common(fields)


def check_update(order: Order) -> None:
    """Raises ApiError."""
    check_known(order, UPDATE_FIELDS, "in an update")
    fields = first_values(order)
    check_one_of(fields, "Status", "canceled", "completed")
    if "Url" in fields and "Twiml" in fields:
        raise ApiError(20001, "Url and Twiml exclude one another in an update")
    if not fields.keys() & {"Status", "Url", "Twiml", "StatusCallback", "TimeLimit"}:
        raise ApiError(20001, "an update needs Status, Url, Twiml, StatusCallback or TimeLimit")
    _check_common(fields)


def _check_common(fields: Mapping[str, str]) -> None:
    if len(fields.get("Twiml", "")) > LONGEST_TWIML:
        raise ApiError(20001, f"Twiml is longer than {LONGEST_TWIML} characters")
    for name, code in _URLS.items():
        if name in fields:
            check_url(fields[name], code)
    for name in _METHODS:
        check_one_of(fields, name, "GET", "POST")
    for name, (least, most) in _BOUNDS.items():
        check_whole(fields, name, least, most)


def _check_numbers(fields: Mapping[str, str], numbers: frozenset[str]) -> None:
    if "To" not in fields:
        raise ApiError(21201)
    if "From" not in fields:
        raise ApiError(21213)
    to, caller = fields["To"], fields["From"]
    if caller in MAGIC_FROM:
        raise ApiError(MAGIC_FROM[caller], caller)
    if not is_e164(caller):
        raise ApiError(21212, caller)
    if caller not in numbers:
        raise ApiError(21210, caller)
    if to in MAGIC_TO:
        raise ApiError(MAGIC_TO[to], to)
    if not is_possible_number(to):
        raise ApiError(21211, to)
