"""Starting and stopping the daemon from outside: what `orch start-all` and `orch stop-all` do."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import Conflict, NotRunning, OrchError
from workers.control import Answer, Request, ask
from workers.preflight import PreflightFailed, check_ports, earlier_copies
from workers.process import LOCK_NAME, FileLock
from workers.roster import SUPERVISOR, WorkerSpec, save_roster
from workers.spawn import CHECKOUT, open_output
from workers.supervisor import EXIT_PREFLIGHT, EXIT_RUNNING

POLL_SECONDS = 0.05
# From exec to the control socket; the workers are not part of it.
SUPERVISOR_SECONDS = 20.0
# Between the last answer of a supervisor and the end of its process.
GONE_SECONDS = 10.0
# What the daemon was started with.
ROSTER_NAME = "roster.json"
_WAITED_FOR = frozenset({"starting", "backoff", "hung", "stopping"})


def status(run_folder: Path) -> Answer | None:
    """What the supervisor says, None when there is none. Raises NotRunning for one that holds the lock but is silent."""
    try:
        return ask(run_folder, {"do": "status"})
    except NotRunning:
        if FileLock(run_folder / LOCK_NAME).holder() is None:
            return None
        raise


def find_running(run_folder: Path, seconds: float) -> Answer | None:
    """As `status`, but waits up to `seconds` for a daemon that is just starting or ending. Raises NotRunning."""
    deadline = time.monotonic() + seconds
    while True:
        last = time.monotonic() >= deadline
        try:
            found = status(run_folder)
        except NotRunning:
            if last:
                raise
        else:
            if found is None or found["supervisor"]["state"] == "running":
                return found
            if last:
                raise Conflict("orch is still stopping; try again when it is down, or run `orch stop-all --now`")
        time.sleep(POLL_SECONDS)


def wait_for_earlier_copies(run_folder: Path, workers: Sequence[WorkerSpec], seconds: float, say: Callable[[str], None]) -> None:
    """Workers outlive a supervisor that was killed: they finish their calls first. Raises PreflightFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    told: list[tuple[str, int]] = []
    while copies := earlier_copies(run_folder, workers):
        named = ", ".join(f"{name} (pid {pid or 'unknown'})" for name, pid in copies)
        if time.monotonic() >= deadline:
            raise PreflightFailed(f"still running from an earlier start: {named}; wait until done, or end by `kill PID`")
        if copies != told:
            say(f"waiting for an earlier run to finish: {named}")
            told = copies
        time.sleep(POLL_SECONDS)


def launch(home: Path, workers: Iterable[WorkerSpec], log_level: str, log_max_mb: int, about: Mapping[str, str] | None = None) -> int:
    """Start the supervisor in a session of its own. Returns its pid once it answers. `about` is what its status says of itself.

    Raises PreflightFailed, or Conflict when another start was faster.
    """
    workers = tuple(workers)
    check_ports(workers)
    roster_file = home / "run" / ROSTER_NAME
    try:
        save_roster(roster_file, workers)
    except OSError as error:
        raise PreflightFailed(f"cannot write {roster_file}: {error.strerror or error}") from None
    read, write = os.pipe()
    command = [sys.executable, "-X", "faulthandler", "-m", "workers.supervisor"]
    options = [f"--home={home}", f"--roster={roster_file}", f"--ready-fd={write}", f"--log-level={log_level}", f"--log-max-mb={log_max_mb}"]
    options.append(f"--about={json.dumps(dict(about or {}))}")
    output = home / "logs" / f"{SUPERVISOR}.out"
    try:
        with open_output(output, log_max_mb * 1024 * 1024) as out:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=CHECKOUT,
                pass_fds=(write,),
                start_new_session=True,
            )
        os.close(write)
        write = -1
        answer = _first_line(read, SUPERVISOR_SECONDS)
    finally:
        os.close(read)
        if write != -1:
            os.close(write)
    # It outlives us on purpose; without this the interpreter would warn about it.
    process.returncode = 0
    if answer is None:
        raise OrchError(f"the supervisor (pid {process.pid}) did not come up; see {output}")
    if "error" in answer:
        kind = {EXIT_PREFLIGHT: PreflightFailed, EXIT_RUNNING: Conflict}.get(int(answer["code"]), OrchError)
        raise kind(str(answer["error"]))
    return int(answer["pid"])


def _first_line(fd: int, seconds: float) -> dict[str, Any] | None:
    received = b""
    deadline = time.monotonic() + seconds
    while b"\n" not in received:
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        data = os.read(fd, 65536)
        if not data:
            return None
        received += data
    line: dict[str, Any] = json.loads(received.split(b"\n", 1)[0])
    return line


def not_ready(answer: Answer) -> list[Answer]:
    """The workers that are not up."""
    return [row for row in answer["workers"] if row["state"] != "running"]


def wait_until_ready(run_folder: Path, seconds: float) -> Answer:
    """The status when every worker is ready or given up, or when `seconds` are over. Raises NotRunning."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask(run_folder, {"do": "status"})
        if not any(row["state"] in _WAITED_FOR for row in answer["workers"]) or time.monotonic() >= deadline:
            return answer
        # One that was given up will not come back by waiting, whatever the others do.
        if any(row["state"] == "fatal" for row in answer["workers"]):
            return answer
        time.sleep(POLL_SECONDS)


def follow_worker(run_folder: Path, name: str, done: Callable[[Answer], bool]) -> Iterator[Answer]:
    """The row of one worker, again and again, until it is `done`; that one is the last. Raises NotRunning, Conflict."""
    while True:
        answer = ask(run_folder, {"do": "status"})
        row: Answer | None = next((row for row in answer["workers"] if row["name"] == name), None)
        if row is None:
            raise Conflict(f"the daemon was started anew meanwhile, without {name}")
        yield row
        if done(row):
            return
        time.sleep(POLL_SECONDS)


def follow_reload(run_folder: Path) -> Iterator[Answer]:
    """The status, again and again, until no reload goes on; that one is the last. Raises NotRunning."""
    while True:
        answer = ask(run_folder, {"do": "status"})
        yield answer
        if answer["reload"]["at"] is None and not answer["reload"]["left"]:
            return
        time.sleep(POLL_SECONDS)


def stop(run_folder: Path, *, now: bool, timeout: float | None) -> Iterator[Answer]:
    """Stop everything: yields the status while it goes on, and at last `{"stopped": True, "killed": [...]}`.

    Raises NotRunning when there is nothing to stop.
    """
    with Request(run_folder, {"do": "await-end"}) as end:
        ask(run_folder, {"do": "stop-all", "now": now, "timeout": timeout})
        while not end.answered(0.25):
            try:
                progress = ask(run_folder, {"do": "status"})
            except NotRunning:
                break
            yield progress
        result = end.answer()
    deadline = time.monotonic() + GONE_SECONDS
    lock = FileLock(run_folder / LOCK_NAME)
    while lock.holder() is not None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 5)
    yield result
