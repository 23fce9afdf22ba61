"""Speech out, by eSpeak NG through ctypes: local, offline, real sound.

The engine is one per process and keeps its state in globals, so all voices share one thread. It speaks 22050 Hz;
a real resampler brings that to the telephone's 8000 Hz.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from core.errors import ProviderError
from core.speech import mulaw
from core.speech.base import SAMPLE_RATE

# espeak-ng/speak_lib.h
_AUDIO_OUTPUT_RETRIEVAL = 1
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_PHONEMES = 0x100  # [[...]] in the text are phonemes
_RATE = 1
_BUFFER_MS = 40
_CHARACTERS = 2000  # of one utterance; a plan's sentence is far shorter

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
Sink = Callable[[bytes], bool]


class _Engine:
    """The process's one eSpeak NG. Raises ProviderError when it cannot be had."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
            import soxr

            library = ctypes.CDLL(espeakng_loader.get_library_path())
        except (ImportError, OSError) as error:
            raise ProviderError(
                "the local voice is not installed; install the extra local-speech", provider="espeak-ng", retryable=False
            ) from error
        self._soxr: Any = soxr
        self._library = library
        self.rate = library.espeak_Initialize(
            _AUDIO_OUTPUT_RETRIEVAL, _BUFFER_MS, str(espeakng_loader.get_data_path()).encode(), _INITIALIZE_DONT_EXIT
        )
        if self.rate <= 0:
            raise ProviderError("eSpeak NG does not start", provider="espeak-ng", retryable=False)
        self._sink: Sink | None = None
        self._resampler: Any = None
        # ctypes keeps no reference of its own: a collected callback would crash the process.
        self._callback = _Callback(self._on_samples)
        library.espeak_SetSynthCallback(self._callback)
        self._lock = threading.Lock()

    def speak(self, text: str, voice: str, words_per_minute: int, sink: Sink) -> None:
        """Feed `sink` with mu-law until the text is spoken or it returns False. Blocks."""
        with self._lock:
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ProviderError(f"eSpeak NG has no voice {voice!r}", provider="espeak-ng", retryable=False)
            self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
            self._resampler = self._soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="int16")
            self._sink = sink
            raw = text[:_CHARACTERS].encode()
            try:
                status = self._library.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, 0, 0, _CHARS_UTF8 | _PHONEMES, None, None)
                self._library.espeak_Synchronize()
                self._pass_on(b"", last=True)
            finally:
                self._sink = self._resampler = None
        if status != 0:
            raise ProviderError(f"eSpeak NG failed with status {status}", provider="espeak-ng", retryable=True)

    def _on_samples(self, samples: Any, count: int, _events: Any) -> int:
        if not samples or count <= 0:
            return 0
        return 0 if self._pass_on(ctypes.string_at(samples, count * 2), last=False) else 1

    def _pass_on(self, linear: bytes, *, last: bool) -> bool:
        import numpy

        if self._sink is None:
            return False
        chunk = self._resampler.resample_chunk(numpy.frombuffer(linear, dtype=numpy.int16), last=last)
        return self._sink(mulaw.encode(chunk.tobytes())) if len(chunk) else True


@cache
def _engine() -> _Engine:
    return _Engine()


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="espeak")


class EspeakSynthesizer:
    """`voice` as eSpeak names it, such as en-us or en-us+f2. Plain text: markup in it is read out, except phonemes in [[...]]."""

    def __init__(self, voice: str = "en-us", words_per_minute: int = 165) -> None:
        self._voice = voice
        self._words_per_minute = words_per_minute

    def warm_up(self) -> None:
        """Load the engine now. Raises ProviderError."""
        self.synthesize("ready")

    def synthesize(self, text: str) -> bytes:
        """The whole text as mu-law. Blocks; raises ProviderError."""
        chunks: list[bytes] = []

        def keep(chunk: bytes) -> bool:
            chunks.append(chunk)
            return True

        _engine().speak(text, self._voice, self._words_per_minute, keep)
        return b"".join(chunks)

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        """See Synthesizer. Closing the iterator stops the engine within one chunk."""
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        stopped = threading.Event()

        def hand_over(chunk: bytes | None) -> bool:
            if not loop.is_closed():
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return not stopped.is_set()

        def work() -> None:
            try:
                if not stopped.is_set():
                    _engine().speak(text, self._voice, self._words_per_minute, hand_over)
            finally:
                hand_over(None)

        spoken = loop.run_in_executor(_thread(), work)
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            await spoken
        finally:
            stopped.set()

    async def close(self) -> None:
        """Nothing is held for one voice; the engine stays for the others."""
