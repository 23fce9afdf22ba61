"""A callee on the phone: works through the script of a behaviour, by ear on a media stream or asked by `<Gather>`."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from core.errors import ProviderError
from core.speech.base import FRAME_BYTES, FRAME_MS, SAMPLE_RATE, Synthesizer
from workers.phone_simulator.audio import cough, is_audible, mumble, silence, tone
from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.script import Step

BEEP_HERTZ = 1000
_KEY_SECONDS = 0.2
_QUIET_TICKS = 25  # half a second: longer than the pauses inside a sentence
_LEAVE = Step(hang_up=True, prompted=False)
_SILENT_FRAME = silence(FRAME_BYTES)

Sleep = Callable[[float], Awaitable[None]]
VoiceFactory = Callable[[str, int], Synthesizer]


class HungUpError(Exception):
    """The callee put the phone down."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said or pressed, as audio, too; all empty when nothing came in time."""

    speech: str = ""
    digits: str = ""
    audio: bytes = b""


@dataclass(frozen=True, slots=True)
class Moment:
    """20 ms of a callee: what he sounds like, and what he did. `said` and `heard` tell the ledger."""

    frame: bytes
    digit: str = ""
    said: str = ""
    heard_ms: int = 0
    hangs_up: bool = False


class Voices:
    """Callees' lines as audio, each synthesised once."""

    def __init__(self, factory: VoiceFactory) -> None:
        self._factory = factory
        self._synthesizers: dict[tuple[str, int], Synthesizer] = {}
        self._spoken: dict[tuple[str, int, str], bytes] = {}

    async def speak(self, behaviour: Behaviour) -> dict[str, bytes]:
        """Every line of the behaviour, by its text. Raises ProviderError."""
        lines: dict[str, bytes] = {}
        voice = (behaviour.voice, behaviour.words_per_minute)
        for text in {step.say for step in behaviour.steps if step.say is not None}:
            key = (*voice, text)
            if key not in self._spoken:
                if voice not in self._synthesizers:
                    self._synthesizers[voice] = self._factory(*voice)
                audio = b"".join([chunk async for chunk in self._synthesizers[voice].speak(text)])
                if not audio:
                    raise ProviderError(f"the voice {behaviour.voice} made no sound of a line", provider="speech", retryable=False)
                self._spoken[key] = audio
            lines[text] = self._spoken[key]
        return lines

    async def close(self) -> None:
        for synthesizer in self._synthesizers.values():
            await synthesizer.close()


class Callee:
    """One per call. Keeps the place in the script over several streams and `<Gather>`s.

    `elapsed` tells the seconds since the phone was answered.
    """

    def __init__(self, behaviour: Behaviour, lines: Mapping[str, bytes], elapsed: Callable[[], float]) -> None:
        self._behaviour = behaviour
        self._lines = lines
        self._elapsed = elapsed
        self._next = 0
        self._sound = b""
        self._position = 0
        self._cut_at: int | None = None  # of the sound, in bytes: where the phone is put down
        self._keys: deque[str] = deque()
        self._wait_ticks = 0
        self._dead = False
        self._quiet_ticks = 0  # since we were last heard
        self._loud_ticks = 0  # heard since the callee's own last step
        self._idle_ticks = 0  # since anybody made a sound

    def listen(self, played: bytes) -> Moment:
        """20 ms pass while `played` (possibly nothing) is heard."""
        heard_ms = self._hear(played)
        if self._dead:
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if self._position < len(self._sound):
            self._quiet_ticks = self._loud_ticks = self._idle_ticks = 0
            cut = self._cut_at is not None and self._position >= self._cut_at
            return Moment(self._sound_frame(), heard_ms=heard_ms, hangs_up=cut)
        if self._wait_ticks > 0:
            self._wait_ticks -= 1
            self._idle_ticks = 0
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if self._keys:
            self._wait_ticks = round(_KEY_SECONDS * 1000 / FRAME_MS)
            return Moment(_SILENT_FRAME, digit=self._keys.popleft(), heard_ms=heard_ms)
        if self._idle_ticks * FRAME_MS >= self._behaviour.gives_up_seconds * 1000:
            return Moment(_SILENT_FRAME, heard_ms=heard_ms, hangs_up=True)
        step = self._upcoming()
        if step is None or not self._is_time(step):
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if self._quiet_ticks < _QUIET_TICKS:
            heard_ms = self._loud_ticks * FRAME_MS
        return self._begin(step, heard_ms)

    async def answer_gather(self, timeout: float, inputs: frozenset[str], sleep: Sleep) -> Answer:
        """What is said or pressed within `timeout` seconds, measured by `sleep`. Raises HungUpError."""
        left = timeout
        while True:
            step = self._upcoming()
            # What was meant to interrupt a prompt that is over is done at once.
            wait = 0.0 if step is None else max(0.0, step.at - self._elapsed()) if step.at is not None else self._pause_before(step)
            if self._dead or step is None or wait > left:
                await sleep(left)
                return Answer()
            self._next += 1
            await sleep(wait)
            left -= wait
            answer, took = await self._answer_with(step, inputs, left, sleep)
            if answer is not None:
                return answer
            left -= took
            if left <= 0:
                return Answer()

    async def during_prompt(self, seconds: float, inputs: frozenset[str], sleep: Sleep) -> Answer | None:
        """What interrupts a prompt of `seconds`, or None when it was played to its end. Raises HungUpError."""
        step = self._upcoming()
        if self._dead or step is None or not step.is_timed:
            await sleep(seconds)
            return None
        moment = step.interrupts_after_seconds
        wait = moment if moment is not None else max(0.0, (step.at or 0.0) - self._elapsed())
        kept = step.hang_up or step.goes_dead or (step.dtmf and "dtmf" in inputs) or (step.say and "speech" in inputs)
        if wait > seconds or not kept:
            await sleep(seconds)
            return None
        self._next += 1
        await sleep(wait)
        answer, _ = await self._answer_with(step, inputs, seconds, sleep)
        return answer

    async def leave_message(self, timeout: float, longest: float, finish_on: str, sleep: Sleep) -> Answer:
        """What is said to a machine until `timeout` seconds of quiet, `longest` in all, or a key of `finish_on`. Raises HungUpError."""
        audio = b""
        words: list[str] = []
        while (left := longest - len(audio) / SAMPLE_RATE) > 0:
            answer = await self.answer_gather(min(timeout, left), frozenset({"dtmf", "speech"}), sleep)
            if answer.speech:
                words.append(answer.speech)
                audio += answer.audio
            elif not answer.digits or any(key in finish_on for key in answer.digits):
                return Answer(" ".join(words), answer.digits, audio)
        return Answer(" ".join(words), "", audio[: round(longest * SAMPLE_RATE)])

    async def _answer_with(self, step: Step, inputs: frozenset[str], left: float, sleep: Sleep) -> tuple[Answer | None, float]:
        """Do the step where no audio flows: what was answered by it, if anything, and how many seconds it took."""
        seconds = self._length(step)
        if step.hang_up:
            raise HungUpError
        if step.goes_dead:
            self._dead = True
            await sleep(left)
            return Answer(), left
        if step.hangs_up_at is not None:
            await sleep(step.hangs_up_at)
            raise HungUpError
        await sleep(min(seconds, left) if step.silence is not None else seconds)
        if step.say is not None and "speech" in inputs:
            return Answer(speech=step.say, audio=self._lines.get(step.say, b"")), seconds
        if step.dtmf is not None and "dtmf" in inputs:
            return Answer(digits=step.dtmf), seconds
        if step.mumble is not None and "speech" in inputs:
            return Answer(), seconds
        # Not asked for, or no answer. A little time passes in any case, so that a repeated step cannot go on for ever.
        return None, max(seconds, 0.1)

    def _length(self, step: Step) -> float:
        if step.say is not None:
            return 60 * len(step.say.split()) / self._behaviour.words_per_minute
        if step.dtmf is not None:
            return _KEY_SECONDS * len(step.dtmf)
        return step.silence or step.tone or step.cough or step.mumble or 0.0

    def _pause_before(self, step: Step) -> float:
        return 0.0 if step.is_timed else step.after

    def _is_time(self, step: Step) -> bool:
        if step.at is not None:
            return self._elapsed() >= step.at
        heard = step.interrupts_after_seconds
        if heard is not None:
            return self._loud_ticks > 0 and self._loud_ticks * FRAME_MS >= heard * 1000
        if step.prompted and not self._loud_ticks:
            return False
        return self._quiet_ticks * FRAME_MS >= step.after * 1000

    def _hear(self, played: bytes) -> int:
        """Milliseconds of sound that quiet has now followed; 0 at any other time."""
        if is_audible(played):
            self._loud_ticks += 1
            self._quiet_ticks = self._idle_ticks = 0
            return 0
        self._quiet_ticks += 1
        self._idle_ticks += 1
        return self._loud_ticks * FRAME_MS if self._quiet_ticks == _QUIET_TICKS else 0

    def _sound_frame(self) -> bytes:
        frame = self._sound[self._position : self._position + FRAME_BYTES]
        self._position += FRAME_BYTES
        return frame + silence(FRAME_BYTES - len(frame)) if len(frame) < FRAME_BYTES else frame

    def _begin(self, step: Step, heard_ms: int) -> Moment:
        self._next += 1
        self._quiet_ticks = self._loud_ticks = self._idle_ticks = 0
        if step.hang_up:
            return Moment(_SILENT_FRAME, heard_ms=heard_ms, hangs_up=True)
        if step.goes_dead:
            self._dead = True
            return Moment(_SILENT_FRAME, said="(the line is dead)", heard_ms=heard_ms)
        if step.silence is not None:
            self._wait_ticks = round(step.silence * 1000 / FRAME_MS)
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if step.dtmf is not None:
            self._keys.extend(step.dtmf)
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        self._position = 0
        self._sound, said = self._sound_of(step)
        self._cut_at = None if step.hangs_up_at is None else round(step.hangs_up_at * SAMPLE_RATE)
        return Moment(self._sound_frame(), said=said, heard_ms=heard_ms)

    def _sound_of(self, step: Step) -> tuple[bytes, str]:
        if step.tone is not None:
            return tone(BEEP_HERTZ, step.tone), f"(tone of {step.tone:g} s)"
        if step.cough is not None:
            return cough(step.cough), f"(coughs for {step.cough:g} s)"
        if step.mumble is not None:
            return mumble(step.mumble), f"(mumbles for {step.mumble:g} s)"
        assert step.say is not None
        return self._lines.get(step.say, b""), step.say

    def _upcoming(self) -> Step | None:
        steps = self._behaviour.steps
        if self._next < len(steps):
            return steps[self._next]
        if self._behaviour.then == "repeat_last":
            return steps[-1]
        return _LEAVE if self._behaviour.then == "hang_up" else None
