"""Permitted hours: the local time of day in which anybody may be rung, whatever window they set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from core.domain.windows import LocalWindow, next_occurrence, occurrence_at, occurrence_on, occurrences_between
from core.errors import InvalidInput

_EVERY_DAY = frozenset(range(7))
_DAY = timedelta(days=1)

# Between the last second a phone may ring and the end of the hours it may ring in. Our clock may be wrong by as much as
# the clock rule tolerates, so the margin is not less than that.
MAX_CLOCK_SKEW = timedelta(seconds=60)
CLOSING_MARGIN = MAX_CLOCK_SKEW
DEFAULT_DIAL_TIME = timedelta(seconds=30) + CLOSING_MARGIN  # ringing and margin


@dataclass(frozen=True, slots=True)
class PermittedHours:
    """From `start` until just before `end`, each day, by the contact's local clock. Raises InvalidInput unless start < end."""

    start: time
    end: time

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise InvalidInput(f"permitted hours {self} are not allowed; the start must be earlier than the end")
        self.as_window()

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def is_permitted(self, zone: ZoneInfo, instant: datetime) -> bool:
        return self.permitted_until(zone, instant) is not None

    def permitted_until(self, zone: ZoneInfo, instant: datetime) -> datetime | None:
        """The instant at which the hours that hold at `instant` end; None when none hold."""
        occurrence = occurrence_at(self.as_window(), zone, instant)
        return occurrence.closes_at if occurrence else None

    def next_permitted(self, zone: ZoneInfo, instant: datetime, *, lasting: timedelta = timedelta()) -> datetime:
        """The first instant from `instant` on that is permitted, and stays so for `lasting`.

        Raises InvalidInput if the hours of no day are that long.
        """
        after = instant
        for _ in range(8):
            occurrence = next_occurrence(self.as_window(), zone, after, including_open=after == instant)
            if occurrence is None:
                break
            begin = max(instant, occurrence.opens_at)
            if begin + lasting <= occurrence.closes_at:
                return begin
            after = occurrence.opens_at
        raise InvalidInput(f"permitted hours {self} (ORCH_PERMITTED_FROM, ORCH_PERMITTED_UNTIL) are too short to dial in")

    def as_window(self) -> LocalWindow:
        return LocalWindow(_EVERY_DAY, None, self.start, self.end)


def window_possible(
    window: LocalWindow, zone: ZoneInfo, permitted: PermittedHours, *, dial_time: timedelta = DEFAULT_DIAL_TIME
) -> str | None:
    """Why no rule would ever allow a dial in this window; None if one can be allowed.

    `dial_time` is what a dial takes at least: ringing, and the margin before the close. A recurring window is judged by the
    wall clock of an ordinary day, a one-off one by what the clock does on its date.
    """
    if window.on_date is not None:
        occurrence = occurrence_on(window, zone, window.on_date)
        if occurrence is None:
            return f"{window.start:%H:%M}-{window.end:%H:%M} does not exist on {window.on_date} in {zone.key}: the clocks go forward then"
        days = occurrences_between(permitted.as_window(), zone, occurrence.opens_at - 2 * _DAY, occurrence.closes_at)
        shared = [min(day.closes_at, occurrence.closes_at) - max(day.opens_at, occurrence.opens_at) for day in days]
    else:
        start, end = _since_midnight(window.start), _since_midnight(window.end)
        end += _DAY if window.crosses_midnight else timedelta()
        opens, closes = _since_midnight(permitted.start), _since_midnight(permitted.end)
        shared = [min(end, closes + shift) - max(start, opens + shift) for shift in (timedelta(), _DAY)]
    longest = max(shared, default=timedelta())
    if longest <= timedelta():
        return f"nobody may be called between {window.start:%H:%M} and {window.end:%H:%M}: permitted hours are {permitted} local time"
    if longest < dial_time:
        return (
            f"only {longest.total_seconds():.0f} s of {window.start:%H:%M}-{window.end:%H:%M} lie within the permitted hours {permitted}; "
            f"a dial needs {dial_time.total_seconds():.0f} s"
        )
    return None


def _since_midnight(value: time) -> timedelta:
    return timedelta(hours=value.hour, minutes=value.minute)
