"""When somebody speaks, when they have finished, and when a machine beeps. Pure: time is counted in 20 ms frames.

Speech is told from noise by WebRTC's voice activity detector, which costs about 3 microseconds a frame. It takes
loud tones and hum for voice now and then, so frames that are too quiet or too pure do not count.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cache
from typing import Literal

import webrtcvad

from core.speech import mulaw
from core.speech.base import FRAME_BYTES, FRAME_MS, SAMPLE_RATE

SpeechEvent = Literal["speech_started", "speech_ended"]

# 0 lets everything pass, 3 almost nothing. 2 keeps breaths out and soft endings in.
AGGRESSIVENESS = 2
# Of 16-bit samples, about -50 dBFS: below it is line noise.
QUIET_RMS = 100
# The share of a frame's energy in one frequency above which it is a tone; a vowel's strongest harmonic stays well below.
PURE_TONE = 0.85
_TONES_HZ = tuple(range(800, 1401, 50))


class Endpointer:
    """`patience_ms`: quiet that ends a turn. `min_speech_ms`: voice, within a somewhat longer stretch, that begins one."""

    def __init__(self, patience_ms: int = 700, min_speech_ms: int = 120) -> None:
        self._vad = webrtcvad.Vad(AGGRESSIVENESS)
        self._patience = max(1, patience_ms // FRAME_MS)
        self._needed = max(1, min_speech_ms // FRAME_MS)
        self._recent: deque[bool] = deque(maxlen=self._needed + max(2, self._needed // 2))
        self._quiet = 0
        self._in_speech = False
        self._voiced = False

    @property
    def voiced(self) -> bool:
        """Was the last frame speech?"""
        return self._voiced

    @property
    def in_speech(self) -> bool:
        return self._in_speech

    def feed(self, frame: bytes) -> SpeechEvent | None:
        """One 160-byte frame of mu-law. Shorter ones, which a stream may end with, are taken for silence."""
        self._voiced = self._is_voice(frame)
        self._recent.append(self._voiced)
        if not self._in_speech:
            if sum(self._recent) < self._needed:
                return None
            self._in_speech, self._quiet = True, 0
            return "speech_started"
        # Leaky: a single click within the pause does not begin the waiting anew.
        self._quiet = max(0, self._quiet - 3) if self._voiced else self._quiet + 1
        if self._quiet < self._patience:
            return None
        self._in_speech = False
        self._recent.clear()
        return "speech_ended"

    def _is_voice(self, frame: bytes) -> bool:
        if len(frame) != FRAME_BYTES:
            return False
        samples = mulaw.decode(frame)
        if mulaw.rms(frame) < QUIET_RMS or not self._vad.is_speech(samples, SAMPLE_RATE):
            return False
        return _tone_share(frame) < PURE_TONE


class BeepDetector:
    """The sustained pure tone with which an answering machine says that it listens: 800 to 1400 Hz for 200 ms or more."""

    def __init__(self, min_ms: int = 200) -> None:
        self._needed = max(1, min_ms // FRAME_MS)
        self._run = 0
        self._told = False

    def feed(self, frame: bytes) -> bool:
        """True once, for the first beep."""
        if self._told:
            return False
        pure = len(frame) == FRAME_BYTES and mulaw.rms(frame) >= QUIET_RMS and _tone_share(frame) >= PURE_TONE
        self._run = self._run + 1 if pure else 0
        self._told = self._run >= self._needed
        return self._told


@cache
def _coefficients() -> tuple[float, ...]:
    return tuple(2 * math.cos(2 * math.pi * hertz / SAMPLE_RATE) for hertz in _TONES_HZ)


def _tone_share(frame: bytes) -> float:
    """How much of a frame's energy lies in its strongest tone between 800 and 1400 Hz (Goertzel's algorithm). 0 to about 1."""
    samples = memoryview(mulaw.decode(frame)).cast("h")
    if not _may_be_tone(samples):
        return 0.0
    energy = len(samples) * mulaw.rms(frame) ** 2
    if not energy:
        return 0.0
    best = 0.0
    for coefficient in _coefficients():
        before = last = 0.0
        for sample in samples:
            before, last = last, sample + coefficient * last - before
        best = max(best, last * last + before * before - coefficient * last * before)
    # A sine of amplitude a over n samples: energy n*a*a/2, Goertzel's power (n*a/2) squared.
    return best * 2 / (energy * len(samples))


def _may_be_tone(samples: memoryview[int]) -> bool:
    """A cheap look first: a tone of 800 to 1400 Hz crosses zero 32 to 56 times in 20 ms, speech rarely does."""
    crossings = 0
    positive = samples[0] >= 0
    for sample in samples:
        if (sample >= 0) != positive:
            crossings += 1
            positive = not positive
    return 28 <= crossings <= 60
