"""Google's speech services on a local port: the vendors' gRPC methods, and everything that goes wrong with them.

Speech is scripted as it is for the media doubles: a word is a run of one byte value, of a fixed length. A word that arrives with a
part missing is written with a ~, so a transcript shows each lost or doubled frame.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from google.cloud import speech_v1, speech_v2, texttospeech_v1

FRAME = 160
QUIET = b"\xff" * FRAME
WORD_FRAMES = 10
FIRST_VALUE = 0x10  # the media doubles mean something by smaller ones
WORD_BYTES = WORD_FRAMES * FRAME
GAP_FRAMES = 5  # between two words of a phrase
PHRASE_END_BYTES = 2400  # of silence, behind a phrase that is over
TAIL_BYTES = 800  # of which so much belongs to the result


@dataclass
class Behaviour:
    """What one stream does instead of its best. `after` bytes of audio it ends, as `code` says; None is a clean end."""

    after: int | None = None
    code: grpc.StatusCode | None = None
    message: str = "no reason"
    in_band: tuple[int, str] | None = None  # a google.rpc.Status within a response, after the first audio
    mute: bool = False  # takes everything, says nothing, never ends
    only_interims: bool = False  # nothing becomes final, not even at the half-close
    lingers: bool = False  # the last words are final, but the stream does not end
    deaf: bool = False  # reads nothing after the configuration
    times: bool = True  # results say where they end


@dataclass
class Stream:
    config: Any
    hints: list[str]
    peer: str
    audio: bytearray = field(default_factory=bytearray)
    requests: list[int] = field(default_factory=list)  # sizes
    half_closed: bool = False
    over: bool = False


@dataclass
class Spoken:
    """One request for speech."""

    text: str
    ssml: str
    voice: str
    audio: Any
    pronunciations: dict[str, str]
    streamed: bool
    over: bool = False
    cancelled: bool = False


@dataclass
class VoiceBehaviour:
    code: grpc.StatusCode | None = None
    message: str = "no reason"
    mute: bool = False
    after_chunks: int | None = None  # it goes wrong, or falls silent, after so many
    content: bytes | None = None  # what the unary method answers


class Lexicon:
    def __init__(self) -> None:
        self._words: dict[str, int] = {}

    def sound(self, phrase: str) -> Iterator[bytes]:
        """Frames: each word, and a gap between words."""
        for index, word in enumerate(phrase.split()):
            value = self._words.setdefault(word, len(self._words) + FIRST_VALUE)
            assert value < 0xF0
            if index:
                yield from itertools.repeat(QUIET, GAP_FRAMES)
            yield from itertools.repeat(bytes((value,)) * FRAME, WORD_FRAMES)

    def word(self, value: int, size: int) -> str:
        found = next(word for word, known in self._words.items() if known == value)
        return found if size == WORD_BYTES else f"{found}~"


class Ears:
    """Hears one stream's audio as it comes."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._position = 0
        self._words: list[tuple[int, int, int]] = []  # value, begin, end
        self._quiet = 0
        self.began: int | None = None

    def hear(self, audio: bytes) -> Iterator[tuple[str, int]]:
        """Phrases that are over, with where their results end."""
        for value, run in itertools.groupby(audio):
            size = len(list(run))
            begin, self._position = self._position, self._position + size
            if value == 0xFF:
                self._quiet += size
                if self._words and self._quiet >= PHRASE_END_BYTES:
                    yield self.flush()
                continue
            if self._words and self._words[-1][0] == value and self._quiet == 0:
                self._words[-1] = (value, self._words[-1][1], self._position)
            else:
                self.began = begin if not self._words else self.began
                self._words.append((value, begin, self._position))
            self._quiet = 0

    @property
    def text(self) -> str:
        return " ".join(self._lexicon.word(value, end - begin) for value, begin, end in self._words)

    def flush(self) -> tuple[str, int]:
        text, end = self.text, min(self._words[-1][2] + TAIL_BYTES, self._position)
        self._words = []
        self.began = None
        return text, end


class GoogleServer:
    def __init__(self) -> None:
        self.lexicon = Lexicon()
        self.behaviours: deque[Behaviour] = deque()
        self.otherwise = Behaviour()
        self.voice = VoiceBehaviour()
        self.streams: list[Stream] = []
        self.spoken: list[Spoken] = []
        self.address = ""
        self.authorization: list[str] = []
        self._closing = asyncio.Event()

    @property
    def transcripts(self) -> list[str]:
        """What each stream got to hear."""
        heard = []
        for stream in self.streams:
            ears = Ears(self.lexicon)
            phrases = [text for text, _ in ears.hear(bytes(stream.audio))]
            heard.append(" ".join((*phrases, ears.text)).strip())
        return heard

    @property
    def live(self) -> int:
        return sum(not stream.over for stream in self.streams) + sum(not spoken.over for spoken in self.spoken)

    # --- recognition --------------------------------------------------------------------------------------------------

    async def recognize_v1(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        opening = (await anext(requests)).streaming_config
        hints = [phrase for hinted in opening.config.speech_contexts for phrase in hinted.phrases]
        async for response in self._recognize(opening, hints, requests, context, "audio_content", self._v1):
            yield response

    async def recognize_v2(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        opening = await anext(requests)
        sets = opening.streaming_config.config.adaptation.phrase_sets
        hints = [phrase.value for chosen in sets for phrase in chosen.inline_phrase_set.phrases]
        async for response in self._recognize(opening, hints, requests, context, "audio", self._v2):
            yield response

    async def _recognize(
        self, opening: Any, hints: list[str], requests: AsyncIterator[Any], context: Any, name: str, say: Callable[..., Any]
    ) -> AsyncIterator[Any]:
        behaviour = self.behaviours.popleft() if self.behaviours else self.otherwise
        stream = Stream(opening, hints, context.peer())
        self.streams.append(stream)
        self.authorization += [value for key, value in context.invocation_metadata() if key == "authorization"]
        try:
            async for response in self._listen(stream, behaviour, requests, context, name, say):
                yield response
        finally:
            stream.over = True

    async def _listen(
        self, stream: Stream, behaviour: Behaviour, requests: AsyncIterator[Any], context: Any, name: str, say: Callable[..., Any]
    ) -> AsyncIterator[Any]:
        if behaviour.after == 0:
            if behaviour.code is not None:
                await context.abort(behaviour.code, behaviour.message)
            return
        if behaviour.deaf:
            await self._closing.wait()
        ears = Ears(self.lexicon)
        told = ""
        began: int | None = None
        async for request in requests:
            audio = getattr(request, name)
            assert 0 < len(audio) <= 15_000
            if behaviour.after is not None:
                audio = audio[: behaviour.after - len(stream.audio)]
            stream.audio += audio
            stream.requests.append(len(audio))
            if behaviour.in_band is not None:
                yield speech_v1.StreamingRecognizeResponse(error={"code": behaviour.in_band[0], "message": behaviour.in_band[1]})
                return
            over = list(ears.hear(audio))
            if not behaviour.mute:
                for text, end in [] if behaviour.only_interims else over:
                    yield say(text, True, end if behaviour.times else None)
                    told = ""
                    yield say(event=3, at=end)
                if ears.began is not None and ears.began != began:
                    yield say(event=2, at=ears.began)
                began = ears.began
                if ears.text and ears.text != told:
                    told = ears.text
                    yield say(told, False, None)
            if behaviour.after is not None and len(stream.audio) >= behaviour.after:
                if behaviour.code is not None:
                    await context.abort(behaviour.code, behaviour.message)
                return
        stream.half_closed = True
        if behaviour.mute:
            await self._closing.wait()
        if ears.text and not behaviour.only_interims:
            text, end = ears.flush()
            yield say(text, True, end if behaviour.times else None)
        if behaviour.lingers or behaviour.only_interims:
            await self._closing.wait()

    @staticmethod
    def _v1(text: str = "", final: bool = False, end: int | None = None, event: int = 0, at: int = 0) -> Any:
        if event:
            return speech_v1.StreamingRecognizeResponse(speech_event_type=event, speech_event_time=_time(at))
        result = {"alternatives": [{"transcript": text, "confidence": 0.9 if final else 0.0}], "is_final": final}
        if end is not None:
            result["result_end_time"] = _time(end)
        return speech_v1.StreamingRecognizeResponse(results=[result])

    @staticmethod
    def _v2(text: str = "", final: bool = False, end: int | None = None, event: int = 0, at: int = 0) -> Any:
        if event:
            return speech_v2.StreamingRecognizeResponse(speech_event_type=event, speech_event_offset=_time(at))
        result = {"alternatives": [{"transcript": text, "confidence": 0.9 if final else 0.0}], "is_final": final}
        if end is not None:
            result["result_end_offset"] = _time(end)
        return speech_v2.StreamingRecognizeResponse(results=[result])

    # --- synthesis ----------------------------------------------------------------------------------------------------

    async def synthesize(self, request: Any, context: Any) -> Any:
        spoken = self._note(request.input, request.voice, request.audio_config, request.input.custom_pronunciations, False)
        try:
            await self._go_wrong(context)
            sound = wav(sound_of(request.input.text or request.input.ssml)) if self.voice.content is None else self.voice.content
            return texttospeech_v1.SynthesizeSpeechResponse(audio_content=sound)
        finally:
            spoken.over = True

    async def stream_speech(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        config = (await anext(requests)).streaming_config
        spoken = self._note(None, config.voice, config.streaming_audio_config, config.custom_pronunciations, True)
        try:
            async for request in requests:
                spoken.text += request.input.text
            if self.voice.after_chunks is None:
                await self._go_wrong(context)
            for index, word in enumerate(spoken.text.split()):
                if index == self.voice.after_chunks:
                    await self._go_wrong(context)
                yield texttospeech_v1.StreamingSynthesizeResponse(audio_content=sound_of(word))
        except asyncio.CancelledError:
            spoken.cancelled = True
            raise
        finally:
            spoken.over = True

    async def _go_wrong(self, context: Any) -> None:
        if self.voice.mute:
            await self._closing.wait()
        if self.voice.code is not None:
            await context.abort(self.voice.code, self.voice.message)

    def _note(self, said: Any, voice: Any, audio: Any, pronunciations: Any, streamed: bool) -> Spoken:
        custom = {one.phrase: one.pronunciation for one in pronunciations.pronunciations}
        text, ssml = (said.text, said.ssml) if said is not None else ("", "")
        self.spoken.append(Spoken(text, ssml, voice.name, audio, custom, streamed))
        return self.spoken[-1]

    # --- the server ---------------------------------------------------------------------------------------------------

    def handlers(self) -> tuple[Any, ...]:
        tts = texttospeech_v1
        return (
            _service("google.cloud.speech.v1.Speech", "StreamingRecognize", self.recognize_v1, speech_v1.StreamingRecognizeRequest),
            _service("google.cloud.speech.v2.Speech", "StreamingRecognize", self.recognize_v2, speech_v2.StreamingRecognizeRequest),
            grpc.method_handlers_generic_handler(
                "google.cloud.texttospeech.v1.TextToSpeech",
                {
                    "SynthesizeSpeech": grpc.unary_unary_rpc_method_handler(
                        self.synthesize, tts.SynthesizeSpeechRequest.deserialize, tts.SynthesizeSpeechResponse.serialize
                    ),
                    "StreamingSynthesize": grpc.stream_stream_rpc_method_handler(
                        self.stream_speech, tts.StreamingSynthesizeRequest.deserialize, tts.StreamingSynthesizeResponse.serialize
                    ),
                },
            ),
        )

    def close(self) -> None:
        self._closing.set()


@asynccontextmanager
async def a_google_server(tls: Any = None, *, small_window: bool = False) -> AsyncIterator[GoogleServer]:
    """`tls`: credentials of a server, for one that does not speak in clear text. `small_window`: little fits on the way to it."""
    google = GoogleServer()
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 32_768)]
    server = grpc.aio.server(options=window if small_window else [])
    server.add_generic_rpc_handlers(google.handlers())
    where = "127.0.0.1:0"
    port = server.add_insecure_port(where) if tls is None else server.add_secure_port(where, tls)
    google.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield google
    finally:
        google.close()
        await server.stop(None)


@asynccontextmanager
async def one_loop() -> AsyncIterator[None]:
    """Around all use of gRPC by one event loop: its thread passes on to a loop what concerns it, even if that was closed meanwhile.

    So the loop is not left before the thread has ended, or has nothing more to say.
    """
    yield
    latest = asyncio.get_running_loop().time() + 3
    while any("_poll_wrapper" in thread.name for thread in threading.enumerate()) and asyncio.get_running_loop().time() < latest:
        gc.collect()
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    latest = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < latest, what
        await asyncio.sleep(0.002)


def sound_of(text: str) -> bytes:
    """Some mu-law for each word, that none of it need be silence, and whose length is no whole number of frames."""
    return b"".join(bytes((1 + len(word) % 100,)) * 250 for word in text.split())


def wav(sound: bytes, encoding: int = 7, rate: int = 8000, channels: int = 1, *, size: int | None = None, extra: bytes = b"") -> bytes:
    header = struct.pack("<HHIIHH", encoding, channels, rate, rate, 1, 8)
    chunks = struct.pack("<4sI", b"fmt ", len(header)) + header + extra
    chunks += struct.pack("<4sI", b"data", len(sound) if size is None else size) + sound
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def _service(service: str, method: str, handle: Any, request: Any) -> Any:
    respond = grpc.stream_stream_rpc_method_handler(handle, request.deserialize, lambda response: type(response).serialize(response))
    return grpc.method_handlers_generic_handler(service, {method: respond})


def _time(position: int) -> timedelta:
    return timedelta(seconds=position / 8000)
