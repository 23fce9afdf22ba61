"""One call's ear inside a decoder process: decodes while the contact speaks, so that the words are there at once.

Silence is not decoded. A pause ends a segment early, before the turn is over: by the time somebody asks for the words,
the costly last passes over them are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.speech import mulaw
from core.speech.base import FRAME_BYTES, FRAME_MS, SAMPLE_RATE
from core.speech.local.language_model import whole_hints, without_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Less than any plan's patience should be, more than the gaps within a phrase.
SEGMENT_PAUSE_FRAMES = 400 // FRAME_MS
# Kept from before the voice was noticed: words begin softly.
PRE_ROLL_FRAMES = 300 // FRAME_MS
BLOCK_FRAMES = 100 // FRAME_MS
LONGEST_SEGMENT_FRAMES = 20_000 // FRAME_MS
# Of an utterance nobody asked for, the end is kept.
KEPT_SEGMENTS = 32
# Frames of which most are voiced before a segment begins.
_ONSET_FRAMES = 4
_ONSET_VOICED = 3
# Below this share of known sounds a transcript is taken apart: see `whole_hints`.
DOUBTFUL = 0.7
# Every line is brought to this loudness, in 16-bit samples, for which LINE_AVERAGE holds.
LOUDNESS = 4000.0
# The average of the acoustic model's features over speech that came by telephone, measured on four synthetic voices. A
# decoder starts from it and learns the line from there. From the decoder's own start, 49 of 81 first answers of a call
# were right in the voice en-us+f2; from this one 71.
LINE_AVERAGE = "60,-9,13,-9,5,-12,-1,0,-3,2,0,-2,4"
_LEAST_GAIN, _MOST_GAIN = 0.25, 16.0
# Of a call's first words, heard before their loudness is taken for the contact's.
_FIRST_LISTEN_FRAMES = 500 // FRAME_MS

_SILENCES = frozenset({"<s>", "</s>", "<sil>", "[NOISE]"})


class Upsampler:
    """8 kHz to 16 kHz for an acoustic model of wide-band speech.

    The telephone cuts at 4 kHz what tells an /s/ from silence. Instead of leaving the upper half empty, it gets the
    mirror image of the lower half at twice its strength: of 29 test sentences 27 were right instead of 17.
    """

    _IMAGE_GAIN = 2.0
    _TAPS = 47

    def __init__(self) -> None:
        offsets = np.arange(self._TAPS) - self._TAPS // 2
        lowpass = np.sinc(offsets / 2) * np.hamming(self._TAPS)
        lowpass *= 1 / lowpass.sum()
        self._filter = (1 - self._IMAGE_GAIN) * lowpass
        self._filter[self._TAPS // 2] += self._IMAGE_GAIN
        self._history = np.zeros(self._TAPS - 1)

    def feed(self, linear: bytes, gain: float) -> bytes:
        samples = gain * np.frombuffer(linear, np.int16)
        stuffed = np.zeros(self._TAPS - 1 + 2 * len(samples))
        stuffed[: self._TAPS - 1] = self._history
        stuffed[self._TAPS - 1 :: 2] = 2.0 * samples
        self._history = stuffed[-(self._TAPS - 1) :]
        wide: NDArray[np.float64] = np.convolve(stuffed, self._filter, "valid")
        return wide.clip(-32768, 32767).astype(np.int16).tobytes()


class Listener:
    def __init__(self, decoder: Any, vad: Any, hints: Sequence[str]) -> None:
        """`decoder` is a pocketsphinx.Decoder with the model of `hints`, between utterances; `vad` a webrtcvad.Vad."""
        decoder.set_cmn(LINE_AVERAGE)
        self._decoder = decoder
        self._vad = vad
        self._hints = hints
        self._upsampler = Upsampler()
        self._recent: deque[bytes] = deque(maxlen=PRE_ROLL_FRAMES)
        self._onset: deque[bool] = deque(maxlen=_ONSET_FRAMES)
        self._waiting: list[bytes] = []
        self._segment_frames = 0
        self._quiet_frames = 0
        self._loudness: float | None = None
        self._segment_loudness: list[int] = []
        self._segments: deque[tuple[list[str], int, int]] = deque(maxlen=KEPT_SEGMENTS)

    def feed(self, audio: bytes) -> None:
        """Whole 20 ms frames of mu-law; a rest is dropped."""
        for start in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES):
            self._hear(mulaw.decode(audio[start : start + FRAME_BYTES]))

    def _hear(self, frame: bytes) -> None:
        voiced = self._vad.is_speech(frame, SAMPLE_RATE)
        if not self._segment_frames:
            self._recent.append(frame)
            self._onset.append(voiced)
            if sum(self._onset) >= _ONSET_VOICED:
                self._begin()
            return
        self._waiting.append(frame)
        self._segment_frames += 1
        self._segment_loudness.append(mulaw.rms_linear(frame))
        self._quiet_frames = 0 if voiced else self._quiet_frames + 1
        if self._quiet_frames >= SEGMENT_PAUSE_FRAMES or self._segment_frames >= LONGEST_SEGMENT_FRAMES:
            self._end()
        elif len(self._waiting) >= (BLOCK_FRAMES if self._loudness is not None else _FIRST_LISTEN_FRAMES):
            self._decode()

    def _begin(self) -> None:
        self._decoder.start_utt()
        self._waiting = list(self._recent)
        self._segment_frames = len(self._waiting)
        self._segment_loudness = [mulaw.rms_linear(frame) for frame in self._waiting]
        self._quiet_frames = 0
        self._recent.clear()
        self._onset.clear()

    def _decode(self) -> None:
        measured = self._measured()
        # What came before may have been a television next door.
        if self._loudness is None or measured > 2 * self._loudness:
            self._loudness = measured
        gain = min(max(LOUDNESS / self._loudness, _LEAST_GAIN), _MOST_GAIN)
        self._decoder.process_raw(self._upsampler.feed(b"".join(self._waiting), gain))
        self._waiting = []

    def _measured(self) -> float:
        """How loud the present segment's vowels are: of its frames, one in five is louder."""
        ordered = sorted(self._segment_loudness)
        return max(1.0, float(ordered[len(ordered) * 4 // 5]))

    def _end(self) -> None:
        if self._waiting:
            self._decode()
        self._segment_frames = 0
        assert self._loudness is not None
        self._loudness = (self._loudness + self._measured()) / 2
        self._decoder.end_utt()
        words: list[str] = []
        known = strange = 0
        # Without a hypothesis there is no segmentation to ask for.
        for piece in (self._decoder.seg() or ()) if self._decoder.hyp() is not None else ():
            length = piece.end_frame - piece.start_frame + 1
            if piece.word in _SILENCES:
                continue
            if piece.word.startswith(("+", "[")):
                strange += length
            else:
                known += length
                words.append(piece.word.partition("(")[0])
        self._segments.append((words, known, strange))

    def finish(self) -> tuple[str, float | None]:
        """The words since the last call, and the share of the speech that they account for (None: no speech)."""
        if self._segment_frames:
            self._end()
        text = " ".join(word for words, _, _ in self._segments for word in words)
        known = sum(frames for _, frames, _ in self._segments)
        heard = known + sum(frames for _, _, frames in self._segments)
        self._segments.clear()
        if not heard:
            return "", None
        confidence = round(known / heard, 2)
        if confidence < DOUBTFUL:
            text = whole_hints(text, self._hints)
        return without_edges(text, self._hints), confidence

    def close(self) -> Any:
        """Gives the decoder back, between utterances."""
        if self._segment_frames:
            self._segment_frames = 0
            self._decoder.end_utt()
        return self._decoder
