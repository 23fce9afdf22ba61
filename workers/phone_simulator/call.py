"""One call's life in the network, whoever rang whom: what runs while it is connected, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from core.errors import ProviderError
from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.call_resource import webhook_fields
from workers.phone_simulator.callee import Answer, Callee, HungUpError, Voices
from workers.phone_simulator.dialled_numbers import DialledNumbers, Leg
from workers.phone_simulator.interpreter import Interpreter, Source, StreamResult
from workers.phone_simulator.ledger import CallRecord, Fields, Recording
from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.live_recording import CallRecorder
from workers.phone_simulator.media_stream import MediaStream, StreamCall, StreamEnd
from workers.phone_simulator.recording_resource import callback_fields
from workers.phone_simulator.sound_files import CannotPlayError, playing_time
from workers.phone_simulator.statuses import Ending, ending, record_status
from workers.phone_simulator.verbs import Dial, Gather, Record, Stream, Target
from workers.phone_simulator.weather import Dice
from workers.phone_simulator.webhooks import Reply, Webhooks

# What a request for TwiML is, as opposed to one that only tells us something.
_FOR_TWIML = {"voice", "redirect", "gather", "record", "dial"}


class Exchange(Protocol):
    """What a call needs of the network it runs in. `speed` divides every duration but those of audio."""

    account_sid: str
    auth_token: str
    base_url: str
    speed: float
    numbers: frozenset[str]
    ledger: LedgerWriter
    webhooks: Webhooks
    voices: Voices

    def callbacks_due(self, call_sid: str) -> None: ...

    def place_leg(self, parent: CallRecord, caller: str, target: Target) -> tuple[str, Behaviour, Dice]:
        """A call that `<Dial>` places: its sid, who picks up, and its weather."""
        ...


class RejectedError(Exception):
    """`<Reject>` as the first verb of a call that came in: it ends without having been answered."""


class PhoneCall:
    """`_live` is what the two kinds of calls do differently."""

    def __init__(self, exchange: Exchange, sid: str, behaviour: Behaviour, dice: Dice) -> None:
        self._exchange = exchange
        self._ledger = exchange.ledger
        self._sid = sid
        self._behaviour = behaviour
        self._dice = dice
        self._lines: Mapping[str, bytes] = {}
        self._callee: Callee | None = None
        self._answered_at = 0.0
        self._fetches = self._streams = 0
        self._limit: asyncio.Timeout | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = self._loop.create_future()
        self._redirected: asyncio.Future[Source] = self._loop.create_future()
        self._beside: set[asyncio.Task[None]] = set()
        account = (exchange.account_sid, exchange.base_url)
        self.recorder = CallRecorder(self._ledger, account, sid, dice, exchange.callbacks_due)
        self.over = asyncio.Event()

    @property
    def record_now(self) -> CallRecord:
        record = self._ledger.call(self._sid)
        assert record is not None
        return record

    @property
    def ending_asked(self) -> bool:
        return self._ended.done()

    def end(self, status: str) -> None:
        """End the call from outside. Whatever it is doing stops, and our side is told."""
        if not self._ended.done():
            self._ended.set_result(ending(status))

    def redirect(self, source: Source) -> None:
        """Leave the document that is running for another."""
        if not self._redirected.done():
            self._redirected.set_result(source)

    def limit(self, seconds: float) -> None:
        """A new TimeLimit, from the answer on."""
        if self._limit is not None:
            self._limit.reschedule(self._answered_at + seconds)

    async def run(self) -> None:
        life = asyncio.create_task(self._live())
        try:
            await asyncio.wait({life, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            result = self._ended.result() if self._ended.done() else life.result()
        finally:
            await _cancel(life)
            for task in list(self._beside):
                await _cancel(task)
        recordings = self.recorder.stop_all()
        self._move(result.status, result.sip_code, self._recording_fields(recordings))
        self.over.set()

    async def _live(self) -> Ending:
        raise NotImplementedError

    async def prepare_voice(self) -> None:
        """A voice is made while it costs nothing: once the phone is answered every frame has its time."""
        try:
            self._lines = await self._exchange.voices.speak(self._behaviour)
        except ProviderError as error:
            self.warn(0, f"the simulated callee has no voice and will be silent: {error}")

    def connect(self) -> None:
        """From now on somebody is on the line."""
        self._callee = Callee(self._behaviour, self._lines, self._since_answer)
        self._answered_at = self._loop.time()
        self._move("in-progress")
        asked = self.record_now
        if asked.asked("Record") == "true":
            channels = 2 if asked.asked("RecordingChannels") == "dual" else 1
            self.recorder.start("OutboundAPI", channels, asked.asked("RecordingTrack") or "both", asked.request)

    async def converse(self, first: Awaitable[Source]) -> Ending:
        """Run documents until one of them, the callee or the time limit ends the call. Raises RejectedError."""
        limit = self.record_now.asked("TimeLimit")
        with contextlib.suppress(HungUpError):
            try:
                async with asyncio.timeout(float(limit) if limit else None) as self._limit:
                    await self._run_documents(await first)
            except TimeoutError:
                self._ledger.event(self._sid, "verb", verb="(the call reached its TimeLimit)")
        return ending("completed")

    async def _run_documents(self, source: Source) -> None:
        interpreter = Interpreter(self)
        while True:
            running = asyncio.create_task(interpreter.run(source))
            try:
                either: set[asyncio.Future[Any]] = {running, self._redirected}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    return running.result()
            finally:
                await _cancel(running)
            source = self._redirected.result()
            self._redirected = self._loop.create_future()

    def beside(self, work: Any) -> None:
        """Something that goes on while documents run, and ends with the call."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    # What the interpreter asks for.

    def warn(self, code: int, text: str) -> None:
        self._ledger.warn(self._sid, code, text)

    def ran(self, verb: str, detail: dict[str, object]) -> None:
        self._ledger.event(self._sid, "verb", verb=verb, **detail)

    def pick_up(self) -> None:
        """Only a call that came in is not yet answered when its document runs."""

    def reject(self, reason: str) -> None:
        """Only a call that came in can be rejected."""

    async def fetch(self, purpose: str, url: str, method: str, extra: Fields) -> Reply:
        fields = [*webhook_fields(self.record_now, self._exchange.account_sid), *extra]
        send = self._exchange.webhooks.send
        if purpose not in _FOR_TWIML:
            return await send(purpose, self._sid, url, method, fields)
        weather, key = self._dice.weather, f"webhook {self._fetches}"
        self._fetches += 1
        if self._dice.hits(f"{key} unreached", weather.webhook_unreached):
            return await self._timed_out(f"{key} after", purpose, url, "was not delivered")
        reply = await send(purpose, self._sid, url, method, fields)
        if self._dice.hits(f"{key} lost", weather.webhook_answer_lost):
            return await self._timed_out(f"{key} after", purpose, url, "was delivered, its answer was lost")
        return reply

    async def _timed_out(self, key: str, purpose: str, url: str, what: str) -> Reply:
        self._ledger.weather(self._sid, "webhook_timed_out", purpose=purpose, url=url, detail=what)
        await self.sleep(self._dice.between(key, self._dice.weather.webhook_times_out_after))
        self.warn(11200, f"{purpose} webhook: timed out; the request {what}")
        return Reply(0, "", b"", 11200)

    async def length_of(self, url: str) -> float:
        try:
            return playing_time(await self.fetch("play", url, "GET", []))
        except CannotPlayError as error:
            self.warn(error.code, str(error))
            return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._exchange.speed)

    async def prompt(self, seconds: float, inputs: frozenset[str]) -> Answer | None:
        answer = await self._hung_up_noted(self._on_the_line.during_prompt(seconds, inputs, self.sleep))
        return None if answer is None else self._noted(answer)

    async def stream(self, verb: Stream) -> StreamResult:
        webhooks = self._exchange.webhooks
        nth = self._streams
        self._streams += 1
        stream = MediaStream(
            StreamCall(self._sid, self._exchange.account_sid, self._exchange.auth_token),
            verb,
            self._on_the_line,
            self._ledger,
            webhooks.session,
            lambda purpose, url, method, fields: webhooks.send(purpose, self._sid, url, method, fields),
            self._dice.stream(nth),
            self.recorder.hear,
        )
        end = await stream.run()
        if end is StreamEnd.HUNG_UP:
            raise HungUpError
        then = self._dice.after_break(nth)
        if end is StreamEnd.BROKEN:
            self._ledger.event(self._sid, "stream", state="after_break", then=str(then))
        return StreamResult(end, then)

    async def answer(self, verb: Gather) -> Answer:
        return self._noted(await self._hung_up_noted(self._on_the_line.answer_gather(verb.timeout, verb.inputs, self.sleep)))

    async def record(self, verb: Record, action: str) -> Fields | None:
        sid = self.recorder.start("RecordVerb", 1, "inbound", verb.wish.as_request())
        try:
            left = await self._on_the_line.leave_message(verb.timeout, verb.longest, verb.finish_on_key, self.sleep)
        except HungUpError:
            fields = self._recording_fields([self.recorder.stop(sid)])
            await self.fetch("recorded", action, verb.method, [*fields, ("Digits", "hangup")])
            raise
        self._noted(left)
        kept = self.recorder.stop(sid)
        return [*self._recording_fields([kept]), ("Digits", left.digits)] if left.speech or left.digits else None

    async def dial(self, verb: Dial) -> Fields:
        parent = self.record_now
        ours = parent.to if parent.direction == "inbound" else parent.from_
        caller = verb.caller_id or (parent.from_ if parent.direction == "inbound" else ours)
        if verb.caller_id and verb.caller_id not in self._exchange.numbers | {parent.from_, parent.to}:
            self.warn(13214, f"<Dial>: callerId {verb.caller_id} is neither ours nor one of this call")
            return [("DialCallStatus", "failed")]
        return await DialledNumbers(
            verb, self._on_the_line, self._sid, self._ledger, self.recorder, lambda target: self._leg(parent, caller, target), self.sleep
        ).run()

    async def stay_silent(self) -> None:
        await self.sleep(self._behaviour.gives_up_seconds)
        raise HungUpError

    def _leg(self, parent: CallRecord, caller: str, target: Target) -> Leg:
        sid, behaviour, dice = self._exchange.place_leg(parent, caller, target)
        answered: list[float] = []

        def record() -> CallRecord:
            found = self._ledger.call(sid)
            assert found is not None
            return found

        def move(new: Ending) -> None:
            record_status(self._ledger, record(), self._exchange.account_sid, dice, new, datetime.now(UTC))
            self._exchange.callbacks_due(sid)

        async def pick_up() -> Callee:
            answered.append(self._loop.time())
            lines = await self._exchange.voices.speak(behaviour)
            return Callee(behaviour, lines, lambda: (self._loop.time() - answered[0]) * self._exchange.speed)

        return Leg(behaviour, record, move, pick_up)

    @property
    def _on_the_line(self) -> Callee:
        assert self._callee is not None
        return self._callee

    def _since_answer(self) -> float:
        return (self._loop.time() - self._answered_at) * self._exchange.speed

    async def _hung_up_noted(self, waiting: Any) -> Any:
        try:
            return await waiting
        except HungUpError:
            self._ledger.event(self._sid, "verb", verb="(the callee hung up)")
            raise

    def _noted(self, answer: Answer) -> Answer:
        if answer.speech:
            self._ledger.event(self._sid, "said", text=answer.speech)
            self.recorder.hear(inbound=answer.audio)
        if answer.digits:
            self._ledger.event(self._sid, "dtmf", digit=answer.digits)
        return answer

    def _recording_fields(self, recordings: list[Recording]) -> Fields:
        """Of the last one, as the action of `<Record>` and the final status callback have them."""
        wanted = {"RecordingUrl", "RecordingSid", "RecordingDuration"}
        kept = [recording for recording in recordings if recording.status == "completed"]
        if not kept:
            return []
        return [(n, v) for n, v in callback_fields(kept[-1], self._exchange.account_sid, self._exchange.base_url) if n in wanted]

    def _move(self, status: str, sip_code: int | None = None, extra: Fields | None = None) -> None:
        new = Ending(status, sip_code or 0)
        record_status(self._ledger, self.record_now, self._exchange.account_sid, self._dice, new, datetime.now(UTC), extra)
        self._exchange.callbacks_due(self._sid)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Its outcome is not wanted any more; a bug in it still is."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, HungUpError, RejectedError):
            await task
    elif not task.cancelled():
        task.exception()  # asked for, so that asyncio does not complain that nobody did
