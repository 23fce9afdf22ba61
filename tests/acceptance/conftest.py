"""The daemon as a stranger meets it: started by its own command, asked through its own command line.

What the phone network's ledger says is the judge of what was done; the command line is only believed about what orch knows.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from workers.phone_simulator.ledger import CallRecord, Ledger

PROGRAM = Path(sysconfig.get_path("scripts")) / "orch"
# Wherever and whenever this runs, one of them has the middle of its day.
ZONES = ("America/New_York", "America/Los_Angeles", "Pacific/Honolulu", "Pacific/Auckland", "Asia/Tokyo", "Asia/Kolkata", "Europe/Berlin")
OVER = {"completed", "missed", "unresolved", "failed", "cancelled"}

# Words that no log, message or setting has, so that finding one in a file says where it came from.
MOOD, WORRY = "pretty good", "a little tired"

CHECKPOINTS = [
    {
        "id": "mood",
        "prompt": "How are you today?",
        "complete_when": {"kind": "any_answer", "min_words": 1},
        "follow_up": "How do you feel?",
        "max_turns": 2,
        "hints": ["i feel pretty good", "i am a little tired", "not so good", "about the same"],
    },
    {
        "id": "again",
        "prompt": "May I call again?",
        "complete_when": {"kind": "yes_no"},
        "follow_up": "Yes or no, may I call again?",
        "max_turns": 2,
        "hints": ["yes please", "no thank you"],
    },
]


def plan(name: str, *, questions: int = 2, max_retries: int = 1, on: dict[str, bool] | None = None) -> dict[str, Any]:
    """A conversation of seconds, whose retries take seconds, too."""
    return {
        "name": name,
        "title": name.capitalize(),
        "greeting": "Hello {name}, this is {caller}, an automated voice.",
        "checkpoints": CHECKPOINTS[:questions],
        "closing": "Thank you. Goodbye.",
        "patience_ms": 500,
        "silence_seconds": 4,
        "silence_prompts": 1,
        "calls_per_day": 10,
        "retry": {"max_retries": max_retries, "intervals": [1], "units": "seconds", "on": on or {}},
    }


PLANS = [
    plan("talk"),
    plan("short", questions=1),
    plan("no-retry", max_retries=0),
    plan("voicemail-ends", on={"voicemail": False}),
    plan("twice-again", max_retries=2),
]


def _answers(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "answers", "ring_seconds": 0.3, "script": list(steps), "gives_up_seconds": 30, **more}


BOOK: dict[str, Any] = {
    "behaviours": {
        # A recogniser may mishear anybody once: who is asked again says it again.
        "talks": _answers({"say": f"i feel {MOOD}"}, {"say": "yes please"}, then="repeat_last"),
        # Long enough for something to happen to it half way.
        "thinks": _answers({"say": f"i am {WORRY}", "after": 3}, {"say": "yes please", "after": 3}, then="repeat_last"),
        "patient": _answers({"say": f"i am {WORRY}"}, {"say": "yes please", "after": 2.5}, then="repeat_last"),
        "takes_its_time": _answers({"say": f"i feel {MOOD}"}, then="repeat_last") | {"ring_seconds": 4},
        "hangs_up": _answers({"say": f"i am {WORRY}"}, {"hang_up": True, "after": 0.3}),
        "presses_star": _answers({"dtmf": "*", "after": 0.3}),
        "wants_no_calls": _answers({"say": "stop calling me"}),
        "voicemail": {
            "kind": "voicemail",
            "ring_seconds": 0.3,
            "greeting": "you have reached the voicemail of a friend please leave a message after the tone",
            "detection_seconds": 1,
        },
        "busy": {"kind": "busy", "ring_seconds": 0.2},
        "never_answers": {"kind": "no_answer", "ring_seconds": 0.5, "sip_code": 480},
        "out_of_service": {"kind": "rejected", "sip_code": 404},
    },
    "callees": [
        {"numbers": ["+1???555011?"], "behaviour": "talks"},
        {"numbers": ["+1???555012?"], "sequence": ["busy", "talks"]},
        {"numbers": ["+1???555013?"], "behaviour": "never_answers"},
        {"numbers": ["+1???555014?"], "behaviour": "hangs_up"},
        {"numbers": ["+1???555015?"], "behaviour": "voicemail"},
        {"numbers": ["+1???555016?"], "behaviour": "thinks"},
        {"numbers": ["+1???555017?"], "behaviour": "out_of_service"},
        {"numbers": ["+1???5550182"], "behaviour": "presses_star"},
        {"numbers": ["+1???5550183"], "behaviour": "wants_no_calls"},
        {"numbers": ["+1???5550184"], "sequence": ["thinks", "talks"]},
        {"numbers": ["+1???5550185"], "behaviour": "patient"},
        {"numbers": ["+1???5550186"], "behaviour": "takes_its_time"},
    ],
    "otherwise": {"behaviour": "busy"},
}


class Daemon:
    """One installation in a folder of its own. `start` it; whatever was started is ended by `end`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.home = folder / "home"
        self.zone = daytime_zone()
        plans = folder / "plans"
        plans.mkdir(parents=True)
        for each in PLANS:
            (plans / f"{each['name']}.yaml").write_text(yaml.safe_dump(each, sort_keys=False))
        callees = folder / "callees.yaml"
        callees.write_text(yaml.safe_dump(BOOK, sort_keys=False))
        self.environment = {
            **os.environ,
            "ORCH_HOME": str(self.home),
            "ORCH_PLANS_DIR": str(plans),
            "ORCH_DEFAULT_PLAN": "talk",
            "ORCH_SIMULATOR_CALLEES": str(callees),
            "ORCH_SIMULATOR_WEATHER": "calm",
            "ORCH_RING_SECONDS": "15",
            "ORCH_CALLS_PER_SECOND": "20",
            "ORCH_MIN_GAP_SECONDS": "1",
            "ORCH_ATTEMPTS_PER_DAY": "20",
            "RECONCILIATION_INTERVAL_SECONDS": "2",
            "NO_COLOR": "1",
            **settings,
        }
        self._take_ports()

    def _take_ports(self) -> None:
        with ExitStack() as stack:
            for name in ("ORCH_PORT", "ORCH_MEDIA_PORT", "ORCH_SIMULATOR_PORT"):
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                self.environment[name] = str(listener.getsockname()[1])

    # The command line.

    def orch(self, *words: str, seconds: float = 90, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *words],
            env={**self.environment, **settings},
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def done(self, *words: str, **options: Any) -> str:
        """What a command wrote that had to succeed."""
        ran = self.orch(*words, **options)
        assert ran.returncode == 0, f"orch {' '.join(words)} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.done(*words, "--json"))

    # The daemon.

    def start(self) -> Daemon:
        for _ in range(3):
            ran = self.orch("start-all", "--wait", "150", seconds=180)
            # Between our asking for free ports and the daemon's taking them, somebody else may have.
            if ran.returncode != 5 or "port" not in ran.stderr:
                break
            self._take_ports()
        assert ran.returncode == 0, f"start-all ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}\n{self.last_words()}"
        return self

    def end(self) -> None:
        """Stop it, whatever state it is in. Never raises."""
        pids = self._pids()
        with suppress(subprocess.TimeoutExpired):
            self.orch("stop-all", "--now", "--yes", seconds=60)
        for pid in pids:
            # Only what is still the process that this daemon started.
            if str(self.home) in _environment_of(pid):
                os.kill(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        try:
            status = json.loads(self.orch("status", "--json", seconds=30).stdout or "{}")
        except (subprocess.TimeoutExpired, ValueError):
            return []
        supervisor = status.get("supervisor")
        found = [supervisor["pid"]] if supervisor else []
        return found + [row["pid"] for row in status.get("workers", ()) if row["pid"]]

    def worker(self, name: str) -> dict[str, Any]:
        status = json.loads(self.orch("status", "--json").stdout)
        row: dict[str, Any] = next(row for row in status["workers"] if row["name"] == name)
        return row

    # People and calls.

    def contact(self, name: str, phone: str, plan: str = "talk", **more: str) -> str:
        """A new contact's id."""
        words = [word for option, value in more.items() for word in (f"--{option}", value)]
        made = self.json("contact", "add", "--name", name, "--phone", phone, "--timezone", self.zone, "--plan", plan, *words)
        return str(made["id"])

    def open_window(self, contact: str) -> str:
        """A one-off window of half an hour that is open now."""
        local = datetime.now(UTC).astimezone(ZoneInfo(self.zone))
        end = local + timedelta(minutes=30)
        return str(
            self.json(
                *("window", "add", contact, "--date", f"{local:%Y-%m-%d}"),
                *("--start", f"{local:%H:%M}", "--end", f"{end:%H:%M}"),
            )["id"]
        )

    def call_now(self, contact: str) -> str:
        return str(self.json("call", "now", contact)["id"])

    def call(self, call: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("call", "show", call)
        return found

    def calls_of(self, contact: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("contact", "show", contact)["calls"]
        return found

    def wait_over(self, *calls: str, seconds: float = 120) -> None:
        """Until their states are final. A command for each look would take the processor from the calls themselves."""

        def over() -> bool:
            return all(self.sql("SELECT state FROM scheduled_calls WHERE id = ?", call)[0][0] in OVER for call in calls)

        self.until(over, f"the end of {', '.join(call[:8] for call in calls)}", seconds)

    def until_over(self, call: str) -> dict[str, Any]:
        """The call, once its state is final."""
        self.wait_over(call)
        return self.call(call)

    def journal(self, call: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("journal", "show", call)
        return found

    # Evidence.

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of orch's own database, only read."""
        database = sqlite3.connect(f"file:{self.home / 'data' / 'orch.db'}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(query, parameters).fetchall()
        finally:
            database.close()

    def ledger(self) -> Ledger:
        return Ledger(self.home / "data" / "phone_network.db")

    def carried(self, phone: str) -> list[CallRecord]:
        """What the phone network did for this number, oldest first."""
        try:
            ledger = self.ledger()
        except sqlite3.OperationalError:  # the network makes its file when it starts
            return []
        try:
            return ledger.calls(phone)
        finally:
            ledger.close()

    def until_answered(self, phone: str, nth: int = 0) -> CallRecord:
        """The call to `phone`, once somebody speaks there."""

        def talking() -> CallRecord | None:
            calls = self.carried(phone)
            return calls[nth] if len(calls) > nth and calls[nth].status == "in-progress" else None

        return self.until(talking, f"the answer of {phone}", 40)

    def until_event(self, call: CallRecord, kind: str, count: int) -> None:
        """Until the network has seen `count` events of this kind in this very call."""

        def seen() -> bool:
            ledger = self.ledger()
            try:
                return len(ledger.events(call.sid, kind)) >= count
            finally:
                ledger.close()

        self.until(seen, f"{kind} number {count} in the call to {call.to}", 60)

    def logged(self, *events: str, **keys: str) -> list[dict[str, Any]]:
        """Log lines with one of the names, in order of time, as `orch logs` shows them."""
        lines = [json.loads(line) for line in self.done("logs", "--json", "--tail", "100000").splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] in events and all(line.get(key) == value for key, value in keys.items())]

    def last_words(self) -> str:
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:])
            for path in sorted((self.home / "logs").glob("*"))
            if path.stat().st_size
        )

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 30, every: float = 0.1) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s\n{self.last_words()}"
            time.sleep(every)
        return found


def _environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def daytime_zone() -> str:
    """A zone in which it is the middle of the day, so that no rule about hours stands in the way."""
    now = datetime.now(UTC)
    return min(ZONES, key=lambda name: abs(now.astimezone(ZoneInfo(name)).hour + now.minute / 60 - 13))


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Daemon]]:
    """`install(SETTING=value, ...)` makes an installation that is ended after the module. It is not started yet."""
    with ExitStack() as stack:

        def make(**settings: str) -> Daemon:
            made = Daemon(tmp_path_factory.mktemp("orch"), **settings)
            stack.callback(made.end)
            return made

        yield make


@pytest.fixture
def in_order() -> Callable[[Sequence[str], Sequence[str]], bool]:
    """Do `wanted` appear in `seen` in this order?"""

    def check(wanted: Sequence[str], seen: Sequence[str]) -> bool:
        rest = iter(seen)
        return all(each in rest for each in wanted)

    return check
