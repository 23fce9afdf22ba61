"""One reply being spoken: sentence by sentence, with a mark behind each, and the memory of what was really heard.

A mark comes back when everything before it was played, or at once when `clear` dropped it (Twilio, Media Streams):
a returned mark alone proves nothing. So marks cut off by us are remembered, and their return is not counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from core.conversation.pacer import Track
from core.errors import ProviderError
from core.speech.base import Synthesizer

# After the moment everything must have been played: what the way to the carrier and back may cost.
MARK_GRACE_SECONDS = 5.0
# A synthesizer that gives no sound for so long is given up.
SYNTHESIS_SECONDS = 4.0


class Playback:
    """The voice of one call. `on_done` is called, from the loop, when a reply was played to its end or failed."""

    def __init__(self, track: Track, synthesizer: Synthesizer, on_done: Callable[[], None]) -> None:
        self._track = track
        self._synthesizer = synthesizer
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._frames_before = 0
        self._expected: dict[str, int] = {}  # marks of the present reply on their way, by sentence
        self._cut: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self.sentences: Sequence[str] = ()
        self.heard = 0  # sentences of the present reply known to have been played
        self.speaking = False
        self.interrupted = False  # the last reply was cut, not played to its end
        self.error: ProviderError | None = None
        self.said_at = 0.0  # loop times of the present reply
        self.first_synthesis_at: float | None = None
        self.first_sent_at: float | None = None
        self._heard_at: list[float] = []

    def say(self, sentences: Sequence[str]) -> None:
        """Begin a reply. The one before it must be over or cut."""
        assert not self.speaking
        self.sentences = tuple(sentences)
        self.heard = 0
        self._heard_at = []
        self.said_at = self._loop.time()
        self.error = None
        self.first_synthesis_at = self.first_sent_at = None
        self._frames_before = self._track.frames_sent
        self._expected = {}
        self.speaking = True
        self.interrupted = False
        if not self.sentences:
            self._loop.call_soon(self._finish)
            return
        self._task = self._loop.create_task(self._speak())

    def cut(self) -> None:
        """Silence at once. `heard` stays at what is known to have been played."""
        if not self.speaking:
            return
        self.speaking = False
        self.interrupted = True
        if self._task is not None:
            self._task.cancel()
        # Marks never sent do not come back; those on their way do, at once, and mean nothing.
        unsent = set(self._track.clear())
        self._cut.update(name for name in self._expected if name not in unsent)
        self._expected = {}

    def on_mark(self, name: str) -> None:
        if name in self._cut:
            self._cut.discard(name)
            return
        sentence = self._expected.pop(name, None)
        if sentence is None:
            return
        self.heard = max(self.heard, sentence + 1)
        self._heard_at.append(self._loop.time())
        if self.heard == len(self.sentences):
            self._finish()

    def began_at(self, sentence: int) -> float | None:
        """Loop time at which a sentence of the present reply began to be heard; None when it has not yet."""
        if sentence <= 0:
            return self.first_sent_at
        return self._heard_at[sentence - 1] if sentence <= len(self._heard_at) else None

    def overdue(self, now: float) -> bool:
        """Should a mark have come back long ago?"""
        waiting = self.speaking and bool(self._expected) and self.first_sent_at is not None
        return waiting and self._task is not None and self._task.done() and now > self._track.runs_dry_at + MARK_GRACE_SECONDS

    async def close(self) -> None:
        self.speaking = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._track.close()

    async def _speak(self) -> None:
        try:
            for index, sentence in enumerate(self.sentences):
                await self._synthesise(sentence)
                self._count += 1
                name = f"s{self._count}"
                self._expected[name] = index
                self._track.mark(name)
        except ProviderError as error:
            self.error = error
            self._finish()
        except Exception as error:  # noqa: BLE001
            # Whatever a provider does, the call must learn that nothing more will be said.
            self.error = ProviderError(f"synthesis failed: {type(error).__name__}: {error}", provider="speech", retryable=False)
            self._finish()

    async def _synthesise(self, sentence: str) -> None:
        for last_try in (False, True):
            before = self._track.accepted
            try:
                await self._stream(sentence)
                return
            except ProviderError as error:
                # Half a sentence said twice is worse than half a sentence.
                if last_try or not error.retryable or self._track.accepted > before:
                    raise

    async def _stream(self, sentence: str) -> None:
        chunks = aiter(self._synthesizer.speak(sentence))
        while True:
            try:
                async with asyncio.timeout(SYNTHESIS_SECONDS):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProviderError(f"no sound for {SYNTHESIS_SECONDS:g} s", provider="speech", retryable=True) from None
            if self.first_synthesis_at is None:
                self.first_synthesis_at = self._loop.time()
            self._track.play(chunk)
            if self.first_sent_at is None and self._track.frames_sent > self._frames_before:
                self.first_sent_at = self._loop.time()

    def _finish(self) -> None:
        if self.speaking:
            self.speaking = False
            self._expected = {}
            self._on_done()
