"""Restarting the workers one after the other, so that never more than one is away. It owns no process and asks no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from core.errors import Conflict
from workers.child import Child, State


class Reload:
    def __init__(self, children: Mapping[str, Child]) -> None:
        self._children = children
        self._left: deque[str] = deque()
        # The one that is being restarted, with the number of its starts before.
        self._at: tuple[str, int] | None = None
        self._failed = ""

    def begin(self) -> list[str]:
        """The workers it will restart: all but those that somebody stopped. Raises Conflict while one is going on."""
        if self._at is not None or self._left:
            raise Conflict(f"a reload is going on; it is at {self._at[0] if self._at else self._left[0]}")
        self._failed = ""
        self._left.extend(name for name, child in self._children.items() if child.state is not State.STOPPED)
        return list(self._left)

    def next(self) -> str | None:
        """The worker to restart now, if the one before is ready again. One that does not come back ends it."""
        if self._at is not None:
            name, starts = self._at
            child = self._children[name]
            if child.down:
                self.cancel()
                self._failed = f"{name} is {child.state}" + (f": {child.problem}" if child.problem else "")
                return None
            if child.starts == starts or child.state is not State.RUNNING:
                return None
            self._at = None
        if not self._left:
            return None
        name = self._left.popleft()
        self._at = (name, self._children[name].starts)
        return name

    def cancel(self) -> None:
        self._left.clear()
        self._at = None

    def status(self) -> dict[str, object]:
        return {"at": self._at[0] if self._at else None, "left": list(self._left), "failed": self._failed or None}
