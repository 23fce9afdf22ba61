from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from core.domain.conversation import ConversationState
from core.domain.journal import journal_body, render_markdown
from core.plans.model import Checkpoint, CompleteWhen, Plan
from core.storage.conversations import TurnRecord

T0 = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)

PLAN = Plan(
    name="p",
    title="Evening talk",
    greeting="Hello.",
    closing="Bye.",
    checkpoints=tuple(
        Checkpoint(id=name, prompt=f"{name.title()}?", complete_when=CompleteWhen(kind="any_answer"), follow_up="And?")
        for name in ("mood", "plans")
    ),
)
TURNS = [
    TurnRecord(1, "mood", "pretty good", "And the plans?", T0 + timedelta(seconds=9)),
    TurnRecord(0, "mood", None, "Hello. Mood?", T0),
]


def test_a_whole_conversation() -> None:
    state = (
        ConversationState.begin(PLAN.checkpoint_ids)
        .heard("pretty good")
        .answered("pretty good")
        .heard("a walk")
        .answered("a walk")
        .end("complete")
    )
    body = journal_body(PLAN, state, TURNS)
    assert json.loads(json.dumps(body)) == body
    assert body["complete"] is True
    assert body["ended_by"] == "complete"
    assert body["answers"] == [
        {"checkpoint": "mood", "prompt": "Mood?", "answer": "pretty good", "complete": True},
        {"checkpoint": "plans", "prompt": "Plans?", "answer": "a walk", "complete": True},
    ]
    assert [turn["turn"] for turn in body["transcript"]] == [0, 1]
    assert body["transcript"][1] == {
        "turn": 1,
        "at": "2026-03-02T15:00:09+00:00",
        "checkpoint": "mood",
        "contact": "pretty good",
        "orch": "And the plans?",
    }


def test_what_was_said_before_a_hang_up_is_kept() -> None:
    state = ConversationState.begin(PLAN.checkpoint_ids).heard("well i").end("hung_up")
    body = journal_body(PLAN, state, TURNS)
    assert body["complete"] is False
    assert body["answers"][0] == {"checkpoint": "mood", "prompt": "Mood?", "answer": "well i", "complete": False}
    assert body["answers"][1]["answer"] is None


def test_a_person_can_read_it() -> None:
    state = ConversationState.begin(PLAN.checkpoint_ids).heard("pretty\ngood").answered("pretty\ngood").end("hung_up")
    text = render_markdown(journal_body(PLAN, state, TURNS))
    assert text.startswith("# Evening talk\n")
    assert "Complete: no (ended by: hung_up)" in text
    assert "- **Mood?**\n  pretty good\n" in text
    assert "  no answer (not complete)\n" in text
    assert text.index("- orch: Hello. Mood?") < text.index("- Contact: pretty good")


def test_an_entry_outlives_its_plan() -> None:
    gone = PLAN.model_copy(update={"checkpoints": PLAN.checkpoints[:1]})
    state = ConversationState.begin(PLAN.checkpoint_ids).end("silence")
    assert journal_body(gone, state, [])["answers"][1]["prompt"] == ""
    assert render_markdown(journal_body(gone, state, []))
