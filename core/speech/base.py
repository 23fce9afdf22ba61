"""Speech in and out. Audio is 8 kHz mono mu-law throughout, one byte a sample, as the phone network carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

SAMPLE_RATE = 8000
FRAME_MS = 20
FRAME_BYTES = SAMPLE_RATE * FRAME_MS // 1000
SILENCE = 0xFF  # mu-law of a zero sample


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard. `final` says that the words will not change; interim ones may."""

    text: str
    final: bool
    confidence: float | None = None


class Recognition(Protocol):
    """One live stream of a contact's speech, fed from the media loop: no method may block it."""

    def feed(self, frame: bytes) -> None:
        """Hand over one 20 ms frame (160 bytes), silence included."""
        ...

    async def finish_utterance(self) -> Transcript:
        """The words since the last call of this method. Text is empty when nothing was understood."""
        ...

    async def close(self) -> None: ...


class Recognizer(Protocol):
    async def warm_up(self, hint_sets: Sequence[Sequence[str]]) -> None:
        """Build what the first call would otherwise wait for: once, before calls come. Raises ProviderError."""
        ...

    async def open(self, hints: Sequence[str]) -> Recognition:
        """Start listening. `hints` are the phrases the plan expects. Raises ProviderError when no engine is free."""
        ...

    async def close(self) -> None: ...


class Synthesizer(Protocol):
    def warm_up(self) -> None:
        """Load the engine now. Blocks; raises ProviderError."""
        ...

    def speak(self, text: str) -> AsyncIterator[bytes]:
        """The sentence as chunks of mu-law, any length. Raises ProviderError."""
        ...

    async def close(self) -> None: ...
