"""What a check of `orch doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`hint` says how to put it right; empty when nothing is to be done."""

    check: str
    state: State
    detail: str
    hint: str = ""
