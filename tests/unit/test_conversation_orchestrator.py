from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.conversation.orchestrator import MAX_REPEATS, Orchestrator, spoken_name
from core.domain.conversation import CheckpointState, ConversationState, EndedBy, Reply
from core.errors import InvalidInput, ProviderError
from core.judge.base import Judgement
from core.judge.rules import RulesJudge
from core.plans.model import Checkpoint, CompleteWhen, Plan


def checkpoint(name: str, kind: str, max_turns: int = 2) -> Checkpoint:
    return Checkpoint(
        id=name,
        prompt=f"{name} question?",
        complete_when=CompleteWhen.model_validate({"kind": kind}),
        follow_up=f"{name} again?",
        max_turns=max_turns,
    )


PLAN = Plan(
    name="test",
    title="Test",
    greeting="Hello {name}, this is {caller}. Welcome.",
    recording_notice="This call is recorded.",
    checkpoints=(checkpoint("mood", "any_answer"), checkpoint("taken", "yes_no"), checkpoint("score", "number")),
    closing="Goodbye {name}.",
    silence_prompts=1,
)


class Talk:
    """A conversation held by text."""

    def __init__(self, plan: Plan = PLAN, judge: object = None) -> None:
        self.orchestrator = Orchestrator(judge or RulesJudge(), "Acme")  # type: ignore[arg-type]
        self.plan = plan
        self.state, self.reply = self.orchestrator.begin(plan, "Ann")

    def say(self, heard: str = "", digits: str = "") -> Reply:
        # Through JSON each time, as it goes through SQL in standard mode.
        stored = json.loads(json.dumps(self.state.to_json()))
        state = ConversationState.from_json(stored)
        assert state == self.state
        self.state, self.reply = asyncio.run(self.orchestrator.take_turn(self.plan, state, "Ann", heard, digits))
        return self.reply


def test_a_conversation_goes_from_greeting_to_closing() -> None:
    talk = Talk()
    assert talk.reply.text == "Hello Ann, this is Acme. Welcome. This call is recorded. mood question?"
    assert "taken question?" in talk.say("pretty good").text
    assert "score question?" in talk.say("yes").text
    assert talk.say("seven") == Reply("Goodbye Ann.", ends=True, ended_by="complete")
    assert talk.state.is_complete
    assert talk.state.ended_by == "complete"
    assert [progress.answer for progress in talk.state.checkpoints] == ["pretty good", "yes", "7"]


def test_an_unclear_answer_is_asked_for_again_and_then_left_open() -> None:
    talk = Talk()
    talk.say("pretty good")
    assert talk.say("well the weather").text == "taken again?"
    assert talk.say("the garden").text.endswith("score question?")
    talk.say("four")
    assert talk.state.ended_by == "complete"
    assert not talk.state.is_complete
    assert talk.state.checkpoints[1].state is CheckpointState.PAUSED
    assert talk.state.checkpoints[1].heard == ("well the weather", "the garden")


def test_asking_to_repeat_costs_no_turn_but_does_not_go_on_for_ever() -> None:
    talk = Talk()
    for _ in range(MAX_REPEATS):
        assert talk.say("what did you say").text == "Of course. mood question?"
        assert talk.state.current.turns == 0
    talk.say("what did you say")
    assert talk.state.checkpoints[0].turns == 1


def test_who_is_this_is_answered_with_who_calls() -> None:
    assert Talk().say("who is this").text == "Hello Ann, this is Acme. mood question?"


@pytest.mark.parametrize(("heard", "digits"), [("stop calling me", ""), ("", "*"), ("yes", "*"), ("please take me off your list", "")])
def test_an_opt_out_ends_the_conversation_politely(heard: str, digits: str) -> None:
    talk = Talk()
    reply = talk.say(heard, digits)
    assert reply.opted_out
    assert reply.ends
    assert reply.ended_by == "opted_out"
    assert "not call this number again" in reply.text
    assert talk.state.ended
    assert talk.state.ended_by == "opted_out"


def test_an_opt_out_counts_over_the_last_words_too() -> None:
    talk = Talk()
    for words in ("fine", "yes", "seven"):
        talk.say(words)
    reply = talk.say("stop calling me")
    assert reply.opted_out
    assert talk.state.ended_by == "complete"
    assert not talk.say("thanks").opted_out


def test_silence_is_prompted_and_then_ended() -> None:
    talk = Talk()
    assert talk.say().text == "Are you still there? mood question?"
    talk.say("pretty good")
    assert not talk.say().ends
    reply = talk.say()
    assert reply.ends
    assert reply.ended_by == "silence"
    assert "Goodbye" in reply.text
    assert [progress.state for progress in talk.state.checkpoints] == [
        CheckpointState.COMPLETE,
        CheckpointState.PAUSED,
        CheckpointState.PENDING,
    ]


def test_a_goodbye_ends_the_call() -> None:
    assert Talk().say("sorry i have to go").ended_by == "goodbye"


def test_keys_answer_where_the_question_allows_it() -> None:
    talk = Talk()
    assert talk.say(digits="1").text == "mood again?"
    talk.say("fine")
    assert talk.say(digits="3").text == "taken again?"
    talk.say(digits="2")
    assert talk.state.checkpoints[1].answer == "no"
    talk.say(digits="12#")
    assert talk.state.checkpoints[2].answer == "12"


def test_words_that_were_not_understood_cost_a_turn() -> None:
    talk = Talk()
    orchestrator = talk.orchestrator
    state, reply = orchestrator.not_understood(PLAN, talk.state, "Ann")
    assert "did not understand" in reply.text
    assert state.current.turns == 1
    state, reply = orchestrator.not_understood(PLAN, state, "Ann")
    assert reply.text.endswith("taken question?")
    assert state.checkpoint_index == 1


def test_resuming_asks_what_was_open() -> None:
    talk = Talk()
    assert talk.orchestrator.resume(PLAN, talk.state, "Ann").text == "I am sorry, we were cut off. Hello Ann, this is Acme. mood question?"
    talk.say("fine")
    assert talk.orchestrator.resume(PLAN, talk.state, "Ann").text == "I am sorry, we were cut off. taken question?"
    talk.say(digits="*")
    resumed = talk.orchestrator.resume(PLAN, talk.state, "Ann")
    assert resumed.ends
    assert resumed.opted_out
    assert "not call this number again" in resumed.text


def test_progress_survives_a_plan_changed_meanwhile() -> None:
    talk = Talk()
    talk.say("fine")
    changed = PLAN.model_copy(update={"checkpoints": (PLAN.checkpoints[2], PLAN.checkpoints[0])})
    talk.plan = changed
    assert "score question?" in talk.orchestrator.resume(changed, talk.state, "Ann").text
    state, reply = asyncio.run(talk.orchestrator.take_turn(changed, talk.state, "Ann", "eight"))
    assert state.checkpoints[0].answer == "8"
    assert state.checkpoints[1].answer == "fine"
    assert reply.text.endswith("mood question?") or reply.ends


class FailingJudge:
    name = "failing"

    trouble = None

    def warm_up(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""

    async def evaluate(self, checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
        raise ProviderError("quota", provider="judge", retryable=True)


class PushyJudge:
    name = "pushy"

    trouble = None

    def warm_up(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""

    async def evaluate(self, checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
        return Judgement(False, "unclear", say_next="Say {name} {nonsense}?")


def test_the_rules_take_a_turn_over_from_a_judge_that_fails() -> None:
    talk = Talk(judge=FailingJudge())
    talk.say("fine")
    talk.say("yes")
    assert talk.state.checkpoints[1].answer == "yes"


def test_what_a_judge_wants_said_is_data() -> None:
    assert Talk(judge=PushyJudge()).say("hm well then").text == "Say {name} {nonsense}?"


def test_the_name_is_spoken_as_the_contact_wants() -> None:
    assert spoken_name("Siobhan", "Shivawn") == "Shivawn"
    assert spoken_name("Siobhan", None) == "Siobhan"


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"checkpoints": []},
        {**ConversationState.begin(["a"]).to_json(), "checkpoint_index": 1},
        {**ConversationState.begin(["a"]).to_json(), "phase": "x"},
    ],
)
def test_a_state_that_is_none_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        ConversationState.from_json(stored)


_SAID = st.sampled_from(
    ["", "fine", "yes", "no", "seven", "what", "who is this", "stop calling me", "goodbye", "hm", "maybe three or four"]
)


@given(st.lists(st.tuples(st.one_of(_SAID, st.text()), st.sampled_from(["", "", "", "1", "2", "#", "*", "12#", "A"])), max_size=25))
def test_every_conversation_ends_and_stays_ended(turns: list[tuple[str, str]]) -> None:
    talk = Talk()
    for heard, digits in turns:
        was_ended = talk.state.ended
        reply = talk.say(heard, digits)
        assert reply.ends == talk.state.ended
        assert (reply.ended_by is not None) == reply.ends
        assert was_ended or reply.text
        assert not reply.opted_out or reply.ends
    for _ in range(PLAN.silence_prompts + 1):
        talk.say()
    assert talk.state.ended
    assert talk.state.ended_by in set(EndedBy)
