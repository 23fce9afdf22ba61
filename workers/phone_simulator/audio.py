"""Mu-law audio at 8 kHz: silence, tones, and whether a frame can be heard."""

from __future__ import annotations

import math
import random
from functools import lru_cache

from core.speech.base import SAMPLE_RATE, SILENCE

# Of 32124. Speech is well above, comfort noise and the ends of words below.
AUDIBLE = 400
# So many audible samples in a frame of 160 make it heard: one click does not.
_ENOUGH = 8


def _magnitude(code: int) -> int:
    """G.711: the magnitude of a mu-law code on the 14-bit scale times four."""
    inverted = ~code & 0xFF
    return (((inverted & 0x0F) << 3) + 0x84 << ((inverted >> 4) & 0x07)) - 0x84


_HEARD = bytes(1 if _magnitude(code) >= AUDIBLE else 0 for code in range(256))


def is_audible(frame: bytes) -> bool:
    return frame.translate(_HEARD).count(1) >= _ENOUGH


def encode(sample: int) -> int:
    """One linear 16-bit sample as G.711 mu-law."""
    magnitude = min(abs(sample), 32635) + 0x84
    exponent = max(0, magnitude.bit_length() - 8)
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | (magnitude >> exponent + 3) & 0x0F) & 0xFF


@lru_cache(maxsize=8)
def tone(hertz: int, seconds: float) -> bytes:
    return bytes(encode(round(8000 * math.sin(2 * math.pi * hertz * n / SAMPLE_RATE))) for n in range(round(SAMPLE_RATE * seconds)))


def silence(length: int) -> bytes:
    return bytes([SILENCE]) * length


@lru_cache(maxsize=8)
def cough(seconds: float) -> bytes:
    """White noise that starts loud and dies away: heard by everybody, understood by nobody."""
    noise = random.Random("cough")
    length = round(SAMPLE_RATE * seconds)
    return bytes(encode(round(noise.uniform(-9000, 9000) * (1 - n / length))) for n in range(length))


@lru_cache(maxsize=8)
def mumble(seconds: float) -> bytes:
    """A low voice without words: a buzz of 120 Hz, swelling four times a second as syllables do, under some noise."""
    noise = random.Random("mumble")
    samples = []
    for n in range(round(SAMPLE_RATE * seconds)):
        at = n / SAMPLE_RATE
        buzz = sum(math.sin(2 * math.pi * 120 * harmonic * at) / harmonic for harmonic in (1, 2, 3, 5))
        swell = 0.5 - 0.5 * math.cos(2 * math.pi * 4 * at)
        samples.append(encode(round(swell * (4000 * buzz + noise.uniform(-800, 800)))))
    return bytes(samples)
