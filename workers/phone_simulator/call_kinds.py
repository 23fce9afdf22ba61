"""The two kinds of calls: those we place, and those that phones make to us."""

from __future__ import annotations

import asyncio

from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.call import Exchange, PhoneCall, RejectedError
from workers.phone_simulator.detection import Detection, detect, is_wanted
from workers.phone_simulator.interpreter import Source, seconds_of_keys
from workers.phone_simulator.ledger import CallRecord, Fields
from workers.phone_simulator.ringing import ring
from workers.phone_simulator.statuses import Ending, ending
from workers.phone_simulator.weather import Dice

_DEFAULT_RING_SECONDS = 60


def first_source(call: CallRecord) -> Source:
    """The document that a call begins with."""
    twiml = call.asked("Twiml")
    return Source(
        call.asked("Url") or "",
        call.asked("Method") or "POST",
        body=twiml.encode() if twiml and not call.asked("Url") else None,
        fallback_url=call.asked("FallbackUrl") or "",
        fallback_method=call.asked("FallbackMethod") or "POST",
    )


class OutboundCall(PhoneCall):
    """Queued, dialled, ringing, answered, over."""

    def __init__(self, exchange: Exchange, sid: str, behaviour: Behaviour, dice: Dice, queue_seconds: float) -> None:
        super().__init__(exchange, sid, behaviour, dice)
        self._queue_seconds = queue_seconds

    async def _live(self) -> Ending:
        # The vendor's queue is about calls a second, so it does not run faster when people do.
        await asyncio.sleep(self._queue_seconds)
        self._move("initiated")
        await self.prepare_voice()
        patience = float(self.record_now.asked("Timeout") or _DEFAULT_RING_SECONDS)
        unanswered = await ring(self._behaviour, patience, self._move, self.sleep)
        if unanswered is not None:
            return unanswered
        self.connect()
        return await self.converse(self._after_connecting())

    async def _after_connecting(self) -> Source:
        """Keys that were asked for, or machine detection, come before the first document, unless detection works beside it."""
        call = self.record_now
        source = first_source(call)
        digits = call.asked("SendDigits")
        if digits is not None:
            await self.sleep(seconds_of_keys(digits))
            self.ran("(SendDigits)", {"digits": digits})
        if not is_wanted(call):
            return source
        found = detect(call, self._behaviour, self._dice)
        if call.asked("AsyncAmd") == "true":
            self.beside(self._report(found))
            return source
        return Source(
            source.url,
            source.method,
            body=source.body,
            extra=tuple(await self._detected(found)),
            fallback_url=source.fallback_url,
            fallback_method=source.fallback_method,
        )

    async def _detected(self, found: Detection) -> Fields:
        await self.sleep(found.seconds)
        self._ledger.set_answered_by(self._sid, found.verdict)
        return [("AnsweredBy", found.verdict), ("MachineDetectionDuration", str(round(found.seconds * 1000)))]

    async def _report(self, found: Detection) -> None:
        fields = await self._detected(found)
        call = self.record_now
        url = call.asked("AsyncAmdStatusCallback")
        if url is None:
            self.warn(21262, "AsyncAmd without AsyncAmdStatusCallback: nobody hears the result")
            return
        told = [("CallSid", call.sid), ("AccountSid", self._exchange.account_sid), *fields]
        await self._exchange.webhooks.send("amd", self._sid, url, call.asked("AsyncAmdStatusCallbackMethod") or "POST", told)


class InboundCall(PhoneCall):
    """A simulated phone rings one of our numbers: the document is asked for while it rings, and decides whether it is answered."""

    async def _live(self) -> Ending:
        self._move("ringing")
        await self.prepare_voice()
        try:
            return await self.converse(self._first())
        except RejectedError as rejected:
            # Source: docs/voice/twiml/reject.
            return ending("busy" if str(rejected) == "busy" else "no-answer")

    async def _first(self) -> Source:
        return first_source(self.record_now)

    def pick_up(self) -> None:
        if self._callee is None:
            self.connect()

    def reject(self, reason: str) -> None:
        if self._callee is None:
            raise RejectedError(reason)
