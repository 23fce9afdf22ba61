"""How simulated people and answering machines behave: the model of the YAML file, checked, and the choice for each call."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from workers.phone_simulator.script import Step
from workers.phone_simulator.weather import Weather
from workers.phone_simulator.yaml_model import YamlModel, read_yaml

SHIPPED = Path(__file__).with_name("callees.yaml")


class Behaviour(YamlModel):
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
    beep_seconds: float = Field(default=0.5, ge=0, le=5, description="0: the machine does not beep.")
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
        if self.then == "repeat_last" and (self.script[-1].at is not None or self.script[-1].goes_dead):
            raise ValueError("a step that happens at one moment, or ends everything, cannot be repeated")
        return self

    @property
    def verdict(self) -> str:
        return self.answered_by or ("machine_start" if self.kind == "voicemail" else "human")

    @property
    def steps(self) -> tuple[Step, ...]:
        if self.kind != "voicemail":
            return self.script
        greets = Step(say=self.greeting, after=0.5, prompted=False)
        return (greets, Step(tone=self.beep_seconds, after=0.3, prompted=False)) if self.beep_seconds else (greets,)


class Choice(YamlModel):
    """Which behaviour a call meets: always the same one, one after the other over successive calls, or one drawn by weight."""

    behaviour: str | None = None
    sequence: tuple[str, ...] | None = Field(default=None, min_length=1)
    start_over: bool = Field(default=False, description="Whether a sequence begins again; otherwise its last behaviour stays.")
    weights: dict[str, int] | None = None
    weather: Weather | None = Field(default=None, description="A preset's name, or what is different on these lines.")

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


class CalleeBook(YamlModel):
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
        name = self._choice(number).pick(number, nth, seed)
        return name, self.behaviours[name]

    def weather_for(self, number: str, everywhere: Weather) -> Weather:
        own = self._choice(number).weather
        return everywhere if own is None else own.over(everywhere)

    def _choice(self, number: str) -> Choice:
        return next((choice for choice in self.callees if choice.covers(number)), self.otherwise)


def load_callees(path: Path = SHIPPED) -> CalleeBook:
    """Read the file. Raises InvalidInput: `file:line: where: what is wrong`."""
    return read_yaml(path, CalleeBook)
