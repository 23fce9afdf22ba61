"""The journal entry of a conversation: the answers by checkpoint, and the transcript. Built from SQL at settlement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from core.domain.conversation import ConversationState


class AskedCheckpoint(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def prompt(self) -> str: ...


class AskedPlan(Protocol):
    """What a journal needs of a plan."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def checkpoints(self) -> Sequence[AskedCheckpoint]: ...


class SpokenTurn(Protocol):
    @property
    def ordinal(self) -> int: ...
    @property
    def checkpoint(self) -> str | None: ...
    @property
    def said(self) -> str | None: ...
    @property
    def reply(self) -> str | None: ...
    @property
    def at(self) -> datetime: ...


def journal_body(plan: AskedPlan, state: ConversationState, turns: Sequence[SpokenTurn]) -> dict[str, Any]:
    """JSON-able. `complete` says that every checkpoint got its answer; `ended_by` why the conversation ended.

    An answer missing its judgement (the line broke first) still shows what was said: nothing said is lost.
    """
    prompts = {checkpoint.id: checkpoint.prompt for checkpoint in plan.checkpoints}
    return {
        "plan": plan.name,
        "title": plan.title,
        "complete": state.is_complete,
        "ended_by": state.ended_by,
        "answers": [
            {
                "checkpoint": progress.id,
                "prompt": prompts.get(progress.id, ""),
                "answer": progress.answer if progress.answer is not None else (" ".join(progress.heard) or None),
                "complete": progress.state.value == "complete",
            }
            for progress in state.checkpoints
        ],
        "transcript": [
            {"turn": turn.ordinal, "at": turn.at.isoformat(), "checkpoint": turn.checkpoint, "contact": turn.said, "orch": turn.reply}
            for turn in sorted(turns, key=lambda turn: turn.ordinal)
        ],
    }


def render_markdown(body: Mapping[str, Any]) -> str:
    """The entry as a person reads it."""
    lines = [
        f"# {body['title']}",
        "",
        f"Complete: {'yes' if body['complete'] else 'no'} (ended by: {body['ended_by'] or 'unknown'})",
        "",
        "## Answers",
        "",
    ]
    for answer in body["answers"]:
        mark = "" if answer["complete"] else " (not complete)"
        lines += [f"- **{_one_line(answer['prompt'])}**", f"  {_one_line(answer['answer'] or 'no answer')}{mark}"]
    lines += ["", "## Transcript", ""]
    for turn in body["transcript"]:
        if turn["contact"]:
            lines.append(f"- Contact: {_one_line(turn['contact'])}")
        if turn["orch"]:
            lines.append(f"- orch: {_one_line(turn['orch'])}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())
