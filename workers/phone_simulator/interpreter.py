"""Runs a TwiML document on a live call, and the documents that follow from it, until the call is to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

from workers.phone_simulator.callee import Answer
from workers.phone_simulator.media_stream import StreamEnd
from workers.phone_simulator.verbs import BadTwimlError, Gather, Hangup, Pause, Redirect, Reject, Say, Stream, Verb, read_document
from workers.phone_simulator.webhooks import Reply

Fields = list[tuple[str, str]]

# How fast the network's own voice speaks.
_WORDS_PER_SECOND = 2.5
_LEAST_SAY_SECONDS = 0.4
_CONFIDENCE = "0.92"
_XML = {"text/xml", "application/xml"}


class Line(Protocol):
    """What the interpreter does to a call. `answer` raises HungUpError when the callee puts the phone down."""

    def warn(self, code: int, text: str) -> None: ...

    async def fetch(self, purpose: str, url: str, method: str, extra: Fields) -> Reply: ...

    async def sleep(self, seconds: float) -> None: ...

    async def stream(self, verb: Stream) -> StreamEnd: ...

    async def answer(self, verb: Gather) -> Answer: ...

    def ran(self, verb: str, detail: dict[str, object]) -> None:
        """Note that a verb begins."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document comes from: an address, or (with `body`) the create request itself."""

    url: str
    method: str = "POST"
    body: bytes | None = None
    purpose: str = "voice"
    extra: tuple[tuple[str, str], ...] = ()
    fallback_url: str = ""
    fallback_method: str = "POST"


class Interpreter:
    """`hang_up_after_break`: whether a stream that ended without a close frame ends the call. Twilio does not say."""

    def __init__(self, line: Line, *, hang_up_after_break: bool) -> None:
        self._line = line
        self._hang_up_after_break = hang_up_after_break

    async def run(self, source: Source) -> None:
        """Returns when the documents end the call. Raises HungUpError."""
        following: Source | None = source
        while following is not None:
            verbs = await self._load(following)
            following = await self._run_verbs(verbs, following) if verbs is not None else None

    async def _load(self, source: Source) -> Sequence[Verb] | None:
        """The document, or the fallback's. None when there is neither: Twilio plays an error message and hangs up."""
        if source.body is not None:
            return self._read(source.body)[0]
        reply = await self._line.fetch(source.purpose, source.url, source.method, list(source.extra))
        verbs, error = self._read_reply(reply)
        if verbs is not None or not source.fallback_url:
            return verbs
        failure = [("ErrorCode", str(error)), ("ErrorUrl", source.url)]
        reply = await self._line.fetch("fallback", source.fallback_url, source.fallback_method, failure)
        return self._read_reply(reply)[0]

    def _read_reply(self, reply: Reply) -> tuple[Sequence[Verb] | None, int]:
        if reply.error:
            return None, reply.error
        if reply.content_type not in _XML:
            self._line.warn(12300, f"the answer is {reply.content_type or 'of no type'}, not text/xml")
            return None, 12300
        return self._read(reply.body)

    def _read(self, body: bytes) -> tuple[Sequence[Verb] | None, int]:
        try:
            return read_document(body, self._line.warn), 0
        except BadTwimlError as error:
            self._line.warn(12100, str(error))
            return None, 12100

    async def _run_verbs(self, verbs: Sequence[Verb], source: Source) -> Source | None:
        """The document to go on with, or None: the end of a document hangs up."""
        for verb in verbs:
            match verb:
                case Say() | Pause():
                    await self._speak(verb)
                case Hangup() | Reject():
                    self._line.ran(type(verb).__name__, {})
                    return None
                case Redirect(url, method):
                    self._line.ran("Redirect", {"url": url})
                    return Source(urljoin(source.url, url), method, purpose="redirect")
                case Stream():
                    self._line.ran("Stream", {"url": verb.url})
                    end = await self._line.stream(verb)
                    if end is StreamEnd.BROKEN and self._hang_up_after_break:
                        return None
                case Gather():
                    following = await self._gather(verb, source)
                    if following is not None:
                        return following
        return None

    async def _speak(self, verb: Say | Pause) -> None:
        if isinstance(verb, Pause):
            self._line.ran("Pause", {"seconds": verb.seconds})
            await self._line.sleep(verb.seconds)
            return
        self._line.ran("Say", {"text": verb.text})
        words = len(verb.text.split()) * verb.loop
        await self._line.sleep(max(_LEAST_SAY_SECONDS, words / _WORDS_PER_SECOND))

    async def _gather(self, verb: Gather, source: Source) -> Source | None:
        self._line.ran("Gather", {"inputs": sorted(verb.inputs)})
        for prompt in verb.prompts:
            await self._speak(prompt)
        answer = await self._line.answer(verb)
        if answer == Answer() and not verb.empty_too:
            return None
        extra: Fields
        if answer.digits:
            extra = [("Digits", _entered(answer.digits, verb))]
        elif "speech" in verb.inputs:
            extra = [("SpeechResult", answer.speech), ("Confidence", _CONFIDENCE if answer.speech else "0.0"), ("Language", "en-US")]
        else:
            extra = [("Digits", "")]
        return Source(urljoin(source.url, verb.action), verb.method, purpose="gather", extra=tuple(extra))


def _entered(pressed: str, verb: Gather) -> str:
    """The keys that count: up to the one that ends the input, and no more than were asked for."""
    if verb.finish_on_key and verb.finish_on_key in pressed:
        pressed = pressed.partition(verb.finish_on_key)[0]
    return pressed[: verb.digits] if verb.digits else pressed
