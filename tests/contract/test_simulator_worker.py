"""The simulator as a worker, started by hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.telephony.base import Placed
from core.telephony.simulated import simulated_account
from core.telephony.twilio import TwilioCarrier
from workers.phone_simulator.ledger import Ledger

CHECKOUT = Path(__file__).parents[2]


@contextmanager
def worker(home: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    environment |= {"ORCH_HOME": str(home), "ORCH_SIMULATOR_PORT": str(port), **settings}
    command = [sys.executable, "-m", "workers.phone_simulator"]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            if process.poll() is None:
                process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_serves_the_account_of_this_installation_and_ends_when_asked(rig: Any, tmp_path: Path) -> None:
    rig.start()
    with worker(tmp_path) as (process, port):
        rig.until(lambda: listens(port), "the worker")
        account = simulated_account(tmp_path / "keys")
        carrier = TwilioCarrier(account.account_sid, account.auth_token, account.from_number, f"http://127.0.0.1:{port}")
        placed = carrier.dial(rig.request("+12025550180"), deadline_seconds=10)
        assert isinstance(placed, Placed), placed
        ledger = Ledger(tmp_path / "data" / "phone_network.db")
        rig.until(lambda: len(rig.us.to("/status")) == 3)

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=10) == 0
        assert ledger.calls()[0].status == "busy"
        assert not listens(port)


def test_a_mistake_in_the_callees_file_stops_it_with_one_line(tmp_path: Path) -> None:
    callees = tmp_path / "callees.yaml"
    callees.write_text("behaviours: {}\notherwise: {behaviour: nobody}\n")

    with worker(tmp_path, ORCH_SIMULATOR_CALLEES=str(callees)) as (process, _):
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "callees.yaml:1: there is no behaviour 'nobody'" in errors
    assert "Traceback" not in errors
