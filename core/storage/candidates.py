"""What a person could have meant."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5


def ambiguous(wanted: str, what: str, candidates: Sequence[str], more: int = 0) -> str:
    """One line that names what `wanted` could mean. `more`: how many candidates there are beside those given."""
    left_out = len(candidates) - SHOWN + more if len(candidates) > SHOWN else more
    shown = ", ".join(candidates[:SHOWN]) + (f", and {left_out} more" if left_out else "")
    return f"{wanted!r} fits {len(candidates) + more} {what}: {shown}; use an id, or more of it"
