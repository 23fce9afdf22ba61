"""One live call: decoded events of a media stream in, frames, marks and `clear` out.

The dialogue runs in a task of its own; whatever ends the call ends that task, and then what was said is kept and the
stream is closed. Everything that blocks runs in threads or child processes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from core.conversation.dialogue import Dialogue
from core.conversation.hearing import BargeIn, Hearing, HearingEvent
from core.conversation.machine_guard import MachineGuard
from core.conversation.outbound import Outbound
from core.conversation.playback import Playback
from core.conversation.services import Deaf, Digit, Ending, Recorder, Services, Spoken
from core.conversation.spool import Entry, SpoolHead
from core.domain import utterance
from core.domain.conversation import EndedBy
from core.errors import OrchError, ProviderError
from core.logs import get_logger
from core.plans.model import Plan
from core.storage.conversations import CallContext, TurnRecord

CHECK_SECONDS = 0.25
# The carrier sends 50 frames a second, silence included: none for so long, and nobody is there.
DEAD_LINE_SECONDS = 4.5
# A broken stream may be resumed by another; a call that breaks this often is beyond it.
MOST_STREAMS = 5
LAST_WORDS_SECONDS = 1.0
# After the goodbye, SQL is waited for: until it knows, the carrier would be told that the conversation goes on.
SETTLE_SECONDS = 15.0


class Session:
    """Made and used on the event loop. `on_*` are called by the transport; `run` returns when the call is over."""

    def __init__(
        self, services: Services, plan: Plan, context: CallContext, epoch: int, outbound: Outbound, recorder: Recorder | None = None
    ) -> None:
        self._services = services
        self._plan = plan
        self._epoch = epoch
        self._outbound = _Recorded(outbound, recorder) if recorder is not None else outbound
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Ending] = self._loop.create_future()
        self._superseded = False
        self._log = get_logger().bind(attempt=context.attempt_id, epoch=epoch)
        self._playback = Playback(services.pacer.open(self._outbound), services.synthesizer, self._on_spoken)
        # A stream that resumes a conversation knows already that a person is there.
        guard = MachineGuard() if context.conversation_id is None else None
        self._hearing = Hearing(services.turn_detector(plan.patience_ms), services.beep_detector(), guard, self._on_hearing)
        head = SpoolHead(context.attempt_id, epoch, plan.name, plan.digest)
        self._call_log = services.turn_log.open_call(head, context.conversation_id, self._on_superseded)
        self._dialogue = Dialogue(services, plan, context, self._playback, self._hearing, self._call_log, self._reopen_ears)
        self._opening: asyncio.Task[None] | None = None
        self._last_inbound = self._began = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None

    # --- from the transport -------------------------------------------------------------------------------------------

    def on_audio(self, frame: bytes) -> None:
        """One 160-byte frame of the contact's voice."""
        self._last_inbound = self._loop.time()
        if self._recorder is not None:
            self._recorder.contact(frame)
        self._hearing.feed(frame)

    def on_digit(self, key: str) -> None:
        self._dialogue.events.put_nowait(Digit(key))

    def on_mark(self, name: str) -> None:
        self._playback.on_mark(name)
        # Somebody may have been talking over a sentence that could not be interrupted; the next one can.
        if self._hearing.sustained:
            self._on_hearing(BargeIn())

    def on_stop(self) -> None:
        """The carrier says that the call is over: the contact hung up."""
        self._end(Ending("the contact hung up", EndedBy.HUNG_UP))

    def on_disconnected(self) -> None:
        """The stream broke without a word. The call may go on in another one: the conversation stays open."""
        self._end(self._broken("the stream broke"))

    # --- from its own parts -------------------------------------------------------------------------------------------

    def _on_spoken(self) -> None:
        self._dialogue.events.put_nowait(Spoken())

    def _on_hearing(self, event: HearingEvent) -> None:
        if isinstance(event, BargeIn):
            # Within the frame that decided it: nobody should have to talk against us.
            if self._playback.speaking and self._dialogue.interruptible:
                self._playback.cut()
                self._log.info("conversation.barge_in", sentences_heard=self._playback.heard)
            return
        self._dialogue.events.put_nowait(event)

    def _on_superseded(self) -> None:
        self._superseded = True
        self._end(Ending("a newer stream owns the call", None, abort=True))

    def _end(self, ending: Ending) -> None:
        if not self._over.done():
            self._over.set_result(ending)

    def _broken(self, reason: str) -> Ending:
        return Ending(reason, EndedBy.DROPPED if self._epoch >= MOST_STREAMS else None, abort=True)

    # --- the call -----------------------------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Hold the conversation until it or the call is over, keep it, and close the stream."""
        self._watch = self._loop.call_later(CHECK_SECONDS, self._check)
        self._reopen_ears()
        talk = self._loop.create_task(self._dialogue.run())
        try:
            await asyncio.wait({talk, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                self._end(self._ending_of(talk))
            ending = self._over.result()
            if ending.abort:
                # First of all the call is freed: its other end may take minutes to notice.
                self._outbound.abort()
            self._playback.cut()
            await _cancelled(talk)
            await self._keep_the_end(ending)
            return ending
        finally:
            self._watch.cancel()
            talk.cancel()
            await self._close()
            await _cancelled(talk)

    def _ending_of(self, talk: asyncio.Task[Ending]) -> Ending:
        error = talk.exception()
        if error is None:
            return talk.result()
        known = isinstance(error, OrchError)
        self._log.error("conversation.failed", error=f"{type(error).__name__}: {error}", exc_info=None if known else error)
        return Ending("error", EndedBy.DROPPED)

    async def _keep_the_end(self, ending: Ending) -> None:
        state = self._dialogue.state
        if state is None or self._superseded:
            return
        checkpoint, ordinal, now = state.current.id, self._dialogue.ordinal, self._services.clock.now()
        said = await self._dialogue.unfinished_words(LAST_WORDS_SECONDS)
        if said and not state.ended:
            state = state.heard(said)
        if ending.ended_by is not None:
            state = state.end(ending.ended_by)
        if said or ending.ended_by is not None:
            turn = TurnRecord(ordinal, checkpoint, said, None, now) if said else None
            await self._call_log.append(Entry(turn, state.to_json(), state.ended_by, utterance.asks_to_stop(said), now))
        settled = await self._call_log.settled(SETTLE_SECONDS)
        self._log.info(
            "conversation.ended", reason=ending.reason, ended_by=state.ended_by, complete=state.is_complete, turns=ordinal, settled=settled
        )

    async def _close(self) -> None:
        # What need not be waited for comes first: a server that goes down may cut the waiting short.
        if self._over.done() and self._over.result().abort:
            self._outbound.abort()
        else:
            self._outbound.close()
        self._call_log.close()
        if self._recorder is not None:
            self._recorder.close()
        await self._playback.close()
        if self._opening is not None:
            await _cancelled(self._opening)
        try:
            await self._hearing.close()
        except ProviderError as error:
            self._log.warning("speech.close_failed", error=str(error))

    def _check(self) -> None:
        """The watchdog: a call must not outlive its line."""
        now = self._loop.time()
        stalled = self._outbound.stalled_since
        if now - self._last_inbound > DEAD_LINE_SECONDS:
            self._end(self._broken("no audio arrives"))
        elif stalled is not None and now - stalled > DEAD_LINE_SECONDS:
            self._end(self._broken("the socket takes nothing"))
        elif self._playback.overdue(now):
            self._end(Ending("marks do not come back", EndedBy.DROPPED if self._epoch >= MOST_STREAMS else None))
        elif now - self._began > self._services.max_call_seconds:
            self._end(Ending("time limit", EndedBy.TIME_LIMIT))
        self._watch = self._loop.call_later(CHECK_SECONDS, self._check)

    def _reopen_ears(self) -> asyncio.Task[None]:
        self._opening = self._loop.create_task(self._open_ears())
        return self._opening

    async def _open_ears(self) -> None:
        try:
            await self._hearing.close()
            self._hearing.attach(await self._services.recognizer.open(self._plan.all_hints()))
        except ProviderError as error:
            self._log.error("speech.no_recognizer", error=str(error))
            self._dialogue.events.put_nowait(Deaf())


class _Recorded:
    """Outbound with an ear on it."""

    def __init__(self, outbound: Outbound, recorder: Recorder) -> None:
        self._outbound = outbound
        self._recorder = recorder
        self.mark = outbound.mark
        self.clear = outbound.clear
        self.close = outbound.close
        self.abort = outbound.abort

    def media(self, frame: bytes) -> None:
        self._recorder.orch(frame)
        self._outbound.media(frame)

    @property
    def stalled_since(self) -> float | None:
        return self._outbound.stalled_since


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
