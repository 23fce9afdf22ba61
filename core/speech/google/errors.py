"""What Google's SDKs raise, as ProviderError: whether it may be tried again is decided here and nowhere else."""

from __future__ import annotations

import asyncio

import grpc  # type: ignore[import-untyped]
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError, TransportError

from core.errors import ProviderError

SPEECH = "google-speech"
VOICE = "google-tts"
_NAMES = {SPEECH: "Google speech recognition", VOICE: "Google speech synthesis"}

# ABORTED is how v2 ends a stream that is too old or too slow, OUT_OF_RANGE how v1 does: another stream may go on.
_RETRYABLE = frozenset(
    {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"}
)
_ADVICE = {
    "PERMISSION_DENIED": "enable the API in the key's project and give its service account access",
    "UNAUTHENTICATED": "check GOOGLE_APPLICATION_CREDENTIALS: the key may have been deleted",
    "RESOURCE_EXHAUSTED": "the project's quota is used up for now",
    "INVALID_ARGUMENT": "check the voice, model and language in the settings",
    "NOT_FOUND": "check the recognizer and the voice in the settings",
    "FAILED_PRECONDITION": "check that the project has billing",
    "UNIMPLEMENTED": "check the recognizer in the settings",
}
_LONGEST = 200

# gRPC's asyncio client writes this over the status of a stream that ends while something is being sent to it
# (grpc/aio/_call.py, _write): what Google really said is lost, and the next attempt may tell.
_LOST_STATUS = "Internal error from Core"
UNEXPLAINED = "UNKNOWN"


def provider_error(error: BaseException, provider: str) -> ProviderError:
    """`provider` is SPEECH or VOICE. The text is one line, with what to do where somebody can do something."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, TimeoutError):
        return failure(provider, "DEADLINE_EXCEEDED", "no answer in time")
    if isinstance(error, GoogleAuthError):
        code = "UNAVAILABLE" if isinstance(error, TransportError) else "UNAUTHENTICATED"
        return failure(provider, code, str(error.args[0] if error.args else error))
    if not isinstance(error, GoogleAPICallError) or error.grpc_status_code is None:
        return failure(provider, "UNKNOWN", f"{type(error).__name__}: {error}")
    message = str(error.message)
    if message == _LOST_STATUS:
        return failure(provider, UNEXPLAINED, "the stream ended while audio was being sent")
    return failure(provider, _cause(error.grpc_status_code.name, message), message)


def failure(provider: str, code: str, message: str) -> ProviderError:
    """`code` is a gRPC status by name."""
    line = " ".join(message.split())[:_LONGEST] or "no reason given"
    advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
    return ProviderError(f"{_NAMES[provider]} failed ({code}): {line}{advice}", provider=provider, retryable=code in _RETRYABLE, code=code)


def not_by_us(provider: str) -> ProviderError:
    """For a CancelledError out of gRPC: a stream that somebody else cancelled looks like our own task's end. Raises it if it is that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise  # noqa: PLE0704 - called where one is being handled
    return failure(provider, "CANCELLED", "the stream was cancelled")


def refusal(status: tuple[int, str]) -> ProviderError:
    """Of a google.rpc.Status inside a response of the recogniser."""
    code, message = status
    return failure(SPEECH, next((known.name for known in grpc.StatusCode if known.value[0] == code), "UNKNOWN"), message)


def _cause(code: str, message: str) -> str:
    # A token that cannot be had is reported as UNAVAILABLE by gRPC, for ever.
    refused = "metadata from plugin failed" in message and ("invalid_grant" in message or "RefreshError" in message)
    return "UNAUTHENTICATED" if refused else code
