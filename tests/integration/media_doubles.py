"""A telephone for tests: a websocket client that speaks Twilio's Media Streams, in real time, against a real media server.

Speech is scripted: each thing somebody says is a run of frames holding one byte value, and a lexicon says what that
value means. So what is recognised is exactly what was sent, and every frame can be told by who said it and when.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core.bootstrap import MediaParts
from core.clock import SystemClock
from core.conversation.hearing import SpeechEvent
from core.judge.rules import RulesJudge
from core.plans.library import PlanLibrary
from core.recordings.vault import Vault
from core.settings import GROUPS, Settings
from core.speech.base import Recognizer, Synthesizer, Transcript
from core.storage.control import ControlStore
from core.storage.conversations import CallContext, ConversationStore, TurnRecord
from core.storage.database import Database, new_id
from core.storage.numbers import is_suppressed
from core.storage.schema import migrate
from core.storage.tables import Attempt, Contact, Conversation, Run, ScheduledCall
from core.telephony import stream_token
from workers.media_server.server import MediaServer

KEY = b"k" * 32
PHONE = "+15551230123"
QUIET = b"\xff" * 160
BEEP = 0x01

PLAN = """\
name: talk
title: A talk
greeting: >
  Hello {name}, this is {caller}, an automated voice.
  I have some short questions for you about this day and about the one before it.
checkpoints:
  - id: mood
    prompt: How are you?
    complete_when: {kind: any_answer}
    follow_up: In a few words?
  - id: taken
    prompt: Did you take it?
    complete_when: {kind: yes_no}
    follow_up: Please tell me with one word if you did take it today, yes or no?
    max_turns: 2
  - id: score
    prompt: Which number?
    complete_when: {kind: number}
    follow_up: A number please?
closing: Thank you {name}. Goodbye.
patience_ms: 200
silence_seconds: 1
silence_prompts: 1
voicemail: leave_message
voicemail_message: This is {caller} for {name}.
"""

TOPIC = "I have some short questions for you about this day and about the one before it."
YES_OR_NO = "Please tell me with one word if you did take it today, yes or no?"
GREETING = ["Hello Shivawn, this is Acme, an automated voice.", TOPIC, "How are you?"]


class Lexicon:
    """Byte values and what they mean, for both sides."""

    def __init__(self) -> None:
        self.meaning: dict[int, str] = {}

    def value_of(self, text: str) -> int:
        value = 0x02 + len(self.meaning)
        assert value < 0xF0
        self.meaning[value] = text
        return value


class ScriptedRecognition:
    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._heard: list[int] = []
        self.closed = False
        self.dead = False  # understands nothing any more, and does not say so

    def feed(self, frame: bytes) -> None:
        assert len(frame) == 160
        if frame[0] != 0xFF and (not self._heard or self._heard[-1] != frame[0]):
            self._heard.append(frame[0])

    async def finish_utterance(self) -> Transcript:
        heard, self._heard = self._heard, []
        if self.dead:
            return Transcript("", final=True)
        return Transcript(" ".join(filter(None, (self._lexicon.meaning.get(value, "") for value in heard))), final=True)

    async def close(self) -> None:
        self.closed = True


class ScriptedRecognizer:
    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self.opened: list[ScriptedRecognition] = []

    async def warm_up(self, hint_sets: Sequence[Sequence[str]]) -> None:
        assert all("stop calling me" in hints for hints in hint_sets)

    async def open(self, hints: Sequence[str]) -> ScriptedRecognition:
        assert "stop calling me" in hints
        self.opened.append(ScriptedRecognition(self._lexicon))
        return self.opened[-1]

    async def close(self) -> None:
        pass


class ScriptedSynthesizer:
    """A sentence lasts 60 ms a word, and its last chunk is no whole frame."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon

    def warm_up(self) -> None:
        pass

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        value = bytes((self._lexicon.value_of(text),))
        for _ in range(len(text.split())):
            await asyncio.sleep(0)
            yield value * 480
        yield value * 100

    async def close(self) -> None:
        pass


class FrameDetector:
    """Whatever is not silence is speech."""

    def __init__(self, patience_ms: int) -> None:
        self._patience = patience_ms // 20
        self._quiet = self._loud = 0
        self._open = False
        self.voiced = False

    def feed(self, frame: bytes) -> SpeechEvent | None:
        self.voiced = frame[0] != 0xFF
        self._loud = self._loud + 1 if self.voiced else 0
        self._quiet = 0 if self.voiced else self._quiet + 1
        if not self._open and self._loud == 2:
            self._open = True
            return "speech_started"
        if self._open and self._quiet == self._patience:
            self._open = False
            return "speech_ended"
        return None


class FrameBeeps:
    def feed(self, frame: bytes) -> bool:
        return frame[0] == BEEP


class Phone:
    """Twilio's end of a stream, and the contact behind it. Plays what it gets in real time, 20 ms by 20 ms."""

    def __init__(self, socket: ClientConnection, lexicon: Lexicon, call_sid: str) -> None:
        self._socket = socket
        self._lexicon = lexicon
        self.call_sid = call_sid
        self.stream_sid = "MZ" + call_sid[2:]
        self._sequence = 0
        self.ticks = 0
        self._speech: deque[bytes] = deque()
        self._buffer = bytearray()
        self._marks: deque[tuple[int, str, str]] = deque()  # where it stands, its name, the sentence before it
        self._received = self._played = 0
        self.heard: list[str] = []  # sentences in the order their sound began
        self.finished: list[str] = []  # sentences whose mark was reached by playing
        self.clears = 0
        self.worst_buffer_ms = 0.0
        self.returns_marks = True
        self.muted = False
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._tick())]

    async def start(self, token: str | None, **changes: Any) -> None:
        await self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": "AC1",
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "customParameters": {} if token is None else {"token": token},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        await self.send({"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": {**start, **changes}})

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        try:
            await self._socket.send(json.dumps(message) if isinstance(message, dict) else message)
        except ConnectionClosed:
            self.closed.set()

    def say(self, text: str, ms: int = 300) -> None:
        self._speech.extend([bytes((self._lexicon.value_of(text),)) * 160] * (ms // 20))

    def play(self, audio: bytes) -> None:
        """Real sound instead of a scripted one."""
        self._speech.extend(audio[start : start + 160].ljust(160, b"\xff") for start in range(0, len(audio), 160))

    def beep(self) -> None:
        self._speech.extend([bytes((BEEP,)) * 160] * 10)

    async def press(self, keys: str) -> None:
        for key in keys:
            await self.send({"event": "dtmf", "streamSid": self.stream_sid, "dtmf": {"track": "inbound_track", "digit": key}})

    async def hang_up(self) -> None:
        await self.send({"event": "stop", "streamSid": self.stream_sid, "stop": {"accountSid": "AC1", "callSid": self.call_sid}})
        await self.disconnect()

    async def disconnect(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._socket.close()

    def cut_the_line(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._socket.transport.abort()

    async def until_finished(self, sentence: str, times: int = 1) -> None:
        await until(lambda: self.finished.count(sentence) >= times, f"{sentence!r} was played", lambda: f"finished {self.finished}")

    async def until_heard(self, sentence: str) -> None:
        await until(lambda: sentence in self.heard, f"{sentence!r} began", lambda: f"heard {self.heard}")

    async def until_closed(self) -> None:
        await until(self.closed.is_set, "the server closed the stream", lambda: f"finished {self.finished}")

    async def _tick(self) -> None:
        began = asyncio.get_running_loop().time()
        while True:
            self.ticks += 1
            if not self.muted:
                payload = base64.b64encode(self._speech.popleft() if self._speech else QUIET).decode()
                media = {"track": "inbound", "chunk": str(self.ticks), "timestamp": str(self.ticks * 20), "payload": payload}
                await self.send({"event": "media", "streamSid": self.stream_sid, "media": media})
            frame = bytes(self._buffer[:160])
            del self._buffer[:160]
            self._played += len(frame)
            while self._marks and self._marks[0][0] <= self._played:
                _, name, sentence = self._marks.popleft()
                self.finished.append(sentence)
                await self._return(name)
            await asyncio.sleep(began + self.ticks * 0.02 - asyncio.get_running_loop().time())

    async def _receive(self) -> None:
        try:
            async for text in self._socket:
                await self._obey(json.loads(text))
        except ConnectionClosed:
            pass
        self.close_code = self._socket.close_code
        self.closed.set()

    async def _obey(self, message: dict[str, Any]) -> None:
        assert message["streamSid"] == self.stream_sid
        match message["event"]:
            case "media":
                assert set(message) == {"event", "streamSid", "media"}
                assert set(message["media"]) == {"payload"}
                audio = base64.b64decode(message["media"]["payload"])
                assert len(audio) == 160
                meaning = self._lexicon.meaning.get(audio[0], "a sound")
                if not self.heard or self.heard[-1] != meaning or not self._buffer:
                    self.heard.append(meaning)
                self._buffer += audio
                self._received += len(audio)
                self.worst_buffer_ms = max(self.worst_buffer_ms, len(self._buffer) / 8)
            case "mark":
                self._marks.append((self._received, message["mark"]["name"], self.heard[-1]))
            case "clear":
                self.clears += 1
                self._buffer.clear()
                self._played = self._received
                for _, name, _ in list(self._marks):
                    await self._return(name)
                self._marks.clear()
            case other:
                raise AssertionError(f"unknown event {other}")

    async def _return(self, name: str) -> None:
        if self.returns_marks:
            await self.send({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}})


async def until(condition: Callable[[], bool], what: str, seen: Callable[[], str] = str, seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; {seen()}")
        await asyncio.sleep(0.01)


@dataclass
class World:
    """A media server with its database and one attempt under way."""

    database: Database
    store: ConversationStore
    parts: MediaParts
    lexicon: Lexicon
    recognizer: ScriptedRecognizer
    folder: Path
    attempt_id: str = ""
    call_sid: str = "CA" + "0" * 31 + "1"
    server: MediaServer = field(init=False)

    def new_server(self) -> MediaServer:
        if isinstance(self.parts.recognizer, ScriptedRecognizer):
            return MediaServer(self.parts, SystemClock(), turn_detector=FrameDetector, beep_detector=FrameBeeps)
        return MediaServer(self.parts, SystemClock())

    async def restart(self, **conversations: object) -> None:
        """Another server over the same folder, with some settings of the live call changed."""
        await self.server.close()
        settings = self.parts.settings
        groups = {name: getattr(settings, name) for name in GROUPS}
        groups["conversations"] = settings.conversations.model_copy(update=conversations)
        self.parts = replace(self.parts, settings=Settings(**groups))
        self.server = self.new_server()
        await self.server.start("127.0.0.1", 0)

    def token(self, epoch: int = 1, seconds: float = 60, call_sid: str | None = None, key: bytes = KEY) -> str:
        return stream_token.issue(key, self.attempt_id, call_sid or self.call_sid, epoch, SystemClock().now() + timedelta(seconds=seconds))

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Phone]:
        async with connect(f"ws://127.0.0.1:{self.server.port}/media", close_timeout=1) as socket:
            phone = Phone(socket, self.lexicon, self.call_sid)
            try:
                yield phone
            finally:
                await phone.disconnect()

    @asynccontextmanager
    async def call(self, epoch: int = 1) -> AsyncIterator[Phone]:
        async with self.stream() as phone:
            await phone.start(self.token(epoch))
            yield phone

    def context(self) -> CallContext:
        context = self.store.context(self.attempt_id)
        assert context is not None
        return context

    def conversation(self) -> Conversation:
        with self.database.read() as session:
            return session.scalars(select(Conversation)).one()

    def turns(self) -> list[TurnRecord]:
        with self.database.read() as session:
            return self.store.turns_in(session, self.conversation().id)

    def answers(self) -> list[str | None]:
        state = self.context().state
        assert state is not None
        return [checkpoint["answer"] for checkpoint in state["checkpoints"]]

    def suppressed(self) -> bool:
        with self.database.read() as session:
            return is_suppressed(session, PHONE)

    async def until_over(self) -> None:
        await until(lambda: self.server.live_calls == 0, "the call is over")

    def spooled(self) -> list[str]:
        return sorted(path.name for path in (self.parts.data_dir / "spool").iterdir() if path.name != "spool.id")


def _rows(database: Database, attempt_id: str) -> None:
    now = SystemClock().now()
    contact, call, run = new_id(), new_id(), new_id()
    with database.write() as session:
        session.add(
            Contact(
                id=contact,
                name="Siobhan",
                phone=PHONE,
                timezone="America/New_York",
                pronunciation="Shivawn",
                simulated=True,
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        session.add(
            ScheduledCall(
                id=call,
                contact_id=contact,
                origin="now",
                origin_key=call,
                opens_at=now,
                plan="talk",
                state="in_progress",
                created_at=now,
                updated_at=now,
            )
        )
        session.add(
            Run(
                id=run,
                workflow="engagement",
                version="1",
                driver="plain",
                queue="calls",
                subject_id=call,
                state="waiting",
                position="dialing",
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        session.add(
            Attempt(
                id=attempt_id,
                scheduled_call_id=call,
                run_id=run,
                contact_id=contact,
                phone=PHONE,
                ordinal=1,
                carrier="simulator",
                mode="enhanced",
                status="ringing",
                owner_boot="b",
                owner_pid=1,
                owner_started="s",
                created_at=now,
                send_before=now,
                dial_until=now + timedelta(minutes=1),
            )
        )


@asynccontextmanager
async def a_world(
    folder: Path, vault: Vault, *, plan: str = PLAN, recognizer: Recognizer | None = None, synthesizer: Synthesizer | None = None
) -> AsyncIterator[World]:
    """A media server that listens on a free port, with everything it needs in `folder`. Speech is scripted by default."""
    (folder / "plans").mkdir()
    (folder / "plans" / "talk.yaml").write_text(plan)
    url = f"sqlite:///{folder / 'orch.db'}"
    migrate(url)
    database = Database(url, vault)
    lexicon = Lexicon()
    scripted = ScriptedRecognizer(lexicon)
    groups = {name: group(_env_file=None) for name, group in GROUPS.items()}
    groups["conversations"] = groups["conversations"].model_copy(update={"caller_name": "Acme", "max_call_seconds": 40})
    groups["providers"] = groups["providers"].model_copy(update={"decoders": 1})
    (folder / "data").mkdir()
    store = ConversationStore(database)
    parts = MediaParts(
        store=store,
        control=ControlStore(database),
        plans=PlanLibrary(folder / "plans"),
        recognizer=recognizer or scripted,
        synthesizer=synthesizer or ScriptedSynthesizer(lexicon),
        judge=RulesJudge(),
        vault=vault,
        stream_key=KEY,
        installation="0123456789abcdef",
        settings=Settings(**groups),
        data_dir=folder / "data",
    )
    world = World(database, store, parts, lexicon, scripted, folder, attempt_id=new_id())
    _rows(database, world.attempt_id)
    world.server = world.new_server()
    await world.server.start("127.0.0.1", 0)
    try:
        yield world
    finally:
        await world.server.close()
        database.close()
