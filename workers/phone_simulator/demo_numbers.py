"""The phones that `orch demo` calls. Each behaves as `callees.yaml` says of its block of numbers; all are of the range kept for fiction."""

from __future__ import annotations

# By the behaviour they show, in the order in which they are worth watching.
_BLOCKS = (
    ("talks", "11"),
    ("busy_then_answers", "12"),
    ("never_answers", "13"),
    ("hangs_up", "14"),
    ("voicemail", "15"),
)
# A number may be called only so many times a day, so each demonstration takes phones that have not rung yet.
_AREA_CODES = ("202", "212", "303", "312", "404", "415", "503", "512", "617", "713")
RUNS = len(_AREA_CODES) * 10


def demo_phones(run: int = 0) -> list[tuple[str, str]]:
    """(behaviour, E.164 number) of each phone of the demonstration `run`, counted from 0; after RUNS of them they come round again."""
    area, last = _AREA_CODES[run // 10 % len(_AREA_CODES)], run % 10
    return [(key, f"+1{area}55501{block[1]}{last}") for key, block in _BLOCKS]


DEMO_PHONES = demo_phones()
