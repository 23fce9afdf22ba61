"""Speech that cannot be had, and why: what a media server starts with when its provider's set-up is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from core.errors import ProviderError
from core.speech.base import Recognition


class Unavailable:
    """A recogniser and a synthesizer whose every use says the same. Calls run in standard mode meanwhile."""

    def __init__(self, why: str, provider: str) -> None:
        self._why = why
        self._provider = provider

    async def open(self, hints: Sequence[str]) -> Recognition:  # noqa: ARG002
        raise self._error()

    async def speak(self, text: str) -> AsyncIterator[bytes]:  # noqa: ARG002
        raise self._error()
        yield b""

    async def close(self) -> None:
        """There is nothing to close."""

    def _error(self) -> ProviderError:
        return ProviderError(self._why, provider=self._provider, retryable=False)


class UnavailableRecognizer(Unavailable):
    async def warm_up(self, hint_sets: Sequence[Sequence[str]]) -> None:  # noqa: ARG002
        raise self._error()


class UnavailableSynthesizer(Unavailable):
    def warm_up(self) -> None:
        raise self._error()
