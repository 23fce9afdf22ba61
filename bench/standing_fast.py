"""Calls, and kill -9 of every process at random, for as long as you like: nobody may be called wrongly. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from installation import ORCH, Installation, daytime_zone, machine, running
from oracle import FINAL, judge

from core import bootstrap
from core.domain.windows import LocalWindow
from core.settings import load_settings
from core.storage.contacts import ContactStore
from core.windows.booking import NewContact

SUPERVISOR = "supervisor"
WORKERS = ("window-scheduler", "call-scheduler", "webhook-server", "media-server", "phone-simulator")
MIN_GAP = timedelta(seconds=3)
MAX_RETRIES = 2
AREA_CODES = ("202", "212", "303", "312", "404", "415", "503", "512", "617", "713", "206", "214", "215", "216", "305", "313")
PLAN = {
    "name": "brief",
    "title": "Brief",
    "greeting": "Hello {name}, this is {caller}, an automated voice.",
    "checkpoints": [
        {
            "id": "mood",
            "prompt": "How are you?",
            "complete_when": {"kind": "any_answer"},
            "follow_up": "How do you feel?",
            "max_turns": 2,
            "hints": ["i feel pretty good", "i am a little tired"],
        }
    ],
    "closing": "Thank you. Goodbye.",
    "patience_ms": 500,
    "silence_seconds": 4,
    "silence_prompts": 1,
    "retry": {"max_retries": MAX_RETRIES, "intervals": [4], "units": "seconds"},
}


def answers(*steps: dict[str, object]) -> dict[str, object]:
    return {"kind": "answers", "ring_seconds": 0.5, "script": list(steps), "then": "repeat_last", "gives_up_seconds": 20}


PHONES = {
    "behaviours": {
        "talks": answers({"say": "i feel pretty good"}),
        "thinks": answers({"say": "i am a little tired", "after": 3}),
        "hangs_up": answers({"say": "i feel pretty good", "after": 1}, {"hang_up": True}),
        "star": answers({"dtmf": "*", "after": 0.5}),
        "stop": answers({"say": "stop calling me"}),
        "busy": {"kind": "busy", "ring_seconds": 0.3},
        "away": {"kind": "no_answer", "ring_seconds": 1.0},
        "gone": {"kind": "rejected", "sip_code": 404},
        "mailbox": {"kind": "voicemail", "ring_seconds": 0.5, "greeting": "please leave a message", "detection_seconds": 1},
    },
    # By the number's last digit.
    "callees": [
        {"numbers": ["+1*0", "+1*1"], "behaviour": "talks"},
        {"numbers": ["+1*2"], "behaviour": "thinks"},
        {"numbers": ["+1*3"], "sequence": ["busy", "talks"]},
        {"numbers": ["+1*4"], "behaviour": "away"},
        {"numbers": ["+1*5"], "behaviour": "hangs_up"},
        {"numbers": ["+1*6"], "behaviour": "star"},
        {"numbers": ["+1*7"], "behaviour": "stop"},
        {"numbers": ["+1*8"], "sequence": ["away", "busy", "thinks"]},
        {"numbers": ["+1*9"], "behaviour": "mailbox"},
    ],
    "otherwise": {"behaviour": "gone"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of calls and kills; then the calls may end")
    parser.add_argument("--settle-minutes", type=float, default=20, help="the longest that the last calls may take to end")
    parser.add_argument("--every", type=float, default=20, help="seconds between two kills, on average")
    parser.add_argument("--calls-per-minute", type=float, default=10)
    parser.add_argument("--weather", default="realistic", help="of the phone network: calm, realistic or storm")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as name:
        folder = Path(name)
        (folder / "plans").mkdir()
        (folder / "plans" / "brief.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
        (folder / "phones.yaml").write_text(yaml.safe_dump(PHONES, sort_keys=False))
        settings = {
            "ORCH_PLANS_DIR": str(folder / "plans"),
            "ORCH_DEFAULT_PLAN": "brief",
            "ORCH_SIMULATOR_CALLEES": str(folder / "phones.yaml"),
            "ORCH_SIMULATOR_WEATHER": options.weather,
            "ORCH_RING_SECONDS": "15",
            "ORCH_MIN_GAP_SECONDS": str(int(MIN_GAP.total_seconds())),
            "ORCH_MAX_CONCURRENT_CALLS": "6",
            "RECONCILIATION_INTERVAL_SECONDS": "15",
        }
        print(f"machine: {machine()}; seed {options.seed}, {options.weather} weather\n", flush=True)
        with running(**settings) as installation:
            return _run(installation, options)


def _run(installation: Installation, options: argparse.Namespace) -> int:
    stop = threading.Event()
    feeder = threading.Thread(target=_feed, args=(stop, options.calls_per_minute, random.Random(options.seed)), name="feeder")
    feeder.start()
    dice = random.Random(options.seed + 1)
    kills: Counter[str] = Counter()
    deadline = time.monotonic() + options.minutes * 60
    try:
        while time.monotonic() < deadline:
            stop.wait(min(dice.expovariate(1 / options.every), max(0.0, deadline - time.monotonic())))
            victim = dice.choice((SUPERVISOR, *WORKERS))
            if _kill(installation, victim):
                kills[victim] += 1
            _mend(installation)
    finally:
        stop.set()
        feeder.join()
    _until(lambda: _all_running(installation), 120, lambda: _mend(installation))
    print(f"killed: {dict(kills)}; waiting for the last calls", flush=True)
    settled = _until(lambda: _settled(installation.home), options.settle_minutes * 60, lambda: _mend(installation))
    handles = _handles(installation)
    installation.orch("stop-all", "--timeout", "60")
    found = judge(installation.home, min_gap=MIN_GAP, max_retries=MAX_RETRIES)
    left = _left_over(installation.home)
    print("\n".join(f"{name:26} {count}" for name, count in sorted(found.counts.items())))
    print(f"open file handles          {handles}")
    for question in found.open_questions:
        print(f"open, with an alarm: {question}")
    wrong = found.wrong + [f"process {pid} is left over" for pid in left]
    if not settled:
        wrong.append(f"calls were still open {options.settle_minutes:g} minutes after the last kill")
    for each in wrong:
        print(f"WRONG: {each}")
    if wrong and (keep := os.environ.get("ORCH_BENCH_KEEP")):
        installation.home.rename(Path(keep))
        print(f"kept in {keep}")
    print("nobody was called wrongly, and every call has an end and a reason" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


def _feed(stop: threading.Event, per_minute: float, dice: random.Random) -> None:
    """People with a window that is open now, one after the other; some are called at once instead."""
    settings = load_settings()
    database = bootstrap.open_database(settings)
    booking = bootstrap.booking(settings, ContactStore(database), bootstrap.plan_library(settings))
    zone = daytime_zone()
    number = 0
    while not stop.wait(dice.expovariate(per_minute / 60)):
        phone = f"+1{AREA_CODES[number // 100 % len(AREA_CODES)]}55501{number % 100:02d}"
        number += 1
        now = datetime.now(UTC)
        local = now.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
        person = booking.add_contact(NewContact(f"Person {number}", phone, zone, plan="brief"), now)
        booking.add_window(person, LocalWindow(None, local.date(), local.time(), (local + timedelta(minutes=20)).time()), None, now)
    database.close()


def _kill(installation: Installation, victim: str) -> bool:
    status = _status(installation)
    if victim == SUPERVISOR:
        pid = (status.get("supervisor") or {}).get("pid")
    else:
        pid = next((row["pid"] for row in status.get("workers", ()) if row["name"] == victim), None)
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        print(f"{datetime.now(UTC):%H:%M:%S} kill -9 {victim}", flush=True)
        return True
    return False


def _mend(installation: Installation) -> None:
    """What an operator, or systemd, does: start the daemon if its supervisor is gone, and a worker that was given up."""
    status = _status(installation)
    if not status.get("supervisor"):
        ran = subprocess.run(
            [ORCH, "start-all", "--wait", "120"], env=installation.environment, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            # The old workers are still ending their calls: the next round tries again.
            print(f"start-all: {(ran.stderr or ran.stdout).strip().splitlines()[-1:]}", flush=True)
        return
    for row in status.get("workers", ()):
        if row["state"] == "given up":
            print(f"{datetime.now(UTC):%H:%M:%S} {row['name']} was given up; starting it", flush=True)
            subprocess.run([ORCH, "start", row["name"]], env=installation.environment, capture_output=True, check=False)


def _status(installation: Installation) -> dict[str, Any]:
    ran = subprocess.run([ORCH, "status", "--json"], env=installation.environment, capture_output=True, text=True, check=False)
    try:
        found = json.loads(ran.stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _all_running(installation: Installation) -> bool:
    workers = _status(installation).get("workers") or []
    return len(workers) == len(WORKERS) and all(row["state"] == "running" for row in workers)


def _settled(home: Path) -> bool:
    database = sqlite3.connect(f"file:{home / 'data' / 'orch.db'}?mode=ro", uri=True, timeout=30)
    try:
        open_calls = f"SELECT count(*) FROM scheduled_calls WHERE state NOT IN ({', '.join('?' * len(FINAL))})"
        unsettled = "SELECT count(*) FROM attempts WHERE status NOT IN ('ended', 'unknown')"
        rows = [database.execute(open_calls, sorted(FINAL)).fetchone(), database.execute(unsettled).fetchone()]
        return all(count == 0 for (count,) in rows)
    finally:
        database.close()


def _handles(installation: Installation) -> dict[str, int]:
    found = {}
    for row in _status(installation).get("workers") or []:
        with suppress(OSError, TypeError):
            found[str(row["name"])] = sum(1 for _ in Path(f"/proc/{row['pid']}/fd").iterdir())
    return found


def _left_over(home: Path) -> list[int]:
    """Processes of this installation that outlived stop-all."""
    ours = f"ORCH_HOME={home}".encode()
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if ours in (entry / "environ").read_bytes().split(b"\0") and b"standing_fast" not in (entry / "cmdline").read_bytes():
                    left.append(int(entry.name))
    return left


def _until(condition: Callable[[], bool], seconds: float, meanwhile: Callable[[], None]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(1)
    return True


if __name__ == "__main__":
    sys.exit(main())
