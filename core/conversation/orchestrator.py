"""One turn of a conversation, on any channel: what was heard goes in, the new state and our reply come out.

No audio, no storage, no clock: the live call and the carrier's own Gather both run on it.
"""

from __future__ import annotations

from core.domain import utterance
from core.domain.conversation import ConversationState, EndedBy, Reply
from core.domain.prompts import OPTED_OUT
from core.errors import ProviderError
from core.judge.base import Judge, Judgement
from core.judge.rules import judge as judge_by_rules
from core.plans.model import Checkpoint, Plan, fill

__all__ = ["ConversationState", "EndedBy", "Orchestrator", "Reply", "spoken_name"]

# A television that says "what?" for ever must not hold the line.
MAX_REPEATS = 3

GONE_QUIET = "I cannot hear you any more, so I will end the call now. Goodbye."
STILL_THERE = "Are you still there?"
TAKING_LEAVE = "All right. Thank you for your time. Goodbye."
CUT_OFF = "I am sorry, we were cut off."
NOT_UNDERSTOOD = "I am sorry, I did not understand that."
ACKNOWLEDGED = ("Thank you.", "All right.", "Okay, thank you.")
SET_ASIDE = "That is all right, let us go on."
SAID_AGAIN = "Of course."


def spoken_name(name: str, pronunciation: str | None) -> str:
    """The contact's name as it is to be said."""
    return pronunciation or name


class Orchestrator:
    """`caller_name` is who the plan's texts say is calling."""

    def __init__(self, judge: Judge, caller_name: str) -> None:
        self._judge = judge
        self._caller = caller_name

    def begin(self, plan: Plan, spoken_name: str) -> tuple[ConversationState, Reply]:
        """The greeting, the recording notice if the plan has one, and the first question."""
        state = ConversationState.begin(plan.checkpoint_ids)
        notice = [plan.recording_notice] if plan.recording_notice else []
        return state, Reply(self._text(spoken_name, plan.greeting, *notice, plan.checkpoints[0].prompt))

    def resume(self, plan: Plan, state: ConversationState, spoken_name: str) -> Reply:
        """After a cut: one sentence of apology, then the question that was open.

        Who is calling is said again as long as nothing was answered: the first time it may not have been heard.
        """
        state = state.fitted_to(plan.checkpoint_ids)
        if state.ended:
            return Reply(
                self._text(spoken_name, CUT_OFF, self._farewell(plan, state)), True, state.ended_by, state.ended_by == EndedBy.OPTED_OUT
            )
        who = [] if any(progress.turns for progress in state.checkpoints) else [_first_sentence(plan.greeting)]
        return Reply(self._text(spoken_name, CUT_OFF, *who, self._checkpoint(plan, state).prompt))

    async def take_turn(
        self, plan: Plan, state: ConversationState, spoken_name: str, heard: str, digits: str = ""
    ) -> tuple[ConversationState, Reply]:
        """One turn. `heard` and `digits` both empty mean silence. Never raises for anything a contact says or presses."""
        state = state.fitted_to(plan.checkpoint_ids)
        opts_out = "*" in digits or utterance.asks_to_stop(heard)
        if state.ended:
            # Over the last words, too, a contact may say never again.
            return state, Reply(OPTED_OUT if opts_out else "", True, state.ended_by, opts_out or state.ended_by == EndedBy.OPTED_OUT)
        if opts_out:
            return self._ended(plan, state.heard(heard.strip()), spoken_name, EndedBy.OPTED_OUT)
        checkpoint = self._checkpoint(plan, state)
        keys = digits.strip("#")
        if not heard.strip() and not keys:
            return self._after_silence(plan, state, spoken_name)
        if not keys:
            if utterance.says_goodbye(heard):
                return self._ended(plan, state.heard(heard.strip()), spoken_name, EndedBy.GOODBYE)
            if state.current.repeats < MAX_REPEATS:
                if utterance.asks_who(heard):
                    return state.repeated(), Reply(self._text(spoken_name, _first_sentence(plan.greeting), checkpoint.prompt))
                if utterance.asks_to_repeat(heard):
                    return state.repeated(), Reply(self._text(spoken_name, SAID_AGAIN, checkpoint.prompt))
                if utterance.is_greeting(heard):
                    return state.repeated(), Reply(self._text(spoken_name, checkpoint.prompt))
        answer = _as_words(checkpoint, keys) if keys else heard.strip()
        state = state.heard(answer)
        verdict = await self._verdict(checkpoint, state)
        if verdict.complete:
            acknowledgement = ACKNOWLEDGED[state.checkpoint_index % len(ACKNOWLEDGED)]
            return self._onward(plan, state.answered(verdict.answer), spoken_name, acknowledgement)
        if state.current.turns >= checkpoint.max_turns:
            return self._onward(plan, state.set_aside(), spoken_name, SET_ASIDE)
        return state, Reply(self._text(spoken_name, checkpoint.follow_up) if verdict.say_next is None else verdict.say_next)

    def not_understood(self, plan: Plan, state: ConversationState, spoken_name: str) -> tuple[ConversationState, Reply]:
        """Somebody spoke and no word of it was recognised: that costs a turn, so that it cannot go on for ever."""
        state = state.fitted_to(plan.checkpoint_ids)
        if state.ended:
            return state, Reply("", True, state.ended_by, state.ended_by == EndedBy.OPTED_OUT)
        checkpoint = self._checkpoint(plan, state)
        state = state.heard("")
        if state.current.turns >= checkpoint.max_turns:
            return self._onward(plan, state.set_aside(), spoken_name, SET_ASIDE)
        return state, Reply(self._text(spoken_name, NOT_UNDERSTOOD, checkpoint.follow_up))

    async def _verdict(self, checkpoint: Checkpoint, state: ConversationState) -> Judgement:
        heard = state.current.heard
        try:
            return await self._judge.evaluate(checkpoint, heard)
        except ProviderError:
            # A contact must not wait for a vendor to recover: the rules decide this turn.
            return judge_by_rules(checkpoint, heard)

    def _onward(self, plan: Plan, after: ConversationState, spoken_name: str, lead_in: str) -> tuple[ConversationState, Reply]:
        if after.nothing_open:
            ended = after.end(EndedBy.COMPLETE)
            # The closing says thank you itself.
            return ended, Reply(self._text(spoken_name, plan.closing), True, EndedBy.COMPLETE)
        return after, Reply(self._text(spoken_name, lead_in, self._checkpoint(plan, after).prompt))

    def _after_silence(self, plan: Plan, state: ConversationState, spoken_name: str) -> tuple[ConversationState, Reply]:
        state = state.silent()
        if state.silences > plan.silence_prompts:
            return self._ended(plan, state, spoken_name, EndedBy.SILENCE)
        return state, Reply(self._text(spoken_name, STILL_THERE, self._checkpoint(plan, state).prompt))

    def _ended(self, plan: Plan, state: ConversationState, spoken_name: str, by: EndedBy) -> tuple[ConversationState, Reply]:
        ended = state.end(by)
        return ended, Reply(self._text(spoken_name, self._farewell(plan, ended)), True, by, by is EndedBy.OPTED_OUT)

    def _farewell(self, plan: Plan, state: ConversationState) -> str:
        match state.ended_by:
            case EndedBy.OPTED_OUT:
                return OPTED_OUT
            case EndedBy.SILENCE:
                return GONE_QUIET
            case EndedBy.GOODBYE:
                return TAKING_LEAVE
            case _:
                return plan.closing

    def _checkpoint(self, plan: Plan, state: ConversationState) -> Checkpoint:
        return plan.checkpoints[state.checkpoint_index]

    def _text(self, spoken_name: str, *templates: str) -> str:
        return " ".join(fill(template, name=spoken_name, caller=self._caller) for template in templates)


def _as_words(checkpoint: Checkpoint, keys: str) -> str:
    """Pressed keys as the words they stand for: 1 and 2 are yes and no where that is the question."""
    if checkpoint.complete_when.kind == "yes_no":
        return {"1": "yes", "2": "no"}.get(keys, "")
    return keys if checkpoint.complete_when.kind == "number" else ""


def _first_sentence(text: str) -> str:
    for mark in (". ", "! ", "? "):
        text = text.split(mark, 1)[0] + mark.strip() if mark in text else text
    return text
