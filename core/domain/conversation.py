"""Where a conversation stands, and how it moves: pure, immutable, storable as JSON.

It knows checkpoints only by id, so it holds for any plan; what is said is the orchestrator's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.errors import InvalidInput


class CheckpointState(StrEnum):
    GENERATED = "generated"
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    EVALUATING = "evaluating"
    COMPLETE = "complete"
    PAUSED = "paused"  # set aside without an answer: its turns ran out, or the conversation ended first


class Phase(StrEnum):
    TALKING = "talking"
    ENDED = "ended"


class EndedBy(StrEnum):
    """Why no further turn will come. Only `complete` means that the closing was reached."""

    COMPLETE = "complete"
    OPTED_OUT = "opted_out"
    SILENCE = "silence"
    GOODBYE = "goodbye"  # the contact wanted to end the call
    HUNG_UP = "hung_up"
    VOICEMAIL = "voicemail"
    DROPPED = "dropped"  # the line or the carrier's stream went dead
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True, slots=True)
class Reply:
    """What we say next. `ended_by` is set exactly when `ends` is."""

    text: str
    ends: bool = False
    ended_by: str | None = None
    opted_out: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointProgress:
    """`turns` counts answers that were judged; `repeats` counts how often the prompt was said again on request."""

    id: str
    state: CheckpointState = CheckpointState.PENDING
    turns: int = 0
    repeats: int = 0
    heard: tuple[str, ...] = ()
    answer: str | None = None


_DONE = frozenset({CheckpointState.COMPLETE, CheckpointState.PAUSED})


@dataclass(frozen=True, slots=True)
class ConversationState:
    checkpoints: tuple[CheckpointProgress, ...]
    checkpoint_index: int = 0
    phase: Phase = Phase.TALKING
    silences: int = 0  # in a row
    ended_by: str | None = None

    @classmethod
    def begin(cls, checkpoint_ids: Sequence[str]) -> ConversationState:
        if not checkpoint_ids:
            raise InvalidInput("a conversation needs at least one checkpoint")
        return cls(tuple(map(CheckpointProgress, checkpoint_ids))).marked(0, state=CheckpointState.IN_PROGRESS)

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def is_complete(self) -> bool:
        """Has every checkpoint its answer?"""
        return all(progress.state is CheckpointState.COMPLETE for progress in self.checkpoints)

    @property
    def current(self) -> CheckpointProgress:
        return self.checkpoints[self.checkpoint_index]

    @property
    def nothing_open(self) -> bool:
        """Is every checkpoint answered or set aside?"""
        return all(progress.state in _DONE for progress in self.checkpoints)

    def heard(self, words: str) -> ConversationState:
        """The contact answered: one turn of the current checkpoint is used."""
        now = self.current
        marked = self.marked(self.checkpoint_index, turns=now.turns + 1, heard=(*now.heard, words) if words else now.heard)
        return replace(marked, silences=0)

    def silent(self) -> ConversationState:
        return replace(self, silences=self.silences + 1)

    def repeated(self) -> ConversationState:
        return replace(self.marked(self.checkpoint_index, repeats=self.current.repeats + 1), silences=0)

    def answered(self, answer: str | None) -> ConversationState:
        """The current checkpoint is complete; the next one, if any, is in progress."""
        return self.marked(self.checkpoint_index, state=CheckpointState.COMPLETE, answer=answer).advanced()

    def set_aside(self) -> ConversationState:
        """The current checkpoint stays without an answer; the next one, if any, is in progress."""
        return self.marked(self.checkpoint_index, state=CheckpointState.PAUSED).advanced()

    def end(self, ended_by: str) -> ConversationState:
        """No further turn. The first reason stands."""
        if self.ended:
            return self
        aside = tuple(
            replace(progress, state=CheckpointState.PAUSED) if progress.state is CheckpointState.IN_PROGRESS else progress
            for progress in self.checkpoints
        )
        return replace(self, checkpoints=aside, phase=Phase.ENDED, ended_by=ended_by)

    def fitted_to(self, checkpoint_ids: Sequence[str]) -> ConversationState:
        """The same progress under a plan whose checkpoints changed meanwhile: what was answered stays answered."""
        if tuple(progress.id for progress in self.checkpoints) == tuple(checkpoint_ids):
            return self
        known = {progress.id: progress for progress in self.checkpoints}
        fitted = tuple(known.get(name, CheckpointProgress(name)) for name in checkpoint_ids)
        done = {CheckpointState.COMPLETE, CheckpointState.PAUSED}
        index = next((at for at, progress in enumerate(fitted) if progress.state not in done), len(fitted) - 1)
        moved = replace(self, checkpoints=fitted, checkpoint_index=index)
        if self.ended or fitted[index].state in _DONE:
            return moved
        return moved.marked(index, state=CheckpointState.IN_PROGRESS)

    def to_json(self) -> dict[str, Any]:
        return {
            "checkpoint_index": self.checkpoint_index,
            "phase": self.phase.value,
            "silences": self.silences,
            "ended_by": self.ended_by,
            "checkpoints": [
                {
                    "id": progress.id,
                    "state": progress.state.value,
                    "turns": progress.turns,
                    "repeats": progress.repeats,
                    "heard": list(progress.heard),
                    "answer": progress.answer,
                }
                for progress in self.checkpoints
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ConversationState:
        """Raises InvalidInput for anything `to_json` did not write."""
        try:
            state = cls(
                checkpoints=tuple(
                    CheckpointProgress(
                        id=str(entry["id"]),
                        state=CheckpointState(entry["state"]),
                        turns=int(entry["turns"]),
                        repeats=int(entry["repeats"]),
                        heard=tuple(str(words) for words in entry["heard"]),
                        answer=None if entry["answer"] is None else str(entry["answer"]),
                    )
                    for entry in stored["checkpoints"]
                ),
                checkpoint_index=int(stored["checkpoint_index"]),
                phase=Phase(stored["phase"]),
                silences=int(stored["silences"]),
                ended_by=stored["ended_by"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"the stored conversation state cannot be read: {type(error).__name__}: {error}") from error
        if not 0 <= state.checkpoint_index < len(state.checkpoints):
            raise InvalidInput(f"the stored conversation state points at checkpoint {state.checkpoint_index} of {len(state.checkpoints)}")
        return state

    def advanced(self) -> ConversationState:
        """The next open checkpoint is in progress; if none is left, the present one stays the current one."""
        index = _first_open(self.checkpoints, self.checkpoint_index + 1, default=self.checkpoint_index)
        moved = replace(self, checkpoint_index=index, silences=0)
        return moved if index == self.checkpoint_index else moved.marked(index, state=CheckpointState.IN_PROGRESS)

    def marked(self, index: int, **changes: Any) -> ConversationState:
        """One checkpoint's progress changed."""
        changed = replace(self.checkpoints[index], **changes)
        return replace(self, checkpoints=(*self.checkpoints[:index], changed, *self.checkpoints[index + 1 :]))


def _first_open(checkpoints: Sequence[CheckpointProgress], start: int, *, default: int) -> int:
    """The index of the first checkpoint still to be asked, looked for from `start` on and then from the beginning."""
    order = [*range(start, len(checkpoints)), *range(start)]
    return next((index for index in order if checkpoints[index].state not in _DONE), default)
