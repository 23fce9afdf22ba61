"""From the opening of a call window to the carrier's receiving the request, on a real daemon. See README.md beside this file."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml
from installation import Installation, daytime_zone, machine, percentile, running

from core import bootstrap
from core.domain.windows import LocalWindow
from core.settings import load_settings
from core.storage.contacts import ContactStore
from core.storage.wakeup import WakeupListener, raise_topic
from core.windows.booking import NewContact
from workers.phone_simulator.ledger import Ledger

GOAL_SECONDS = 1.0
TOPIC = "bench"
PATIENCE = 30.0
AREA_CODES = ("202", "212", "303", "312", "404", "415", "503", "512", "617", "713")
MOST = len(AREA_CODES) * 100

CALLEES = {"behaviours": {"busy": {"kind": "busy", "ring_seconds": 0.1}}, "otherwise": {"behaviour": "busy"}}
PLAN = {
    "name": "once",
    "title": "Once",
    "greeting": "Hello {name}, this is {caller}, an automated voice.",
    "checkpoints": [{"id": "only", "prompt": "Yes?", "complete_when": {"kind": "yes_no"}, "follow_up": "Yes or no?"}],
    "closing": "Goodbye.",
    "retry": {"max_retries": 0},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=40, help=f"windows opened, one after the other (at most {MOST})")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses between them")
    parser.add_argument("--listen", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        return _listen()
    if not 1 <= options.calls <= MOST:
        parser.error(f"calls must be from 1 to {MOST}")
    files = {"ORCH_CALLS_PER_SECOND": "100", "ORCH_MAX_CONCURRENT_CALLS": "1000", "ORCH_RING_SECONDS": "15"}
    with _Files() as (plans, callees), running(ORCH_PLANS_DIR=plans, ORCH_SIMULATOR_CALLEES=callees, **files) as installation:
        before = machine()
        calls, floors = _measure(installation, options.calls, options.seed)
        after = machine()
    print(f"machine: {before} at the start, {after} at the end\n")
    _report("window opening -> carrier request", calls)
    _report("floor: one wake-up, process to process", floors)
    ratio = percentile(calls, 0.5) / percentile(floors, 0.5)
    print(f"\nratio of the medians: {ratio:.1f} (the way has two wake-ups in it: window-scheduler, then call-scheduler)")
    reached = percentile(calls, 0.99) < GOAL_SECONDS
    print(f"goal p99 < {GOAL_SECONDS * 1000:.0f} ms: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


def _measure(installation: Installation, count: int, seed: int) -> tuple[list[float], list[float]]:
    """Seconds of each call and of each wake-up, sorted. Both are taken in turns, so that they see the same machine."""
    dice = random.Random(seed)
    settings = load_settings()
    database = bootstrap.open_database(settings)
    contacts = ContactStore(database)
    booking = bootstrap.booking(settings, contacts, bootstrap.plan_library(settings))
    ledger = Ledger(settings.paths.data / "phone_network.db")
    zone = daytime_zone()
    listener = subprocess.Popen(
        [sys.executable, __file__, "--listen"], env=installation.environment, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert listener.stdout is not None
    calls: list[float] = []
    floors: list[float] = []
    try:
        listener.stdout.readline()  # its first look
        for number in range(count):
            phone = f"+1{AREA_CODES[number // 100]}55501{number % 100:02d}"
            person = booking.add_contact(NewContact(f"Person {number}", phone, zone, plan="once"), datetime.now(UTC))
            time.sleep(dice.uniform(0.2, 0.7))
            began = time.time()
            with database.write() as session:
                raise_topic(session, TOPIC)
            floors.append(float(listener.stdout.readline()) - began)
            time.sleep(dice.uniform(0.2, 0.7))
            now = datetime.now(UTC)
            minute = now.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
            window = LocalWindow(None, minute.date(), minute.time(), (minute + timedelta(minutes=30)).time())
            # Before the transaction, so that the commit's own disk time counts, too. The window is open already: its commit opens it.
            began = time.time()
            booking.add_window(person, window, None, now)
            calls.append(_arrival(ledger, phone) - began)
    finally:
        listener.terminate()
        listener.wait(10)
        ledger.close()
        database.close()
    return sorted(calls), sorted(floors)


def _arrival(ledger: Ledger, phone: str) -> float:
    """When the phone network took the request for a call to `phone`, in seconds since the epoch."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = ledger.calls(phone)
        if found:
            return found[0].created_at.timestamp()
        time.sleep(0.02)
    raise RuntimeError(f"no request for {phone} arrived within {PATIENCE:g} s")


def _listen() -> int:
    """The other process of the floor: says when it is woken."""

    def woken(_topics: frozenset[str]) -> None:
        sys.stdout.write(f"{time.time()!r}\n")
        sys.stdout.flush()

    database = bootstrap.open_database(load_settings())
    WakeupListener(database, [TOPIC], woken).start()
    while True:
        time.sleep(3600)


def _report(what: str, seconds: list[float]) -> None:
    shown = "  ".join(f"{name} {percentile(seconds, share) * 1000:6.0f} ms" for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)))
    print(f"{what:40} n={len(seconds):<4} {shown}  max {seconds[-1] * 1000:6.0f} ms")


class _Files:
    """A plan without retries, and phones that are busy, so that each call is over at once."""

    def __enter__(self) -> tuple[str, str]:
        self._folder = tempfile.TemporaryDirectory(prefix="orch-bench-")
        folder = Path(self._folder.name)
        (folder / "plans").mkdir()
        (folder / "plans" / "once.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
        (folder / "callees.yaml").write_text(yaml.safe_dump(CALLEES, sort_keys=False))
        return str(folder / "plans"), str(folder / "callees.yaml")

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


if __name__ == "__main__":
    sys.exit(main())
