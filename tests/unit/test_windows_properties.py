"""What must hold for every window, zone and instant, with most examples close to a clock change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.domain.permitted import PermittedHours
from core.domain.windows import LocalWindow, Occurrence, next_occurrence, occurrence_at, occurrence_on, occurrences_between, zone_of

ZONES = (
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "Europe/Berlin",
    "Europe/London",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Chatham",
    "Pacific/Apia",
    "UTC",
)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FIRST, LAST = date(2005, 1, 1), date(2032, 12, 31)


@lru_cache
def dates_of_changes(name: str) -> tuple[date, ...]:
    """Local dates on which, or on whose eve, the zone's offset changes."""
    zone, found = zone_of(name), []
    day, before = FIRST, None
    while day <= LAST:
        offset = datetime.combine(day, time(12), UTC).astimezone(zone).utcoffset()
        if before is not None and offset != before:
            found.append(day)
        day, before = day + DAY, offset
    return tuple(found)


@st.composite
def zones_and_dates(draw: st.DrawFn) -> tuple[ZoneInfo, date]:
    name = draw(st.sampled_from(ZONES))
    changes = dates_of_changes(name)
    mostly = draw(st.integers(0, 3)) > 0
    if changes and mostly:
        return zone_of(name), draw(st.sampled_from(changes)) + timedelta(days=draw(st.integers(-1, 1)))
    return zone_of(name), draw(st.dates(FIRST, LAST))


# Clock changes happen at night: most windows here are set there.
times = st.builds(time, st.one_of(st.integers(0, 3), st.integers(22, 23), st.integers(0, 23)), st.sampled_from([0, 1, 15, 30, 40, 45, 59]))
weekdays = st.one_of(st.just(frozenset(range(7))), st.frozensets(st.integers(0, 6), min_size=1))


@st.composite
def recurring(draw: st.DrawFn) -> LocalWindow:
    start, end = draw(times), draw(times)
    assume(start != end)
    return LocalWindow(draw(weekdays), None, start, end)


def wall(zone: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def by_looking_at_the_clock(window: LocalWindow, zone: ZoneInfo, day: date) -> tuple[datetime, datetime] | None:
    """The documented rule, carried out minute by minute: no arithmetic on offsets, nothing shared with the code under test."""
    start = datetime.combine(day, window.start)
    end = datetime.combine(day + DAY if window.end < window.start else day, window.end)
    instant = datetime.combine(day, time(), UTC) - 26 * timedelta(hours=1)
    limit = instant + timedelta(hours=100)
    if not any(wall(zone, instant + n * 30 * MINUTE).date() == day for n in range(200)):
        return None
    while wall(zone, instant) < start:
        instant += MINUTE
    opens = instant
    while start <= wall(zone, instant) < end:
        instant += MINUTE
        assert instant < limit
    return (opens, instant) if instant > opens else None


@settings(max_examples=250, deadline=None)
@given(recurring(), zones_and_dates())
def test_an_occurrence_is_what_looking_at_the_clock_gives(window: LocalWindow, place: tuple[ZoneInfo, date]) -> None:
    zone, day = place
    every_day = LocalWindow(frozenset(range(7)), None, window.start, window.end)
    occurrence = occurrence_on(every_day, zone, day)
    assert (None if occurrence is None else (occurrence.opens_at, occurrence.closes_at)) == by_looking_at_the_clock(every_day, zone, day)


@settings(max_examples=200, deadline=None)
@given(recurring(), zones_and_dates())
def test_occurrences_of_a_window_do_not_overlap(window: LocalWindow, place: tuple[ZoneInfo, date]) -> None:
    zone, day = place
    around = [occurrence_on(window, zone, day + n * DAY) for n in range(-9, 10)]
    opened = [o for o in around if o is not None]
    assert opened
    for earlier, later in pairwise(opened):
        assert earlier.closes_at <= later.opens_at


@settings(max_examples=200, deadline=None)
@given(recurring(), zones_and_dates(), st.integers(-26 * 60, 50 * 60))
def test_open_at_agrees_with_the_occurrences_around(window: LocalWindow, place: tuple[ZoneInfo, date], minute: int) -> None:
    zone, day = place
    instant = datetime.combine(day, time(), UTC) + minute * MINUTE
    expected = [o for o in occurrences_between(window, zone, instant - 4 * DAY, instant + 4 * DAY) if o.opens_at <= instant < o.closes_at]
    found = occurrence_at(window, zone, instant)
    assert expected == ([] if found is None else [found])
    if found is not None:
        assert in_window(window, found, zone, instant)


def in_window(window: LocalWindow, occurrence: Occurrence, zone: ZoneInfo, instant: datetime) -> bool:
    start = datetime.combine(occurrence.opening_date, window.start)
    end = datetime.combine(occurrence.opening_date + (DAY if window.crosses_midnight else timedelta()), window.end)
    return start <= wall(zone, instant) < end


@settings(max_examples=150, deadline=None)
@given(recurring(), zones_and_dates(), st.integers(0, 24 * 60))
def test_next_occurrence_strictly_increases_and_skips_none(window: LocalWindow, place: tuple[ZoneInfo, date], minute: int) -> None:
    zone, day = place
    begin = datetime.combine(day, time(), UTC) + minute * MINUTE - 2 * DAY
    end = begin + 16 * DAY
    walked: list[Occurrence] = []
    at = begin
    while (found := next_occurrence(window, zone, at)) is not None and found.opens_at < end:
        assert found.opens_at > at
        walked.append(found)
        at = found.opens_at
    # `after` is exclusive, the start of a span is not.
    assert walked == [o for o in occurrences_between(window, zone, begin, end) if o.opens_at != begin]


@settings(max_examples=150, deadline=None)
@given(recurring(), zones_and_dates(), st.integers(0, 48 * 60))
def test_the_open_one_comes_first_when_it_counts(window: LocalWindow, place: tuple[ZoneInfo, date], minute: int) -> None:
    zone, day = place
    instant = datetime.combine(day, time(), UTC) + minute * MINUTE - DAY
    open_now = occurrence_at(window, zone, instant)
    found = next_occurrence(window, zone, instant, including_open=True)
    assert found == (open_now or next_occurrence(window, zone, instant))


@settings(max_examples=200, deadline=None)
@given(times, times, zones_and_dates(), st.integers(-26 * 60, 50 * 60), st.integers(0, 10))
def test_permitted_hours_never_allow_a_local_time_outside_them(
    first: time, second: time, place: tuple[ZoneInfo, date], minute: int, lasting_minutes: int
) -> None:
    assume(first != second)
    zone, day = place
    permitted = PermittedHours(min(first, second), max(first, second))
    instant = datetime.combine(day, time(), UTC) + minute * MINUTE
    if permitted.is_permitted(zone, instant):
        assert permitted.start <= wall(zone, instant).time() < permitted.end
        assert permitted.next_permitted(zone, instant) == instant
    length = datetime.combine(day, permitted.end) - datetime.combine(day, permitted.start)
    lasting = min(lasting_minutes * MINUTE, length)
    at = permitted.next_permitted(zone, instant, lasting=lasting)
    assert at >= instant
    for n in range(int(lasting / MINUTE)):
        assert permitted.start <= wall(zone, at + n * MINUTE).time() < permitted.end
    # Nothing permitted for that long was passed over.
    probe = instant
    while probe < min(at, instant + 3 * DAY):
        until = permitted.permitted_until(zone, probe)
        assert until is None or until < probe + lasting
        probe += 17 * MINUTE
