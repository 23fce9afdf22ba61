"""Speech in, by PocketSphinx in child processes: a decoder must never hold the media loop, nor the lock of its process.

It understands what the plan expects: the phrases of `hints`, and these joined together. It is no dictation.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import orjson

from core.errors import ProviderError
from core.logs import get_logger
from core.speech.base import Recognition, Transcript
from core.speech.local import decoder_protocol as protocol
from core.speech.local.language_model import digest, normalised

# Loading the acoustic model takes most of it.
OPEN_SECONDS = 10.0
FINISH_SECONDS = 3.0
# Frames sent to the child together: fewer writes, and decoding works in blocks of this size anyway.
FRAMES_A_WRITE = 5
# Unread by the child: it is stuck, and what comes now would be late.
MAX_UNREAD_BYTES = 1 << 20
# A child that dies at once, again and again, is not restarted in a tight loop.
RESTART_PAUSE_SECONDS = 1.0


class SphinxRecognizer:
    """Up to `processes` children, each serving several calls. `folder` keeps compiled models (default: a temporary one).

    A child costs 60 MB and a second of a start, so there is always one that is free, and no more until it takes a call.
    """

    def __init__(self, processes: int = 2, folder: Path | None = None) -> None:
        missing = [name for name in ("pocketsphinx", "webrtcvad", "numpy") if find_spec(name) is None]
        if missing:
            raise ProviderError(
                f"local speech recognition needs {', '.join(missing)}; install the extra local-speech",
                provider="pocketsphinx",
                retryable=False,
            )
        self._temporary = tempfile.TemporaryDirectory(prefix="orch-speech-") if folder is None else None
        self._folder = folder or Path(self._temporary.name if self._temporary else "")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._children = [_Child(self._folder) for _ in range(processes)]
        self._sessions = itertools.count(1)
        self._hint_sets: Sequence[Sequence[str]] = ()
        self._preparing: asyncio.Task[None] | None = None

    async def warm_up(self, hint_sets: Sequence[Sequence[str]] = ()) -> None:
        """Start a child, and build a decoder in it for every set of hints: the first call must not wait for that."""
        self._hint_sets = hint_sets
        await self._prepare(self._children[0])

    async def open(self, hints: Sequence[str]) -> Recognition:
        """See Recognizer. Raises ProviderError (retryable) when no child answers in time."""
        ready = [child for child in self._children if child.running] or self._children[:1]
        recognition = await self._open_in(min(ready, key=lambda child: len(child.live)), hints)
        self._keep_one_free()
        return recognition

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait({self._preparing})
        await asyncio.gather(*(child.close() for child in self._children))
        if self._temporary is not None:
            self._temporary.cleanup()

    def _keep_one_free(self) -> None:
        asleep = [child for child in self._children if not child.running]
        free = any(child.running and not child.live for child in self._children)
        if asleep and not free and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.create_task(self._prepare_spare(asleep[0]))

    async def _prepare_spare(self, child: _Child) -> None:
        try:
            await self._prepare(child)
        except (ProviderError, OSError) as error:
            # Calls share the children there are; the next one that begins tries this again.
            get_logger().warning("speech.no_spare_decoder", error=str(error))

    async def _prepare(self, child: _Child) -> None:
        await child.ensure_running()
        for hints in self._hint_sets:
            await (await self._open_in(child, hints)).close()

    async def _open_in(self, child: _Child, hints: Sequence[str]) -> SphinxRecognition:
        spelled = normalised(hints)
        if not spelled:
            raise ProviderError("local speech recognition needs hints", provider="pocketsphinx", retryable=False)
        session = next(self._sessions)
        unknown = await child.open(session, spelled)
        if unknown:
            get_logger().warning("speech.words_without_pronunciation", words=unknown, model=digest(spelled))
        return SphinxRecognition(child, session)


class SphinxRecognition:
    """One call's stream, inside one child."""

    def __init__(self, child: _Child, session: int) -> None:
        self._child = child
        self._session = session
        self._frames: list[bytes] = []

    def feed(self, frame: bytes) -> None:
        self._frames.append(frame)
        if len(self._frames) >= FRAMES_A_WRITE:
            self._flush()

    async def finish_utterance(self) -> Transcript:
        self._flush()
        answer = await self._child.finish(self._session)
        if answer is None:
            return Transcript("", True)
        return Transcript(answer.text, True, answer.confidence)

    async def close(self) -> None:
        self._frames.clear()
        self._child.release(self._session)

    def _flush(self) -> None:
        if self._frames:
            self._child.hear(self._session, b"".join(self._frames))
            self._frames.clear()


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    confidence: float | None


@dataclass(slots=True)
class _Live:
    opened: asyncio.Future[list[str]]
    asked: dict[int, asyncio.Future[_Answer | None]] = field(default_factory=dict)


class _Child:
    """A decoder process, started when first needed and again when it has died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._requests = itertools.count(1)
        self._died_at = float("-inf")
        self._closing = False
        self._log = get_logger()
        self.live: dict[int, _Live] = {}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ensure_running(self) -> None:
        async with self._starting:
            if self.running:
                return
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._died_at + RESTART_PAUSE_SECONDS - loop.time()))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "core.speech.local.decoder_process",
                str(self._folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            self._reading = asyncio.create_task(self._read(self._process))

    async def open(self, session: int, hints: Sequence[str]) -> list[str]:
        """Words of the hints that cannot be understood. Raises ProviderError."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self.ensure_running()
                live = self.live[session] = _Live(asyncio.get_running_loop().create_future())
                self._send(protocol.message(protocol.OPEN, session, "\n".join(hints).encode()))
                return await live.opened
        except (TimeoutError, OSError) as error:
            self.release(session)
            raise ProviderError("no local speech decoder is free", provider="pocketsphinx", retryable=True) from error

    def hear(self, session: int, audio: bytes) -> None:
        if session in self.live:
            self._send(protocol.message(protocol.AUDIO, session, audio))

    async def finish(self, session: int) -> _Answer | None:
        """The words since the last call; None when the child is too slow. Raises ProviderError when it died: open again."""
        live = self.live.get(session)
        if live is None:
            raise _died()
        request = next(self._requests)
        answer = live.asked[request] = asyncio.get_running_loop().create_future()
        self._send(protocol.message(protocol.FINISH, session, protocol.request_number(request)))
        try:
            return await asyncio.wait_for(answer, FINISH_SECONDS)
        except TimeoutError:
            self._log.warning("speech.recognizer_late", seconds=FINISH_SECONDS)
            return None
        finally:
            live.asked.pop(request, None)

    def release(self, session: int) -> None:
        if self.live.pop(session, None) is not None:
            self._send(protocol.message(protocol.CLOSE, session))

    async def close(self) -> None:
        self._closing = True
        process = self._process
        if process is None or process.stdin is None:
            return
        # The child ends with its input.
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 2.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    def _send(self, message: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        if process.stdin.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._log.error("speech.decoder_stuck", pid=process.pid)
            process.kill()
            return
        process.stdin.write(message)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._take(orjson.loads(line))
        code = await process.wait()
        self._died_at = asyncio.get_running_loop().time()
        if not self._closing:
            self._log.error("speech.decoder_died", pid=process.pid, code=code, calls=len(self.live))
        # What these calls said in this moment is lost. They are told when they ask for it, and open again.
        orphans, self.live = self.live, {}
        for live in orphans.values():
            if not live.opened.done():
                live.opened.set_exception(OSError("the decoder process died"))
            for answer in live.asked.values():
                if not answer.done():
                    answer.set_exception(_died())

    def _take(self, answer: dict[str, object]) -> None:
        live = self.live.get(int(str(answer["session"])))
        if live is None:
            return
        if "opened" in answer:
            if not live.opened.done():
                words = answer["opened"]
                live.opened.set_result([str(word) for word in words] if isinstance(words, list) else [])
            return
        asked = live.asked.get(int(str(answer["request"])))
        if asked is not None and not asked.done():
            confidence = answer["confidence"]
            asked.set_result(_Answer(str(answer["text"]), float(confidence) if isinstance(confidence, (int, float)) else None))


def _died() -> ProviderError:
    return ProviderError("the local decoder of this call died", provider="pocketsphinx", retryable=True)
