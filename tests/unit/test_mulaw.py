"""Mu-law against the tables of G.711, and the helpers built on it."""

from __future__ import annotations

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.speech import mulaw
from core.speech.base import SILENCE


@pytest.mark.parametrize(
    ("code", "sample"),
    # ITU-T G.711, table 2, on the 16-bit scale: both zeros, the smallest steps, both ends.
    [(0xFF, 0), (0x7F, 0), (0xFE, 8), (0x7E, -8), (0x80, 32124), (0x00, -32124), (0xF0, 120), (0xEF, 132)],
)
def test_codes_mean_what_g711_says(code: int, sample: int) -> None:
    assert struct.unpack("=h", mulaw.decode(bytes([code]))) == (sample,)


@given(st.binary(max_size=400))
def test_every_code_survives_a_round_trip_except_the_second_zero(codes: bytes) -> None:
    assert mulaw.encode(mulaw.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_every_sample_comes_back_within_the_step_of_its_segment() -> None:
    samples = range(-32768, 32768)
    back = struct.unpack("=65536h", mulaw.decode(mulaw.encode(struct.pack("=65536h", *samples))))
    for sample, heard in zip(samples, back, strict=True):
        clipped = max(-32635, min(32635, sample))
        # G.711 lays its segments over the magnitude plus a bias of 132.
        assert abs(heard - clipped) <= max(8, (abs(clipped) + 132) / 16), sample


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        mulaw.encode(b"\x00\x01\x02")


def test_silence_is_quiet_and_as_long_as_asked() -> None:
    assert mulaw.silence(20) == bytes([SILENCE]) * 160
    assert mulaw.rms(mulaw.silence(100)) == 0
    assert mulaw.rms(b"") == 0


def test_a_tone_has_its_length_its_loudness_and_its_pitch() -> None:
    tone = mulaw.tone(1000, 500, level=0.5)
    assert len(tone) == 4000
    assert mulaw.rms(tone) == pytest.approx(0.5 * 32767 / math.sqrt(2), rel=0.02)
    samples = struct.unpack("=4000h", mulaw.decode(tone))
    crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(samples))
    assert crossings == pytest.approx(1000, abs=4)


def test_the_loudness_of_mulaw_is_that_of_its_samples() -> None:
    tone = mulaw.tone(440, 100)
    assert mulaw.rms(tone) == mulaw.rms_linear(mulaw.decode(tone)) > 0
