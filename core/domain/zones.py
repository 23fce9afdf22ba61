"""Time zones: which names are accepted, which data they stand on, and when a local clock first shows a time.

Zones are read from the `tzdata` package, never from the operating system: every machine that runs the same lock file
then opens a window at the same instant, and `tzdata_version` names exactly the data that decided it.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]  # the package carries no types

from core.errors import InvalidInput

_SECOND = timedelta(seconds=1)

# Names that look like a place's time but never follow its daylight saving, or whose sign is the reverse of what people mean.
_FIXED_NAMES = frozenset({"EST", "MST", "HST", "Factory"})


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises InvalidInput with the nearest names when there is none, and for fixed offsets (EST, Etc/GMT+5): a contact
    stored under one would be called an hour off for half of the year.
    """
    if name in _FIXED_NAMES or (name.startswith("Etc/GMT") and name[-1:].isdigit() and name != "Etc/GMT0"):
        raise InvalidInput(f"time zone {name!r} is a fixed offset without daylight saving; name a place, such as America/New_York")
    if name not in _names():
        near = _nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "use a name such as America/New_York or Asia/Kolkata"
        raise InvalidInput(f"unknown time zone {name[:64]!r}; {hint}")
    path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def tzdata_version() -> str:
    """The IANA release behind every zone, such as "2026f": openings computed under another one are computed again."""
    return str(tzdata.IANA_VERSION)


def first_instant_at(zone: ZoneInfo, wall: datetime) -> datetime:
    """The first instant (UTC) at which the local clock shows the naive `wall`, or a later time.

    A time that exists twice means the first; one that a clock change skips means the first instant after the gap. The
    result never decreases as `wall` grows, which is what keeps a window's occurrences from overlapping.
    """
    before_change = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if before_change.astimezone(zone).replace(tzinfo=None) == wall:
        return before_change
    # Inside a gap the two folds read the wall time by the offset before and after the change: they bracket it (PEP 495).
    after_change = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _first_change(zone, after_change, before_change)


def clock_set_back(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The instant in (start, end] at which the local clock is set back, if it is. For spans of a day or so."""
    if _offset(zone, start) <= _offset(zone, end):
        return None
    return _first_change(zone, start, end)


def _first_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The instant in (low, high] from which the offset is no longer that of `low`; changes fall on whole seconds."""
    offset = _offset(zone, low)
    seconds_low, seconds_high = 0, int((high - low) / _SECOND)
    while seconds_high - seconds_low > 1:
        middle = (seconds_low + seconds_high) // 2
        if _offset(zone, low + middle * _SECOND) == offset:
            seconds_low = middle
        else:
            seconds_high = middle
    return low + seconds_high * _SECOND


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None  # ZoneInfo always knows
    return offset


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _nearest(name: str) -> list[str]:
    """Up to three names a person may have meant: "berlin" and "Europe/Berlim" both mean Europe/Berlin."""
    wanted = name.strip().replace(" ", "_").casefold()[:64]
    known: dict[str, list[str]] = {}
    for full in sorted(_names(), key=lambda full: (full.count("/"), full)):
        if "/" in full and not full.startswith("Etc/"):
            known.setdefault(full.casefold(), []).append(full)
            known.setdefault(full.rpartition("/")[2].casefold(), []).append(full)
    if wanted in known:
        return known[wanted][:3]
    found: list[str] = []
    for close in difflib.get_close_matches(wanted, known, n=3, cutoff=0.7):
        found += [full for full in known[close] if full not in found]
    return found[:3]
