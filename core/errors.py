"""The errors orch raises on purpose. Each one's text is the line a person reads, so it says what to do next."""

from __future__ import annotations


class OrchError(Exception):
    """Root of every error that is an answer rather than a bug."""


class SettingsError(OrchError):
    """A setting is wrong or missing; the text names the setting, its value and what is allowed."""


class InvalidInput(OrchError):
    """A value given by a person or a file cannot be accepted; the text says which one, and why."""


class NotFound(OrchError):
    """A named thing does not exist; the text lists what does, or the nearest match."""


class Conflict(OrchError):
    """The request is well formed but the present state forbids it."""


class NotRunning(OrchError):
    """The daemon, or the worker that would have to act, is not running."""


class FenceLost(OrchError):
    """Another owner holds this run now: whatever we were about to write must not be written."""


class ProviderError(OrchError):
    """A vendor's service failed. Whether it may be tried again is decided once, where the status code is known.

    `retryable` says whether the same request may be sent again; `code` is the vendor's own code, as text.
    """

    def __init__(self, message: str, *, provider: str, retryable: bool, code: str = "") -> None:
        super().__init__(message)
        self.provider = provider
        self.retryable = retryable
        self.code = code
