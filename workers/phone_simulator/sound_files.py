"""Sound files that `<Play>` names: fetched from our side, and how long they play."""

from __future__ import annotations

from workers.phone_simulator.wave_files import BadWaveError, seconds_of
from workers.phone_simulator.webhooks import Reply

_WAVE = {"audio/wav", "audio/wave", "audio/x-wav", "audio/vnd.wave"}
# Others that Twilio plays. Their length is guessed at the usual 64 kbit/s.
_COMPRESSED = {"audio/mpeg", "audio/mp3", "audio/aiff", "audio/x-aiff", "audio/x-gsm", "audio/gsm", "audio/basic", "audio/ulaw"}
_GUESSED_BYTES_PER_SECOND = 8000


class CannotPlayError(Exception):
    """`code` is Twilio's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def playing_time(reply: Reply) -> float:
    """Seconds. Raises CannotPlayError."""
    if reply.error:
        raise CannotPlayError(reply.error, f"the sound file was not delivered (HTTP {reply.status})")
    if reply.content_type in _COMPRESSED:
        return len(reply.body) / _GUESSED_BYTES_PER_SECOND
    if reply.content_type not in _WAVE:
        raise CannotPlayError(12300, f"<Play>: {reply.content_type or 'no type'} is not a sound that can be played")
    try:
        return seconds_of(reply.body)
    except BadWaveError as error:
        raise CannotPlayError(12300, f"<Play>: {error}") from None
