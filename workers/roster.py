"""The workers by name: what each runs, where it listens, how long it may take to end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.settings import Settings

SUPERVISOR = "supervisor"
WORKER_NAMES = ("window-scheduler", "call-scheduler", "webhook-server", "media-server", "phone-simulator")


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker, as the supervisor needs to know it. All durations are in seconds."""

    name: str
    module: str = ""
    # Instead of `python -m MODULE`: for workers that are not Python modules of ours.
    command: tuple[str, ...] = ()
    listen: Address | None = None
    # From the request to stop until SIGKILL: what is in flight may finish within it.
    drain_seconds: float = 15.0
    # From the start until the first heartbeat: imports alone take most of a minute on a busy machine.
    start_seconds: float = 120.0
    # Since the last heartbeat, until the worker counts as hung.
    beat_late_seconds: float = 15.0
    # Workers that need this one while they drain: it is asked to stop when they are gone.
    stops_after: tuple[str, ...] = ()

    def argv(self) -> tuple[str, ...]:
        return self.command or (sys.executable, "-X", "faulthandler", "-m", "workers.begin", self.module)


def roster(settings: Settings) -> tuple[WorkerSpec, ...]:
    """The workers that these settings ask for."""
    # A call may go on for as long as the settings allow; closing words and the last marks need a little more.
    call_seconds = settings.conversations.max_call_seconds + 30.0
    workers = [
        WorkerSpec("window-scheduler", "workers.window_scheduler", drain_seconds=15),
        # A carrier request has a total deadline well below this, and its answer must be stored.
        # It watches the last calls to their end: only it asks the carrier about one whose callback was lost.
        WorkerSpec("call-scheduler", "workers.call_scheduler", drain_seconds=call_seconds),
        WorkerSpec(
            "webhook-server",
            "workers.webhook_server",
            listen=Address(settings.server.host, settings.server.port),
            # In standard mode the whole talk goes through it.
            drain_seconds=call_seconds,
            # Live calls end through webhooks, and a dial just placed asks for its TwiML.
            stops_after=("call-scheduler", "media-server"),
        ),
        WorkerSpec(
            "media-server",
            "workers.media_server",
            listen=Address(settings.server.host, settings.server.media_port),
            drain_seconds=call_seconds,
            # A phone that rings may be picked up.
            stops_after=("call-scheduler",),
        ),
    ]
    if settings.simulated:
        workers.append(
            WorkerSpec(
                "phone-simulator",
                "workers.phone_simulator",
                listen=Address("127.0.0.1", settings.providers.simulator_port),
                drain_seconds=30,
                # It is the phone network: it must outlive the calls.
                stops_after=("call-scheduler", "media-server", "webhook-server"),
            )
        )
    return tuple(workers)


def save_roster(path: Path, workers: Iterable[WorkerSpec]) -> None:
    """Write the roster for the supervisor, which does not load the settings so that it stays small."""
    path.write_text(json.dumps({"workers": [asdict(worker) for worker in workers]}, indent=1), encoding="utf-8")


def load_roster(path: Path) -> tuple[WorkerSpec, ...]:
    """Raises OSError, ValueError, KeyError or TypeError for a file that is not a roster."""
    return tuple(_worker(entry) for entry in json.loads(path.read_text(encoding="utf-8"))["workers"])


def _worker(entry: Mapping[str, Any]) -> WorkerSpec:
    fields = dict(entry)
    if fields.get("listen") is not None:
        fields["listen"] = Address(**fields["listen"])
    for name in ("command", "stops_after"):
        fields[name] = tuple(fields.get(name, ()))
    return WorkerSpec(**fields)
