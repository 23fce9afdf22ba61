from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import utterance
from core.judge.base import Judgement
from core.judge.rules import RulesJudge
from core.plans.model import Checkpoint, CompleteWhen


def checkpoint(kind: str, **more: object) -> Checkpoint:
    return Checkpoint(id="c", prompt="Well?", complete_when=CompleteWhen.model_validate({"kind": kind, **more}), follow_up="And?")


def verdict(asked: Checkpoint, *heard: str) -> Judgement:
    return asyncio.run(RulesJudge().evaluate(asked, heard))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("yes", "yes"),
        ("Yeah.", "yes"),
        ("yep", "yes"),
        ("uh yes i have", "yes"),
        ("i did", "yes"),
        ("I have", "yes"),
        ("of course", "yes"),
        ("yes i took it this morning", "yes"),
        ("i took it after breakfast", "yes"),
        ("that is fine", "yes"),
        ("okay", "yes"),
        ("i think so", "yes"),
        ("no", "no"),
        ("nope", "no"),
        ("not yet", "no"),
        ("I haven't", "no"),
        ("i have not", "no"),
        ("I didn\u2019t take it", "no"),
        ("i did not", "no"),
        ("no i did not", "no"),
        ("i don't think so", "no"),
        ("no i have enough", "no"),
        ("no thank you", "no"),
        ("not really", "no"),
        ("i forgot", "no"),
        ("okay no", "no"),
        ("of course not", "no"),
        ("no problem", None),
        ("yes no", None),
        ("no yes", None),
        ("i don't know", None),
        ("i am not sure", None),
        ("maybe", None),
        ("i have to check", None),
        ("i will take it now", None),
        ("", None),
        ("the the uh", None),
    ],
)
def test_yes_and_no_are_understood_and_nothing_is_guessed(said: str, answer: str | None) -> None:
    judged = verdict(checkpoint("yes_no"), said)
    assert (judged.complete, judged.answer) == (answer is not None, answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("seven", "7"),
        ("7", "7"),
        ("about an eight", "8"),
        ("seven out of ten", "7"),
        ("ten out of ten", "10"),
        ("twenty five", "25"),
        ("two hundred and ten", "210"),
        ("a hundred", "100"),
        ("three thousand five hundred", "3500"),
        ("6.5", "6.5"),
        ("seven and a half", "7.5"),
        ("thirty six point five", "36.5"),
        ("three no four", "4"),
        ("zero", "0"),
        ("three or four", None),
        ("one hundred and twenty over eighty", None),
        ("very well", None),
        ("", None),
        ("9" * 400, "9" * 12),
    ],
)
def test_one_number_is_understood(said: str, answer: str | None) -> None:
    assert verdict(checkpoint("number"), said).answer == answer


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("i would like red wine please", "red wine"),
        ("white wine", "white wine"),
        ("wine", "wine"),
        ("not red wine but white wine", "white wine"),
        ("red wine or white wine", None),
        ("not wine", None),
        ("water", None),
        ("", None),
    ],
)
def test_one_of_the_phrases_is_found(said: str, answer: str | None) -> None:
    judged = verdict(checkpoint("one_of", phrases=["wine", "red wine", "white wine"]), said)
    assert (judged.complete, judged.answer) == (answer is not None, answer)


@pytest.mark.parametrize("said", ["what?", "hello?", "Hello, hello", "can you repeat that", "who is this", "um", "uh well", "", "..."])
def test_words_that_do_not_answer_are_no_answer(said: str) -> None:
    assert not verdict(checkpoint("any_answer"), said).complete


def test_a_free_answer_counts_over_several_turns() -> None:
    asked = checkpoint("any_answer", min_words=3)
    assert not verdict(asked, "tired").complete
    judged = verdict(asked, "tired", "what?", "because of work")
    assert judged.complete
    assert judged.answer == "tired because of work"


def test_a_reason_never_holds_the_contacts_words() -> None:
    for kind in ("yes_no", "number", "any_answer"):
        assert "elephant" not in verdict(checkpoint(kind), "yes seven elephant").reason


@pytest.mark.parametrize(
    "said",
    [
        "stop calling me",
        "Stop calling me!",
        "please stop calling me",
        "i want you to stop calling me",
        "don't call me again",
        "Please don\u2019t call again",
        "do not call me anymore",
        "just never call me again",
        "take me off your list",
        "take me off the call list please",
        "remove my number",
        "remove me from your list",
        "delete my phone number",
        "put me on the do not call list",
        "no more calls",
        "stop these calls",
        "unsubscribe",
        "wrong number",
        "you have the wrong number",
        "stop",
        "no stop",
    ],
)
def test_a_wish_never_to_be_called_again_is_heard(said: str) -> None:
    assert utterance.asks_to_stop(said)


@pytest.mark.parametrize(
    "said",
    [
        "my kids don't call me anymore",
        "they stop calling me when it rains",
        "i had to stop calling my sister",
        "i stopped at the market",
        "i will call my brother",
        "nobody calls me",
        "no",
        "i could not stop thinking about it",
        "yesterday i dialed the wrong number and talked to a stranger for an hour",
        "",
    ],
)
def test_a_story_about_calls_is_no_such_wish(said: str) -> None:
    assert not utterance.asks_to_stop(said)


@pytest.mark.parametrize(
    "said",
    ["what", "What did you say?", "sorry what was that", "can you repeat that please", "say that again", "pardon", "i did not hear you"],
)
def test_asking_to_repeat_is_recognised(said: str) -> None:
    assert utterance.asks_to_repeat(said)


@pytest.mark.parametrize("said", ["what a day", "i say that again and again to my son", "i did not hear from my sister", "", "no"])
def test_an_answer_is_not_taken_for_asking_again(said: str) -> None:
    assert not utterance.asks_to_repeat(said)


def test_other_words_about_the_call() -> None:
    assert utterance.asks_who("hello who is this")
    assert utterance.asks_who("who's calling")
    assert not utterance.asks_who("i met someone who is this tall")
    assert utterance.says_goodbye("okay bye bye")
    assert utterance.says_goodbye("sorry i have to go now")
    assert not utterance.says_goodbye("i said goodbye to a friend")
    assert utterance.is_greeting("hello? are you there")
    assert not utterance.is_greeting("good")
    assert utterance.is_backchannel("mhm okay")
    assert not utterance.is_backchannel("yes")


def test_hints_of_every_conversation_are_understood() -> None:
    assert all(utterance.asks_to_stop(phrase) for phrase in utterance.OPT_OUT_PHRASES)
    assert all(utterance.asks_to_repeat(phrase) for phrase in utterance.REPEAT_PHRASES)
    assert all(utterance.asks_who(phrase) for phrase in utterance.WHO_PHRASES)
    assert all(utterance.says_goodbye(phrase) for phrase in utterance.GOODBYE_PHRASES)
    assert all(utterance.yes_or_no(phrase) is True for phrase in utterance.YES_PHRASES)
    assert all(utterance.yes_or_no(phrase) is False for phrase in utterance.NO_PHRASES)


PIECES = [
    "yes",
    "no",
    "not",
    "i",
    "do",
    "have",
    "did",
    "call me",
    "stop calling",
    "number",
    "seven",
    "hundred",
    "and a half",
    "point",
    "out of",
    "ten",
]
_WORDS = st.sampled_from([*PIECES, "what", "3", "0.5", "don't", "wrong", "who is", "thousand", "a"])


@given(st.one_of(st.text(), st.lists(_WORDS, max_size=30).map(" ".join)))
def test_no_text_is_too_strange(said: str) -> None:
    for asked in (checkpoint("yes_no"), checkpoint("number"), checkpoint("any_answer"), checkpoint("one_of", phrases=["yes", "call me"])):
        judged = verdict(asked, said)
        assert judged.complete or judged.answer is None
    for ask in (utterance.asks_to_stop, utterance.asks_to_repeat, utterance.asks_who, utterance.says_goodbye, utterance.is_greeting):
        assert ask(said) in (True, False)


@given(st.text(min_size=1, max_size=5))
def test_a_flood_of_text_is_cut(piece: str) -> None:
    judged = verdict(checkpoint("any_answer"), piece * 5000)
    assert judged.answer is None or len(judged.answer) <= 1000
