"""Runs a TwiML document on a live call, and the documents that follow from it, until the call is to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

from workers.phone_simulator.callee import Answer
from workers.phone_simulator.documents import BadTwimlError, read_document
from workers.phone_simulator.ledger import Fields
from workers.phone_simulator.media_stream import StreamEnd
from workers.phone_simulator.script import WORDS_PER_SECOND
from workers.phone_simulator.verbs import Dial, Gather, Hangup, Pause, Play, Prompt, Record, Redirect, Reject, Say, Stream, Verb
from workers.phone_simulator.weather import AfterBreak
from workers.phone_simulator.webhooks import Reply

_LEAST_SAY_SECONDS = 0.4
_CONFIDENCE = "0.92"
_XML = {"text/xml", "application/xml"}
# A file played for ever ends with the call; without one, this bounds a document that plays nothing for ever.
_MOST_LOOPS = 1000
_KEY_SECONDS, _SHORT_WAIT, _LONG_WAIT = 0.2, 0.5, 1.0


@dataclass(frozen=True, slots=True)
class StreamResult:
    """How a stream ended, and what the network makes of it if it broke."""

    end: StreamEnd
    then: AfterBreak = AfterBreak.NEXT_VERB


class Line(Protocol):
    """What the interpreter does to a call. Whatever waits for the callee raises HungUpError when he puts the phone down."""

    def warn(self, code: int, text: str) -> None: ...

    def ran(self, verb: str, detail: dict[str, object]) -> None:
        """Note that a verb begins."""
        ...

    def pick_up(self) -> None:
        """Answer, if this is a call that came in and still rings."""
        ...

    def reject(self, reason: str) -> None:
        """Raises RejectedError while a call that came in still rings."""
        ...

    async def fetch(self, purpose: str, url: str, method: str, extra: Fields) -> Reply: ...

    async def length_of(self, url: str) -> float:
        """Seconds that the sound file plays; 0 for one that cannot be played, which is warned of."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def prompt(self, seconds: float, inputs: frozenset[str]) -> Answer | None:
        """Play something for so long; whatever the callee interrupts it with, if that counts."""
        ...

    async def stream(self, verb: Stream) -> StreamResult: ...

    async def answer(self, verb: Gather) -> Answer: ...

    async def record(self, verb: Record, action: str) -> Fields | None:
        """Fields for the action, or None when nothing was said. Told to `action` at once when the callee hangs up."""
        ...

    async def dial(self, verb: Dial) -> Fields: ...

    async def stay_silent(self) -> None:
        """Never returns: the line stays open, and nobody is there."""
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
    def __init__(self, line: Line) -> None:
        self._line = line

    async def run(self, source: Source) -> None:
        """Returns when the documents end the call. Raises HungUpError."""
        following: Source | None = source
        while following is not None:
            verbs = await self._load(following)
            if verbs is None:
                # Twilio picks up and plays its error message.
                self._line.pick_up()
                return
            following = await self._run_verbs(verbs, following)

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
        for number, verb in enumerate(verbs):
            if isinstance(verb, Reject):
                self._line.ran("Reject", {"reason": verb.reason})
                if number == 0:
                    self._line.reject(verb.reason)
                return None
            self._line.pick_up()
            match verb:
                case Say() | Pause() | Play():
                    await self._prompt(verb, frozenset())
                case Hangup():
                    self._line.ran("Hangup", {})
                    return None
                case Redirect(url, method):
                    self._line.ran("Redirect", {"url": url})
                    return self._next(source, url, method, "redirect")
                case Stream():
                    self._line.ran("Stream", {"url": verb.url})
                    result = await self._line.stream(verb)
                    if result.end is StreamEnd.BROKEN and result.then is AfterBreak.HANG_UP:
                        return None
                    if result.end is StreamEnd.BROKEN and result.then is AfterBreak.SILENCE:
                        await self._line.stay_silent()
                case Gather():
                    fields = await self._gather(verb, source)
                    if fields is not None:
                        return self._next(source, verb.action, verb.method, "gather", fields)
                case Record():
                    self._line.ran("Record", {"longest": verb.longest})
                    if verb.beep:
                        await self._line.sleep(_SHORT_WAIT)
                    fields = await self._line.record(verb, urljoin(source.url, verb.action))
                    if fields is not None:
                        return self._next(source, verb.action, verb.method, "record", fields)
                case Dial():
                    self._line.ran("Dial", {"numbers": [target.number for target in verb.targets]})
                    fields = await self._line.dial(verb)
                    if verb.action:
                        return self._next(source, verb.action, verb.method, "dial", fields)
        self._line.pick_up()
        return None

    def _next(self, source: Source, url: str, method: str, purpose: str, fields: Fields | None = None) -> Source:
        """Without a URL, the document that is running is asked for again."""
        return Source(urljoin(source.url, url), method, purpose=purpose, extra=tuple(fields or ()))

    async def _prompt(self, verb: Prompt, inputs: frozenset[str]) -> Answer | None:
        if isinstance(verb, Pause):
            self._line.ran("Pause", {"seconds": verb.seconds})
            return await self._line.prompt(verb.seconds, inputs)
        if isinstance(verb, Say):
            self._line.ran("Say", {"text": verb.text})
            words = len(verb.text.split()) * verb.loop
            return await self._line.prompt(max(_LEAST_SAY_SECONDS, words / WORDS_PER_SECOND), inputs)
        self._line.ran("Play", {"digits": verb.digits} if verb.digits else {"url": verb.url})
        seconds = seconds_of_keys(verb.digits) if verb.digits else await self._line.length_of(verb.url)
        for _ in range(verb.loop or _MOST_LOOPS):
            answer = await self._line.prompt(seconds, inputs)
            if answer is not None or not seconds:
                return answer
        return None

    async def _gather(self, verb: Gather, source: Source) -> Fields | None:
        """What to post to the action; None goes on with the next verb."""
        self._line.ran("Gather", {"inputs": sorted(verb.inputs)})
        answer: Answer | None = None
        # A key ends a prompt in any case, speech only where it may barge in.
        interrupts = verb.inputs if verb.barge_in else verb.inputs & {"dtmf"}
        for prompt in verb.prompts:
            answer = await self._prompt(prompt, interrupts)
            if answer is not None:
                break
        if answer is None:
            answer = await self._line.answer(verb)
        if answer.digits:
            return await self._entered(answer.digits, verb)
        if answer.speech:
            return await self._spoken(answer.speech, verb, source)
        if not verb.empty_too:
            return None
        empty: Fields = [("SpeechResult", ""), ("Confidence", "0.0"), ("Language", verb.language)]
        return empty if "speech" in verb.inputs else [("Digits", "")]

    async def _entered(self, pressed: str, verb: Gather) -> Fields:
        """The keys that count: up to the one that ends the input, and no more than were asked for."""
        finished = bool(verb.finish_on_key) and verb.finish_on_key in pressed
        digits = pressed.partition(verb.finish_on_key)[0] if finished else pressed
        if not finished and (verb.digits is None or len(digits) < verb.digits):
            # More might come.
            await self._line.sleep(verb.timeout)
        return [("Digits", digits[: verb.digits] if verb.digits else digits)]

    async def _spoken(self, speech: str, verb: Gather, source: Source) -> Fields:
        words = speech.split()
        heard = " ".join(words[: max(1, round(verb.longest_speech * WORDS_PER_SECOND))])
        if verb.partial_url:
            partial: Fields = [
                *[("UnstableSpeechResult", heard), ("StableSpeechResult", " ".join(words[: len(words) // 2]))],
                *[("Stability", "0.8"), ("SequenceNumber", "0"), ("Language", verb.language)],
            ]
            await self._line.fetch("partial", urljoin(source.url, verb.partial_url), verb.partial_method, partial)
        # How much quiet says that somebody has finished.
        await self._line.sleep(verb.speech_timeout if verb.speech_timeout is not None else _SHORT_WAIT)
        return [("SpeechResult", heard), ("Confidence", _CONFIDENCE), ("Language", verb.language)]


def seconds_of_keys(digits: str) -> float:
    """How long it takes to press them; `w` waits half a second, `W` a whole one."""
    return sum({"w": _SHORT_WAIT, "W": _LONG_WAIT}.get(key, _KEY_SECONDS) for key in digits)
