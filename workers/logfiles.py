"""Reading the log files back: the last lines of several workers in order of time, and what comes after."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

LEVELS = ("debug", "info", "warning", "error", "critical")
BACKUPS = 5
POLL_SECONDS = 0.2
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log. `keys` is None when it is not JSON; `ts` sorts as text; `worker` is whose file it stands in."""

    ts: str
    raw: str
    keys: dict[str, Any] | None
    worker: str = ""


Wanted = Callable[[Line], bool]


def parse(raw: str, worker: str = "") -> Line:
    try:
        keys = json.loads(raw)
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        return Line("", raw, None, worker)
    return Line(str(keys.get("ts", "")), raw, keys, worker)


def at_least(level: str) -> Wanted:
    """Lines of this level or a graver one. Raises ValueError for a level that does not exist."""
    lowest = LEVELS.index(level)

    def wanted(line: Line) -> bool:
        found = (line.keys or {}).get("level")
        # What cannot be read may be what one looks for.
        return found not in LEVELS or LEVELS.index(found) >= lowest

    return wanted


class WorkerLog:
    """The log of one worker. What exists when it is made belongs to `tail`, what is written later to `news`."""

    def __init__(self, log_dir: Path, worker: str) -> None:
        self.worker = worker
        self._path = log_dir / f"{worker}.log"
        self._file: BinaryIO | None = None
        self._inode = -1
        self._rest = b""
        self._start = self._open(self._path, os.SEEK_END)

    def tail(self, count: int | None, wanted: Wanted, *, since: str = "") -> list[Line]:
        """The last `count` wanted lines (None: all), oldest first, through rotated files. Older than `since` are not looked at."""
        found: list[Line] = []
        for raw in self.newest_first():
            if count is not None and len(found) >= count:
                break
            line = parse(raw, self.worker)
            if line.ts and line.ts < since:
                break
            if wanted(line):
                found.append(line)
        return found[::-1]

    def newest_first(self) -> Iterator[str]:
        """Every line that there was when this was made, from the last one to the first of the oldest file."""
        for index in range(BACKUPS + 1):
            path = self._path if index == 0 else self._path.with_name(f"{self._path.name}.{index}")
            try:
                with path.open("rb") as file:
                    ours = os.fstat(file.fileno()).st_ino == self._inode
                    yield from _backwards(file, self._start if ours else None)
            except FileNotFoundError:
                continue

    def news(self, wanted: Wanted) -> list[Line]:
        """Wanted lines written since the last call. A rotated file is read to its end before the next one."""
        found = self._read()
        for path in self._successors():
            found += self._read()
            self._open(path)
            found += self._read()
        return [line for line in found if wanted(line)]

    def __enter__(self) -> WorkerLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, path: Path, whence: int = os.SEEK_SET) -> int:
        """Read on in this file, from its start or its end: the position is returned."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return 0
        self.close()
        self._file, self._inode, self._rest = file, os.fstat(file.fileno()).st_ino, b""
        return file.seek(0, whence)

    def _successors(self) -> list[Path]:
        """The files that came after the one we read, oldest first: several, when it was rotated more than once."""
        if _inode(self._path) in {self._inode, None}:
            return []
        after = [self._path]
        for index in range(1, BACKUPS + 1):
            path = self._path.with_name(f"{self._path.name}.{index}")
            if self._file is None or _inode(path) in {self._inode, None}:
                break
            after.append(path)
        return after[::-1]

    def _read(self) -> list[Line]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            # Somebody emptied it under the worker's hand; what it writes now begins at the start.
            self._file.seek(0)
            self._rest = b""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [parse(line.decode(errors="replace"), self.worker) for line in lines]


def tail(logs: Sequence[WorkerLog], count: int | None, wanted: Wanted, *, since: str = "") -> list[Line]:
    """The last `count` lines (None: all) of all logs together, by time."""
    found = merged([log.tail(count, wanted, since=since) for log in logs])
    return found if count is None else found[-count:] if count else []


def merged(found: Sequence[list[Line]]) -> list[Line]:
    """Lines of several logs in order of time; what has no time stays behind the line it came after."""
    return [line for _, line in sorted((pair for lines in found for pair in _stamped(lines)), key=lambda pair: pair[0])]


def follow(logs: Sequence[WorkerLog], wanted: Wanted) -> Iterator[list[Line]]:
    """Batches of new lines, by time within a batch; an empty batch when nothing was written. Never ends by itself."""
    while True:
        yield merged([log.news(wanted) for log in logs])
        time.sleep(POLL_SECONDS)


def last_words(log_dir: Path, worker: str, count: int) -> list[Line]:
    """The end of a worker's log and of its stdout, for whoever asks why it did not come up."""
    with WorkerLog(log_dir, worker) as log:
        lines = log.tail(count, lambda _line: True)
    output: list[Line] = []
    try:
        with (log_dir / f"{worker}.out").open("rb") as file:
            for raw in _backwards(file, None):
                if len(output) >= count:
                    break
                if raw.strip():
                    output.append(Line("", raw, None))
    except FileNotFoundError:
        pass
    return (lines + output[::-1])[-count:]


def _stamped(lines: list[Line]) -> Iterator[tuple[str, Line]]:
    # A line without a time belongs to the one before it.
    ts = ""
    for line in lines:
        ts = line.ts or ts
        yield ts, line


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _backwards(file: BinaryIO, end: int | None) -> Iterator[str]:
    """Lines from the last to the first, in blocks: a file of 20 MB must not be read for its last hundred lines."""
    position = file.seek(0, os.SEEK_END) if end is None else end
    rest = b""
    first = True
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        rest = file.read(size) + rest
        # While there is more before it, the first piece may be the end of a longer line.
        head, *lines = rest.split(b"\n")
        if first and lines and not lines[-1]:
            lines.pop()
        first = False
        for line in reversed(lines):
            yield line.decode(errors="replace")
        rest = head
    if rest:
        yield rest.decode(errors="replace")
