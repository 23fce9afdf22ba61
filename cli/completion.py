"""What the shell offers when somebody presses Tab: names of what there is, at once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

from core import environment

# For whoever is asked: the daemon's socket, the database.
PATIENCE_SECONDS = 0.05
_MOST = 200


def _quietly(offer: Callable[[str], Iterable[str]]) -> Callable[[str], list[str]]:
    """Those offers that begin as the word does; none when anything is wrong, since a half-typed line is no place for a message."""

    @wraps(offer)
    def complete(incomplete: str) -> list[str]:
        try:
            return [each for each in offer(incomplete) if each.startswith(incomplete)]
        except Exception:  # noqa: BLE001
            return []

    return complete


@_quietly
def complete_worker(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    """The workers of the running daemon; of the usual roster when there is none."""
    from workers.roster import WORKER_NAMES

    return [row["name"] for row in _live_workers()] or WORKER_NAMES


@_quietly
def complete_log(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    """Whose logs there are: those of workers of earlier rosters, too."""
    from workers.roster import SUPERVISOR, WORKER_NAMES

    names = [row["name"] for row in _live_workers()] or list(WORKER_NAMES)
    written = sorted(path.stem for path in (environment.home_folder() / "logs").glob("*.log"))
    return dict.fromkeys([*names, SUPERVISOR, *written])


@_quietly
def complete_level(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    from workers.logfiles import LEVELS

    return LEVELS


@_quietly
def complete_job(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    """The jobs of the running daemon; all that this version has when there is none."""
    from workers.jobs import JOBS

    return [name for row in _live_workers() for name in row["jobs"]] or [job.name for job in JOBS]


@_quietly
def complete_contact(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    """Names that are one word of the shell, then the short ids that stand for all."""
    from core.storage import peek

    people = peek.contacts(_database_file(), limit=_MOST, seconds=PATIENCE_SECONDS)
    return [name for _, name in people if name.isalnum()] + [identity[:8] for identity, _ in people]


@_quietly
def complete_call(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    from core.storage import peek

    return [identity[:8] for identity, _ in peek.calls(_database_file(), limit=_MOST, seconds=PATIENCE_SECONDS)]


@_quietly
def complete_plan(incomplete: str) -> Iterable[str]:  # noqa: ARG001
    """The files of the plans folder, by which plans are called. `agents.yaml` stands there, too, and is none."""
    folder = _given("ORCH_PLANS_DIR")
    plans = environment.home_folder() / Path(folder).expanduser() if folder else environment.CHECKOUT / "plans"
    return sorted(path.stem for path in plans.glob("*.yaml") if path.stem != "agents")


def _live_workers() -> list[dict[str, Any]]:
    from core.errors import NotRunning
    from workers.control import ask

    try:
        found: list[dict[str, Any]] = ask(environment.home_folder() / "run", {"do": "status"}, timeout=PATIENCE_SECONDS)["workers"]
    except NotRunning:
        return []
    return found


def _database_file() -> Path | None:
    from core.storage import peek

    return peek.sqlite_file(environment.home_folder(), _given("ORCH_DATABASE_URL"))


def _given(name: str) -> str | None:
    value = environment.read().get(name)
    return value.text if value is not None else None
