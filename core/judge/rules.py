"""The judge that needs no model: each kind of checkpoint has its rule. The default, and what others fall back to."""

from __future__ import annotations

from collections.abc import Sequence

from core.domain import utterance
from core.judge.base import Judgement
from core.plans.model import Checkpoint

# A journal answer is a few sentences; a recogniser gone wild must not fill the journal.
MAX_ANSWER = 1000


class RulesJudge:
    """Never raises for any text. Of two possible readings it takes neither: asking again costs less than a wrong answer."""

    name = "rules"
    trouble = None

    def warm_up(self) -> None:
        """There is nothing to load."""

    async def evaluate(self, checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
        return judge(checkpoint, heard)

    async def close(self) -> None:
        """There is nothing to close."""


def judge(checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
    """The verdict on what was said within a checkpoint, oldest first. The last words decide, except for free answers."""
    last = heard[-1] if heard else ""
    wanted = checkpoint.complete_when
    if wanted.kind == "yes_no":
        said = utterance.yes_or_no(last)
        if said is None:
            return Judgement(False, "neither a clear yes nor a clear no")
        return Judgement(True, "a clear yes" if said else "a clear no", "yes" if said else "no")
    if wanted.kind == "number":
        number = utterance.number_in(last)
        return Judgement(True, "one number", number) if number is not None else Judgement(False, "no number, or more than one")
    if wanted.kind == "one_of":
        matched = _phrases_in(last, wanted.phrases)
        if len(matched) == 1:
            return Judgement(True, "one of the expected phrases", matched[0])
        return Judgement(False, "several of the expected phrases" if matched else "none of the expected phrases")
    return _any_answer(heard, wanted.min_words)


def _any_answer(heard: Sequence[str], min_words: int) -> Judgement:
    # What came before the follow-up counts too: "tired" ... "because of work" is one answer.
    answers = [said.strip() for said in heard if _says_something(said)]
    if not answers:
        return Judgement(False, "nothing that answers")
    count = sum(len(utterance.content_words(said)) for said in answers)
    if count < min_words:
        return Judgement(False, f"fewer than {min_words} words")
    return Judgement(True, "answered", " ".join(answers)[:MAX_ANSWER])


def _says_something(text: str) -> bool:
    return bool(utterance.content_words(text)) and not (
        utterance.asks_to_repeat(text) or utterance.asks_who(text) or utterance.is_greeting(text)
    )


def _phrases_in(text: str, phrases: Sequence[str]) -> list[str]:
    said = utterance.words(text)
    taken = [False] * len(said)
    matched: list[str] = []
    for phrase in sorted(phrases, key=lambda phrase: -len(phrase.split())):
        wanted = utterance.words(phrase)
        for start in range(len(said) - len(wanted) + 1):
            end = start + len(wanted)
            if said[start:end] != wanted or any(taken[start:end]):
                continue
            taken[start:end] = [True] * len(wanted)
            negated = any(word in {"not", "never", "no"} for word in said[max(0, start - 2) : start])
            if not negated and phrase not in matched:
                matched.append(phrase)
    return matched
