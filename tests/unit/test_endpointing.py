"""Turns and beeps, heard in real mu-law sound."""

from __future__ import annotations

import random

import pytest

from core.speech import mulaw
from core.speech.base import FRAME_BYTES, FRAME_MS
from core.speech.endpointing import BeepDetector, Endpointer
from core.speech.local.voice import EspeakSynthesizer


@pytest.fixture(scope="module")
def sentence() -> bytes:
    return EspeakSynthesizer("en-us+f2", 175).synthesize("I feel good today, thank you very much.")


def events(endpointer: Endpointer, audio: bytes) -> list[tuple[int, str]]:
    """(ms, event) for each event of the sound."""
    found = []
    for number, start in enumerate(range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES)):
        event = endpointer.feed(audio[start : start + FRAME_BYTES])
        if event is not None:
            found.append((number * FRAME_MS, event))
    return found


def beeps(audio: bytes) -> list[int]:
    detector = BeepDetector()
    frames = range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES)
    return [number * FRAME_MS for number, start in enumerate(frames) if detector.feed(audio[start : start + FRAME_BYTES])]


def test_one_sentence_is_one_turn(sentence: bytes) -> None:
    (begun, first), (ended, second) = events(Endpointer(700), mulaw.silence(1000) + sentence + mulaw.silence(2000))
    assert (first, second) == ("speech_started", "speech_ended")
    assert 1000 <= begun <= 1400
    spoken_until = 1000 + len(sentence) // 8
    assert spoken_until - 400 <= ended - 700 <= spoken_until + 100


def test_patience_decides_whether_a_pause_ends_the_turn(sentence: bytes) -> None:
    talk = mulaw.silence(500) + sentence + mulaw.silence(600) + sentence + mulaw.silence(2500)
    assert len(events(Endpointer(300), talk)) >= 4
    assert len(events(Endpointer(1500), talk)) == 2


def test_clicks_silence_hum_and_tones_are_no_speech() -> None:
    chance = random.Random(1)
    click = bytes(chance.randrange(256) for _ in range(40 * 8))
    hiss = mulaw.encode(b"".join(chance.randrange(-60, 61).to_bytes(2, "little", signed=True) for _ in range(8000 * 3)))
    for noise in (click + mulaw.silence(2000), mulaw.silence(3000), hiss, mulaw.tone(1000, 3000)):
        assert events(Endpointer(), noise) == []


def test_a_short_last_frame_is_silence() -> None:
    endpointer = Endpointer()
    assert endpointer.feed(b"\xff" * 7) is None
    assert not endpointer.voiced


@pytest.mark.parametrize("hertz", [800, 1000, 1400])
def test_a_beep_is_heard_once(hertz: int) -> None:
    (at,) = beeps(mulaw.silence(500) + mulaw.tone(hertz, 500) + mulaw.silence(300) + mulaw.tone(hertz, 500))
    assert 500 + 180 <= at <= 500 + 280


def test_a_short_tone_another_tone_and_speech_are_no_beep(sentence: bytes) -> None:
    for sound in (mulaw.tone(1000, 120), mulaw.tone(440, 1000), mulaw.tone(2000, 1000), sentence * 3, mulaw.silence(2000)):
        assert beeps(mulaw.silence(200) + sound + mulaw.silence(200)) == []
