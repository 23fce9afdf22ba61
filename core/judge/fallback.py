"""Two judges as one: the second decides whatever the first cannot, and a breaker keeps turns from waiting for one that is down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from core.errors import ProviderError
from core.judge.base import Judge, Judgement
from core.logs import get_logger
from core.plans.model import Checkpoint
from core.resilience.breaker import CLOSED, BreakerRules, BreakerState, admitted, after_failure, after_success


class FallbackJudge:
    """`first` raises ProviderError for what it cannot decide; this raises only what `fallback` raises.

    Which judge answered is logged with each turn. Used from one event loop.
    """

    def __init__(
        self,
        first: Judge,
        fallback: Judge,
        rules: BreakerRules | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first
        self._fallback = fallback
        self._rules = rules or BreakerRules()
        self._now = now
        self._breaker: BreakerState = CLOSED
        self._last_error = ""
        self.name = f"{first.name}, else {fallback.name}"

    @property
    def trouble(self) -> str | None:
        """Why the fallback is judging; None while the first judge is."""
        return None if self._breaker.closed else self._last_error

    def warm_up(self) -> None:
        self._first.warm_up()

    async def evaluate(self, checkpoint: Checkpoint, heard: Sequence[str]) -> Judgement:
        began = self._now()
        sent, self._breaker = admitted(self._breaker, self._rules, began)
        if not sent:
            return await self._fall_back(checkpoint, heard, began, "its breaker is open")
        try:
            judgement = await self._first.evaluate(checkpoint, heard)
        except ProviderError as error:
            self._note_failure(error)
            return await self._fall_back(checkpoint, heard, began, str(error))
        if not self._breaker.closed:
            get_logger().info("judge.recovered", judge=self._first.name)
        self._breaker = after_success(self._breaker, self._now())
        self._log(self._first, checkpoint, judgement, began)
        return judgement

    async def close(self) -> None:
        await self._first.close()

    async def _fall_back(self, checkpoint: Checkpoint, heard: Sequence[str], began: float, why: str) -> Judgement:
        judgement = await self._fallback.evaluate(checkpoint, heard)
        self._log(self._fallback, checkpoint, judgement, began, instead_of=self._first.name, why=why)
        return judgement

    def _note_failure(self, error: ProviderError) -> None:
        self._last_error = str(error)
        was_open_until = self._breaker.open_until
        self._breaker = after_failure(self._breaker, self._rules, self._now())
        if self._breaker.open_until is not None and self._breaker.open_until != was_open_until:
            seconds = round(self._breaker.open_until - self._now(), 1)
            get_logger().error("judge.breaker_opened", judge=self._first.name, seconds=seconds, error=str(error))

    def _log(self, judge: Judge, checkpoint: Checkpoint, judgement: Judgement, began: float, **more: str) -> None:
        get_logger().info(
            "judge.answered",
            judge=judge.name,
            checkpoint=checkpoint.id,
            complete=judgement.complete,
            reason=judgement.reason,
            ms=round((self._now() - began) * 1000, 1),
            **more,
        )
