"""The weather of the network: what a real one does now and then and nobody asked for. Seeded, so that it can be had again.

Every draw has dice of its own, thrown from the seed and the place it belongs to (a number, its n-th call, a purpose). So no draw
depends on the order of calls, and making one trouble likelier leaves draws of other kinds where they were.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from core.errors import InvalidInput
from workers.phone_simulator.yaml_model import YamlModel, read_yaml


def _range(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Chance = Annotated[float, Field(ge=0, le=1)]
# Seconds: one number, or the least and the most.
Seconds = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0, le=3600)]], BeforeValidator(_range)]
PresetName = Literal["calm", "realistic", "storm"]


class AfterBreak(StrEnum):
    """What becomes of a call whose stream ended without a close frame. Twilio does not say."""

    NEXT_VERB = "next_verb"
    HANG_UP = "hang_up"
    SILENCE = "silence"


class Weather(YamlModel):
    """What a field does not say is as in `start_from`; without that, as in calm weather (for a number: as everywhere else)."""

    start_from: PresetName | None = None

    calls_per_second: float = Field(default=1.0, gt=0, le=1000, description="The rate at which the account's queue is released.")

    create_answered_after: Seconds = Field(default=(0, 0), description="How long the answer to a create takes.")
    callback_before_answer: Chance = Field(default=0.0, description="A create is answered only after its first status callback.")
    create_refused: Chance = Field(default=0.0, description="A create is refused with 429 (20429); nothing is placed.")
    create_fails_after_placing: Chance = Field(default=0.0, description="A create is answered 500; the call is placed all the same.")
    create_reset_after_placing: Chance = Field(default=0.0, description="A create's connection is reset; the call is placed all the same.")
    request_fails: Chance = Field(default=0.0, description="A request other than a create is answered 503, without effect.")
    update_fails_after: Chance = Field(default=0.0, description="An update is answered 500; it has taken effect all the same.")
    listed_after: Seconds = Field(default=(0, 0), description="How long a new call is missing from the list.")

    callback_after: Seconds = Field(default=(0, 0), description="How long a status callback is under way; short ones overtake one another.")
    callback_late: Chance = Field(default=0.0, description="A status callback is later still, by callback_late_by.")
    callback_late_by: Seconds = (2, 8)
    callback_lost: Chance = Field(default=0.0, description="A status callback is never sent.")
    callback_repeated: Chance = Field(default=0.0, description="A status callback is sent a second time, callback_repeated_after later.")
    callback_repeated_after: Seconds = (0.2, 5)

    webhook_unreached: Chance = Field(
        default=0.0, description="A request for TwiML does not reach us, and times out: fallback URL, or the end."
    )
    webhook_answer_lost: Chance = Field(default=0.0, description="A request for TwiML reaches us, but our answer does not come back.")
    webhook_times_out_after: Seconds = (15, 15)

    detection_longer_by: Seconds = Field(default=(0, 0), description="Machine detection takes so much longer.")
    detection_unsure: Chance = Field(default=0.0, description="Machine detection finds nothing: unknown.")

    stream_refused: Chance = Field(default=0.0, description="A stream cannot be connected (31920).")
    stream_broken: Chance = Field(default=0.0, description="A stream breaks without a close frame (31903), stream_trouble_after its start.")
    stream_stops_reading: Chance = Field(default=0.0, description="The network stops reading a stream, and goes on sending.")
    stream_stops_sending: Chance = Field(default=0.0, description="The network stops sending on a stream, and goes on reading.")
    stream_drops_message: Chance = Field(default=0.0, description="One of our messages is dropped with warning 31951.")
    stream_trouble_after: Seconds = (1, 20)
    after_break: dict[AfterBreak, Annotated[int, Field(ge=0)]] = Field(
        default={AfterBreak.NEXT_VERB: 1}, description="Weights of what follows a break."
    )
    frame_late_by: Seconds = Field(default=(0, 0), description="How late a frame is; those behind it come in a burst.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"start_from": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Weather:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, tuple) and field.annotation is not None and value[0] > value[1]:
                raise ValueError(f"{name}: the least, {value[0]:g}, is more than the most, {value[1]:g}")
        if not sum(self.after_break.values()):
            raise ValueError("after_break: one of the weights must be positive")
        return self

    def over(self, base: Weather) -> Weather:
        """This weather where it says something, else its preset, else `base`."""
        below = PRESETS[self.start_from] if self.start_from is not None else base
        return below.model_copy(update={name: getattr(self, name) for name in self.model_fields_set - {"start_from"}})


CALM = Weather()
REALISTIC = Weather(
    create_answered_after=(0.05, 0.3),
    callback_before_answer=0.1,
    create_refused=0.01,
    create_fails_after_placing=0.005,
    create_reset_after_placing=0.005,
    request_fails=0.01,
    update_fails_after=0.005,
    listed_after=(0.2, 3),
    callback_after=(0.02, 0.4),
    callback_late=0.03,
    callback_lost=0.01,
    callback_repeated=0.03,
    webhook_unreached=0.002,
    webhook_answer_lost=0.002,
    detection_longer_by=(0, 2),
    detection_unsure=0.05,
    stream_refused=0.005,
    stream_broken=0.01,
    stream_stops_reading=0.003,
    stream_stops_sending=0.003,
    stream_drops_message=0.005,
    after_break={AfterBreak.NEXT_VERB: 4, AfterBreak.HANG_UP: 4, AfterBreak.SILENCE: 2},
    frame_late_by=(0, 0.02),
)
STORM = Weather(
    create_answered_after=(0.1, 2),
    callback_before_answer=0.4,
    create_refused=0.15,
    create_fails_after_placing=0.12,
    create_reset_after_placing=0.12,
    request_fails=0.2,
    update_fails_after=0.1,
    listed_after=(1, 20),
    callback_after=(0.05, 2),
    callback_late=0.2,
    callback_late_by=(2, 15),
    callback_lost=0.15,
    callback_repeated=0.25,
    webhook_unreached=0.05,
    webhook_answer_lost=0.05,
    webhook_times_out_after=(2, 5),
    detection_longer_by=(0, 8),
    detection_unsure=0.2,
    stream_refused=0.08,
    stream_broken=0.15,
    stream_stops_reading=0.05,
    stream_stops_sending=0.05,
    stream_drops_message=0.15,
    stream_trouble_after=(0.5, 8),
    after_break={AfterBreak.NEXT_VERB: 1, AfterBreak.HANG_UP: 1, AfterBreak.SILENCE: 1},
    frame_late_by=(0, 0.08),
)
PRESETS: Mapping[str, Weather] = {"calm": CALM, "realistic": REALISTIC, "storm": STORM}


def load_weather(name_or_file: str, home: Path) -> Weather:
    """A preset, or the YAML file of that name, relative to `home`. Raises InvalidInput."""
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]
    path = (home / Path(name_or_file).expanduser()).resolve()
    if not path.exists():
        raise InvalidInput(f"ORCH_SIMULATOR_WEATHER={name_or_file}: neither {', '.join(PRESETS)} nor a file ({path})")
    return read_yaml(path, Weather).over(CALM)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One sending of a callback: `after` seconds from now, or never."""

    after: float
    lost: bool = False


class StreamTrouble(StrEnum):
    NONE = "none"
    REFUSED = "refused"
    BROKEN = "broken"
    STOPS_READING = "stops_reading"
    STOPS_SENDING = "stops_sending"
    DROPS_MESSAGE = "drops_message"


@dataclass(frozen=True, slots=True)
class StreamWeather:
    """What happens to one stream, `after` seconds from its start, and how late each frame is."""

    trouble: StreamTrouble
    after: float
    frame_late_by: tuple[float, float]
    seed: str


class CreateTrouble(StrEnum):
    NONE = "none"
    REFUSED = "refused"
    FAILS = "fails_after_placing"
    RESET = "reset_after_placing"


class Dice:
    """Draws that belong to one place, such as the third call to a number."""

    def __init__(self, weather: Weather, *place: object) -> None:
        self.weather = weather
        self._place = ":".join(map(str, place))

    def hits(self, what: str, chance: float) -> bool:
        return chance > 0 and self._thrown(what).random() < chance

    def between(self, what: str, bounds: tuple[float, float]) -> float:
        return self._thrown(what).uniform(*bounds)

    def create_trouble(self) -> CreateTrouble:
        """What happens to a create. At most one trouble, so the chances share one throw."""
        weather = self.weather
        chances = {
            CreateTrouble.REFUSED: weather.create_refused,
            CreateTrouble.FAILS: weather.create_fails_after_placing,
            CreateTrouble.RESET: weather.create_reset_after_placing,
        }
        return self._one_of("create", chances) or CreateTrouble.NONE

    def deliveries(self, key: str) -> list[Delivery]:
        """How often, and when, a callback is sent. Empty is not an answer: a lost one is a delivery that is lost."""
        weather = self.weather
        if self.hits(f"{key} lost", weather.callback_lost):
            return [Delivery(0, lost=True)]
        after = self.between(f"{key} after", weather.callback_after)
        if self.hits(f"{key} late", weather.callback_late):
            after += self.between(f"{key} late by", weather.callback_late_by)
        sent = [Delivery(after)]
        if self.hits(f"{key} repeated", weather.callback_repeated):
            sent.append(Delivery(after + self.between(f"{key} repeated after", weather.callback_repeated_after)))
        return sent

    def stream(self, nth: int) -> StreamWeather:
        """What happens to the call's stream number `nth`, counted from 0."""
        weather, key = self.weather, f"stream {nth}"
        chances = {
            StreamTrouble.REFUSED: weather.stream_refused,
            StreamTrouble.BROKEN: weather.stream_broken,
            StreamTrouble.STOPS_READING: weather.stream_stops_reading,
            StreamTrouble.STOPS_SENDING: weather.stream_stops_sending,
            StreamTrouble.DROPS_MESSAGE: weather.stream_drops_message,
        }
        trouble = self._one_of(key, chances) or StreamTrouble.NONE
        after = self.between(f"{key} after", weather.stream_trouble_after)
        return StreamWeather(trouble, after, weather.frame_late_by, f"{self._place}:{key}")

    def after_break(self, nth: int) -> AfterBreak:
        """What follows the break of the call's stream number `nth`, whoever broke it."""
        weights = self.weather.after_break
        return self._thrown(f"after break {nth}").choices(list(weights), list(weights.values()))[0]

    def _one_of(self, what: str, chances: Mapping[Any, float]) -> Any:
        thrown = self._thrown(what).random()
        for found, chance in chances.items():
            thrown -= chance
            if thrown < 0:
                return found
        return None

    def _thrown(self, what: str) -> random.Random:
        return random.Random(f"{self._place}:{what}")
