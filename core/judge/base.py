"""What a judge decides about one turn. Its answer is data: nothing a contact says can change the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.plans.model import Checkpoint


@dataclass(frozen=True, slots=True)
class Judgement:
    complete: bool
    reason: str  # short, for the log and the journal; never the contact's words
    answer: str | None = None  # what is kept in the journal as the checkpoint's answer
    say_next: str | None = None  # a follow-up in place of the plan's own, when the judge has a better one


class Judge(Protocol):
    name: str

    @property
    def trouble(self) -> str | None:
        """Why another one judges in its place at the moment; None while all is well."""
        ...

    def warm_up(self) -> None:
        """Load what the first turn would otherwise wait for. Blocks; sends nothing."""
        ...

    async def close(self) -> None: ...

    async def evaluate(self, checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
        """Is the checkpoint reached? `heard` holds what the contact said within it, oldest first, at least one entry."""
        ...
