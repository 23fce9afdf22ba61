"""Time, as everything else in orch receives it: aware UTC instants, and a clock that counts suspended time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def boot_seconds(self) -> float:
        """Seconds since boot, counting time the machine was suspended: what deadlines before a dial are measured on."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot_seconds(self) -> float:
        # CLOCK_MONOTONIC stands still while a laptop sleeps; a dial decided before the sleep must not go out after it.
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def require_utc(instant: datetime, name: str = "instant") -> datetime:
    """`instant` in UTC. Raises ValueError for a naive datetime: guessing its zone is how people get called at night."""
    if instant.tzinfo is None:
        raise ValueError(f"{name} has no time zone: {instant.isoformat()}")
    return instant.astimezone(UTC)
