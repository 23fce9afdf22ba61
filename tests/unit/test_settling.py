from __future__ import annotations

from typing import Any

import pytest

from core.domain.conversation import EndedBy
from core.domain.outcomes import Outcome
from core.domain.settling import outcome_of

A_GOOD_TALK: dict[str, Any] = {
    "final": "completed",
    "voice_served": True,
    "answered_by": "human",
    "conversation_state": "complete",
    "ended_by": "complete",
    "turns": 4,
    "sip_code": 200,
}
NOTHING_SAID: dict[str, Any] = {"voice_served": False, "answered_by": None, "conversation_state": "none", "ended_by": None, "turns": 0}
CUT_SHORT: dict[str, Any] = {"conversation_state": "in_progress", "ended_by": None}
ABANDONED: dict[str, Any] = {"conversation_state": "abandoned"}

Case = tuple[dict[str, Any], Outcome]
CASES: dict[str, Case] = {
    "plan completed": ({}, Outcome.ANSWERED),
    "plan completed, AMD silent": ({"answered_by": None}, Outcome.ANSWERED),
    "plan completed, AMD mistaken": ({"answered_by": "machine_start"}, Outcome.ANSWERED),
    "complete without a word on who ended it": ({"ended_by": None}, Outcome.ANSWERED),
    "opted out": (ABANDONED | {"ended_by": "opted_out", "turns": 1}, Outcome.ANSWERED),
    "opted out, AMD mistaken": (ABANDONED | {"ended_by": "opted_out", "answered_by": "machine_start"}, Outcome.ANSWERED),
    "fell silent after speaking": (ABANDONED | {"ended_by": "silence", "turns": 2}, Outcome.ANSWERED),
    "time limit after speaking": (ABANDONED | {"ended_by": "time_limit", "turns": 9}, Outcome.ANSWERED),
    "picked up and never spoke": (ABANDONED | {"ended_by": "silence", "turns": 0}, Outcome.NO_ANSWER),
    "hung up half way": (CUT_SHORT | {"turns": 2}, Outcome.HUNG_UP_EARLY),
    "hung up during the greeting": (CUT_SHORT | {"turns": 0}, Outcome.HUNG_UP_EARLY),
    "hung up, and we heard it": (ABANDONED | {"ended_by": "hung_up", "turns": 2}, Outcome.HUNG_UP_EARLY),
    "said goodbye before the end": (ABANDONED | {"ended_by": "goodbye", "turns": 1}, Outcome.HUNG_UP_EARLY),
    "line cut during the talk": (ABANDONED | {"ended_by": "dropped", "turns": 2}, Outcome.DROPPED),
    "mailbox, by AMD": (CUT_SHORT | {"answered_by": "machine_end_beep", "turns": 1}, Outcome.VOICEMAIL),
    "mailbox, before any conversation": (NOTHING_SAID | {"voice_served": True, "answered_by": "machine_start"}, Outcome.VOICEMAIL),
    "mailbox, silence after its greeting": (
        ABANDONED | {"ended_by": "silence", "answered_by": "machine_start", "turns": 1},
        Outcome.VOICEMAIL,
    ),
    "mailbox, by our own ear": (ABANDONED | {"ended_by": "voicemail", "answered_by": None}, Outcome.VOICEMAIL),
    "fax": (CUT_SHORT | {"answered_by": "fax", "turns": 0}, Outcome.VOICEMAIL),
    "AMD could not tell": (CUT_SHORT | {"answered_by": "unknown", "turns": 1}, Outcome.HUNG_UP_EARLY),
    "our webhook was not reached": (NOTHING_SAID, Outcome.DROPPED),
    "our webhook was not reached, by a mailbox": (NOTHING_SAID | {"answered_by": "machine_start"}, Outcome.DROPPED),
    "our stream was refused": (NOTHING_SAID | {"voice_served": True}, Outcome.DROPPED),
    "busy": (NOTHING_SAID | {"final": "busy", "sip_code": 486}, Outcome.BUSY),
    "no answer": (NOTHING_SAID | {"final": "no-answer", "sip_code": 480}, Outcome.NO_ANSWER),
    "cancelled": (NOTHING_SAID | {"final": "canceled", "sip_code": 487}, Outcome.CANCELLED),
    "cancelled by a person": (NOTHING_SAID | {"final": "canceled", "sip_code": None, "cancelled_because": "cancel"}, Outcome.CANCELLED),
    "cancelled, because its time was up": (NOTHING_SAID | {"final": "canceled", "cancelled_because": "dial_until"}, Outcome.NO_ANSWER),
    "cancelled, because of a pause": (NOTHING_SAID | {"final": "canceled", "cancelled_because": "pause"}, Outcome.FAILED),
    "cancelled, because its contact was paused": (
        NOTHING_SAID | {"final": "canceled", "cancelled_because": "contact_pause"},
        Outcome.FAILED,
    ),
    "failed": (NOTHING_SAID | {"final": "failed", "sip_code": None}, Outcome.FAILED),
    "failed with a network error": (NOTHING_SAID | {"final": "failed", "sip_code": 503}, Outcome.FAILED),
    "declined, reported as busy": (NOTHING_SAID | {"final": "busy", "sip_code": 603}, Outcome.REJECTED),
    "declined, reported as no answer": (NOTHING_SAID | {"final": "no-answer", "sip_code": 607}, Outcome.REJECTED),
    "a number not found, reported as no answer": (NOTHING_SAID | {"final": "no-answer", "sip_code": 404}, Outcome.NO_ANSWER),
}
for code in (404, 410, 484, 603, 604, 607, 608):
    CASES[f"failed for good with SIP {code}"] = (NOTHING_SAID | {"final": "failed", "sip_code": code}, Outcome.REJECTED)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_ended_attempt_means(case: Case) -> None:
    changed, expected = case
    outcome, reason = outcome_of(**(A_GOOD_TALK | changed))
    assert outcome is expected
    assert reason


@pytest.mark.parametrize("ended_by", list(EndedBy))
def test_every_way_a_conversation_ends_has_an_outcome_of_a_call_that_connected(ended_by: EndedBy) -> None:
    state = "complete" if ended_by is EndedBy.COMPLETE else "abandoned"
    outcome, reason = outcome_of(**(A_GOOD_TALK | {"conversation_state": state, "ended_by": ended_by, "turns": 2}))
    connected = {Outcome.ANSWERED, Outcome.HUNG_UP_EARLY, Outcome.VOICEMAIL, Outcome.DROPPED}
    assert outcome in connected
    assert (outcome is Outcome.ANSWERED) == (ended_by in {EndedBy.COMPLETE, EndedBy.OPTED_OUT, EndedBy.SILENCE, EndedBy.TIME_LIMIT}), reason


@pytest.mark.parametrize("status", ["queued", "initiated", "ringing", "in-progress", "", "cancelled"])
def test_a_status_that_is_not_final_settles_nothing(status: str) -> None:
    with pytest.raises(ValueError, match="not a final carrier status"):
        outcome_of(**(A_GOOD_TALK | {"final": status}))


def test_the_reason_names_the_sip_code() -> None:
    assert outcome_of(**(A_GOOD_TALK | NOTHING_SAID | {"final": "failed", "sip_code": 503}))[1].endswith("(SIP 503)")
    assert outcome_of(**(A_GOOD_TALK | NOTHING_SAID | {"final": "failed", "sip_code": 604}))[1] == "no such number (SIP 604)"
