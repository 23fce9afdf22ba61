"""How simulated people and answering machines behave: the model of the YAML file, checked, and the choice for each call."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import InvalidInput

SHIPPED = Path(__file__).with_name("callees.yaml")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Model):
    """One thing a callee does: exactly one of `say`, `dtmf`, `tone`, `silence`, `hang_up`. Durations are in seconds."""

    say: str | None = Field(default=None, min_length=1)
    dtmf: str | None = Field(default=None, pattern=r"^[0-9A-D*#]+$")
    tone: float | None = Field(default=None, gt=0, le=10)
    silence: float | None = Field(default=None, gt=0, le=3600)
    hang_up: Literal[True] | None = None
    after: float = Field(default=0.6, ge=0, le=60, description="Quiet on the line before the step.")
    prompted: bool = Field(default=True, description="Whether something must be heard first, since the callee's last step.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = [name for name in ("say", "dtmf", "tone", "silence", "hang_up") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a step needs exactly one of say, dtmf, tone, silence, hang_up" + (f"; this one has {' and '.join(given)}" if given else "")
            )
        return self


class Behaviour(_Model):
    """What happens when the phone rings. Durations are in seconds."""

    kind: Literal["answers", "voicemail", "busy", "no_answer", "rejected"]
    ring_seconds: float | None = Field(default=None, ge=0, le=600, description="Default: 2; for no_answer, until the caller gives up.")
    sip_code: int | None = Field(default=None, ge=400, le=699, description="How the network explains a call that does not connect.")
    voice: str = "en-us+f2"
    words_per_minute: int = Field(default=175, ge=80, le=400)
    script: tuple[Step, ...] = ()
    then: Literal["silent", "repeat_last", "hang_up"] = Field(default="silent", description="When the script is over.")
    gives_up_seconds: float = Field(
        default=60, gt=0, description="Hangs up after hearing nothing for so long; a machine's longest message."
    )
    greeting: str | None = Field(default=None, description="What the machine says; then it beeps.")
    beep_seconds: float = Field(default=0.5, gt=0, le=5)
    answered_by: Literal["human", "machine_start", "fax", "unknown"] | None = Field(
        default=None, description="What machine detection finds."
    )
    detection_seconds: float = Field(default=2.0, ge=0, le=60, description="How long machine detection takes.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "voicemail" and self.greeting is None:
            raise ValueError("a voicemail needs a greeting")
        if self.kind != "voicemail" and self.greeting is not None:
            raise ValueError(f"only a voicemail has a greeting, and kind is {self.kind}")
        if self.kind != "answers" and (self.script or self.then != "silent"):
            raise ValueError(f"only one who answers has a script, and kind is {self.kind}")
        if self.then == "repeat_last" and not self.script:
            raise ValueError("repeat_last needs a script")
        return self

    @property
    def verdict(self) -> str:
        return self.answered_by or ("machine_start" if self.kind == "voicemail" else "human")

    @property
    def steps(self) -> tuple[Step, ...]:
        if self.kind != "voicemail":
            return self.script
        return (
            Step(say=self.greeting, after=0.5, prompted=False),
            Step(tone=self.beep_seconds, after=0.3, prompted=False),
        )


class Choice(_Model):
    """Which behaviour a call meets: always the same one, one after the other over successive calls, or one drawn by weight."""

    behaviour: str | None = None
    sequence: tuple[str, ...] | None = Field(default=None, min_length=1)
    start_over: bool = Field(default=False, description="Whether a sequence begins again; otherwise its last behaviour stays.")
    weights: dict[str, int] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.behaviour, self.sequence, self.weights)) != 1:
            raise ValueError("exactly one of behaviour, sequence, weights is needed")
        if self.weights is not None and (min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) == 0):
            raise ValueError("weights must not be negative, and one of them must be positive")
        if self.start_over and self.sequence is None:
            raise ValueError("only a sequence can start over")
        return self

    @property
    def names(self) -> Sequence[str]:
        return self.sequence or tuple(self.weights or ()) or ((self.behaviour,) if self.behaviour else ())

    def pick(self, number: str, nth: int, seed: int) -> str:
        """`nth` counts the calls to `number` from 0. The draw depends on nothing else, so the order of calls does not matter."""
        if self.sequence is not None:
            return self.sequence[nth % len(self.sequence) if self.start_over else min(nth, len(self.sequence) - 1)]
        if self.weights is not None:
            return random.Random(f"{seed}:{number}:{nth}").choices(list(self.weights), list(self.weights.values()))[0]
        assert self.behaviour is not None
        return self.behaviour


class Callees(Choice):
    """Phones that behave alike. Numbers are E.164; `?` stands for one digit, `*` for any."""

    numbers: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        for number in self.numbers:
            if not number.startswith("+") or not set(number[1:]) <= set("0123456789?*"):
                raise ValueError(f"{number!r} is not + and digits, ? or *")
        return self

    def covers(self, number: str) -> bool:
        return any(fnmatchcase(number, pattern) for pattern in self.numbers)


class CalleeBook(_Model):
    """Everybody who can be called. The first entry of `callees` that covers a number counts."""

    behaviours: dict[str, Behaviour]
    callees: tuple[Callees, ...] = ()
    otherwise: Choice

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for choice in (*self.callees, self.otherwise):
            for name in choice.names:
                if name not in self.behaviours:
                    raise ValueError(f"there is no behaviour {name!r}; there are {', '.join(sorted(self.behaviours))}")
        return self

    def behaviour_for(self, number: str, nth: int, seed: int) -> tuple[str, Behaviour]:
        choice = next((c for c in self.callees if c.covers(number)), self.otherwise)
        name = choice.pick(number, nth, seed)
        return name, self.behaviours[name]


def load_callees(path: Path = SHIPPED) -> CalleeBook:
    """Read the file. Raises InvalidInput: `file:line: where: what is wrong`."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return CalleeBook.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInput(f"{path}:{line}: {error.problem}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{path}:{_line(root, first['loc'])}: {where + ': ' if where else ''}{said}") from error


def _line(node: Any, location: Sequence[int | str]) -> int:
    """The line nearest to where pydantic's `location` points."""
    line = 1
    for key in location:
        if node is not None:
            line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            return line
    return line
