"""Everything said between two turns, recognised over as many streams as that takes.

The audio is kept until Google says that its words are final. So whatever becomes of a stream, the next one begins exactly
behind the last final word: nothing is lost, and nothing is heard twice.

Asking for the words half-closes the stream, which makes Google finish them at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]

from core.errors import ProviderError
from core.logs import get_logger
from core.speech.base import FRAME_BYTES, SAMPLE_RATE, SILENCE, Transcript
from core.speech.google.errors import SPEECH, UNEXPLAINED, failure, not_by_us, provider_error, refusal
from core.speech.google.wire import Heard, Wire

# 100 ms in a request; after a restart, more at once. Google takes at most 15 KB.
BLOCK_BYTES = SAMPLE_RATE // 10
LARGEST_REQUEST = 8 * BLOCK_BYTES
# Kept before the place where Google noticed a voice: words begin softly.
PRE_ROLL_BYTES = SAMPLE_RATE
# Words kept of an utterance that nobody asks for: its end.
MOST_FINALS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, of audio where it is about audio.

    Google ends a stream after 305 s, and one that gets no audio for some seconds: so we change to another one between
    `change_seconds`, if nobody is speaking, and `latest_change_seconds`, and send silence after `idle_seconds` without a frame.
    `answer_seconds` is what a contact's turn may wait for its words, `tail_seconds` what we wait for more behind final ones.
    A stream that breaks is restarted, `restarts` times within `restart_span_seconds`.
    """

    change_seconds: float = 240.0
    latest_change_seconds: float = 285.0
    idle_seconds: float = 0.5
    open_seconds: float = 3.0
    refusal_seconds: float = 0.2
    write_seconds: float = 4.0
    answer_seconds: float = 1.5
    tail_seconds: float = 0.25
    restarts: int = 3
    restart_span_seconds: float = 30.0
    restart_pause_seconds: float = 0.25
    kept_quiet_seconds: float = 15.0
    kept_speech_seconds: float = 60.0


def as_bytes(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE)


class Restarts:
    """How often streams of one call may break: each use allows one more, or does not."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used: deque[float] = deque()

    def take(self, now: float) -> float | None:
        """Seconds to wait before the restart; None when there were too many. The first one is at once."""
        while self._used and self._used[0] <= now - self._limits.restart_span_seconds:
            self._used.popleft()
        if len(self._used) >= self._limits.restarts:
            return None
        self._used.append(now)
        return (len(self._used) - 1) * self._limits.restart_pause_seconds


class Utterance:
    """Fed from the media loop; `words` ends it. `lend` lends a client for one stream."""

    def __init__(
        self, wire: Wire, opening: Any, lend: Callable[[], AbstractContextManager[Any]], limits: Limits, restarts: Restarts
    ) -> None:
        self._wire = wire
        self._opening = opening
        self._lend = lend
        self._limits = limits
        self._restarts = restarts
        self._loop = asyncio.get_running_loop()
        self._log = get_logger()
        # Positions are bytes since the utterance began.
        self._audio = bytearray()
        self._start = 0  # where the kept audio begins
        self._sent = 0
        self._more = asyncio.Event()
        self._closed = False
        self._half_closed = False
        self._finals: deque[str] = deque(maxlen=MOST_FINALS)
        self._confidence: float | None = None
        self._interim = ""
        self._speaking = False  # a voice was noticed whose words are not final
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._settling: asyncio.TimerHandle | None = None
        self._cause: ProviderError | None = None  # of the latest break that has one
        self._unexplained = False  # the latest break has none
        self.error: ProviderError | None = None  # why nothing more will be heard
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(lambda _: self._answer())

    @property
    def audio(self) -> bytes:
        """What was said and has no final words yet."""
        return bytes(self._audio)

    def feed(self, frame: bytes) -> None:
        if self._closed:
            return
        self._audio += frame
        kept = as_bytes(self._limits.kept_speech_seconds if self._speaking else self._limits.kept_quiet_seconds)
        if len(self._audio) > kept:
            self._forget(self._start + len(self._audio) - kept)
        if self._end - self._sent >= BLOCK_BYTES:
            self._more.set()

    async def words(self) -> Transcript:
        """What was said; not final where Google did not confirm it in time. Raises ProviderError when a fault left no words at all."""
        self._closed = True
        self._more.set()
        await asyncio.wait({self._answered}, timeout=self._limits.answer_seconds)
        complete = self._answered.done() and self.error is None
        text = " ".join((*self._finals, self._interim)).strip()
        if complete or text:
            return Transcript(text, complete and not self._interim, self._confidence)
        raise self.error or failure(SPEECH, "DEADLINE_EXCEEDED", f"no transcript within {self._limits.answer_seconds:g} s")

    async def close(self) -> None:
        """Quick: the stream is cancelled, and nothing is waited for but that."""
        self._closed = True
        if self._settling is not None:
            self._settling.cancel()
        self._task.cancel()
        await asyncio.wait({self._task})

    @property
    def _end(self) -> int:
        return self._start + len(self._audio)

    def _forget(self, until: int) -> None:
        """Audio before `until` will not be needed again."""
        gone = min(until, self._end) - self._start
        if gone > 0:
            del self._audio[:gone]
            self._start += gone

    def _answer(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    # --- streams, one after the other ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                if await self._listen():
                    return
            except Exception as fault:  # noqa: BLE001 - whatever it is, the contact's turn must not wait for it
                error = provider_error(fault, SPEECH)
                self._unexplained = error.code == UNEXPLAINED
                if not self._unexplained or self._cause is None:
                    self._cause = error
                pause = self._restarts.take(self._loop.time()) if error.retryable else None
                if pause is None:
                    self.error = self._cause
                    self._log.error("speech.stream_lost", code=self._cause.code, error=str(self._cause))
                    return
                self._log.warning("speech.stream_restarted", code=error.code, error=str(error), again_ms=self._unconfirmed_ms)
                await asyncio.sleep(pause)

    @property
    def _unconfirmed_ms(self) -> int:
        return len(self._audio) * 1000 // SAMPLE_RATE

    async def _listen(self) -> bool:
        """One stream. True: all words are there. False: another stream goes on from here. Raises ProviderError."""
        first = self._sent = self._start
        self._half_closed = False
        with self._lend() as client:
            call = await self._open(client)
            reading = self._loop.create_task(self._read(call, first))
            writing = self._loop.create_task(self._write(call, first, reading))
            try:
                await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
                if writing.done() and not writing.result():
                    return False
                await asyncio.wait({reading})
                reading.result()
            finally:
                call.cancel()
                reading.cancel()
                writing.cancel()
                await asyncio.gather(reading, writing, return_exceptions=True)
        if not self._half_closed or self._interim:
            raise failure(SPEECH, "UNAVAILABLE", "the stream was ended early")
        return True

    async def _open(self, client: Any) -> Any:
        try:
            async with asyncio.timeout(self._limits.open_seconds):
                # No retry, and no limit of the SDK's: its defaults are hours.
                return await client.streaming_recognize(requests=None, retry=None, timeout=None)
        except Exception as error:
            raise provider_error(error, SPEECH) from error

    # --- what we send -------------------------------------------------------------------------------------------------

    async def _write(self, call: Any, first: int, reading: asyncio.Task[None]) -> bool:
        """True: the stream has all there is. False: it is time for another one. Raises ProviderError when Google takes nothing."""
        if await self._is_refused(reading) or not await self._send(call.write(self._opening)) or await self._is_refused(reading):
            return True
        while True:
            if self._sent < self._start:
                # What we would send next is gone: the stream's own count of time would be wrong from here on.
                return False
            waiting = self._end - self._sent
            if waiting >= BLOCK_BYTES or (self._closed and waiting):
                begin = self._sent - self._start
                content = bytes(self._audio[begin : begin + LARGEST_REQUEST])
                self._sent += len(content)
                if not await self._send(call.write(self._wire.audio(content))):
                    return True
                if not self._closed and self._is_old(self._sent - first):
                    return False
            elif self._closed:
                self._half_closed = True
                await self._send(call.done_writing())
                return True
            else:
                await self._await_audio()

    async def _is_refused(self, reading: asyncio.Task[None]) -> bool:
        """Where the reason of the last break was lost because something was being sent, a refusal is given the time to arrive."""
        if self._unexplained:
            await asyncio.wait({reading}, timeout=self._limits.refusal_seconds)
        return reading.done()

    async def _send(self, sending: Any) -> bool:
        """False: the stream is over; how it ended is read elsewhere."""
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await sending
        except TimeoutError:
            raise failure(SPEECH, "DEADLINE_EXCEEDED", "the audio is not taken") from None
        except Exception:  # noqa: BLE001 - the same fault, and its status, come to the reader
            return False
        return True

    def _is_old(self, sent: int) -> bool:
        changes = self._limits.latest_change_seconds if self._speaking else self._limits.change_seconds
        return sent >= as_bytes(changes)

    async def _await_audio(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                await self._more.wait()
        except TimeoutError:
            # The carrier sends none. Google must not notice.
            silence = bytes((SILENCE,)) * FRAME_BYTES
            for _ in range(max(1, as_bytes(self._limits.idle_seconds) // FRAME_BYTES)):
                self.feed(silence)
            self._more.set()

    # --- what comes back ----------------------------------------------------------------------------------------------

    async def _read(self, call: Any, first: int) -> None:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                self._take(self._wire.read(response), first)
        except asyncio.CancelledError:
            raise not_by_us(SPEECH) from None
        except Exception as error:
            raise provider_error(error, SPEECH) from error

    def _take(self, heard: Heard, first: int) -> None:
        if heard.status is not None:
            raise refusal(heard.status)
        if heard.began_at is not None:
            if not self._speaking:
                self._forget(first + heard.began_at - PRE_ROLL_BYTES)
            self._speaking = True
        for final in heard.finals:
            if final.text:
                self._finals.append(final.text)
                self._confidence = final.confidence if self._confidence is None else min(self._confidence, final.confidence or 1.0)
            self._forget(self._sent if final.end is None else min(first + final.end, self._sent))
            self._interim = ""
            self._speaking = False
        if heard.interim:
            self._interim = heard.interim
            self._speaking = True
        if self._half_closed and (heard.finals or heard.interim):
            self._settle(bool(heard.finals) and not heard.interim)

    def _settle(self, looks_complete: bool) -> None:
        """All words look final: Google may take its time to end the stream, the contact should not wait for that."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if looks_complete:
            self._settling = self._loop.call_later(self._limits.tail_seconds, self._answer)
