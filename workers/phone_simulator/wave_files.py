"""WAV files: those we are asked to play, and recordings as the network hands them out. Source: RIFF/WAVE, Microsoft 1991, 2007."""

from __future__ import annotations

import struct

from core.speech.base import SAMPLE_RATE

_PCM, _MU_LAW, _A_LAW = 1, 7, 6


class BadWaveError(Exception):
    """The text says what is wrong with the file."""


def seconds_of(content: bytes) -> float:
    """How long a WAV file plays. Raises BadWaveError."""
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise BadWaveError("it is not a WAV file")
    position, rate = 12, 0  # bytes a second
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"fmt ":
            if size < 16 or position + 16 > len(content):
                raise BadWaveError("its format is cut short")
            encoding, _, _, rate = struct.unpack_from("<HHII", content, position)
            if encoding not in {_PCM, _MU_LAW, _A_LAW} or not rate:
                raise BadWaveError(f"its encoding {encoding} is not one that can be played")
        if name == b"data":
            if not rate:
                raise BadWaveError("its sound comes before its format")
            # A file that was streamed says 0 or the largest number instead of its size.
            return min(size or len(content), len(content) - position) / rate
        position += size + size % 2
    raise BadWaveError("it has no sound")


def _linear(code: int) -> int:
    """G.711: a mu-law code as a linear 16-bit sample."""
    inverted = ~code & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted >> 4) & 0x07)) - 0x84
    return -magnitude if inverted & 0x80 else magnitude


_LOW = bytes(_linear(code) & 0xFF for code in range(256))
_HIGH = bytes(_linear(code) >> 8 & 0xFF for code in range(256))


def as_wave(tracks: list[bytes]) -> bytes:
    """Mu-law tracks of equal length as 16-bit PCM, one a channel."""
    channels = len(tracks)
    width = 2 * channels
    sound = bytearray(len(tracks[0]) * width)
    for number, track in enumerate(tracks):
        sound[2 * number :: width] = track.translate(_LOW)
        sound[2 * number + 1 :: width] = track.translate(_HIGH)
    shape = struct.pack("<HHIIHH", _PCM, channels, SAMPLE_RATE, SAMPLE_RATE * width, width, 16)
    return b"".join(
        [
            struct.pack("<4sI4s", b"RIFF", 36 + len(sound), b"WAVE"),
            struct.pack("<4sI", b"fmt ", len(shape)) + shape,
            struct.pack("<4sI", b"data", len(sound)) + bytes(sound),
        ]
    )


def mixed(first: bytes, second: bytes) -> bytes:
    """Two mu-law tracks as one: of two samples the louder one. People rarely talk at the same time."""
    return bytes(one if _LOUDNESS[one] >= _LOUDNESS[other] else other for one, other in zip(first, second, strict=True))


_LOUDNESS = tuple(abs(_linear(code)) for code in range(256))
