"""Sends the callbacks that the ledger says are due, for each call one after the other in the order of their times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.webhooks import Webhooks

# One that is still far off keeps nobody from stopping the network: it is sent after the next start.
_SOON_SECONDS = 2.0


class CallbackSender:
    def __init__(self, ledger: LedgerWriter, webhooks: Webhooks) -> None:
        self._ledger = ledger
        self._webhooks = webhooks
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._more: dict[str, asyncio.Event] = {}
        self._busy: set[str] = set()
        self._first: dict[str, asyncio.Event] = {}

    @property
    def busy(self) -> int:
        """Calls that our side is being told something about, or is about to be."""
        return len(self._busy)

    def start(self) -> None:
        """Those that a killed predecessor left."""
        for call_sid in {callback.call_sid for callback in self._ledger.waiting_callbacks()}:
            self.due(call_sid)

    def due(self, call_sid: str) -> None:
        """Something was added for the call. At most one sender a call keeps the order."""
        if call_sid in self._tasks:
            self._more[call_sid].set()
            return
        self._more[call_sid] = asyncio.Event()
        self._tasks[call_sid] = asyncio.get_running_loop().create_task(self._send_all(call_sid))

    def watch_first(self, call_sid: str) -> None:
        """So that `first_sent` can be waited for. Before anything is due."""
        self._first[call_sid] = asyncio.Event()

    async def first_sent(self, call_sid: str, seconds: float) -> None:
        """Until our side has answered the call's first callback, or `seconds` have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._first[call_sid].wait()
        except TimeoutError:
            pass
        finally:
            del self._first[call_sid]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self, call_sid: str) -> None:
        try:
            while (callback := self._ledger.next_callback(call_sid)) is not None:
                wait = (callback.send_at - datetime.now(UTC)).total_seconds()
                if wait < _SOON_SECONDS:
                    self._busy.add(call_sid)
                if wait > 0:
                    await self._sleep(call_sid, min(wait, _SOON_SECONDS))
                    continue
                await self._webhooks.send(callback.purpose, call_sid, callback.url, callback.method, callback.fields)
                self._ledger.callback_done(callback.id, datetime.now(UTC))
                self._busy.discard(call_sid)
                if call_sid in self._first:
                    self._first[call_sid].set()
        finally:
            self._busy.discard(call_sid)
            del self._tasks[call_sid], self._more[call_sid]

    async def _sleep(self, call_sid: str, seconds: float) -> None:
        """Cut short when something was added, which may be due earlier."""
        more = self._more[call_sid]
        more.clear()
        try:
            async with asyncio.timeout(seconds):
                await more.wait()
        except TimeoutError:
            pass
