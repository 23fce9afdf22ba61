"""A recording as Twilio's REST interface and webhooks write it. Source: the OpenAPI document; docs/voice/api/recording."""

from __future__ import annotations

from typing import Any

from workers.phone_simulator.call_resource import API_VERSION, rfc2822
from workers.phone_simulator.ledger import Fields, Recording


def path_of(recording: Recording, account_sid: str) -> str:
    return f"/{API_VERSION}/Accounts/{account_sid}/Recordings/{recording.sid}"


def as_json(recording: Recording, account_sid: str, base_url: str, *, of_call: bool) -> dict[str, Any]:
    """`of_call`: as the subresource of a call, whose fields differ a little from those of the account's recordings."""
    base = f"/{API_VERSION}/Accounts/{account_sid}"
    path = path_of(recording, account_sid)
    common = {
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "call_sid": recording.call_sid,
        "conference_sid": None,
        "date_created": rfc2822(recording.created_at),
        "date_updated": rfc2822(recording.updated_at),
        "start_time": rfc2822(recording.started_at),
        "duration": "-1" if recording.seconds is None else str(recording.seconds),
        "sid": recording.sid,
        "price": None,
        "price_unit": "USD",
        "status": recording.status,
        "channels": recording.channels,
        "source": recording.source,
        "error_code": None,
        "encryption_details": None,
    }
    if of_call:
        return {**common, "uri": f"{base}/Calls/{recording.call_sid}/Recordings/{recording.sid}.json", "track": recording.track}
    return {
        **common,
        "uri": f"{path}.json",
        "subresource_uris": {
            "add_on_results": f"{path}/AddOnResults.json",
            "transcriptions": f"{path}/Transcriptions.json",
        },
        "media_url": f"{base_url}{path}",
    }


def callback_fields(recording: Recording, account_sid: str, base_url: str) -> Fields:
    fields = [
        ("AccountSid", account_sid),
        ("CallSid", recording.call_sid),
        ("RecordingSid", recording.sid),
        ("RecordingStatus", recording.status),
        ("RecordingChannels", str(recording.channels)),
        ("RecordingSource", recording.source),
        ("RecordingTrack", recording.track),
        ("RecordingStartTime", rfc2822(recording.started_at)),
        ("ErrorCode", "0"),
    ]
    if recording.seconds is not None:
        fields += [
            ("RecordingUrl", f"{base_url}{path_of(recording, account_sid)}"),
            ("RecordingDuration", str(recording.seconds)),
        ]
    return fields
