"""What `orch logs` is asked for: a time, a pattern, a call, the process before this one. Text in, a question about lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.errors import InvalidInput, NotFound
from workers.logfiles import LEVELS, Line, Wanted, WorkerLog, at_least, parse
from workers.roster import SUPERVISOR

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
# Under these keys a line says which call it is about; see core/logs.py.
CALL_KEYS = ("call", "attempt", "carrier_call", "call_sid")
_SHORTEST_ID = 4
# After every stamp.
_FOR_EVER = "~"


def instant(text: str, option: str, now: datetime) -> datetime:
    """`10m` or `1h30m` before `now`, a time of day today, or an ISO date or time; without a zone it is this machine's.

    Raises InvalidInput.
    """
    given = text.strip()
    if _AGE.fullmatch(given):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", given))
        try:
            return now - timedelta(seconds=seconds)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        clock = _CLOCK.fullmatch(given)
        if clock is not None:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            return now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0).astimezone(UTC)
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{option} {text!r} is no time; write 10m, 1h30m, 14:05, 2026-03-08 or 2026-03-08T14:05:00Z") from None


def stamp(at: datetime) -> str:
    """As the lines are stamped, so that both compare as text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def known_level(level: str) -> str:
    """Raises InvalidInput."""
    if level.lower() not in LEVELS:
        raise InvalidInput(f"no level is called {level!r}; levels: {', '.join(LEVELS)}")
    return level.lower()


def pattern(text: str) -> re.Pattern[str]:
    """Raises InvalidInput for what is no regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidInput(f"--grep {text!r} is no regular expression: {error}; put a \\ before signs that are meant as they are") from None


def selection(
    *, level: str, since: str = "", until: str = "", grep: re.Pattern[str] | None = None, call: CallLines | None = None
) -> Wanted:
    """Lines for which all of it holds. Lines without a time are of the time of their neighbours."""
    grave = at_least(level)

    def wanted(line: Line) -> bool:
        if line.ts and not (since <= line.ts and (not until or line.ts <= until)):
            return False
        if call is not None and not call.takes(line):
            return False
        return grave(line) and (grep is None or grep.search(line.raw) is not None)

    return wanted


# A call and everything that belongs to it.


def ids_of(line: Line) -> list[str]:
    """The call, attempt and carrier's call that a line is about."""
    keys = line.keys or {}
    return [value for key in CALL_KEYS if isinstance(value := keys.get(key), str) and value]


class CallLines:
    """The lines of one call, by the ids it is known under. A line that names a further one, as that of a retry does, adds it."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = set(ids)

    def takes(self, line: Line) -> bool:
        ids = ids_of(line)
        if self.ids.isdisjoint(ids):
            return False
        self.ids.update(ids)
        return True


def find_call(text: str, logs: Sequence[WorkerLog]) -> CallLines:
    """The call that `text` is an id of, or the beginning of one: the call's own id, an attempt's, or the carrier's.

    What belongs together is told by lines that name two of them, as the one about the dial does. Raises InvalidInput for a
    beginning that fits several calls, NotFound when no line is about such a call.
    """
    wanted = text.strip()
    if len(wanted) < _SHORTEST_ID:
        raise InvalidInput(f"--call {text!r} is too short; give at least {_SHORTEST_ID} characters of the id")
    marks = [f'"{key}":' for key in CALL_KEYS]
    together = {frozenset(ids_of(parse(raw))) for log in logs for raw in log.newest_first() if any(mark in raw for mark in marks)}
    begun = sorted({each for ids in together for each in ids if each.lower().startswith(wanted.lower())})
    if wanted in begun:
        begun = [wanted]
    if not begun:
        raise NotFound(f"no line of the logs is about a call {text!r}; see `orch call list`")
    found = _connected({begun[0]}, together)
    others = [each for each in begun if each not in found]
    if others:
        raise InvalidInput(f"--call {text!r} fits several calls: {', '.join([begun[0], *others][:5])}; give more of the id")
    return CallLines(found)


def _connected(ids: set[str], together: Iterable[frozenset[str]]) -> set[str]:
    found = set(ids)
    while more := {each for group in together if found & group for each in group} - found:
        found |= more
    return found


# The process before this one.


def of_previous_process(log_folder: Path, worker: str) -> list[Line]:
    """What the last ended process of `worker` logged, and what it printed, such as the traceback it died of. Empty if there was none.

    The supervisor's log says when each process began and ended, and where in NAME.out its own output begins.
    """
    with WorkerLog(log_folder, SUPERVISOR) as log:
        history = log.tail(None, lambda line: _tells_of(line, worker))
    if history and _begins(history[-1]) and not _lives((history[-1].keys or {}).get("pid")):
        # Killed together with the supervisor, which could not write it down.
        history.append(Line(_FOR_EVER, "", {}))
    for index in range(len(history) - 2, -1, -1):
        start, end = history[index], history[index + 1]
        if _begins(start):
            with WorkerLog(log_folder, worker) as log:
                logged = log.tail(None, selection(level=LEVELS[0], since=start.ts), since=start.ts)
            # The next supervisor's first line has the time at which the one before it had ended.
            logged = [line for line in logged if line.ts < end.ts or (line.ts == end.ts and not _begins(end))]
            return [*logged, *_printed(log_folder, worker, history[index:])]
    return []


def _tells_of(line: Line, worker: str) -> bool:
    keys = line.keys or {}
    if worker == SUPERVISOR:
        return keys.get("event") in {"supervisor.started", "supervisor.stopped"}
    return keys.get("worker_name") == worker and keys.get("event") in {"worker.started", "worker.exited"}


def _begins(line: Line) -> bool:
    return (line.keys or {}).get("event") in {"supervisor.started", "worker.started"}


def _lives(pid: object) -> bool:
    return Path(f"/proc/{pid}").exists()


def _printed(log_folder: Path, worker: str, history: Sequence[Line]) -> list[Line]:
    """What the process whose history this is printed: up to where the next one goes on in the same file."""
    starts = [(line.keys or {}).get("output_at") for line in history if _begins(line)]
    begin, end = starts[0], starts[1] if len(starts) > 1 else None
    if not isinstance(begin, int):
        return []
    try:
        with (log_folder / f"{worker}.out").open("rb") as out:
            out.seek(begin)
            # A file that had grown too large was begun anew in between.
            text = out.read(end - begin if isinstance(end, int) and end >= begin else -1)
    except OSError:
        return []
    return [Line(history[1].ts, raw, None, worker) for raw in text.decode(errors="replace").splitlines() if raw.strip()]
