"""The samples inside a WAV file: Google's unary synthesis puts its mu-law into one, and a header is heard as a click."""

from __future__ import annotations

import struct

from core.errors import ProviderError
from core.speech.base import SAMPLE_RATE
from core.speech.google.errors import VOICE

_MULAW = 7
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHI")


def samples(content: bytes) -> bytes:
    """Mu-law, 8 kHz mono. Content without a header is taken as it is. Raises ProviderError for any other format."""
    if not (content[:4] == b"RIFF" and content[8:12] == b"WAVE"):
        return content
    position = 12
    while position + _CHUNK.size <= len(content):
        name, size = _CHUNK.unpack_from(content, position)
        position += _CHUNK.size
        if name == b"fmt " and position + _FORMAT.size <= len(content):
            encoding, channels, rate = _FORMAT.unpack_from(content, position)
            if (encoding, channels, rate) != (_MULAW, 1, SAMPLE_RATE):
                raise _unusable(f"format {encoding}, {channels} channels, {rate} Hz")
        if name == b"data":
            # A writer that did not know the length yet leaves 0 or the largest number there.
            return content[position : position + size] if 0 < size <= len(content) - position else content[position:]
        position += size + size % 2
    raise _unusable("a WAV file without samples")


def _unusable(what: str) -> ProviderError:
    return ProviderError(f"Google speech synthesis answered with {what}", provider=VOICE, retryable=False, code="MALFORMED")
