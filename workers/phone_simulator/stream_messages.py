"""What our side may send over a media stream, to the letter: Twilio drops anything else with warning 31951.

Source: docs/voice/media-streams/websocket-messages ("to Twilio"), error page 31951.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Media:
    audio: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


class InvalidMessageError(Exception):
    """The text says what is wrong, never what was sent."""


def read_message(text: str, stream_sid: str) -> Media | Mark | Clear:
    """Raises InvalidMessageError."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidMessageError("not JSON") from None
    if not isinstance(message, dict):
        raise InvalidMessageError("not a JSON object")
    event = message.get("event")
    if event not in {"media", "mark", "clear"}:
        raise InvalidMessageError(f"unknown event {str(event)[:40]!r}")
    _exactly(message, {"event", "streamSid"} | ({event} if event != "clear" else set()), event)
    if message["streamSid"] != stream_sid:
        raise InvalidMessageError(f"{event}: streamSid is not this stream's")
    if event == "clear":
        return Clear()
    inner = message[event]
    if not isinstance(inner, dict):
        raise InvalidMessageError(f"{event} is not an object")
    name = "payload" if event == "media" else "name"
    _exactly(inner, {name}, f"{event}.{event}")
    value = inner[name]
    if not isinstance(value, str) or not value:
        raise InvalidMessageError(f"{event}: {name} is not a text, or is empty")
    if event == "mark":
        return Mark(value)
    try:
        audio = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidMessageError("media: payload is not base64") from None
    if audio.startswith(b"RIFF"):
        raise InvalidMessageError("media: payload has a file header, which is heard as a click")
    return Media(audio)


def _exactly(given: dict[str, object], wanted: set[str], where: str) -> None:
    missing, extra = wanted - given.keys(), given.keys() - wanted
    if missing or extra:
        wrong = [*(f"missing {name}" for name in sorted(missing)), *(f"extra {name[:40]}" for name in sorted(extra))]
        raise InvalidMessageError(f"{where}: {', '.join(wrong)}")
