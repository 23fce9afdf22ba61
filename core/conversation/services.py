"""What all live calls of a process share, and the events they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.clock import Clock
from core.conversation.hearing import BeepDetector, HearingEvent, TurnDetector
from core.conversation.orchestrator import Orchestrator
from core.conversation.pacer import Pacer
from core.conversation.turn_log import TurnLog
from core.domain.conversation import EndedBy
from core.speech.base import Recognizer, Synthesizer


class Recorder(Protocol):
    """Takes both sides of a call as they come, 160-byte frames. No method blocks."""

    def contact(self, frame: bytes) -> None: ...

    def orch(self, frame: bytes) -> None:
        """A frame that is on its way to the contact now."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    orchestrator: Orchestrator
    caller_name: str
    recognizer: Recognizer
    synthesizer: Synthesizer
    turn_log: TurnLog
    pacer: Pacer
    clock: Clock
    turn_detector: Callable[[int], TurnDetector]  # patience in ms
    beep_detector: Callable[[], BeepDetector]
    mark_answered_by: Callable[[str, str], None]  # attempt, answered_by; blocks, so it runs on the writer thread
    max_call_seconds: float


@dataclass(frozen=True, slots=True)
class Digit:
    key: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A reply was played to its end, or could not be."""


@dataclass(frozen=True, slots=True)
class Deaf:
    """There is no recogniser for this call."""


Event = HearingEvent | Digit | Spoken | Deaf


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a call is over. `ended_by` None: the conversation stays open, for another stream may resume it.

    `abort`: the other side no longer answers, so nothing more is sent.
    """

    reason: str
    ended_by: EndedBy | None
    abort: bool = False
