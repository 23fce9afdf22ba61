"""`<Dial>`: rings other phones, and lets whoever answers first talk with the one who is on the line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.speech.base import FRAME_MS
from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.callee import Callee, HungUpError, Moment, Sleep
from workers.phone_simulator.ledger import CallRecord, Fields
from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.live_recording import CallRecorder
from workers.phone_simulator.ringing import ring
from workers.phone_simulator.statuses import Ending, ending
from workers.phone_simulator.values import is_possible_number
from workers.phone_simulator.verbs import Dial, Target


@dataclass(frozen=True, slots=True)
class Leg:
    """A call placed by `<Dial>`. `move` writes its statuses down; `pick_up` makes the one who answers."""

    behaviour: Behaviour
    record: Callable[[], CallRecord]
    move: Callable[[Ending], None]
    pick_up: Callable[[], Awaitable[Callee]]

    def went(self, status: str) -> None:
        self.move(Ending(status, 0))


class DialledNumbers:
    """One `<Dial>` on a live call. `place(target)` makes a leg's call record."""

    def __init__(
        self,
        verb: Dial,
        caller: Callee,
        parent_sid: str,
        ledger: LedgerWriter,
        recorder: CallRecorder,
        place: Callable[[Target], Leg],
        sleep: Sleep,
    ) -> None:
        self._verb = verb
        self._caller = caller
        self._parent_sid = parent_sid
        self._ledger = ledger
        self._recorder = recorder
        self._place = place
        self._sleep = sleep

    async def run(self) -> Fields:
        """Fields for the action. Raises HungUpError when the one on the line puts the phone down."""
        verb = self._verb
        groups = [[target] for target in verb.targets] if verb.sequential else [list(verb.targets)]
        fields: Fields = [("DialCallStatus", "failed")]
        for targets in groups:
            legs = [self._place(target) for target in targets if self._is_valid(target)]
            if not legs:
                continue
            leg, fields = await self._ring_all(legs)
            if leg is not None:
                return await self._talk(leg)
        return fields

    def _is_valid(self, target: Target) -> bool:
        if is_possible_number(target.number):
            return True
        self._ledger.warn(self._parent_sid, 13223, f"<Dial>: {target.number or 'nothing'} is not a phone number")
        return False

    async def _ring_all(self, legs: list[Leg]) -> tuple[Leg | None, Fields]:
        """The leg that was answered first; the others stop ringing. Else what became of the last."""
        ringing = {asyncio.create_task(ring(leg.behaviour, self._verb.timeout, leg.went, self._sleep)): leg for leg in legs}
        waiting = set(ringing)
        last: Fields = []
        answered: Leg | None = None
        try:
            while waiting and answered is None:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    leg, result = ringing[task], task.result()
                    if result is not None:
                        leg.move(result)
                        last = [("DialCallStatus", result.status), ("DialCallSid", leg.record().sid)]
                    elif answered is None:
                        answered = leg
                    else:
                        leg.move(ending("canceled"))
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for leg in legs:
                if leg is not answered and not leg.record().is_over:
                    leg.move(ending("canceled"))
        return answered, last

    async def _talk(self, leg: Leg) -> Fields:
        leg.went("in-progress")
        recording = self._start_recording()
        try:
            async with asyncio.timeout(self._verb.time_limit):
                await self._bridge(await leg.pick_up(), leg.record().sid)
        except TimeoutError:
            self._ledger.event(self._parent_sid, "verb", verb="(the call reached the timeLimit of <Dial>)")
        finally:
            leg.move(ending("completed"))
            kept = self._recorder.stop(recording) if recording is not None and self._recorder.is_live(recording) else None
        ended = leg.record()
        fields = [
            *[("DialCallStatus", "completed"), ("DialCallSid", ended.sid)],
            *[("DialCallDuration", str(ended.seconds or 0)), ("DialBridged", "true")],
        ]
        return [*fields, ("RecordingSid", kept.sid)] if kept is not None else fields

    def _start_recording(self) -> str | None:
        if not self._verb.record:
            return None
        channels = 2 if self._verb.record.endswith("-dual") else 1
        return self._recorder.start("DialVerb", channels, "both", self._verb.wish.as_request())

    async def _bridge(self, callee: Callee, leg_sid: str) -> None:
        """Each hears the other, frame by frame in real time, until one of them hangs up."""
        loop = asyncio.get_running_loop()
        began, ticks = loop.time(), 0
        here, there = Moment(b""), Moment(b"")
        while True:
            # Both hear what the other one said in the frame before.
            here, there = self._caller.listen(there.frame), callee.listen(here.frame)
            ticks += 1
            self._recorder.hear(here.frame, there.frame)
            for sid, moment in ((self._parent_sid, here), (leg_sid, there)):
                if moment.said:
                    self._ledger.event(sid, "said", text=moment.said, at_ms=ticks * FRAME_MS)
                if moment.digit:
                    self._ledger.event(sid, "dtmf", digit=moment.digit, at_ms=ticks * FRAME_MS)
            if here.hangs_up:
                raise HungUpError
            if there.hangs_up or (here.digit == "*" and self._verb.hang_up_on_star):
                return
            await asyncio.sleep(max(0.0, began + ticks * FRAME_MS / 1000 - loop.time()))
