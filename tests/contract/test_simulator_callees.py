"""Who picks up: the file of behaviours, its errors, and the choice for each call."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import phonenumbers
import pytest

from core.errors import InvalidInput
from core.plans.library import PlanLibrary
from workers.phone_simulator.behaviours import SHIPPED, CalleeBook, load_callees
from workers.phone_simulator.demo_numbers import DEMO_PHONES, RUNS, demo_phones

PLANS = Path(__file__).parents[2] / "plans"

SHORT = """
behaviours:
  talks: {kind: answers, script: [{say: hello}]}
  busy: {kind: busy}
callees:
  - {numbers: ["+12025550101"], sequence: [busy, talks]}
  - {numbers: ["+1202555???2"], sequence: [busy, talks], start_over: true}
  - {numbers: ["+1303*"], weights: {busy: 1, talks: 3}}
otherwise: {behaviour: busy}
"""


def book(folder: Path, text: str) -> CalleeBook:
    path = folder / "callees.yaml"
    path.write_text(text)
    return load_callees(path)


def test_the_first_entry_that_covers_a_number_counts(tmp_path: Path) -> None:
    callees = book(tmp_path, SHORT)

    def names(number: str) -> list[str]:
        return [callees.behaviour_for(number, nth, 1)[0] for nth in range(4)]

    assert names("+12025550101") == ["busy", "talks", "talks", "talks"]
    assert names("+12025550102") == ["busy", "talks", "busy", "talks"]
    assert names("+442071838750") == ["busy"] * 4


def test_a_draw_depends_on_seed_number_and_count_alone(tmp_path: Path) -> None:
    callees = book(tmp_path, SHORT)
    numbers = [f"+1303555{n:04}" for n in range(400)]

    forwards = {n: callees.behaviour_for(n, 0, 7)[0] for n in numbers}
    backwards = {n: callees.behaviour_for(n, 0, 7)[0] for n in reversed(numbers)}

    assert forwards == backwards
    assert forwards != {n: callees.behaviour_for(n, 0, 8)[0] for n in numbers}
    assert forwards != {n: callees.behaviour_for(n, 1, 7)[0] for n in numbers}
    assert Counter(forwards.values())["talks"] == pytest.approx(300, abs=40)


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("{say: hello}", "{say: hello, dtmf: '1'}", 3, "exactly one of say, dtmf"),
        ("{say: hello}", "{}", 3, "exactly one of say, dtmf"),
        ("kind: busy", "kind: bsy", 4, "'answers', 'voicemail', 'busy'"),
        ("kind: busy", "kind: voicemail", 4, "needs a greeting"),
        ("kind: busy", "kind: busy, greeting: hi", 4, "only a voicemail"),
        ("kind: busy", "kind: busy, colour: red", 4, "colour"),
        ('["+12025550101"]', '["2025550101"]', 6, "is not + and digits"),
        ("sequence: [busy, talks]}", "sequence: [busy, tlks]}", 1, "no behaviour 'tlks'; there are busy, talks"),
        ("{busy: 1, talks: 3}", "{busy: 0}", 8, "one of them must be positive"),
        ("otherwise: {behaviour: busy}", "otherwise: {}", 9, "exactly one of behaviour, sequence, weights"),
        ("otherwise: {behaviour: busy}", "otherwise: {behaviour: [", 10, "expected"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, text: str) -> None:
    assert old in SHORT

    with pytest.raises(InvalidInput) as caught:
        book(tmp_path, SHORT.replace(old, new))

    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'callees.yaml'}:{line}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml: cannot be read"):
        load_callees(tmp_path / "nowhere.yaml")


def test_the_phones_of_the_demo_can_be_dialled_and_behave_as_named() -> None:
    callees = load_callees(SHIPPED)
    expected = {
        "talks": ["talks", "talks"],
        "busy_then_answers": ["busy", "talks_tired"],
        "never_answers": ["never_answers", "never_answers"],
        "hangs_up": ["hangs_up_half_way", "hangs_up_half_way"],
        "voicemail": ["voicemail", "voicemail"],
    }

    numbers = [number for run in range(RUNS) for _, number in demo_phones(run)]

    assert demo_phones(0) == DEMO_PHONES
    assert len(set(numbers)) == RUNS * len(expected)
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in numbers)
    assert all(number[-7:-2] == "55501" for number in numbers)
    for run in range(RUNS):
        assert {key: [callees.behaviour_for(number, nth, 1)[0] for nth in range(2)] for key, number in demo_phones(run)} == expected


@pytest.mark.parametrize(
    ("plan", "behaviours"),
    [
        ("demo-check-in", ["talks", "talks_tired"]),
        ("daily-reflection", ["reflects"]),
        ("medication-check-in", ["takes_medication"]),
    ],
)
def test_callees_say_what_the_recogniser_of_their_plan_expects(plan: str, behaviours: list[str]) -> None:
    hints = set(PlanLibrary(PLANS).get(plan).all_hints())
    callees = load_callees(SHIPPED)

    for name in behaviours:
        lines = {step.say for step in callees.behaviours[name].steps if step.say is not None}
        assert lines <= hints, lines - hints
