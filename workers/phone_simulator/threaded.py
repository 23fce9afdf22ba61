"""A simulator on a thread of its own, for tests and benchmarks whose other side blocks, as the carrier adapter does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from workers.phone_simulator.behaviours import CalleeBook
from workers.phone_simulator.callee import VoiceFactory
from workers.phone_simulator.ledger import Ledger
from workers.phone_simulator.network import NetworkOptions
from workers.phone_simulator.rest import SimulatorApp
from workers.phone_simulator.simulator import open_simulator

T = TypeVar("T")


class ThreadedSimulator:
    """Listens on a free port between `with` and its end. `run` executes a coroutine on its event loop."""

    def __init__(
        self, options: NetworkOptions, book: CalleeBook, ledger_path: Path, voice_factory: VoiceFactory, *, rest_concurrency: int = 100
    ) -> None:
        self._made_of = (options, book, ledger_path, voice_factory)
        self._rest_concurrency = rest_concurrency
        self._ledger_path = ledger_path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="phone-simulator", daemon=True)
        self._simulator: SimulatorApp | None = None
        self._ledger: Ledger | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._simulator = self.run(open_simulator(*self._made_of, rest_concurrency=self._rest_concurrency))
        self.run(self._simulator.start())
        self._ledger = Ledger(self._ledger_path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.run(self.app.close())
        self.ledger.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def app(self) -> SimulatorApp:
        assert self._simulator is not None
        return self._simulator

    @property
    def ledger(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    @property
    def base_url(self) -> str:
        return self.app.base_url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)
