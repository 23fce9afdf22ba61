"""How each kind of callee's call ends, what it leaves behind, and who is never called again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

# Everybody is called at once; each test waits for the end of its own call.
PEOPLE = {
    "busy_then_answers": ("Ben", "+12025550120", "talk"),
    "never_answers": ("Cleo", "+12025550130", "twice-again"),
    "hangs_up": ("Dan", "+12025550140", "talk"),
    "voicemail": ("Eve", "+12025550150", "voicemail-ends"),
    "out_of_service": ("Finn", "+12025550170", "twice-again"),
    "presses_star": ("Gus", "+12025550182", "talk"),
    "wants_no_calls": ("Hana", "+12025550183", "talk"),
}
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Town:
    daemon: Any
    calls: dict[str, str]

    def over(self, who: str) -> dict[str, Any]:
        call: dict[str, Any] = self.daemon.until_over(self.calls[who])
        return call

    def carried(self, who: str) -> list[Any]:
        found: list[Any] = self.daemon.carried(PEOPLE[who][1])
        return found


def outcomes(call: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in call["attempts"]]


@pytest.fixture(scope="module")
def town(install: Callable[..., Any]) -> Town:
    daemon = install().start()
    calls = {who: daemon.call_now(daemon.contact(name, phone, plan)) for who, (name, phone, plan) in PEOPLE.items()}
    return Town(daemon, calls)


def test_busy_then_answers_is_completed_by_the_second_dial(town: Town) -> None:
    call = town.over("busy_then_answers")
    assert (call["state"], outcomes(call), call["retry_count"]) == ("completed", ["busy", "answered"], 1)
    assert [each.status for each in town.carried("busy_then_answers")] == ["busy", "completed"]
    first, second = town.carried("busy_then_answers")
    assert (second.created_at - first.ended_at).total_seconds() >= 1
    assert town.daemon.journal(call["id"])["complete"] is True


def test_never_answers_is_missed_after_the_retries_and_not_one_more(town: Town) -> None:
    call = town.over("never_answers")
    assert (call["state"], outcomes(call), call["retry_count"]) == ("missed", ["no_answer"] * 3, 2)
    assert "3 dials" in call["reason"]
    assert call["journal_id"] is None
    assert [each.status for each in town.carried("never_answers")] == ["no-answer"] * 3


def test_hanging_up_half_way_keeps_what_was_said_and_is_not_retried(town: Town) -> None:
    call = town.over("hangs_up")
    assert (call["state"], outcomes(call)) == ("completed", ["hung_up_early"])
    entry = town.daemon.journal(call["id"])
    assert entry["complete"] is False
    answers = {answer["checkpoint"]: answer for answer in entry["body"]["answers"]}
    assert "tired" in answers["mood"]["answer"]
    assert answers["again"]["complete"] is False
    assert len(town.carried("hangs_up")) == 1


def test_voicemail_is_recognised_and_left_alone(town: Town) -> None:
    call = town.over("voicemail")
    assert (call["state"], outcomes(call)) == ("missed", ["voicemail"])
    assert call["journal_id"] is None
    (carried,) = town.carried("voicemail")
    assert carried.status == "completed"


def test_a_number_out_of_service_is_not_dialled_again(town: Town) -> None:
    call = town.over("out_of_service")
    assert (call["state"], outcomes(call), call["retry_count"]) == ("failed", ["rejected"], 0)
    assert len(town.carried("out_of_service")) == 1


@pytest.mark.parametrize(("who", "same_contact"), [("presses_star", True), ("wants_no_calls", False)])
def test_opting_out_in_a_call_holds_at_once_and_for_good(town: Town, who: str, same_contact: bool) -> None:
    name, phone, _ = PEOPLE[who]
    call = town.over(who)
    assert (call["state"], outcomes(call)) == ("completed", ["answered"])
    assert "asked not to be called" in call["attempts"][0]["reason"]
    assert town.daemon.json("contact", "show", name)["do_not_call"] is True
    # Another contact at the same number is not called, either: people opt out of calls, not of records.
    contact = name if same_contact else town.daemon.contact(f"{name} again", phone, "talk")
    again = town.daemon.until_over(town.daemon.call_now(contact))
    assert again["state"] == "cancelled"
    assert again["attempts"] == []
    assert [verdict["rule"] for verdict in again["verdicts"] if not verdict["allowed"]] == ["do_not_call"]
    assert len(town.carried(who)) == 1


def test_nobody_was_rung_twice_at_once(town: Town) -> None:
    town.daemon.wait_over(*town.calls.values())
    ledger = town.daemon.ledger()
    try:
        assert ledger.overlaps() == []
        assert ledger.warnings() == []
    finally:
        ledger.close()


def test_status_has_no_complaints_afterwards(town: Town) -> None:
    town.daemon.wait_over(*town.calls.values())
    status = town.daemon.json("status")
    assert status["problems"] == []
    assert {row["restarts"] for row in status["workers"]} == {0}
