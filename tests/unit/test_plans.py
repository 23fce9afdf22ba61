from __future__ import annotations

from pathlib import Path

import pytest

from core.domain.outcomes import Outcome
from core.errors import InvalidInput, NotFound
from core.plans.library import PlanLibrary
from core.plans.model import Checkpoint, CompleteWhen, Plan, fill

SHIPPED = Path(__file__).parents[2] / "plans"

GOOD = """\
name: good
title: A good plan
greeting: >
  Hello {name}, this is {caller}, an automated voice.
  How are things?
checkpoints:
  - id: mood
    prompt: How are you?
    complete_when: {kind: any_answer}
    follow_up: In a few words?
    hints:
      - yes
      - no
      - not yet
closing: Goodbye {name}.
retry:
  on:
    voicemail: true
"""


def written(folder: Path, text: str, name: str = "good") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def fault_of(folder: Path, text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        PlanLibrary(folder).check_file(written(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder.name}/")


def test_the_shipped_plans_are_correct_and_say_what_they_must() -> None:
    library = PlanLibrary(SHIPPED)
    assert {"daily-reflection", "demo-check-in", "medication-check-in"} <= set(library.names())
    for name in ("daily-reflection", "demo-check-in", "medication-check-in"):
        plan = library.get(name)
        first_sentence = plan.greeting.split(". ")[0]
        assert "{caller}" in first_sentence
        assert "automated voice" in first_sentence
        assert "stop calling me" in first_sentence
        assert "press star" in first_sentence
        assert all(len(checkpoint.hints) >= 8 for checkpoint in plan.checkpoints)


def test_a_good_plan_is_read_as_written(tmp_path: Path) -> None:
    plan = PlanLibrary(tmp_path).check_file(written(tmp_path, GOOD))
    assert plan.greeting == "Hello {name}, this is {caller}, an automated voice. How are things?"
    # In YAML 1.1 these would be true, false and a key True.
    assert plan.checkpoints[0].hints == ("yes", "no", "not yet")
    assert plan.retry.on == {Outcome.VOICEMAIL: True}
    assert plan.retry.max_retries is None
    assert plan.retry.intervals is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    prompt: How are you?", "    prompt: How are you {nmae}?", "good.yaml:8: checkpoints.0.prompt: {nmae} is unknown"),
        ("    prompt: How are you?", "    prompt: '{name.__class__}'", "good.yaml:8: checkpoints.0.prompt: {name.__class__} is unknown"),
        ("    prompt: How are you?", "    prompt: 'Hi {'", "good.yaml:8: checkpoints.0.prompt: is not a text with"),
        ("    prompt: How are you?", "    prompt: ''", "good.yaml:8: checkpoints.0.prompt: must not be empty"),
        ("    prompt: How are you?\n", "", "good.yaml:7: checkpoints.0.prompt: is missing"),
        ("title: A good plan", "titel: A good plan", "good.yaml:"),
        ("title: A good plan", "title: A good plan\nspeed: 3", "good.yaml:3: speed: is not a known key"),
        ("title: A good plan", "title: A good plan\ntitle: Another", "good.yaml:3: title: stands here twice, first on line 2"),
        ("{kind: any_answer}", "{kind: perhaps}", "good.yaml:9: checkpoints.0.complete_when.kind: must be 'any_answer'"),
        ("{kind: any_answer}", "{kind: one_of}", "good.yaml:9: checkpoints.0.complete_when: one_of needs at least two"),
        ("      - not yet", "      - not yet!", "good.yaml:14: checkpoints.0.hints.2: 'not yet!' is not a spoken phrase"),
        ("      - not yet", "      - 7", "good.yaml:14: checkpoints.0.hints.2:"),
        ("closing: Goodbye {name}.", "closing: Goodbye.\nvoicemail: leave_message", "good.yaml:1: voicemail: leave_message needs"),
        ("closing: Goodbye {name}.", "closing: Goodbye.\nsilence_seconds: soon", "good.yaml:16: silence_seconds: must be a valid number"),
        ("    voicemail: true", "    answered: true", "good.yaml:16: retry: on: answered is never called again"),
        ("    voicemail: true", "    hungup: true", "good.yaml:18: retry.on.hungup: must be"),
        ("retry:\n", "retry:\n  intervals: [4]\n", "good.yaml:16: retry: intervals and units belong together"),
        ("retry:\n", "retry:\n  intervals: []\n  units: seconds\n", "good.yaml:16: retry: intervals must not be empty"),
        ("retry:\n", "retry:\n  intervals: [0]\n  units: seconds\n", "good.yaml:17: retry.intervals.0: must be greater than 0"),
        ("name: good", "name: other", "good.yaml:1: name: 'other' must be the file's own name, 'good'"),
        ("this is {caller}, an automated voice", "an automated voice", "good.yaml:3: greeting: its first sentence must say who calls"),
        (", an automated voice", "", "good.yaml:3: greeting: its first sentence must say that this is an automated voice"),
        ("checkpoints:\n", "checkpoints: [\n", "is not YAML"),
        ("name: good", "name: !!python/object/apply:os.system [ls]", "good.yaml:1:"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in fault_of(tmp_path, GOOD.replace(old, new))


def test_two_checkpoints_with_one_id_are_refused(tmp_path: Path) -> None:
    again = "  - id: mood\n    prompt: Again?\n    complete_when: {kind: yes_no}\n    follow_up: Well?\nclosing:"
    assert "good.yaml:6: checkpoints: two checkpoints have the id mood" in fault_of(tmp_path, GOOD.replace("closing:", again))


@pytest.mark.parametrize("text", ["", "[]", "just words", "a: b: c", "\x00", "- name: good"])
def test_what_is_no_plan_is_refused_with_a_line(tmp_path: Path, text: str) -> None:
    assert fault_of(tmp_path, text).startswith("good.yaml:1: ")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_bytes(b"name: good\ntitle: \xff\xfe\n")
    with pytest.raises(InvalidInput, match=r"good\.yaml:2: is not UTF-8"):
        PlanLibrary(tmp_path).check_file(path)


def test_a_plan_is_found_by_name_and_read_again_when_it_changes(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    written(tmp_path, "agents: []", name="agents")
    library = PlanLibrary(tmp_path)
    assert library.names() == ["good"]
    first = library.get("good")
    assert library.get("good") is first
    path.write_text(GOOD.replace("A good plan", "A better plan"))
    second = library.get("good")
    assert second.title == "A better plan"
    assert second.digest != first.digest


@pytest.mark.parametrize("name", ["god", "../good", "agents", ""])
def test_an_unknown_plan_names_those_there_are(tmp_path: Path, name: str) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(NotFound, match="good"):
        PlanLibrary(tmp_path).get(name)


def test_the_digest_is_of_the_content_not_of_the_layout(tmp_path: Path) -> None:
    library = PlanLibrary(tmp_path)
    plain = library.check_file(written(tmp_path, GOOD))
    commented = library.check_file(written(tmp_path, "# a remark\n" + GOOD.replace("title: A good plan", 'title: "A good plan"')))
    assert plain.digest == commented.digest
    assert plain.digest != library.check_file(written(tmp_path, GOOD.replace("How are you?", "How are you now?"))).digest


def test_hints_hold_what_every_conversation_knows_and_what_this_one_expects() -> None:
    plan = Plan(
        name="p",
        title="P",
        greeting="Hello.",
        closing="Bye.",
        checkpoints=(
            Checkpoint(id="a", prompt="A?", complete_when=CompleteWhen(kind="number"), follow_up="A?", hints=("about seven", "yes")),
            Checkpoint(id="b", prompt="B?", complete_when=CompleteWhen(kind="one_of", phrases=("red wine", "beer")), follow_up="B?"),
        ),
    )
    hints = plan.all_hints()
    assert {"yes", "no", "stop calling me", "can you repeat that", "seven", "about seven", "red wine", "beer"} <= set(hints)
    assert len(hints) == len(set(hints))


def test_braces_in_a_name_are_said_not_interpreted() -> None:
    assert fill("Hello {name}, this is {caller}.", name="{caller}", caller="{0}") == "Hello {caller}, this is {0}."
