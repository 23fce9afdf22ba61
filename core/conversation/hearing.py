"""What comes from the contact, frame by frame: when somebody speaks, when they have finished, and who it may be.

All of it runs inside the transport's callback, so nothing here waits: the recogniser only takes frames, and what was
found goes to the session as an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from core.conversation.machine_guard import MachineGuard
from core.errors import ProviderError
from core.speech.base import FRAME_MS, Recognition

SpeechEvent = Literal["speech_started", "speech_ended"]

# A cough or an "mhm" is shorter; somebody who wants the floor talks on.
BARGE_IN_FRAMES = 400 // FRAME_MS
# Somebody who has been talking for so long is a television, or deserves an answer.
LONGEST_UTTERANCE_FRAMES = 90_000 // FRAME_MS
# Frames kept while the recogniser is still being opened.
BACKLOG_FRAMES = 15_000 // FRAME_MS
FINISH_SECONDS = 5.0


class TurnDetector(Protocol):
    """Fed with 160-byte frames; `speech_ended` comes once the contact has been quiet for the plan's patience."""

    @property
    def voiced(self) -> bool:
        """Was the last frame speech?"""
        ...

    def feed(self, frame: bytes) -> SpeechEvent | None: ...


class BeepDetector(Protocol):
    def feed(self, frame: bytes) -> bool:
        """True once, when the tone of an answering machine was heard."""
        ...


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    pass


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Sustained speech while we speak."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The contact has finished. `ended_at` is the loop time of this finding: the patience has already passed."""

    voiced_ms: int
    ended_at: float


@dataclass(frozen=True, slots=True)
class Machine:
    answered_by: str


@dataclass(frozen=True, slots=True)
class Beep:
    pass


HearingEvent = SpeechStarted | BargeIn | Utterance | Machine | Beep


class Hearing:
    """`on_event` is called from `feed`, within the frame that decided it."""

    def __init__(
        self, detector: TurnDetector, beeps: BeepDetector, guard: MachineGuard | None, on_event: Callable[[HearingEvent], None]
    ) -> None:
        self._detector = detector
        self._beeps: BeepDetector | None = beeps
        self._guard = guard
        self._emit = on_event
        self._loop = asyncio.get_running_loop()
        self._recognition: Recognition | None = None
        self._attached = asyncio.Event()
        self._backlog: list[bytes] = []
        self._sustained = 0
        self._utterance_frames = 0
        self._voiced_frames = 0
        self._barged_in = False
        self.in_speech = False
        self.unread = False  # something was said whose words nobody has asked for yet
        self.frames = 0

    def attach(self, recognition: Recognition) -> None:
        """The recogniser is open: it gets what was said meanwhile, too."""
        self._recognition = recognition
        for frame in self._backlog:
            recognition.feed(frame)
        self._backlog.clear()
        self._attached.set()

    def feed(self, frame: bytes) -> None:
        self.frames += 1
        if self._recognition is not None:
            self._recognition.feed(frame)
        elif len(self._backlog) < BACKLOG_FRAMES:
            self._backlog.append(frame)
        event = self._detector.feed(frame)
        voiced = self._detector.voiced
        # Leaky, so that the gaps between words do not count as an end, nor a crackle as a beginning.
        self._sustained = min(self._sustained + 1, BARGE_IN_FRAMES) if voiced else max(self._sustained - 1, 0)
        if event == "speech_started":
            self._begin()
        elif self.in_speech:
            self._go_on(event, voiced)
        if self._beeps is not None:
            self._watch_for_machine(frame)

    def _begin(self) -> None:
        self.in_speech = self.unread = True
        self._barged_in = False
        self._utterance_frames = self._voiced_frames = 0
        self._emit(SpeechStarted())

    def _go_on(self, event: SpeechEvent | None, voiced: bool) -> None:
        self._utterance_frames += 1
        self._voiced_frames += voiced
        if event == "speech_ended" or self._utterance_frames >= LONGEST_UTTERANCE_FRAMES:
            self.in_speech = False
            self._emit(Utterance(self._voiced_frames * FRAME_MS, self._loop.time()))
        elif not self._barged_in and self._sustained >= BARGE_IN_FRAMES:
            self._barged_in = True
            self._emit(BargeIn())

    def _watch_for_machine(self, frame: bytes) -> None:
        assert self._beeps is not None
        beep = self._beeps.feed(frame)
        if self._guard is not None:
            answered_by = self._guard.feed(in_speech=self.in_speech, beep=beep)
            if answered_by is not None:
                self._guard = None
                self._emit(Machine(answered_by))
                return
        if beep:
            self._emit(Beep())

    @property
    def sustained(self) -> bool:
        return self.in_speech and self._sustained >= BARGE_IN_FRAMES

    def sounds_like_a_machine(self, text: str) -> str | None:
        return self._guard.words(text) if self._guard is not None else None

    def somebody_is_there(self) -> None:
        """A question was answered: this is a person, and their tones are only tones."""
        self._guard = None
        self._beeps = None

    def machine_found(self) -> None:
        """Only the beep is still of interest."""
        self._guard = None

    async def words(self, seconds: float = FINISH_SECONDS) -> str:
        """What was said since the last call. Raises ProviderError when the recogniser failed or gave no answer in time."""
        try:
            async with asyncio.timeout(seconds):
                while self._recognition is None:
                    await self._attached.wait()
                transcript = await self._recognition.finish_utterance()
        except TimeoutError:
            raise ProviderError(f"no transcript within {seconds:g} s", provider="speech", retryable=True) from None
        self.unread = self.in_speech
        return transcript.text.strip()

    async def close(self) -> None:
        recognition, self._recognition = self._recognition, None
        self._attached.clear()
        if recognition is not None:
            await recognition.close()
