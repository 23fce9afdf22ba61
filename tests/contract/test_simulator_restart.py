"""The network's ledger survives the network."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.telephony.base import CarrierStatus, Placed
from core.telephony.twilio import TwilioCarrier
from workers.phone_simulator.ledger import FINAL_STATUSES, Ledger

CHECKOUT = Path(__file__).parents[2]

# The network as a process of its own, so that it can be killed.
PROGRAM = """
import asyncio, socket, sys
from pathlib import Path
from core.speech.base import Synthesizer
from workers.phone_simulator.behaviours import CalleeBook
from workers.phone_simulator.network import NetworkOptions
from workers.phone_simulator.simulator import open_simulator
from workers.phone_simulator.weather import Weather

class Mute:
    def __init__(self, voice, words_per_minute): pass
    async def speak(self, text):
        yield b"\\xff" * 160
    async def close(self): pass

async def main():
    ledger, account, token, caller, port, weather = sys.argv[1:]
    book = CalleeBook.model_validate({
        "behaviours": {"silent": {"kind": "answers", "ring_seconds": 0.1}, "rings": {"kind": "no_answer"}},
        "callees": [{"numbers": ["+12025550130"], "behaviour": "rings"}],
        "otherwise": {"behaviour": "silent"},
    })
    options = NetworkOptions(account, token, frozenset({caller}), calls_per_second=1000, weather=Weather.model_validate_json(weather))
    simulator = await open_simulator(options, book, Path(ledger), Mute)
    await simulator.start(socket.create_server(("127.0.0.1", int(port))))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Network:
    """One life of the process after another, on one ledger and one port."""

    def __init__(self, rig: Any, folder: Path, weather: str = "{}") -> None:
        self.path = folder / "other_network.db"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._arguments = [str(self.path), rig.account, rig.token, rig.caller, str(self.port), weather]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, *self._arguments], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert "ready\n" in iter(self._process.stdout.readline, "")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def unsent(path: Path) -> int:
    with closing(sqlite3.connect(path)) as ledger:
        (count,) = ledger.execute("SELECT count(*) FROM callbacks WHERE done_at IS NULL").fetchone()
    return int(count)


def test_calls_that_were_open_at_a_kill_are_over_afterwards_and_reported(rig: Any, tmp_path: Path) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="600"/>')]
    network = Network(rig, tmp_path)
    network.start()
    try:
        carrier = TwilioCarrier(rig.account, rig.token, rig.caller, f"http://127.0.0.1:{network.port}")
        ringing = carrier.dial(rig.request("+12025550130", attempt="rings"), deadline_seconds=10)
        live = carrier.dial(rig.request("+12025550199", attempt="talks"), deadline_seconds=10)
        assert isinstance(ringing, Placed)
        assert isinstance(live, Placed)
        rig.until(lambda: rig.us.to("/voice"))
        rig.until(lambda: len(rig.us.to("/status")) == 5)

        network.kill()
        network.start()

        def ends() -> dict[str, str]:
            found = {hit.query["attempt"]: hit.fields["CallStatus"] for hit in rig.us.to("/status")}
            return {attempt: status for attempt, status in found.items() if status in FINAL_STATUSES}

        rig.until(lambda: len(ends()) == 2, "the final callbacks")
        assert ends() == {"rings": "failed", "talks": "completed"}
        # Sent, but not yet noted as sent when the network was killed: a callback may come twice, with the same number.
        sequences = {(hit.query["attempt"], hit.fields["SequenceNumber"], hit.fields["CallStatus"]) for hit in rig.us.to("/status")}
        assert len(sequences) == 7
        rig.until(lambda: unsent(network.path) == 0, "the note that they are sent")
        fetched = [carrier.fetch(sid) for sid in (ringing.carrier_call_id, live.carrier_call_id)]
        assert [call.status for call in fetched if call] == [CarrierStatus.FAILED, CarrierStatus.COMPLETED]
        assert Ledger(network.path).overlaps() == []

        # What has been reported is not reported again.
        reported = len(rig.us.to("/status"))
        network.kill()
        network.start()
        again = carrier.dial(rig.request("+12025550198", attempt="again"), deadline_seconds=10)
        assert isinstance(again, Placed)
        rig.until(lambda: rig.us.to("/status")[-1].query["attempt"] == "again")
        assert len([hit for hit in rig.us.to("/status") if hit.query["attempt"] != "again"]) == reported
    finally:
        network.kill()


def test_a_callback_that_was_due_at_the_kill_is_sent_afterwards(rig: Any, tmp_path: Path) -> None:
    rig.start()
    network = Network(rig, tmp_path)
    network.start()
    try:

        async def never(hit: Any) -> Any:
            await asyncio.sleep(60)

        rig.us.answers["/status"] = [never, (204, "text/plain", "")]
        carrier = TwilioCarrier(rig.account, rig.token, rig.caller, f"http://127.0.0.1:{network.port}")
        placed = carrier.dial(rig.request("+12025550130"), deadline_seconds=10)
        assert isinstance(placed, Placed)
        rig.until(lambda: rig.us.to("/status"))
        rig.until(lambda: Ledger(network.path).calls()[0].status == "ringing")
        carrier.hang_up(placed.carrier_call_id)

        network.kill()
        network.start()

        rig.until(lambda: "canceled" in rig.us.statuses)
        assert rig.us.statuses == ["initiated", "initiated", "ringing", "canceled"]
    finally:
        network.kill()


def test_recordings_dialled_legs_and_late_callbacks_survive_a_kill(rig: Any, tmp_path: Path) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml("<Dial>+12025550198</Dial>")]
    network = Network(rig, tmp_path, '{"callback_late": 1, "callback_late_by": 3, "listed_after": 1000}')
    network.start()
    try:
        order = {
            "To": "+12025550199",
            "From": rig.caller,
            "Url": rig.us.url("/voice"),
            "StatusCallback": rig.us.url("/status"),
            "Record": "true",
            "RecordingStatusCallback": rig.us.url("/recorded"),
            "StatusCallbackEvent": ["initiated", "completed"],
            "RecordingStatusCallbackEvent": ["absent", "completed"],
        }
        url = f"http://127.0.0.1:{network.port}/2010-04-01/Accounts/{rig.account}/Calls"
        sid = httpx.post(f"{url}.json", data=order, auth=(rig.account, rig.token)).json()["sid"]
        ledger = Ledger(network.path)
        rig.until(lambda: [leg for leg in ledger.legs(sid) if leg.status == "in-progress"], "the second phone")

        network.kill()
        assert rig.us.to("/status") == []
        network.start()

        call, (leg,) = ledger.call(sid), ledger.legs(sid)
        assert call is not None
        assert (call.status, leg.status) == ("completed", "completed")
        (recording,) = ledger.recordings(sid)
        assert (recording.status, recording.seconds) == ("absent", 0)
        rig.until(lambda: len(rig.us.to("/status")) == 2 and rig.us.to("/recorded"), "what was late before the kill, and the ends")
        assert rig.us.statuses == ["initiated", "completed"]
        assert rig.us.to("/recorded")[0].fields["RecordingStatus"] == "absent"
        # What the list does not show yet, it does not show after the kill either.
        assert httpx.get(f"{url}.json", auth=(rig.account, rig.token)).json()["calls"] == []
        ledger.close()
    finally:
        network.kill()


def test_the_ledger_is_read_while_it_is_written_and_shows_overlaps(rig: Any, tmp_path: Path) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]

    first = rig.dial("+12025550199", attempt="a-1")
    assert rig.ledger.overlaps() == []
    second = rig.dial("+12025550199", attempt="a-2")
    rig.dial("+12025550198", attempt="a-3")

    ((one, other),) = rig.ledger.overlaps()
    assert (one.sid, other.sid) == (first, second)
    assert [call.asked("Url").rpartition("=")[2] for call in rig.ledger.calls("+12025550199")] == ["a-1", "a-2"]
    carrier = rig.carrier()
    for call in rig.ledger.calls():
        carrier.hang_up(call.sid)
        rig.until_over(call.sid)
    assert len(rig.ledger.overlaps()) == 1


def test_a_ledger_that_does_not_exist_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Ledger(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
