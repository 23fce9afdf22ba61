"""Speech in, by Google Cloud Speech-to-Text: mu-law as the phone network carries it, with the plan's phrases as hints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import grpc  # type: ignore[import-untyped]

from core.errors import ProviderError
from core.speech.base import SILENCE, Transcript
from core.speech.google.access import STREAMS_A_CONNECTION, Access, Clients
from core.speech.google.errors import SPEECH, UNEXPLAINED, not_by_us, provider_error, refusal
from core.speech.google.utterance import BLOCK_BYTES, Limits, Restarts, Utterance
from core.speech.google.wire import Wire, WireV1, WireV2

WARM_UP_SECONDS = 8.0
WARM_UP_ATTEMPTS = 3  # each of them may lose the reason why it failed


class GoogleRecognizer:
    """`recognizer` (projects/P/locations/L/recognizers/R) chooses Google's v2 interface; without it, it is v1.

    Used from one event loop, the one that first calls it.
    """

    def __init__(
        self,
        access: Access,
        *,
        language: str = "en-US",
        model: str = "telephony",
        recognizer: str | None = None,
        limits: Limits | None = None,
        streams_a_connection: int = STREAMS_A_CONNECTION,
    ) -> None:
        self._wire: Wire = WireV1(language, model) if recognizer is None else WireV2(language, model, recognizer)
        self._limits = limits or Limits()
        self._clients = Clients(access, self._wire.client, streams_a_connection)
        self._live: set[GoogleRecognition] = set()

    async def warm_up(self, hint_sets: Sequence[Sequence[str]] = ()) -> None:
        """Have Google listen to a moment of silence: the key, the project, the model and the hints are found right or wrong by that."""
        opening = self._wire.opening(list(dict.fromkeys(hint for hints in hint_sets for hint in hints)))
        for attempt in range(WARM_UP_ATTEMPTS):
            try:
                async with asyncio.timeout(WARM_UP_SECONDS):
                    await self._hear_silence(opening)
                return
            except Exception as error:
                found = provider_error(error, SPEECH)
                if found.code != UNEXPLAINED or attempt == WARM_UP_ATTEMPTS - 1:
                    raise found from error

    async def _hear_silence(self, opening: Any) -> None:
        with self._clients.lend() as client:
            call = await client.streaming_recognize(requests=None, retry=None, timeout=WARM_UP_SECONDS)
            reading = asyncio.create_task(self._await_end(call))
            try:
                with suppress(Exception):  # why a request is not taken is what reading raises
                    await call.write(opening)
                    # What is refused while something is being sent loses its reason (see UNEXPLAINED).
                    await asyncio.wait({reading}, timeout=self._limits.refusal_seconds)
                    await call.write(self._wire.audio(bytes((SILENCE,)) * BLOCK_BYTES))
                    await call.done_writing()
                await reading
            finally:
                call.cancel()
                reading.cancel()
                await asyncio.wait({reading})

    async def _await_end(self, call: Any) -> None:
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                if (status := self._wire.read(response).status) is not None:
                    raise refusal(status)
        except asyncio.CancelledError:
            raise not_by_us(SPEECH) from None

    async def open(self, hints: Sequence[str]) -> GoogleRecognition:
        """See Recognizer. Waits for nothing: what is wrong is found by the first words."""
        recognition = GoogleRecognition(self._wire, self._wire.opening(hints), self._clients.lend, self._limits, self._live.discard)
        self._live.add(recognition)
        return recognition

    async def close(self) -> None:
        await asyncio.gather(*(recognition.close() for recognition in list(self._live)))
        await self._clients.close()


class GoogleRecognition:
    """One call's ear. Once `finish_utterance` has raised ProviderError it hears nothing more: open another."""

    def __init__(
        self,
        wire: Wire,
        opening: Any,
        lend: Callable[[], AbstractContextManager[Any]],
        limits: Limits,
        on_close: Callable[[GoogleRecognition], None],
    ) -> None:
        self._wire = wire
        self._opening = opening
        self._lend = lend
        self._limits = limits
        self._on_close = on_close
        self._restarts = Restarts(limits)
        self._finishing: set[Utterance] = set()
        self._failure: ProviderError | None = None
        self.unheard = b""  # after a failure: the audio whose words are missing, for another recogniser to try
        self._hearing = self._listen()

    def feed(self, frame: bytes) -> None:
        self._hearing.feed(frame)

    async def finish_utterance(self) -> Transcript:
        """See Recognition. Raises ProviderError when Google gave no words, for a fault of its or of the way to it."""
        if self._failure is not None:
            raise self._failure
        # From this frame on it is another utterance, heard by another stream, while the words of this one are waited for.
        finished = self._hearing
        self._finishing.add(finished)
        self._hearing = self._listen()
        try:
            return await finished.words()
        except ProviderError as error:
            self._failure = error
            self.unheard = finished.audio
            await self._hearing.close()
            raise
        finally:
            self._finishing.discard(finished)
            await finished.close()

    async def close(self) -> None:
        self._on_close(self)
        await asyncio.gather(*(utterance.close() for utterance in (self._hearing, *self._finishing)))

    def _listen(self) -> Utterance:
        return Utterance(self._wire, self._opening, self._lend, self._limits, self._restarts)
