"""What would become of a call made now: the same facts and rules as a dial, read without a lock and without a trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.calls.facts import DialRules, dial_facts
from core.calls.reach import PublicUrl
from core.domain.compliance import VerdictResult, dial_until, judge
from core.storage.attempts import read_dial
from core.storage.database import Database

# Their `wake_at` only says when to look again.
_ENDS_UNKNOWN = frozenset({"public_url", "last_words"})


class Conclusion(StrEnum):
    DIAL_NOW = "dial_now"
    WAIT = "wait"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Preview:
    """Every rule's verdict about a call made now, in the order of the rules, and what follows from them."""

    verdicts: tuple[VerdictResult, ...]
    conclusion: Conclusion
    # The earliest instant at which no blocked verdict with a known end would stand in the way. None: none has one.
    wait_until: datetime | None
    # Rules whose end nobody can know: a resume, the end of another call.
    wait_for: tuple[str, ...]
    ring_until: datetime | None  # only if it would dial: when a phone that still rings would be stopped

    @property
    def blocked(self) -> tuple[VerdictResult, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.allowed)


def preview_call(
    database: Database, rules: DialRules, public: PublicUrl, contact_id: str, plan: str, *, simulated: bool, now: datetime
) -> Preview:
    """Judge a call to a contact, made at `now` and outside any window. Writes nothing."""
    # A dial tries the public URL first, unless it did so a moment ago.
    problem = public.problem()
    with database.read() as session:
        facts = dial_facts(read_dial(session, contact_id, plan, simulated, now), rules, now)
    facts = replace(facts, public_url_problem=problem)
    judgement = judge(facts)
    if judgement.kind == "never":
        return Preview(judgement.verdicts, Conclusion.NEVER, None, (), None)
    blocked = [verdict for verdict in judgement.verdicts if not verdict.allowed]
    if not blocked:
        return Preview(judgement.verdicts, Conclusion.DIAL_NOW, None, (), dial_until(facts))
    ends = [verdict.wake_at for verdict in blocked if verdict.wake_at is not None and verdict.rule not in _ENDS_UNKNOWN]
    unknown = tuple(verdict.rule for verdict in blocked if verdict.wake_at is None or verdict.rule in _ENDS_UNKNOWN)
    return Preview(judgement.verdicts, Conclusion.WAIT, max(ends, default=None), unknown, None)
