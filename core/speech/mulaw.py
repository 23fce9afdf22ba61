"""G.711 mu-law, 8 kHz: to and from 16-bit linear samples, how loud a frame is, and test tones."""

from __future__ import annotations

import math
import struct
import warnings
from functools import lru_cache

from core.speech.base import SAMPLE_RATE, SILENCE

with warnings.catch_warnings():
    # Gone from the standard library in 3.13, where audioop-lts gives the same module under the same name.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

FULL_SCALE = 32767


def decode(mulaw: bytes) -> bytes:
    """Mu-law bytes as 16-bit linear samples in the machine's byte order."""
    return audioop.ulaw2lin(mulaw, 2)


def encode(linear: bytes) -> bytes:
    """16-bit linear samples in the machine's byte order as mu-law bytes. Raises ValueError for half a sample."""
    if len(linear) % 2:
        raise ValueError(f"{len(linear)} bytes are not whole 16-bit samples")
    return audioop.lin2ulaw(linear, 2)


def rms(mulaw: bytes) -> int:
    """Root mean square of the samples, 0 to 32767. Silence, and no samples at all, are 0."""
    return audioop.rms(audioop.ulaw2lin(mulaw, 2), 2)


def rms_linear(linear: bytes) -> int:
    """The same of 16-bit linear samples."""
    return audioop.rms(linear, 2)


def silence(ms: int) -> bytes:
    return bytes([SILENCE]) * (SAMPLE_RATE * ms // 1000)


@lru_cache(maxsize=32)
def tone(hertz: float, ms: int, level: float = 0.25) -> bytes:
    """A sine of `level` times full scale, such as an answering machine's beep."""
    count = SAMPLE_RATE * ms // 1000
    step = 2 * math.pi * hertz / SAMPLE_RATE
    samples = (round(level * FULL_SCALE * math.sin(step * n)) for n in range(count))
    return encode(struct.pack(f"={count}h", *samples))
