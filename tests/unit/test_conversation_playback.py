"""Pacing, marks, hearing and the answering-machine guard, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from core.conversation.hearing import BARGE_IN_FRAMES, BargeIn, Hearing, HearingEvent, Machine, SpeechEvent, SpeechStarted, Utterance
from core.conversation.machine_guard import BEGINS_WITHIN_MS, TALKS_ON_MS, MachineGuard
from core.conversation.pacer import Pacer
from core.conversation.playback import Playback
from core.conversation.sentences import sentences
from core.errors import ProviderError
from core.speech.base import SILENCE, Transcript

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Line:
    """An `Outbound` that keeps what it was given, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes | str]] = []
        self.clears = 0
        self.stalled_since: float | None = None

    def media(self, frame: bytes) -> None:
        self.sent.append((asyncio.get_running_loop().time(), frame))

    def mark(self, name: str) -> None:
        self.sent.append((asyncio.get_running_loop().time(), name))

    def clear(self) -> None:
        self.clears += 1

    def close(self) -> None: ...

    def abort(self) -> None: ...

    @property
    def frames(self) -> list[bytes]:
        return [item for _, item in self.sent if isinstance(item, bytes)]

    @property
    def marks(self) -> list[str]:
        return [item for _, item in self.sent if isinstance(item, str)]


class Voice:
    """100 ms a sentence; `says` may be told to fail."""

    def __init__(self, *errors: ProviderError | Exception | None) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        self.asked.append(text)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        yield b"a" * 500
        yield b"b" * 300

    async def close(self) -> None: ...


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "not in time"
        await asyncio.sleep(0.005)


class TestPacer:
    async def test_audio_runs_200_ms_ahead_and_then_in_step(self) -> None:
        line = Line()
        track = Pacer().open(line)
        began = asyncio.get_running_loop().time()
        track.play(b"x" * 160 * 25)
        assert len(line.frames) == 10
        track.mark("end")
        await until(lambda: line.marks == ["end"])
        late = [at - began - max(0.0, index - 10) * 0.02 for index, (at, item) in enumerate(line.sent) if isinstance(item, bytes)]
        assert len(late) == 25
        assert min(late) > -0.03
        assert max(late) < 0.1

    async def test_frames_are_whole_and_the_last_is_filled_with_silence(self) -> None:
        line = Line()
        track = Pacer().open(line)
        track.play(b"x" * 100)
        assert line.frames == []
        track.play(b"y" * 100)
        track.mark("m")
        assert line.frames == [b"x" * 100 + b"y" * 60, b"y" * 40 + bytes((SILENCE,)) * 120]
        assert line.marks == ["m"]

    async def test_clear_drops_what_was_not_sent_and_names_its_marks(self) -> None:
        line = Line()
        track = Pacer().open(line)
        track.play(b"x" * 160 * 5)
        track.mark("sent")
        track.play(b"x" * 160 * 30)
        track.mark("not sent")
        assert track.clear() == ["not sent"]
        assert line.clears == 1
        before = len(line.sent)
        await asyncio.sleep(0.1)
        assert len(line.sent) == before
        # The next audio starts at once: nothing of the old lead is left.
        track.play(b"z" * 160 * 20)
        assert len(line.frames) == 5 + 5 + 10

    async def test_a_line_that_takes_nothing_is_sent_nothing(self) -> None:
        line = Line()
        line.stalled_since = 1.0
        track = Pacer().open(line)
        track.play(b"x" * 1600)
        await asyncio.sleep(0.05)
        assert line.sent == []
        line.stalled_since = None
        await until(lambda: len(line.frames) == 10)

    async def test_one_timer_serves_all_calls_and_rests_when_nothing_waits(self) -> None:
        pacer, lines = Pacer(), [Line() for _ in range(20)]
        tracks = [pacer.open(line) for line in lines]
        for track in tracks:
            track.play(b"x" * 160 * 20)
        await until(lambda: all(len(line.frames) == 20 for line in lines))
        await asyncio.sleep(0.05)
        assert pacer._timer is None
        assert pacer.take_worst_lateness_ms() < 200
        assert pacer.take_worst_lateness_ms() == 0

    async def test_a_closed_track_is_silent(self) -> None:
        line = Line()
        track = Pacer().open(line)
        track.play(b"x" * 160 * 20)
        track.close()
        track.play(b"x" * 160)
        track.mark("m")
        await asyncio.sleep(0.05)
        assert len(line.frames) == 10
        assert line.marks == []


class Speaker:
    def __init__(self, *errors: ProviderError | Exception | None) -> None:
        self.line, self.voice, self.done = Line(), Voice(*errors), 0
        self.playback = Playback(Pacer().open(self.line), self.voice, self._on_done)

    def _on_done(self) -> None:
        self.done += 1


class TestPlayback:
    async def test_a_reply_is_over_when_its_last_mark_is_back(self) -> None:
        speaker = Speaker()
        speaker.playback.say(["One.", "Two."])
        await until(lambda: len(speaker.line.marks) == 2)
        for heard, name in enumerate(speaker.line.marks, start=1):
            assert speaker.playback.speaking
            speaker.playback.on_mark(name)
            assert speaker.playback.heard == heard
        assert (speaker.done, speaker.playback.speaking, speaker.playback.interrupted) == (1, False, False)

    async def test_marks_that_clear_returns_are_not_heard(self) -> None:
        speaker = Speaker()
        speaker.playback.say(["One.", "Two.", "Three."])
        await until(lambda: len(speaker.line.marks) >= 2)
        first, second = speaker.line.marks[:2]
        speaker.playback.on_mark(first)
        speaker.playback.cut()
        assert (speaker.line.clears, speaker.playback.interrupted) == (1, True)
        speaker.playback.on_mark(second)
        assert (speaker.playback.heard, speaker.done) == (1, 0)
        # Nor do they end the next reply.
        speaker.playback.say(["Four."])
        speaker.playback.on_mark(second)
        await until(lambda: len(speaker.line.marks) >= 3)
        assert speaker.done == 0
        speaker.playback.on_mark(speaker.line.marks[-1])
        assert speaker.done == 1

    async def test_unknown_and_repeated_marks_change_nothing(self) -> None:
        speaker = Speaker()
        speaker.playback.on_mark("s1")
        speaker.playback.say(["One.", "Two."])
        await until(lambda: len(speaker.line.marks) == 2)
        speaker.playback.on_mark("nonsense")
        speaker.playback.on_mark(speaker.line.marks[0])
        speaker.playback.on_mark(speaker.line.marks[0])
        assert speaker.playback.heard == 1

    async def test_a_voice_that_fails_once_is_asked_again(self) -> None:
        speaker = Speaker(ProviderError("busy", provider="speech", retryable=True))
        speaker.playback.say(["One."])
        await until(lambda: speaker.line.marks != [])
        assert speaker.voice.asked == ["One.", "One."]

    @pytest.mark.parametrize(
        "errors",
        [
            [ProviderError("busy", provider="speech", retryable=True)] * 2,
            [ProviderError("no key", provider="speech", retryable=False)],
            [ValueError("a bug")],
        ],
    )
    async def test_a_voice_that_fails_for_good_ends_the_reply(self, errors: list[Exception]) -> None:
        speaker = Speaker(*errors)
        speaker.playback.say(["One."])
        await until(lambda: speaker.done == 1)
        assert speaker.playback.error is not None
        assert not speaker.playback.speaking

    async def test_a_missing_mark_is_noticed(self) -> None:
        speaker, loop = Speaker(), asyncio.get_running_loop()
        speaker.playback.say(["One."])
        await until(lambda: speaker.line.marks != [])
        assert not speaker.playback.overdue(loop.time() + 5.0)
        assert speaker.playback.overdue(loop.time() + 6.0)
        speaker.playback.on_mark(speaker.line.marks[0])
        assert not speaker.playback.overdue(loop.time() + 6.0)

    async def test_nothing_to_say_is_said_at_once(self) -> None:
        speaker = Speaker()
        speaker.playback.say([])
        await until(lambda: speaker.done == 1)


class Detector:
    """Told what each frame is."""

    def __init__(self) -> None:
        self.voiced = False
        self.event: SpeechEvent | None = None

    def feed(self, frame: bytes) -> SpeechEvent | None:
        event, self.event = self.event, None
        return event


class Beeps:
    def feed(self, frame: bytes) -> bool:
        return frame[0] == 1


class Listener:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed = False

    def feed(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def finish_utterance(self) -> Transcript:
        return Transcript(" some words ", final=True)

    async def close(self) -> None:
        self.closed = True


class Ear:
    def __init__(self, *, guarded: bool = True) -> None:
        self.detector, self.events = Detector(), list[HearingEvent]()
        self.hearing = Hearing(self.detector, Beeps(), MachineGuard() if guarded else None, self.events.append)

    def hear(self, frames: int, *, voiced: bool, event: SpeechEvent | None = None, value: int = 0) -> None:
        self.detector.voiced, self.detector.event = voiced, event
        for _ in range(frames):
            self.hearing.feed(bytes((value,)) * 160)


class TestHearing:
    async def test_only_sustained_speech_barges_in(self) -> None:
        ear = Ear()
        ear.hear(1, voiced=True, event="speech_started")
        ear.hear(BARGE_IN_FRAMES - 5, voiced=True)
        # A cough: the utterance is still open while the patience runs, but nobody is speaking.
        ear.hear(40, voiced=False)
        assert ear.events == [SpeechStarted()]
        ear.hear(BARGE_IN_FRAMES, voiced=True)
        ear.hear(20, voiced=True)
        assert ear.events == [SpeechStarted(), BargeIn()]
        ear.hear(1, voiced=False, event="speech_ended")
        assert isinstance(ear.events[-1], Utterance)
        assert ear.events[-1].voiced_ms == (BARGE_IN_FRAMES - 5 + BARGE_IN_FRAMES + 20) * 20

    async def test_speech_without_an_end_is_ended(self) -> None:
        ear = Ear(guarded=False)
        ear.hear(1, voiced=True, event="speech_started")
        ear.hear(5000, voiced=True)
        ear.hear(1, voiced=False, event="speech_ended")
        assert [type(event) for event in ear.events] == [SpeechStarted, BargeIn, Utterance]

    async def test_what_is_said_before_the_recogniser_is_open_is_not_lost(self) -> None:
        ear, listener = Ear(), Listener()
        ear.hear(3, voiced=True, value=7)
        waiting = asyncio.create_task(ear.hearing.words())
        await asyncio.sleep(0)
        ear.hearing.attach(listener)
        ear.hear(1, voiced=True, value=8)
        assert [frame[0] for frame in listener.frames] == [7, 7, 7, 8]
        assert await waiting == "some words"
        await ear.hearing.close()
        assert listener.closed

    async def test_a_recogniser_that_does_not_answer_is_not_waited_for(self) -> None:
        with pytest.raises(ProviderError):
            await Ear().hearing.words(seconds=0.02)

    async def test_a_machine_talks_on_from_the_start(self) -> None:
        ear = Ear()
        ear.hear(10, voiced=False)
        ear.hear(1, voiced=True, event="speech_started")
        ear.hear(TALKS_ON_MS // 20 + 1, voiced=True)
        assert Machine("machine_start") in ear.events
        assert ear.events.count(Machine("machine_start")) == 1

    async def test_somebody_who_begins_later_or_pauses_is_a_person(self) -> None:
        late = Ear()
        late.hear(BEGINS_WITHIN_MS // 20 + 10, voiced=False)
        late.hear(1, voiced=True, event="speech_started")
        late.hear(TALKS_ON_MS // 20 + 50, voiced=True)
        pausing = Ear()
        for _ in range(3):
            pausing.hear(1, voiced=True, event="speech_started")
            pausing.hear(TALKS_ON_MS // 40, voiced=True)
            pausing.hear(1, voiced=False, event="speech_ended")
        answered = Ear()
        answered.hearing.somebody_is_there()
        answered.hear(1, voiced=True, event="speech_started")
        answered.hear(TALKS_ON_MS // 20 + 50, voiced=True)
        answered.hear(1, voiced=True, value=1)
        for ear in (late, pausing, answered):
            assert not any(isinstance(event, Machine) for event in ear.events)

    async def test_a_beep_is_a_machine(self) -> None:
        ear = Ear()
        ear.hear(1, voiced=False, value=1)
        assert ear.events == [Machine("machine_end_beep")]

    def test_the_words_of_a_machine(self) -> None:
        guard = MachineGuard()
        for text in ("please leave a message after the tone", "I can't come to the phone", "you have reached the voicemail of"):
            assert guard.words(text) == "machine_start"
        for text in ("hello", "i left a message for my son", "yes i am here"):
            assert guard.words(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("Hello Dr. Smith, how are you? Fine.", ["Hello Dr. Smith, how are you?", "Fine."]),
        ("It is 3.5 now. Ask J. Doe.", ["It is 3.5 now.", "Ask J. Doe."]),
        ("At 8 a.m. we call. Yes", ["At 8 a.m. we call.", "Yes"]),
        ("no end", ["no end"]),
        ("  ", []),
        ("", []),
        (". . .", [".", ".", "."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
