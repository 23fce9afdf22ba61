"""What callees do, step by step: by ear, frame by frame, and where no sound flows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput
from core.speech.base import FRAME_MS
from workers.phone_simulator.audio import is_audible, tone
from workers.phone_simulator.behaviours import Behaviour, load_callees
from workers.phone_simulator.callee import Answer, Callee, HungUpError, Moment

LOUD = tone(300, 0.02)
LINES = {"i am well": tone(440, 0.6), "yes": tone(440, 0.2)}
BOTH = frozenset({"speech", "dtmf"})


class Clock:
    """Seconds since the phone was answered."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Listener:
    """A callee on a stream, whose frames are made as fast as they can be."""

    def __init__(self, *script: dict[str, Any], **more: Any) -> None:
        self._ticks = 0
        behaviour = Behaviour.model_validate({"kind": "answers", "script": script, **more})
        self._callee = Callee(behaviour, LINES, lambda: self._ticks * FRAME_MS / 1000)

    def hears(self, seconds: float, played: bytes = b"") -> list[tuple[float, Moment]]:
        """Every moment of the next seconds, with its time."""
        moments = []
        for _ in range(round(seconds * 1000 / FRAME_MS)):
            moments.append((round(self._ticks * FRAME_MS / 1000, 2), self._callee.listen(played)))
            self._ticks += 1
        return moments


def loud_at(moments: list[tuple[float, Moment]]) -> list[float]:
    return [at for at, moment in moments if is_audible(moment.frame)]


def keys(moments: list[tuple[float, Moment]]) -> list[tuple[float, str]]:
    return [(at, moment.digit) for at, moment in moments if moment.digit]


def hung_up_at(moments: list[tuple[float, Moment]]) -> float | None:
    return next((at for at, moment in moments if moment.hangs_up), None)


def test_somebody_interrupts_while_we_talk() -> None:
    callee = Listener({"say": "i am well", "interrupts_after": 1.2})

    moments = callee.hears(3, LOUD)

    assert loud_at(moments)[0] == pytest.approx(1.2, abs=0.03)
    assert loud_at(moments)[-1] == pytest.approx(1.8, abs=0.06)


def test_words_are_counted_by_the_pace_of_speech() -> None:
    callee = Listener({"say": "yes", "interrupts_after_words": 5})

    assert loud_at(callee.hears(4, LOUD))[0] == pytest.approx(2.0, abs=0.03)


def test_who_interrupts_waits_until_we_talk() -> None:
    callee = Listener({"say": "yes", "interrupts_after": 0.5})

    assert loud_at(callee.hears(5)) == []
    assert loud_at(callee.hears(1, LOUD))[0] == pytest.approx(5.5, abs=0.03)


def test_a_key_is_pressed_at_its_moment() -> None:
    callee = Listener({"dtmf": "12", "at": 2.5})

    assert keys(callee.hears(4, LOUD)) == [(pytest.approx(2.5, abs=0.03), "1"), (pytest.approx(2.7, abs=0.06), "2")]


def test_a_cough_and_a_mumble_are_heard_and_told() -> None:
    callee = Listener({"cough": 0.4, "at": 0.5}, {"mumble": 1.0, "at": 2})

    moments = callee.hears(4)

    assert [moment.said for _, moment in moments if moment.said] == ["(coughs for 0.4 s)", "(mumbles for 1 s)"]
    loud = loud_at(moments)
    assert len([at for at in loud if at < 1.5]) >= 12
    assert len([at for at in loud if at >= 2]) >= 25


def test_the_phone_is_put_down_in_the_middle_of_a_sentence() -> None:
    callee = Listener({"say": "i am well", "hangs_up_at": 0.3, "at": 1})

    moments = callee.hears(3)

    assert hung_up_at(moments) == pytest.approx(1.3, abs=0.03)


def test_the_phone_is_put_down_while_we_talk() -> None:
    assert hung_up_at(Listener({"hang_up": True, "interrupts_after": 0.8}).hears(2, LOUD)) == pytest.approx(0.8, abs=0.03)


def test_a_dead_line_stays_open_and_nobody_is_there() -> None:
    callee = Listener({"goes_dead": True, "at": 1}, {"say": "yes"}, gives_up_seconds=5)

    moments = [*callee.hears(2, LOUD), *callee.hears(20)]

    assert loud_at(moments) == []
    assert hung_up_at(moments) is None
    assert [moment.said for _, moment in moments if moment.said] == ["(the line is dead)"]


def test_who_hears_nothing_gives_up() -> None:
    assert hung_up_at(Listener(gives_up_seconds=5).hears(8)) == pytest.approx(5, abs=0.1)


def gathered(*script: dict[str, Any], timeout: float = 5, inputs: frozenset[str] = BOTH, **more: Any) -> tuple[Answer | None, float]:
    """What `<Gather>` gets, and when; None when the callee hung up."""
    clock = Clock()
    behaviour = Behaviour.model_validate({"kind": "answers", "script": script, "words_per_minute": 120, **more})
    callee = Callee(behaviour, LINES, lambda: clock.now)
    try:
        return asyncio.run(callee.answer_gather(timeout, inputs, clock.sleep)), clock.now
    except HungUpError:
        return None, clock.now


@pytest.mark.parametrize(
    ("script", "answer", "seconds"),
    [
        ([{"say": "i am well"}], Answer("i am well", audio=LINES["i am well"]), 0.6 + 1.5),
        ([{"silence": 2}, {"say": "yes", "after": 0}], Answer("yes", audio=LINES["yes"]), 0.6 + 2 + 0.5),
        ([{"silence": 20}, {"say": "yes"}], Answer(), 5),
        ([{"cough": 1}, {"dtmf": "5"}], Answer(digits="5"), 0.6 + 1 + 0.6 + 0.2),
        ([{"mumble": 2}, {"say": "yes"}], Answer(), 0.6 + 2),
        ([{"dtmf": "5", "at": 3}], Answer(digits="5"), 3.2),
        ([{"say": "yes", "at": 30}], Answer(), 5),
        ([{"goes_dead": True}, {"say": "yes"}], Answer(), 5),
        ([{"hang_up": True, "after": 2}], None, 2),
        ([{"say": "i am well", "hangs_up_at": 0.5}], None, 1.1),
        ([], Answer(), 5),
    ],
)
def test_gather_gets_what_the_script_says(script: list[dict[str, Any]], answer: Answer | None, seconds: float) -> None:
    assert gathered(*script) == (answer, pytest.approx(seconds))


def test_what_is_not_asked_for_is_done_and_time_goes_on() -> None:
    assert gathered({"dtmf": "1"}, {"say": "yes"}, inputs=frozenset({"speech"}))[0] == Answer("yes", audio=LINES["yes"])
    endless = gathered({"dtmf": "1", "after": 0}, inputs=frozenset({"speech"}), then="repeat_last")
    assert endless == (Answer(), pytest.approx(5, abs=0.3))


def prompted(seconds: float, *script: dict[str, Any], inputs: frozenset[str] = BOTH) -> tuple[Answer | None, float]:
    clock = Clock()
    callee = Callee(Behaviour.model_validate({"kind": "answers", "script": script, "words_per_minute": 120}), LINES, lambda: clock.now)
    return asyncio.run(callee.during_prompt(seconds, inputs, clock.sleep)), clock.now


def test_a_prompt_is_interrupted_by_what_counts_and_by_nothing_else() -> None:
    says = {"say": "yes", "interrupts_after": 1}

    assert prompted(4, says) == (Answer("yes", audio=LINES["yes"]), pytest.approx(1.5))
    assert prompted(4, {"dtmf": "9", "at": 2}) == (Answer(digits="9"), pytest.approx(2.2))
    assert prompted(4, says, inputs=frozenset({"dtmf"})) == (None, 4)
    assert prompted(4, {"say": "yes", "interrupts_after": 5}) == (None, 4)
    assert prompted(4, {"say": "yes"}) == (None, 4)
    with pytest.raises(HungUpError):
        prompted(4, {"hang_up": True, "interrupts_after_words": 3}, inputs=frozenset())


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("{say: hello, at: 1, after: 2}", "one time"),
        ("{say: hello, interrupts_after: 1, interrupts_after_words: 2}", "one time"),
        ("{cough: 0.4, mumble: 1}", "exactly one of"),
        ("{cough: 9}", "less than or equal to 5"),
        ("{hang_up: true, hangs_up_at: 1}", "goes with say"),
        ("{goes_dead: false}", "Input should be True"),
        ("{interrupts_after_words: 3}", "exactly one of"),
    ],
)
def test_a_mistake_in_a_step_is_named_with_its_line(tmp_path: Path, step: str, text: str) -> None:
    path = tmp_path / "callees.yaml"
    path.write_text(
        f"behaviours:\n  talks:\n    kind: answers\n    script:\n      - {{say: hello}}\n      - {step}\notherwise: {{behaviour: talks}}\n"
    )

    with pytest.raises(InvalidInput, match=text) as caught:
        load_callees(path)

    assert str(caught.value).startswith(f"{path}:6: ")


@pytest.mark.parametrize("last", ["{say: hello, at: 1}", "{goes_dead: true}"])
def test_what_happens_once_cannot_be_repeated(tmp_path: Path, last: str) -> None:
    path = tmp_path / "callees.yaml"
    path.write_text(f"behaviours:\n  talks: {{kind: answers, then: repeat_last, script: [{last}]}}\notherwise: {{behaviour: talks}}\n")

    with pytest.raises(InvalidInput, match="cannot be repeated"):
        load_callees(path)
