"""Where speech begins and ends on a line that is never silent.

WebRTC's detector takes loud noise for voice; a frame counts only if it is also clearly louder than the line's own
noise, which is what the quietest part of the last seconds was.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np

from core.speech.base import FRAME_MS, SAMPLE_RATE

# The noise is measured over this long: longer than anybody speaks without a gap.
_WINDOW_FRAMES = 3000 // FRAME_MS
# Of the frames in it, one in eight is quieter than what is taken for the noise.
_QUIET_SHARE = 8
# Voice is this much louder: 6 dB.
_ABOVE_NOISE = 2.0
# Of 16-bit samples' differences: on a line without noise, nothing quieter is voice.
_LEAST_LEVEL = 20.0


class Vad(Protocol):
    def is_speech(self, buf: bytes, sample_rate: int) -> bool: ...


class VoiceDetector:
    """`vad`: a webrtcvad.Vad."""

    def __init__(self, vad: Any) -> None:
        self._vad: Vad = vad
        self._levels: deque[float] = deque(maxlen=_WINDOW_FRAMES)

    def is_voice(self, frame: bytes) -> bool:
        """One 20 ms frame of 16-bit samples at 8 kHz."""
        # Differences of samples weigh the highs: hum, rumble and most of a street's noise are low.
        differences = np.diff(np.frombuffer(frame, np.int16).astype(np.float32))
        level = float(np.sqrt(np.mean(differences * differences)))
        self._levels.append(level)
        if not self._vad.is_speech(frame, SAMPLE_RATE) or level < _LEAST_LEVEL:
            return False
        ordered = sorted(self._levels)
        return level > _ABOVE_NOISE * ordered[len(ordered) // _QUIET_SHARE]
