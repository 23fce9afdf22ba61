"""A callee on the phone: works through the script of a behaviour, by ear on a media stream or asked by `<Gather>`."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from core.errors import ProviderError
from core.speech.base import FRAME_BYTES, FRAME_MS, Synthesizer
from workers.phone_simulator.audio import is_audible, silence, tone
from workers.phone_simulator.behaviours import Behaviour, Step

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
    """What `<Gather>` got; both empty when nothing came in time."""

    speech: str = ""
    digits: str = ""


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
    """One per call. Keeps the place in the script over several streams and `<Gather>`s."""

    def __init__(self, behaviour: Behaviour, lines: Mapping[str, bytes]) -> None:
        self._behaviour = behaviour
        self._lines = lines
        self._next = 0
        self._sound = b""
        self._position = 0
        self._keys: deque[str] = deque()
        self._wait_ticks = 0
        self._quiet_ticks = 0
        self._loud_ticks = 0  # heard since the callee's own last step
        self._idle_ticks = 0  # since anybody made a sound

    def listen(self, played: bytes) -> Moment:
        """20 ms pass while `played` (possibly nothing) is heard."""
        heard_ms = self._hear(played)
        if self._position < len(self._sound):
            self._quiet_ticks = self._loud_ticks = self._idle_ticks = 0
            return Moment(self._sound_frame(), heard_ms=heard_ms)
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
        if step is None or (step.prompted and not self._loud_ticks) or self._quiet_ticks * FRAME_MS < step.after * 1000:
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if self._quiet_ticks < _QUIET_TICKS:
            heard_ms = self._loud_ticks * FRAME_MS
        return self._begin(step, heard_ms)

    async def answer_gather(self, timeout: float, inputs: frozenset[str], sleep: Sleep) -> Answer:
        """What is said or pressed within `timeout` seconds, measured by `sleep`. Raises HungUpError."""
        left = timeout
        while True:
            step = self._upcoming()
            if step is None or step.after > left:
                await sleep(left)
                return Answer()
            self._next += 1
            if step.silence is not None:
                await sleep(min(left, step.silence))
                left -= step.silence
                if left <= 0:
                    return Answer()
                continue
            await sleep(step.after)
            left -= step.after
            if step.hang_up:
                raise HungUpError
            if step.say is not None and "speech" in inputs:
                await sleep(60 * len(step.say.split()) / self._behaviour.words_per_minute)
                return Answer(speech=step.say)
            if step.dtmf is not None and "dtmf" in inputs:
                await sleep(_KEY_SECONDS * len(step.dtmf))
                return Answer(digits=step.dtmf)

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
        if step.silence is not None:
            self._wait_ticks = round(step.silence * 1000 / FRAME_MS)
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        if step.dtmf is not None:
            self._keys.extend(step.dtmf)
            return Moment(_SILENT_FRAME, heard_ms=heard_ms)
        self._position = 0
        if step.tone is not None:
            self._sound = tone(BEEP_HERTZ, step.tone)
            return Moment(self._sound_frame(), said=f"(tone of {step.tone:g} s)", heard_ms=heard_ms)
        assert step.say is not None
        self._sound = self._lines.get(step.say, b"")
        return Moment(self._sound_frame(), said=step.say, heard_ms=heard_ms)

    def _upcoming(self) -> Step | None:
        steps = self._behaviour.steps
        if self._next < len(steps):
            return steps[self._next]
        if self._behaviour.then == "repeat_last":
            return steps[-1]
        return _LEAVE if self._behaviour.then == "hang_up" else None
