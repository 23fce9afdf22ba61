"""The verbs of TwiML, as the network runs them. Durations are in seconds. Source: docs/voice/twiml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    loop: int = 1


@dataclass(frozen=True, slots=True)
class Play:
    """A file's address, or keys to press (`w` is half a second); exactly one of them is given. `loop` 0 is for ever."""

    url: str
    digits: str = ""
    loop: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float = 1


Prompt = Say | Play | Pause


@dataclass(frozen=True, slots=True)
class Gather:
    """`speech_timeout` is None for "auto". `partial_url` hears of speech while it goes on."""

    prompts: tuple[Prompt, ...]
    inputs: frozenset[str]
    action: str
    method: str
    timeout: float
    digits: int | None
    finish_on_key: str
    empty_too: bool
    speech_timeout: float | None = None
    longest_speech: float = 60
    barge_in: bool = True
    language: str = "en-US"
    partial_url: str = ""
    partial_method: str = "POST"


@dataclass(frozen=True, slots=True)
class Stream:
    """`<Connect><Stream>`: both ways, and it holds the document."""

    url: str
    name: str
    parameters: Mapping[str, str]
    status_callback: str
    status_callback_method: str


@dataclass(frozen=True, slots=True)
class RecordingWish:
    """Where a recording is reported to; `as_request` in the names of the REST interface."""

    callback: str = ""
    method: str = "POST"
    events: tuple[str, ...] = ("completed",)
    trim: str = "do-not-trim"

    def as_request(self) -> dict[str, list[str]]:
        request = {"Trim": [self.trim], "RecordingStatusCallbackEvent": list(self.events), "RecordingStatusCallbackMethod": [self.method]}
        return {**request, "RecordingStatusCallback": [self.callback]} if self.callback else request


@dataclass(frozen=True, slots=True)
class Record:
    action: str
    method: str
    timeout: float
    longest: float
    finish_on_key: str
    beep: bool
    wish: RecordingWish = field(default_factory=RecordingWish)


@dataclass(frozen=True, slots=True)
class Target:
    """One number that `<Dial>` rings."""

    number: str
    status_callback: str = ""
    status_callback_method: str = "POST"
    status_callback_events: tuple[str, ...] = ("completed",)
    send_digits: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """`record` is empty, or one of the values that start a recording (record-from-answer-dual, ...)."""

    targets: tuple[Target, ...]
    action: str
    method: str
    timeout: float
    time_limit: float
    caller_id: str
    hang_up_on_star: bool
    sequential: bool
    record: str
    wish: RecordingWish = field(default_factory=RecordingWish)


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


Verb = Say | Play | Pause | Gather | Stream | Record | Dial | Redirect | Hangup | Reject
