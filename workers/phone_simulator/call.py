"""One call's life in the network: queued, dialled, ringing, answered, over."""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from core.errors import ProviderError
from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.call_resource import status_fields, webhook_fields
from workers.phone_simulator.callee import Answer, Callee, HungUpError, Voices
from workers.phone_simulator.interpreter import Interpreter, Source
from workers.phone_simulator.ledger import FINAL_STATUSES, CallRecord, Fields, LedgerWriter
from workers.phone_simulator.media_stream import MediaStream, StreamCall, StreamEnd
from workers.phone_simulator.verbs import Gather, Stream
from workers.phone_simulator.webhooks import Reply, Webhooks

_SETUP_SECONDS = 0.05  # from dialling until the network reports that it rings
_DEFAULT_RING_SECONDS = 60
_EVENTS = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"} | dict.fromkeys(FINAL_STATUSES, "completed")
_SIP_CODES = {"completed": 200, "busy": 486, "no-answer": 487, "canceled": 487, "failed": 404}


@dataclass(frozen=True, slots=True)
class Ending:
    status: str
    sip_code: int


def ending(status: str, sip_code: int | None = None) -> Ending:
    return Ending(status, sip_code if sip_code is not None else _SIP_CODES[status])


class Exchange(Protocol):
    """What a call needs of the network it runs in. `speed` divides every duration but those of audio."""

    account_sid: str
    auth_token: str
    speed: float
    hang_up_after_break: bool
    ledger: LedgerWriter
    webhooks: Webhooks
    voices: Voices

    def callbacks_due(self, call_sid: str) -> None: ...


class PhoneCall:
    def __init__(self, exchange: Exchange, sid: str, behaviour: Behaviour, queue_seconds: float) -> None:
        self._exchange = exchange
        self._ledger = exchange.ledger
        self._sid = sid
        self._behaviour = behaviour
        self._queue_seconds = queue_seconds
        self._callee: Callee | None = None
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = loop.create_future()
        self._redirected: asyncio.Future[Source] = loop.create_future()
        self._detection: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    @property
    def record(self) -> CallRecord:
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

    async def run(self) -> None:
        life = asyncio.create_task(self._live())
        try:
            await asyncio.wait({life, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            result = self._ended.result() if self._ended.done() else life.result()
        finally:
            await _cancel(life)
            if self._detection is not None:
                await _cancel(self._detection)
        self._move(result.status, result.sip_code)
        self.over.set()

    async def _live(self) -> Ending:
        # The vendor's queue is about calls a second, so it does not run faster when people do.
        await asyncio.sleep(self._queue_seconds)
        self._move("initiated")
        # A voice is made while it costs nothing: once the phone is answered every frame has its time.
        lines = await self._lines()
        await self.sleep(_SETUP_SECONDS)
        if self._behaviour.kind == "rejected":
            return ending("failed", self._behaviour.sip_code)
        self._move("ringing")
        if self._behaviour.kind == "busy":
            await self.sleep(self._ring_seconds(default=0.5))
            return ending("busy", self._behaviour.sip_code)
        patience = float(self.record.asked("Timeout") or _DEFAULT_RING_SECONDS)
        unanswered = self._behaviour.kind == "no_answer"
        ring_seconds = self._ring_seconds(default=patience if unanswered else 2.0)
        await self.sleep(min(ring_seconds, patience))
        if unanswered or ring_seconds >= patience:
            return ending("no-answer", self._behaviour.sip_code)
        self._callee = Callee(self._behaviour, lines)
        self._move("in-progress")
        limit = self.record.asked("TimeLimit")
        with contextlib.suppress(HungUpError):
            try:
                async with asyncio.timeout(float(limit) if limit else None):
                    await self._converse()
            except TimeoutError:
                self._ledger.event(self._sid, "verb", verb="(the call reached its TimeLimit)")
        return ending("completed")

    def _ring_seconds(self, default: float) -> float:
        return self._behaviour.ring_seconds if self._behaviour.ring_seconds is not None else default

    async def _lines(self) -> dict[str, bytes]:
        try:
            return await self._exchange.voices.speak(self._behaviour)
        except ProviderError as error:
            self.warn(0, f"the simulated callee has no voice and will be silent: {error}")
            return {}

    async def _converse(self) -> None:
        call = self.record
        extra: Fields = []
        if call.asked("MachineDetection") and not call.asked("SendDigits"):
            if call.asked("AsyncAmd") == "true":
                self._detection = asyncio.create_task(self._report_detection())
            else:
                extra = await self._detect()
        twiml = call.asked("Twiml")
        source = Source(
            call.asked("Url") or "",
            call.asked("Method") or "POST",
            body=twiml.encode() if twiml and not call.asked("Url") else None,
            extra=tuple(extra),
            fallback_url=call.asked("FallbackUrl") or "",
            fallback_method=call.asked("FallbackMethod") or "POST",
        )
        interpreter = Interpreter(self, hang_up_after_break=self._exchange.hang_up_after_break)
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
            self._redirected = asyncio.get_running_loop().create_future()

    async def _detect(self) -> Fields:
        """Machine detection: takes its time, then knows. DetectMessageEnd waits for the beep."""
        await self.sleep(self._behaviour.detection_seconds)
        verdict = self._behaviour.verdict
        if verdict == "machine_start" and self.record.asked("MachineDetection") == "DetectMessageEnd":
            greeting = len((self._behaviour.greeting or "").split()) * 60 / self._behaviour.words_per_minute
            await self.sleep(max(0.0, greeting + self._behaviour.beep_seconds))
            verdict = "machine_end_beep"
        self._ledger.set_answered_by(self._sid, verdict)
        milliseconds = round(self._behaviour.detection_seconds * 1000)
        return [("AnsweredBy", verdict), ("MachineDetectionDuration", str(milliseconds))]

    async def _report_detection(self) -> None:
        found = await self._detect()
        call = self.record
        url = call.asked("AsyncAmdStatusCallback")
        if url is None:
            self.warn(21262, "AsyncAmd without AsyncAmdStatusCallback: nobody hears the result")
            return
        fields = [("CallSid", call.sid), ("AccountSid", self._exchange.account_sid), *found]
        await self._exchange.webhooks.send("amd", self._sid, url, call.asked("AsyncAmdStatusCallbackMethod") or "POST", fields)

    # What the interpreter asks for.

    def warn(self, code: int, text: str) -> None:
        self._ledger.warn(self._sid, code, text)

    async def fetch(self, purpose: str, url: str, method: str, extra: Fields) -> Reply:
        fields = [*webhook_fields(self.record, self._exchange.account_sid), *extra]
        return await self._exchange.webhooks.send(purpose, self._sid, url, method, fields)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._exchange.speed)

    async def stream(self, verb: Stream) -> StreamEnd:
        assert self._callee is not None
        webhooks = self._exchange.webhooks
        stream = MediaStream(
            StreamCall(self._sid, self._exchange.account_sid, self._exchange.auth_token),
            verb,
            self._callee,
            self._ledger,
            webhooks.session,
            lambda purpose, url, method, fields: webhooks.send(purpose, self._sid, url, method, fields),
        )
        end = await stream.run()
        if end is StreamEnd.HUNG_UP:
            raise HungUpError
        return end

    async def answer(self, verb: Gather) -> Answer:
        assert self._callee is not None
        try:
            answer = await self._callee.answer_gather(verb.timeout, verb.inputs, self.sleep)
        except HungUpError:
            self._ledger.event(self._sid, "verb", verb="(the callee hung up)")
            raise
        if answer.speech:
            self._ledger.event(self._sid, "said", text=answer.speech)
        if answer.digits:
            self._ledger.event(self._sid, "dtmf", digit=answer.digits)
        return answer

    def ran(self, verb: str, detail: dict[str, object]) -> None:
        self._ledger.event(self._sid, "verb", verb=verb, **detail)

    def _move(self, status: str, sip_code: int | None = None) -> None:
        record_status(self._ledger, self.record, self._exchange.account_sid, Ending(status, sip_code or 0), datetime.now(UTC))
        self._exchange.callbacks_due(self._sid)


def record_status(ledger: LedgerWriter, call: CallRecord, account_sid: str, new: Ending, now: datetime) -> None:
    """Write a change of status together with the callback it makes due, if one was asked for."""
    final = new.status in FINAL_STATUSES
    connected = new.status == "completed" and call.answered_at is not None
    seconds = None
    if final:
        # Twilio counts a second that was begun.
        seconds = math.ceil((now - call.answered_at).total_seconds()) if connected and call.answered_at else 0
    sip_code = new.sip_code if final else None
    after = replace(call, status=new.status, updated_at=now, seconds=seconds, sip_code=sip_code)
    callback = None
    url = call.asked("StatusCallback")
    wanted = call.request.get("StatusCallbackEvent") or ["completed"]
    if url is not None and _EVENTS[new.status] in wanted:
        callback = (url, call.asked("StatusCallbackMethod") or "POST", status_fields(after, account_sid, now))
    ledger.move(call.sid, new.status, now, seconds=seconds, sip_code=sip_code, callback=callback)


async def _cancel(task: asyncio.Task[None] | asyncio.Task[Ending]) -> None:
    """Its outcome is not wanted any more; a bug in it still is."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, HungUpError):
            await task
    elif not task.cancelled():
        task.exception()  # asked for, so that asyncio does not complain that nobody did
