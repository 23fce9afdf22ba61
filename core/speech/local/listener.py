"""One call's ear inside a decoder process: finds the stretches of speech, has each decoded, and doubts what was heard.

A pause ends a stretch, and decodes it, before the turn is over: by the time somebody asks for the words they are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core.speech import mulaw
from core.speech.base import FRAME_BYTES, FRAME_MS
from core.speech.local.decoder import HeardWord
from core.speech.local.language_model import from_a_beginning, vocabulary, whole_hints, without_edges
from core.speech.local.voice_detector import VoiceDetector

# Less than any plan's patience should be, more than the gaps within a phrase.
SEGMENT_PAUSE_FRAMES = 400 // FRAME_MS
# Kept from before the voice was noticed: words begin softly.
PRE_ROLL_FRAMES = 300 // FRAME_MS
# Decoding takes about a tenth of the time it was spoken in, and the other calls of the process wait for it.
LONGEST_SEGMENT_FRAMES = 12_000 // FRAME_MS
# Of an utterance nobody asked for, the end is kept.
KEPT_SEGMENTS = 32
# Frames of which most are voiced before a segment begins.
_ONSET_FRAMES = 4
_ONSET_VOICED = 3
# Below this share of known words a transcript is taken apart: see `whole_hints`.
DOUBTFUL = 0.8
# A segment was not understood when sounds in any order fit so much better than its words. Words that win against all
# others may fit worse: the two belong together, see `_doubt`. Measured on the plans that ship, in ten voices.
MOST_DOUBT = 2.2
_POSTERIOR_COUNTS = 2.0
# Every line is brought to this loudness, in 16-bit samples, the one the acoustic model was trained for.
LOUDNESS = 4000.0
_LEAST_GAIN, _MOST_GAIN = 0.25, 16.0


class Decodes(Protocol):
    def words(self, model: str, speech: bytes) -> list[HeardWord]: ...


def widened(linear: bytes) -> bytes:
    """8 kHz to 16 kHz for an acoustic model of wide-band speech, at the loudness it expects.

    Zeros between the samples leave a mirror image of the lower half in the upper one. That is wanted: the telephone cuts
    at 4 kHz what tells an /s/ from silence, and with an empty upper half 1 phrase in 100 more was misheard.
    """
    samples = np.frombuffer(linear, np.int16).astype(np.float32)
    wide = np.zeros(2 * len(samples), np.float32)
    wide[::2] = 2.0 * _gain(samples) * samples
    return wide.clip(-32768, 32767).astype(np.int16).tobytes()


def _gain(samples: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """From how loud the vowels are: of the frames, one in five is louder."""
    frames = samples[: len(samples) // FRAME_BYTES * FRAME_BYTES].reshape(-1, FRAME_BYTES)
    loudness = float(np.percentile(np.sqrt(np.mean(frames * frames, axis=1)), 80))
    return min(max(LOUDNESS / max(loudness, 1.0), _LEAST_GAIN), _MOST_GAIN)


class Listener:
    def __init__(self, decoder: Decodes, model: str, hints: Sequence[str], vad: Any) -> None:
        """`model` is the decoder's name for the model of `hints`; `vad` a webrtcvad.Vad of this call's own."""
        self._decoder = decoder
        self._model = model
        self._hints = hints
        self._vocabulary = vocabulary(hints)
        self._voice = VoiceDetector(vad)
        self._recent: deque[bytes] = deque(maxlen=PRE_ROLL_FRAMES)
        self._onset: deque[bool] = deque(maxlen=_ONSET_FRAMES)
        self._segment: list[bytes] = []
        self._quiet_frames = 0
        self._heard: deque[list[HeardWord]] = deque(maxlen=KEPT_SEGMENTS)

    def feed(self, audio: bytes) -> None:
        """Whole 20 ms frames of mu-law; a rest is dropped."""
        for start in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES):
            self._hear(mulaw.decode(audio[start : start + FRAME_BYTES]))

    def _hear(self, frame: bytes) -> None:
        voiced = self._voice.is_voice(frame)
        if not self._segment:
            self._recent.append(frame)
            self._onset.append(voiced)
            if sum(self._onset) >= _ONSET_VOICED:
                self._segment = list(self._recent)
                self._quiet_frames = 0
                self._recent.clear()
                self._onset.clear()
            return
        self._segment.append(frame)
        self._quiet_frames = 0 if voiced else self._quiet_frames + 1
        if self._quiet_frames >= SEGMENT_PAUSE_FRAMES or len(self._segment) >= LONGEST_SEGMENT_FRAMES:
            self._end()

    def _end(self) -> None:
        speech, self._segment = b"".join(self._segment), []
        self._heard.append(self._decoder.words(self._model, widened(speech)))

    def finish(self) -> tuple[str, float | None]:
        """The words since the last call, and the share of the speech that they account for (None: no speech)."""
        if self._segment:
            self._end()
        segments = list(self._heard)
        self._heard.clear()
        if not segments:
            return "", None
        if not any(segments):
            return "", 0.0
        known = [word for words in segments if words and _doubt(words) <= MOST_DOUBT for word in words if word.word in self._vocabulary]
        spoken = sum(word.frames for words in segments for word in words)
        confidence = round(sum(word.frames for word in known) / spoken, 2)
        text = " ".join(word.word for word in known)
        if confidence < DOUBTFUL:
            text = whole_hints(text, self._hints)
        return from_a_beginning(without_edges(text, self._hints), self._hints), confidence


def _doubt(words: list[HeardWord]) -> float:
    frames = sum(word.frames for word in words)
    return sum(word.frames * (word.strangeness - _POSTERIOR_COUNTS * word.posterior) for word in words) / frames
