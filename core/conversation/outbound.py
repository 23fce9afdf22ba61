"""What a live call asks of its transport, whatever it is."""

from __future__ import annotations

from typing import Protocol


class Outbound(Protocol):
    """One media stream towards the contact. No method blocks or raises, also when the other side is gone."""

    def media(self, frame: bytes) -> None:
        """20 ms of mu-law, played after what was sent before."""
        ...

    def mark(self, name: str) -> None:
        """Comes back through `Session.on_mark` once everything sent before it was played, or dropped by `clear`."""
        ...

    def clear(self) -> None:
        """Drop what was sent and not yet played."""
        ...

    def close(self) -> None:
        """End the stream in order: the carrier goes on with the call's next instruction."""
        ...

    def abort(self) -> None:
        """Drop the connection at once: the other side no longer takes or answers anything."""
        ...

    @property
    def stalled_since(self) -> float | None:
        """Loop time since when the other side has taken nothing although there was something to take."""
        ...
