"""Outbound frames in step with real time: one timer for all calls of the process.

Each call's audio runs 200 ms ahead of what the contact hears. That survives a stalled event loop, and a `clear`
makes the lead harmless. Frames go out every 20 ms as long as anything waits, and no timer runs when nothing does.
"""

from __future__ import annotations

import asyncio
from collections import deque

from core.conversation.outbound import Outbound
from core.speech.base import FRAME_BYTES, FRAME_MS, SILENCE

LEAD_SECONDS = 0.2
FRAME_SECONDS = FRAME_MS / 1000
# A tick this late starts a new rhythm instead of catching up tick by tick.
_RESTART_SECONDS = 0.5


class Pacer:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Track] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_tick = 0.0
        self.worst_lateness_ms = 0.0

    def open(self, outbound: Outbound) -> Track:
        """A call's own track. Close it when the call is over."""
        return Track(self, outbound, self._loop)

    def take_worst_lateness_ms(self) -> float:
        """How late the latest tick since the last question was: what a contact could have heard of our load."""
        worst, self.worst_lateness_ms = self.worst_lateness_ms, 0.0
        return worst

    def wants(self, track: Track) -> None:
        self._waiting.add(track)
        if self._timer is None:
            self._next_tick = self._loop.time() + FRAME_SECONDS
            self._timer = self._loop.call_at(self._next_tick, self._tick)

    def forget(self, track: Track) -> None:
        self._waiting.discard(track)

    def _tick(self) -> None:
        now = self._loop.time()
        self.worst_lateness_ms = max(self.worst_lateness_ms, (now - self._next_tick) * 1000)
        self._next_tick = now + FRAME_SECONDS if now - self._next_tick > _RESTART_SECONDS else self._next_tick + FRAME_SECONDS
        for track in [track for track in self._waiting if not track.send_due(now)]:
            self._waiting.discard(track)
        self._timer = self._loop.call_at(self._next_tick, self._tick) if self._waiting else None


class Track:
    """One call's outbound audio and marks, in order. Audio of any length is cut into whole frames."""

    def __init__(self, pacer: Pacer, outbound: Outbound, loop: asyncio.AbstractEventLoop) -> None:
        self._pacer = pacer
        self._outbound = outbound
        self._loop = loop
        self._queue: deque[bytes | str] = deque()
        self._rest = b""
        self._closed = False
        self.frames_sent = 0
        self.accepted = 0  # bytes given to `play`
        # Loop time at which the contact will have heard everything sent so far.
        self.runs_dry_at = 0.0

    def play(self, audio: bytes) -> None:
        if self._closed or not audio:
            return
        self.accepted += len(audio)
        if self._rest:
            audio = self._rest + audio
        whole = len(audio) - len(audio) % FRAME_BYTES
        self._queue.extend(audio[start : start + FRAME_BYTES] for start in range(0, whole, FRAME_BYTES))
        self._rest = audio[whole:]
        self._go()

    def mark(self, name: str) -> None:
        """Ends a sentence: a last half frame is filled up with silence, or it would crackle."""
        if self._closed:
            return
        if self._rest:
            self._queue.append(self._rest.ljust(FRAME_BYTES, bytes((SILENCE,))))
            self._rest = b""
        self._queue.append(name)
        self._go()

    def clear(self) -> list[str]:
        """Drop everything, here and at the carrier. Returns the marks that were never sent."""
        unsent = [item for item in self._queue if isinstance(item, str)]
        self._queue.clear()
        self._rest = b""
        self.runs_dry_at = self._loop.time()
        self._pacer.forget(self)
        if not self._closed:
            self._outbound.clear()
        return unsent

    def close(self) -> None:
        self._closed = True
        self._queue.clear()
        self._pacer.forget(self)

    def send_due(self, now: float) -> bool:
        """Send what belongs to the next 200 ms. False when nothing is left to send."""
        queue = self._queue
        if self._outbound.stalled_since is not None:
            return bool(queue)
        # Half a frame of tolerance: sums of 0.02 are not exact.
        horizon = now + LEAD_SECONDS - FRAME_SECONDS / 2
        if self.runs_dry_at < now:
            self.runs_dry_at = now
        while queue:
            item = queue[0]
            if isinstance(item, str):
                queue.popleft()
                self._outbound.mark(item)
            elif self.runs_dry_at < horizon:
                queue.popleft()
                self._outbound.media(item)
                self.frames_sent += 1
                self.runs_dry_at += FRAME_SECONDS
            else:
                return True
        return False

    def _go(self) -> None:
        # The first frames do not wait for a tick: it would be heard as a slower answer.
        if self.send_due(self._loop.time()):
            self._pacer.wants(self)
