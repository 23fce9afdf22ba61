"""Call windows: when a contact may be called, in local wall time, and the instants at which each opening falls.

One rule answers every daylight-saving question: **while a window is open, the local clock shows a time inside it.**
- A start that a clock change skips moves to the first instant after the gap; one that exists twice means the first.
- An end that is skipped means the first instant after the gap (when the clock has passed it); one that exists twice means
  the first, after which the clock has already shown the time the contact set as the end.
- A clock set back to before the start, while the window is open, closes it.
- A window whose local times do not exist on a date has no occurrence on it; nor does any on a date the zone skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from core.clock import require_utc
from core.domain.zones import clock_set_back, first_instant_at, tzdata_version, zone_of
from core.errors import InvalidInput

__all__ = [
    "DAYS",
    "LocalWindow",
    "Occurrence",
    "format_days",
    "mask_to_weekdays",
    "next_occurrence",
    "occurrence_at",
    "occurrence_on",
    "occurrences_between",
    "parse_date",
    "parse_days",
    "parse_time",
    "tzdata_version",
    "weekdays_to_mask",
    "zone_of",
]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_GROUPS = {"daily": range(7), "weekdays": range(5), "weekend": range(5, 7)}
_ONE_DAY = timedelta(days=1)
# Beyond these years a local time may not fit into a UTC datetime, and nobody has planned a call.
_YEARS = range(1900, 2201)
# A weekly window can lose an opening to a clock change, or to a skipped date, but never this many in a row.
_LOOK_AHEAD_DAYS = 60


@dataclass(frozen=True, slots=True)
class LocalWindow:
    """Local wall time, to the minute: every week on `weekdays` (0 = Monday), or once on `on_date`.

    An end earlier than the start lies on the next day. Raises InvalidInput for anything else than exactly one of
    `weekdays` and `on_date`, and for a window without length.
    """

    weekdays: frozenset[int] | None
    on_date: date | None
    start: time
    end: time

    def __post_init__(self) -> None:
        if (self.weekdays is None) == (self.on_date is None):
            raise InvalidInput("a window needs either days of the week or one date, and not both")
        if self.weekdays is not None and not (self.weekdays and self.weekdays <= frozenset(range(7))):
            raise InvalidInput("a recurring window needs at least one day, from " + ", ".join(DAYS))
        if self.on_date is not None and self.on_date.year not in _YEARS:
            raise InvalidInput(f"date {self.on_date} is not allowed; the year must be from {_YEARS[0]} to {_YEARS[-1]}")
        for name, value in (("start", self.start), ("end", self.end)):
            if value.tzinfo is not None or value.second or value.microsecond:
                raise InvalidInput(f"window {name} {value.isoformat()} is not allowed; it must be local time to the minute, such as 08:00")
        if self.start == self.end:
            raise InvalidInput(
                f"window start and end are both {self.start:%H:%M}; the end must differ (an earlier end lies on the next day)"
            )

    @property
    def crosses_midnight(self) -> bool:
        return self.end < self.start

    def opens_on(self, opening_date: date) -> bool:
        if self.weekdays is not None:
            return opening_date.weekday() in self.weekdays
        return opening_date == self.on_date

    def __str__(self) -> str:
        days = format_days(self.weekdays) if self.weekdays is not None else str(self.on_date)
        return f"{days} {self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One opening of a window: open from `opens_at` until just before `closes_at` (both UTC).

    `opening_date` is the local date on which it began by the window's own times: at 00:10, a 22:00-01:00 window still
    belongs to yesterday.
    """

    opening_date: date
    opens_at: datetime
    closes_at: datetime

    def __post_init__(self) -> None:
        if self.opens_at.tzinfo is None or self.closes_at.tzinfo is None or self.opens_at >= self.closes_at:
            raise ValueError(f"not an occurrence: {self.opens_at} to {self.closes_at}")

    def is_open_at(self, instant: datetime) -> bool:
        return self.opens_at <= instant < self.closes_at


def occurrence_on(window: LocalWindow, zone: ZoneInfo, opening_date: date) -> Occurrence | None:
    """The occurrence of that local date; None on a date the window does not name, or on which its times do not exist."""
    if not window.opens_on(opening_date):
        return None
    start = datetime.combine(opening_date, window.start)
    end = datetime.combine(opening_date + _ONE_DAY if window.crosses_midnight else opening_date, window.end)
    if _skipped(zone, opening_date):
        return None
    opens_at = first_instant_at(zone, start)
    closes_at = first_instant_at(zone, end)
    if opens_at >= closes_at:
        return None
    set_back = clock_set_back(zone, opens_at, closes_at)
    if set_back is not None and _wall(zone, set_back) < start:
        closes_at = set_back
    return Occurrence(opening_date, opens_at, closes_at)


def occurrence_at(window: LocalWindow, zone: ZoneInfo, instant: datetime) -> Occurrence | None:
    """The occurrence that is open at `instant`, if one is."""
    instant = require_utc(instant)
    for opening_date in _dates_around(zone, instant):
        occurrence = occurrence_on(window, zone, opening_date)
        if occurrence is not None and occurrence.is_open_at(instant):
            return occurrence
    return None


def next_occurrence(window: LocalWindow, zone: ZoneInfo, after: datetime, *, including_open: bool = False) -> Occurrence | None:
    """The first occurrence that opens later than `after`; with `including_open`, the one open at `after` comes first.

    None only for a one-off window that is over (or whose times do not exist on its date).
    """
    after = require_utc(after, "after")
    if window.on_date is not None:
        dates: Iterable[date] = (window.on_date,)
    else:
        first = _dates_around(zone, after)[0]
        dates = (first + timedelta(days=n) for n in range(_LOOK_AHEAD_DAYS))
    for opening_date in dates:
        occurrence = occurrence_on(window, zone, opening_date)
        if occurrence is not None and (occurrence.opens_at > after or (including_open and occurrence.closes_at > after)):
            return occurrence
    return None


def occurrences_between(window: LocalWindow, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Occurrence]:
    """Occurrences whose `opens_at` lies in [start, end), in order."""
    start, end = require_utc(start, "start"), require_utc(end, "end")
    last_date = _dates_around(zone, end)[-1]
    opening_date = _dates_around(zone, start)[0]
    if window.on_date is not None:
        opening_date, last_date = (max(opening_date, window.on_date), min(last_date, window.on_date))
    while opening_date <= last_date:
        occurrence = occurrence_on(window, zone, opening_date)
        if occurrence is not None and start <= occurrence.opens_at < end:
            yield occurrence
        opening_date += _ONE_DAY


def parse_days(text: str) -> frozenset[int]:
    """Days of the week from "mon,wed", "mon-fri", "daily", "weekdays", "weekend". Raises InvalidInput."""
    days: set[int] = set()
    for part in text.casefold().split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not dash and first in _GROUPS:
            days.update(_GROUPS[first])
            continue
        begin = _day_number(first, text)
        finish = _day_number(last, text) if dash else begin
        # "fri-mon" runs over the week's end.
        days.update((begin + n) % 7 for n in range((finish - begin) % 7 + 1))
    return frozenset(days)


def format_days(weekdays: frozenset[int]) -> str:
    """The shortest text that `parse_days` reads back."""
    for name, group in _GROUPS.items():
        if weekdays == frozenset(group):
            return name
    return ",".join(DAYS[day] for day in sorted(weekdays))


def parse_time(text: str) -> time:
    """A local time from "08:00". Raises InvalidInput."""
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text.strip())
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise InvalidInput(f"time {text!r} is not allowed; it must be from 00:00 to 23:59, such as 08:00 (midnight is 00:00)")
    return time(int(match[1]), int(match[2]))


def parse_date(text: str) -> date:
    """A date from "2026-12-01". Raises InvalidInput."""
    wanted = f"date {text!r} is not allowed; it must be a day of the calendar, such as 2026-12-01"
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()) is None:
        raise InvalidInput(wanted)
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInput(wanted) from error
    if day.year not in _YEARS:
        raise InvalidInput(f"date {text!r} is not allowed; the year must be from {_YEARS[0]} to {_YEARS[-1]}")
    return day


def weekdays_to_mask(weekdays: frozenset[int]) -> int:
    """Bit 0 is Monday."""
    return sum(1 << day for day in weekdays)


def mask_to_weekdays(mask: int) -> frozenset[int]:
    return frozenset(day for day in range(7) if mask >> day & 1)


def _day_number(name: str, text: str) -> int:
    for names in (DAYS, _FULL_DAYS):
        if name in names:
            return names.index(name)
    raise InvalidInput(f"days {text!r} are not allowed; use {', '.join(DAYS)}, a range such as mon-fri, or {', '.join(_GROUPS)}")


def _wall(zone: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _skipped(zone: ZoneInfo, day: date) -> bool:
    """Whether the zone never had that date, as Pacific/Apia never had 2011-12-30."""
    midnight = datetime.combine(day, time())
    return first_instant_at(zone, midnight) == first_instant_at(zone, midnight + _ONE_DAY)


def _dates_around(zone: ZoneInfo, instant: datetime) -> tuple[date, date, date]:
    """Every opening date whose occurrence can be open at, or open next to, `instant`.

    Yesterday: windows that cross midnight. Tomorrow: a clock set back across midnight shows yesterday's date while an
    occurrence of the next is open.
    """
    today = instant.astimezone(zone).date()
    return today - _ONE_DAY, today, today + _ONE_DAY
