"""What a simulated person does during a call, step by step."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from workers.phone_simulator.yaml_model import YamlModel

ACTIONS = ("say", "dtmf", "tone", "silence", "cough", "mumble", "hang_up", "goes_dead")
TIMINGS = ("after", "at", "interrupts_after", "interrupts_after_words")


class Step(YamlModel):
    """One thing a callee does, and when. Durations are in seconds.

    Without a timing it is done once something was heard and `after` seconds of quiet have followed.
    """

    say: str | None = Field(default=None, min_length=1)
    dtmf: str | None = Field(default=None, pattern=r"^[0-9A-D*#]+$", description="Keys, pressed one after the other.")
    tone: float | None = Field(default=None, gt=0, le=10, description="A beep.")
    silence: float | None = Field(default=None, gt=0, le=3600, description="Says nothing for so long, whatever is said.")
    cough: float | None = Field(default=None, gt=0, le=5, description="A burst of noise.")
    mumble: float | None = Field(default=None, gt=0, le=60, description="Something like speech that nobody can understand.")
    hang_up: Literal[True] | None = None
    goes_dead: Literal[True] | None = Field(default=None, description="From here on the line is open and nobody is there.")

    after: float = Field(default=0.6, ge=0, le=60, description="Quiet on the line before the step.")
    prompted: bool = Field(default=True, description="Whether something must be heard first, since the callee's last step.")
    at: float | None = Field(default=None, ge=0, le=3600, description="So long after the phone was answered, whatever is on the line.")
    interrupts_after: float | None = Field(default=None, ge=0, le=600, description="While we talk, after hearing us for so long.")
    interrupts_after_words: int | None = Field(default=None, ge=1, le=500, description="While we talk, after about so many words.")
    hangs_up_at: float | None = Field(default=None, gt=0, le=60, description="With `say`: puts the phone down so far into it.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = [name for name in ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a step needs exactly one of {', '.join(ACTIONS)}" + (f"; this one has {' and '.join(given)}" if given else "")
            )
        timed = [name for name in TIMINGS if name in self.model_fields_set and getattr(self, name) is not None]
        if len(timed) > 1:
            raise ValueError(f"a step happens at one time; this one has {' and '.join(timed)}")
        if self.hangs_up_at is not None and self.say is None:
            raise ValueError("hangs_up_at goes with say")
        return self

    @property
    def is_timed(self) -> bool:
        """Whether it waits for a moment instead of for quiet."""
        return self.at is not None or self.interrupts_after_seconds is not None

    @property
    def interrupts_after_seconds(self) -> float | None:
        """Of our talking. Over a media stream nobody counts words, so words are seconds at the pace of speech."""
        if self.interrupts_after_words is not None:
            return self.interrupts_after_words / WORDS_PER_SECOND
        return self.interrupts_after


# How fast the network's own voice speaks, and about how fast any voice does.
WORDS_PER_SECOND = 2.5
