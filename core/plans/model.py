"""A conversation plan: what is asked, what counts as an answer, and the rules of calling back."""

from __future__ import annotations

import hashlib
import json
import re
import string
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from core.domain import utterance
from core.domain.outcomes import Outcome

PLACEHOLDERS = ("name", "caller")
RETRY_UNITS = ("seconds", "minutes", "hours", "days")
# An identifier that goes into file names, URLs and logs.
NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"

_PHRASE = re.compile(r"[a-z]+('[a-z]+)*( [a-z]+('[a-z]+)*)*")


def _template(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("must not be empty")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"is not a text with {{name}} or {{caller}}: {error}; a brace is written twice to be said") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in PLACEHOLDERS or spec or conversion):
            raise ValueError(f"{{{field}}} is unknown; only {{name}} and {{caller}} may be used")
    return text


def _phrase(text: str) -> str:
    lowered = " ".join(text.lower().replace("\u2019", "'").split())
    if not _PHRASE.fullmatch(lowered):
        raise ValueError(f"{text!r} is not a spoken phrase; write it in words, without digits or punctuation, such as: not yet")
    return lowered


Template = Annotated[str, AfterValidator(_template)]
Phrase = Annotated[str, AfterValidator(_phrase)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CompleteWhen(_Part):
    """What counts as an answer. `phrases` belongs to one_of; `min_words` to any_answer."""

    kind: Literal["any_answer", "yes_no", "number", "one_of"]
    min_words: int = Field(default=1, ge=1, le=50)
    phrases: tuple[Phrase, ...] = ()

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.kind == "one_of" and len(set(self.phrases)) < 2:
            raise ValueError("one_of needs at least two different phrases")
        if self.kind != "one_of" and self.phrases:
            raise ValueError(f"phrases belong to one_of, not to {self.kind}")
        return self


class Checkpoint(_Part):
    """One thing the conversation must reach. `hints` are phrases people plausibly answer: the recogniser expects them."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    prompt: Template
    complete_when: CompleteWhen
    follow_up: Template
    max_turns: int = Field(default=3, ge=1, le=10)
    hints: tuple[Phrase, ...] = ()


class RetryRules(_Part):
    """Calling back when nobody talked to us. None: as the settings say."""

    max_retries: int | None = Field(default=None, ge=0, le=20)
    intervals: tuple[Annotated[float, Field(gt=0, le=1_000_000)], ...] | None = None
    units: Literal["seconds", "minutes", "hours", "days"] | None = None
    on: dict[Outcome, bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.intervals is not None and not self.intervals:
            raise ValueError("intervals must not be empty; leave it out to use the settings'")
        if (self.intervals is None) != (self.units is None):
            raise ValueError("intervals and units belong together: give both or neither")
        never = sorted(o.value for o, again in self.on.items() if again and o in {Outcome.ANSWERED, Outcome.REJECTED, Outcome.CANCELLED})
        if never:
            raise ValueError(f"on: {', '.join(never)} is never called again")
        return self


class Plan(_Part):
    name: str = Field(pattern=NAME_PATTERN, max_length=100)
    title: str = Field(min_length=1, max_length=200)
    purpose: Literal["requested", "informational", "marketing"] = "requested"
    greeting: Template
    checkpoints: tuple[Checkpoint, ...] = Field(max_length=50)
    closing: Template
    voicemail: Literal["hang_up", "leave_message"] = "hang_up"
    voicemail_message: Template | None = None
    patience_ms: int = Field(default=700, ge=200, le=5000)
    silence_seconds: float = Field(default=6, ge=1, le=60)
    silence_prompts: int = Field(default=2, ge=0, le=10)
    calls_per_day: int = Field(default=1, ge=1, le=10)
    retry: RetryRules = Field(default_factory=RetryRules)
    recording_notice: Template | None = None
    language: str = Field(default="en-US", pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")

    @field_validator("checkpoints")
    @classmethod
    def _distinct(cls, checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        if not checkpoints:
            raise ValueError("at least one is needed")
        seen: set[str] = set()
        for checkpoint in checkpoints:
            if checkpoint.id in seen:
                raise ValueError(f"two checkpoints have the id {checkpoint.id}")
            seen.add(checkpoint.id)
        return checkpoints

    @model_validator(mode="after")
    def _message_when_left(self) -> Self:
        if self.voicemail == "leave_message" and self.voicemail_message is None:
            raise ValueError("voicemail: leave_message needs a voicemail_message")
        return self

    # Not cached: a copy of a plan would carry the other plan's values along.
    @property
    def digest(self) -> str:
        """SHA-256 of everything the plan says, independent of how its file is laid out."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def checkpoint_ids(self) -> tuple[str, ...]:
        return tuple(checkpoint.id for checkpoint in self.checkpoints)

    def all_hints(self) -> tuple[str, ...]:
        """Every phrase this conversation expects: what each one knows (stop, repeat, yes, no), then the checkpoints'."""
        phrases: list[str] = [
            *utterance.OPT_OUT_PHRASES,
            *utterance.REPEAT_PHRASES,
            *utterance.WHO_PHRASES,
            *utterance.GOODBYE_PHRASES,
            *utterance.YES_PHRASES,
            *utterance.NO_PHRASES,
            "hello",
        ]
        for checkpoint in self.checkpoints:
            if checkpoint.complete_when.kind == "number":
                phrases += utterance.NUMBER_WORDS
            phrases += checkpoint.complete_when.phrases
            phrases += checkpoint.hints
        return tuple(dict.fromkeys(phrases))


def fill(template: str, *, name: str, caller: str) -> str:
    """A plan's text as it is said. Braces in a name are said, not interpreted."""
    return template.format(name=name, caller=caller)
