"""The whole phone network put together: what the worker runs, and what a test starts in its own process."""

from __future__ import annotations

from pathlib import Path

from workers.phone_simulator.behaviours import CalleeBook
from workers.phone_simulator.callee import VoiceFactory, Voices
from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.network import NetworkOptions, PhoneNetwork
from workers.phone_simulator.rest import SimulatorApp
from workers.phone_simulator.webhooks import Webhooks

LEDGER_NAME = "phone_network.db"


async def open_simulator(
    options: NetworkOptions,
    book: CalleeBook,
    ledger_path: Path,
    voice_factory: VoiceFactory,
    *,
    rest_concurrency: int = 100,
) -> SimulatorApp:
    """A simulator that is ready for `start`. `voice_factory(voice, words_per_minute)` makes the callees' synthesizers."""
    ledger = LedgerWriter(ledger_path)
    network = PhoneNetwork(options, book, Voices(voice_factory), ledger, Webhooks(options.auth_token, ledger))
    return SimulatorApp(network, rest_concurrency=rest_concurrency)
