"""The simulator as a worker, started by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.telephony.base import Placed
from core.telephony.simulated import simulated_account
from core.telephony.twilio import TwilioCarrier
from workers.child import EXIT_CONFIG
from workers.phone_simulator.ledger import Ledger

CHECKOUT = Path(__file__).parents[2]
PROGRAM = Path(sysconfig.get_path("scripts")) / "orch"


def environment_of(home: Path, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    return {**clean, "ORCH_HOME": str(home), "ORCH_SIMULATOR_WEATHER": "calm", "NO_COLOR": "1", **settings}


def orch(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], env=environment_of(home, **settings), capture_output=True, text=True, timeout=60)


@contextmanager
def worker(home: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = environment_of(home, ORCH_SIMULATOR_PORT=str(port), **settings)
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

    assert process.returncode == EXIT_CONFIG
    assert "callees.yaml:1: there is no behaviour 'nobody'" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("settings", "said"), [({"ORCH_SIMULATOR_WEATHER": "hail"}, "neither calm, realistic, storm nor a file")])
def test_a_mistake_in_the_weather_stops_it_with_one_line(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    with worker(tmp_path, **settings) as (process, _):
        _, errors = process.communicate(timeout=20)

    assert process.returncode == EXIT_CONFIG
    assert said in errors
    assert "Traceback" not in errors


def test_orch_phone_looks_in_and_rings_us(rig: Any, tmp_path: Path) -> None:
    rig.start()
    rig.us.answers["/webhooks/twilio/voice"] = [rig.twiml("<Say>Hello.</Say>")]
    rig.us.answers["/webhooks/twilio/status"] = [(204, "text/plain", "")]
    with worker(tmp_path, ORCH_PORT=str(rig.us.port)) as (_, port):
        rig.until(lambda: listens(port), "the worker")
        here = {"ORCH_SIMULATOR_PORT": str(port)}

        made = orch(tmp_path, "phone", "call", "--from", "+12025550182", "--behaviour", "says_nothing", "--wait", "--json", **here)
        call = json.loads(made.stdout)
        listed = orch(tmp_path, "phone", "list", **here)
        shown = orch(tmp_path, "phone", "show", call["sid"][:10], **here)
        refused = orch(tmp_path, "phone", "call", "--from", "911", **here)
        missing = orch(tmp_path, "phone", "show", "CA0", **here)
        foreign = orch(tmp_path / "other", "phone", "list", **here)

    assert listed.returncode == 0, listed.stderr
    assert "+1???555011?" in listed.stdout
    assert "calm" in listed.stdout
    assert (made.returncode, call["direction"], call["status"]) == (0, "inbound", "completed")
    assert call["sid"][:10] in listed.stdout
    for part in ("+12025550182 -> +15005550006  inbound  completed", "voice ringing -> HTTP 200", "<Say>Hello.</Say>", "Say  text=Hello."):
        assert part in shown.stdout
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "911 is not a phone number" in refused.stderr
    assert (missing.returncode, "orch phone list" in missing.stderr) == (1, True)
    assert (foreign.returncode, "another installation" in foreign.stderr) == (1, True)
    # Said while it still rang: it is Twilio's word for a call that came in.
    assert rig.us.to("/webhooks/twilio/voice")[0].fields["CallStatus"] == "ringing"


def test_orch_phone_says_when_there_is_no_network_and_when_it_is_down(tmp_path: Path) -> None:
    real = {
        "ORCH_CARRIER": "twilio",
        "TWILIO_ACCOUNT_SID": "AC" + "a" * 32,
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_FROM_NUMBER": "+12025550100",
        "ORCH_PUBLIC_URL": "https://us.example",
        "ORCH_PUBLIC_MEDIA_URL": "wss://us.example",
        "ORCH_DIAL_ONLY": "+12025550110",
    }

    down = orch(tmp_path, "phone", "list", ORCH_SIMULATOR_PORT="1")
    other = orch(tmp_path, "phone", "call", **real)

    assert (down.returncode, "does not answer on port 1" in down.stderr) == (3, True)
    assert (other.returncode, "ORCH_CARRIER is twilio" in other.stderr) == (1, True)
    assert "Traceback" not in down.stderr + other.stderr
