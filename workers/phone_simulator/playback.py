"""What the callee is played: our audio in order and in real time, and the marks between it."""

from __future__ import annotations

from collections import deque

from core.speech.base import FRAME_BYTES


class Playback:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._received = 0
        self._played = 0
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def waiting(self) -> int:
        """Bytes received and not yet played."""
        return len(self._buffer)

    def add(self, audio: bytes) -> None:
        self._buffer += audio
        self._received += len(audio)

    def mark(self, name: str) -> None:
        self._marks.append((self._received, name))

    def clear(self) -> list[str]:
        """Drop what has not been played. Every mark comes back at once, as if it had been."""
        self._buffer.clear()
        self._played = self._received
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def next_frame(self) -> tuple[bytes, list[str]]:
        """The next 20 ms, shorter or empty when there is no more, and the marks reached by them."""
        frame = bytes(self._buffer[:FRAME_BYTES])
        del self._buffer[: len(frame)]
        self._played += len(frame)
        reached: list[str] = []
        while self._marks and self._marks[0][0] <= self._played:
            reached.append(self._marks.popleft()[1])
        return frame, reached
