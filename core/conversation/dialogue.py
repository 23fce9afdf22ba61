"""The talk of one live call: say, listen, take the turn, keep it, say. No transport in here, and no watch over the line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from core.conversation.hearing import Beep, Hearing, Machine, SpeechStarted, Utterance
from core.conversation.orchestrator import spoken_name
from core.conversation.playback import Playback
from core.conversation.sentences import sentences
from core.conversation.services import Deaf, Digit, Ending, Event, Services, Spoken
from core.conversation.spool import Entry
from core.conversation.turn_log import CallLog
from core.domain import utterance
from core.domain.conversation import ConversationState, EndedBy, Reply
from core.errors import ProviderError
from core.logs import get_logger
from core.plans.model import Plan, fill
from core.storage.conversations import CallContext, TurnRecord

# A sound this short that no word was understood of was no answer.
SHORTEST_ANSWER_MS = 350
# Words that ended before so much of the question was heard do not answer it.
LEAST_OF_QUESTION_SECONDS = 0.3
UNCLEAR_BEFORE_NEW_EARS = 2
# Speech without words that stopped us: after so many it is taken for noise, and we talk on.
MOST_FALSE_ALARMS = 2
# A number ends with # or with a pause; no number we ask for is longer.
KEY_PAUSE_SECONDS = 2.0
MOST_KEYS = 12
# After a machine's greeting, if no beep is heard.
BEEP_WAIT_SECONDS = 30.0
BEEP_SILENCE_SECONDS = 2.0

CANNOT_HEAR = "I am sorry, I cannot hear you right now. Goodbye."


@dataclass(frozen=True, slots=True)
class Heard:
    """What the contact answered; nothing at all is silence. `unclear`: somebody spoke, and no word was understood.

    `ended_at` is the loop time at which the turn was found to be over.
    """

    text: str = ""
    keys: str = ""
    unclear: bool = False
    ended_at: float | None = None
    transcript_ms: float | None = None


class _Finished(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class _MachineFound(Exception):
    def __init__(self, answered_by: str) -> None:
        super().__init__(answered_by)
        self.answered_by = answered_by


class Dialogue:
    def __init__(
        self,
        services: Services,
        plan: Plan,
        context: CallContext,
        playback: Playback,
        hearing: Hearing,
        call_log: CallLog,
        reopen_ears: Callable[[], asyncio.Task[None]],
    ) -> None:
        self._services = services
        self._plan = plan
        self._context = context
        self._playback = playback
        self._hearing = hearing
        self._call_log = call_log
        self._reopen_ears = reopen_ears
        self._name = spoken_name(context.contact_name, context.pronunciation)
        self._loop = asyncio.get_running_loop()
        self._log = get_logger().bind(attempt=context.attempt_id, epoch=call_log.head.epoch)
        self._protected = 0  # sentences of the present reply that nothing interrupts
        self._false_alarms = 0
        self._unclear_in_a_row = 0
        self._asides: list[str] = []
        self._taking: Heard | None = None
        self._last_reply: dict[str, int] = {}
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.state: ConversationState | None = None
        self.ordinal = context.next_turn

    @property
    def interruptible(self) -> bool:
        return self._playback.heard >= self._protected and self._false_alarms < MOST_FALSE_ALARMS

    async def run(self) -> Ending:
        """Talk until there is nothing more to say. Raises ProviderError when we have no voice."""
        try:
            heard: Heard | None = None
            while True:
                reply, timings = await self._take(heard)
                began = heard.ended_at if heard is not None else None
                try:
                    heard = await self._say_and_listen(reply)
                finally:
                    self._note_turn(reply, began, timings)
        except _Finished as finished:
            return finished.ending
        except _MachineFound as machine:
            return await self._leave_to_machine(machine.answered_by)

    async def unfinished_words(self, seconds: float) -> str:
        """What was said and is in no turn yet: cut off by the end of the call, or said aside."""
        said = self._asides
        self._asides = []
        if self._taking is not None:
            said.append(self._taking.text)
            self._taking = None
        if self._hearing.unread:
            try:
                said.append(await self._hearing.words(seconds))
            except ProviderError as error:
                self._log.warning("conversation.last_words_lost", error=str(error))
        return " ".join(words for words in said if words)

    # --- a turn -------------------------------------------------------------------------------------------------------

    async def _take(self, heard: Heard | None) -> tuple[Reply, dict[str, float]]:
        """The orchestrator's answer, kept on disk before a word of it is said."""
        orchestrator, plan, began = self._services.orchestrator, self._plan, self._loop.time()
        self._taking = heard
        before = self.state
        self._protected = 0
        if before is None or heard is None:
            if self._context.state is not None:
                state = ConversationState.from_json(self._context.state).fitted_to(plan.checkpoint_ids)
                reply = orchestrator.resume(plan, state, self._name)
            else:
                state, reply = orchestrator.begin(plan, self._name)
                # Who calls, that it is a machine, how to stop it, and that it is recorded: that is said to the end.
                self._protected = len(sentences(f"{plan.greeting} {plan.recording_notice}")) if plan.recording_notice else 1
        elif heard.unclear:
            state, reply = orchestrator.not_understood(plan, before, self._name)
        else:
            state, reply = await orchestrator.take_turn(plan, before, self._name, heard.text, heard.keys)
        judged = self._loop.time()
        if heard is not None and (heard.text or heard.keys):
            self._hearing.somebody_is_there()
        timings: dict[str, float] = {"judge_ms": _ms(began, judged)}
        if heard is not None and heard.transcript_ms is not None:
            timings["transcript_ms"] = heard.transcript_ms
        now = self._services.clock.now()
        turn = TurnRecord(
            ordinal=self.ordinal,
            checkpoint=(before or state).current.id,
            said=self._said(heard),
            reply=reply.text,
            at=now,
            timings={**timings, **self._last_reply},
        )
        # From here on the words are on their way to the disk, whatever becomes of this task.
        self._taking = None
        self.state = state
        self.ordinal += 1
        await self._call_log.append(Entry(turn, state.to_json(), reply.ended_by, reply.opted_out, now))
        timings["kept_ms"] = _ms(judged, self._loop.time())
        return reply, timings

    def _said(self, heard: Heard | None) -> str | None:
        said = self._asides
        self._asides = []
        if heard is not None:
            said.append(heard.text or (f"[keys {heard.keys}]" if heard.keys else ""))
        return " ".join(words for words in said if words) or None

    async def _say_and_listen(self, reply: Reply) -> Heard:
        """Say the reply; return what is answered. Raises _Finished when the reply was the last one and was said.

        An answer can only be one to what was asked. Words said before the question has begun are kept aside, and a
        reply that was interrupted before its question is taken up again.
        """
        spoken = sentences(reply.text)
        question = max((index for index, sentence in enumerate(spoken) if sentence.endswith("?")), default=max(0, len(spoken) - 1))
        first = 0
        keys = ""
        if reply.ends:
            self._protected = len(spoken)
        self._playback.say(spoken)
        quiet_until: float | None = None
        while True:
            event = await self._next(quiet_until)
            match event:
                case None if self._hearing.in_speech and not keys:
                    quiet_until = None
                case None:
                    return Heard(keys=keys, ended_at=self._loop.time() if keys else None)
                case Spoken() if not self._playback.speaking and not self._playback.interrupted:
                    if self._playback.error is not None:
                        raise self._playback.error
                    if reply.ends:
                        raise _Finished(Ending("the conversation is over", EndedBy(reply.ended_by or EndedBy.COMPLETE)))
                    quiet_until = None if self._hearing.in_speech else self._loop.time() + self._plan.silence_seconds
                case SpeechStarted() if not keys:
                    quiet_until = None
                case Digit(key) if not reply.ends or key == "*":
                    self._playback.cut()
                    keys += key
                    if not self._more_keys_may_come(keys):
                        return Heard(keys=keys, ended_at=self._loop.time())
                    quiet_until = self._loop.time() + KEY_PAUSE_SECONDS
                case Machine(answered_by) if not reply.ends:
                    raise _MachineFound(answered_by)
                case Deaf():
                    await self._say_out(CANNOT_HEAR)
                    raise _Finished(Ending("no recogniser", EndedBy.DROPPED))
                case Utterance():
                    heard = await self._understood(event)
                    asked = self._was_asked(question - first, event)
                    if self._is_the_answer(heard, asked, reply, keys):
                        self._playback.cut()
                        return heard
                    if heard.text:
                        self._asides.append(heard.text)
                    if self._playback.interrupted and not keys:
                        self._false_alarms += not heard.text
                        first += self._playback.heard
                        self._protected = max(0, self._protected - self._playback.heard)
                        self._playback.say(spoken[first:])
                    elif not self._playback.speaking and not keys:
                        quiet_until = self._loop.time() + self._plan.silence_seconds
                case _:
                    pass

    def _was_asked(self, question: int, said: Utterance) -> bool:
        """Did the contact go on speaking after some of the question was to be heard?"""
        began = self._playback.began_at(question)
        return began is not None and said.ended_at - self._plan.patience_ms / 1000 >= began + LEAST_OF_QUESTION_SECONDS

    def _is_the_answer(self, heard: Heard, asked: bool, reply: Reply, keys: str) -> bool:
        if utterance.asks_to_stop(heard.text):
            return True
        if reply.ends or keys:
            return False
        if _is_about_the_call(heard.text):
            return True
        if not asked:
            return False
        if self._playback.speaking:
            return bool(heard.text) and not utterance.is_backchannel(heard.text) and self.interruptible
        # Noise that stopped us is no reason to say that we did not understand.
        return bool(heard.text) or (heard.unclear and not self._playback.interrupted)

    def _more_keys_may_come(self, keys: str) -> bool:
        assert self.state is not None
        wants_number = self._plan.checkpoints[self.state.checkpoint_index].complete_when.kind == "number"
        return wants_number and not keys.endswith(("#", "*")) and len(keys) < MOST_KEYS

    async def _next(self, until: float | None) -> Event | None:
        try:
            async with asyncio.timeout_at(until):
                return await self.events.get()
        except TimeoutError:
            return None

    async def _understood(self, ended: Utterance) -> Heard:
        try:
            text = await self._hearing.words()
        except ProviderError as error:
            self._log.error("speech.recognition_failed", error=str(error))
            self._reopen_ears()
            text = ""
        answered_by = self._hearing.sounds_like_a_machine(text)
        if answered_by is not None:
            raise _MachineFound(answered_by)
        unclear = not text and ended.voiced_ms >= SHORTEST_ANSWER_MS
        self._unclear_in_a_row = self._unclear_in_a_row + 1 if unclear else 0
        if self._unclear_in_a_row == UNCLEAR_BEFORE_NEW_EARS:
            # A recogniser that died without a word understands nothing any more; another one costs little.
            self._unclear_in_a_row = 0
            self._reopen_ears()
        return Heard(
            text=text,
            unclear=unclear,
            ended_at=ended.ended_at,
            transcript_ms=_ms(ended.ended_at, self._loop.time()),
        )

    # --- a machine, and other ends ------------------------------------------------------------------------------------

    async def _leave_to_machine(self, answered_by: str) -> Ending:
        """A machine took the call: as the plan says, leave its message after the beep, or hang up."""
        self._playback.cut()
        self._hearing.machine_found()
        self._log.info("conversation.machine", answered_by=answered_by, plan_says=self._plan.voicemail)
        mark, attempt = self._services.mark_answered_by, self._context.attempt_id
        self._services.turn_log.do(lambda: mark(attempt, answered_by))
        if self._plan.voicemail == "leave_message" and self._plan.voicemail_message is not None:
            if answered_by != "machine_end_beep":
                await self._wait_for_beep()
            await self._say_out(fill(self._plan.voicemail_message, name=self._name, caller=self._services.caller_name))
        return Ending("voicemail", EndedBy.VOICEMAIL)

    async def _wait_for_beep(self) -> None:
        latest = self._loop.time() + BEEP_WAIT_SECONDS
        quiet_until = latest if self._hearing.in_speech else self._loop.time() + BEEP_SILENCE_SECONDS
        while True:
            match await self._next(min(latest, quiet_until)):
                case None | Beep():
                    return
                case SpeechStarted():
                    quiet_until = latest
                case Utterance():
                    quiet_until = self._loop.time() + BEEP_SILENCE_SECONDS
                case _:
                    pass

    async def _say_out(self, text: str) -> None:
        """Say something that nothing interrupts, to its end."""
        self._playback.cut()
        spoken = sentences(text)
        self._protected = len(spoken)
        self._playback.say(spoken)
        while self._playback.speaking:
            await self.events.get()

    def _note_turn(self, reply: Reply, ended_at: float | None, timings: dict[str, float]) -> None:
        """Log one turn's times in ms, and which of its sentences were really heard. Never its words."""
        playback, measured = self._playback, dict(timings)
        self._last_reply = {"last_reply_sentences": len(playback.sentences), "last_reply_heard": playback.heard}
        if playback.first_synthesis_at is not None:
            measured["synthesis_ms"] = _ms(playback.said_at, playback.first_synthesis_at)
        if ended_at is not None and playback.first_sent_at is not None:
            measured["reply_ms"] = _ms(ended_at, playback.first_sent_at)
            measured["after_speech_ms"] = round(measured["reply_ms"] + self._plan.patience_ms, 1)
        self._log.info(
            "conversation.turn",
            turn=self.ordinal - 1,
            checkpoint=self.state.current.id if self.state is not None else None,
            sentences=len(playback.sentences),
            sentences_heard=playback.heard,
            interrupted=playback.interrupted,
            ends=reply.ends,
            **measured,
        )


def _is_about_the_call(text: str) -> bool:
    return utterance.asks_to_repeat(text) or utterance.asks_who(text) or utterance.says_goodbye(text)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
