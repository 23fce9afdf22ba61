"""Turns on local disk, encrypted, before they are spoken: what a crash of the media server leaves behind to be replayed.

One file a media stream: records of a four-byte length (big endian) and that many sealed bytes, each bound to its file
and place. A record cut off by the crash is the last one; it was never spoken. A file stands until its stream is over and
all of it is in SQL.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from core.errors import InvalidInput
from core.storage.conversations import TurnRecord

SUFFIX = ".turns"
_ID_FILE = "spool.id"
_LENGTH_BYTES = 4
_MAX_RECORD = 16 * 1024 * 1024


class Cipher(Protocol):
    def seal(self, plain: bytes, context: bytes) -> bytes: ...
    def open(self, sealed: bytes, context: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SpoolHead:
    """Whose turns a file holds."""

    attempt_id: str
    epoch: int
    plan: str
    plan_digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a conversation to be kept. `turn` is None when only the state changed, as on a hang-up."""

    turn: TurnRecord | None
    state: dict[str, Any]
    ended_by: str | None
    opted_out: bool
    at: datetime


class SpoolFile:
    """Appended to by one thread at a time. Data reaches the kernel before `append` returns; it survives our own death.

    That somebody wants no more calls reaches the disk itself: it must survive the machine's.
    """

    def __init__(self, folder: Path, head: SpoolHead, cipher: Cipher) -> None:
        self.path = folder / f"{head.attempt_id}-{head.epoch}{SUFFIX}"
        self._head = head
        self._cipher = cipher
        self._records = 0
        self._descriptor: int | None = None

    def append(self, entry: Entry) -> None:
        """Raises OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if self._records == 0:
            self._write(_head_to_json(self._head))
        self._write(_entry_to_json(entry))
        if entry.opted_out:
            os.fsync(self._descriptor)

    def _write(self, value: dict[str, Any]) -> None:
        assert self._descriptor is not None
        sealed = self._cipher.seal(orjson.dumps(value), _context(self.path.name, self._records))
        record = memoryview(len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            while record:
                record = record[os.write(self._descriptor, record) :]
        except OSError:
            # Half a record would hide every later one from the replay.
            os.ftruncate(self._descriptor, start)
            os.lseek(self._descriptor, start, os.SEEK_SET)
            raise
        self._records += 1

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def set_aside(self, suffix: str) -> None:
        """Keep the file where no replay takes it up."""
        self.close()
        if self.path.exists():
            self.path.rename(self.path.with_suffix(suffix))

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def identify(folder: Path) -> str:
    """The folder's own id, made with the folder: it moves with the disk, whatever machine that is in. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = folder / _ID_FILE
    try:
        return name.read_text().strip()
    except FileNotFoundError:
        fresh = name.with_suffix(".new")
        fresh.write_text(uuid.uuid4().hex)
        # Half an id must never be seen.
        fresh.rename(name)
        return name.read_text().strip()


def pending(folder: Path) -> frozenset[str]:
    """Attempts of which a spool file holds turns that may not be in SQL: calls under way, and what a dead server left behind.

    Only names are read, so it is cheap; a folder that is not there holds none.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return frozenset()
    return frozenset(name.removesuffix(SUFFIX).rpartition("-")[0] for name in names if name.endswith(SUFFIX))


def leftovers(folder: Path) -> list[Path]:
    """Spool files in the folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []


def read(path: Path, cipher: Cipher) -> tuple[SpoolHead, list[Entry]] | None:
    """What a file holds; None when the crash came before its first record was whole.

    Raises InvalidInput when a whole record cannot be opened: a wrong key, or a damaged file.
    """
    records = list(_records(path, cipher))
    if not records:
        return None
    try:
        return _head_from_json(records[0]), [_entry_from_json(record) for record in records[1:]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path.name}: not a spool file of this version: {type(error).__name__}") from error


def _records(path: Path, cipher: Cipher) -> Iterator[dict[str, Any]]:
    raw = path.read_bytes()
    position = number = 0
    while len(raw) - position >= _LENGTH_BYTES:
        length = int.from_bytes(raw[position : position + _LENGTH_BYTES], "big")
        position += _LENGTH_BYTES
        if length > _MAX_RECORD:
            raise InvalidInput(f"{path.name}: record {number} is damaged")
        if len(raw) - position < length:
            return
        try:
            yield orjson.loads(cipher.open(raw[position : position + length], _context(path.name, number)))
        except Exception as error:
            # Each vault has its own error for a wrong key; all of them mean the same here.
            raise InvalidInput(f"{path.name}: record {number} cannot be opened: {type(error).__name__}") from error
        position += length
        number += 1


def _context(name: str, number: int) -> bytes:
    return f"spool:{name}:{number}".encode()


def _head_to_json(head: SpoolHead) -> dict[str, Any]:
    return {"attempt_id": head.attempt_id, "epoch": head.epoch, "plan": head.plan, "plan_digest": head.plan_digest}


def _head_from_json(value: dict[str, Any]) -> SpoolHead:
    return SpoolHead(str(value["attempt_id"]), int(value["epoch"]), str(value["plan"]), str(value["plan_digest"]))


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    turn = entry.turn
    return {
        "turn": None
        if turn is None
        else {
            "ordinal": turn.ordinal,
            "checkpoint": turn.checkpoint,
            "said": turn.said,
            "reply": turn.reply,
            "at": turn.at.isoformat(),
            "timings": turn.timings,
        },
        "state": entry.state,
        "ended_by": entry.ended_by,
        "opted_out": entry.opted_out,
        "at": entry.at.isoformat(),
    }


def _entry_from_json(value: dict[str, Any]) -> Entry:
    turn = value["turn"]
    return Entry(
        turn=None
        if turn is None
        else TurnRecord(
            ordinal=int(turn["ordinal"]),
            checkpoint=turn["checkpoint"],
            said=turn["said"],
            reply=turn["reply"],
            at=datetime.fromisoformat(turn["at"]),
            timings=dict(turn["timings"]),
        ),
        state=dict(value["state"]),
        ended_by=value["ended_by"],
        opted_out=bool(value["opted_out"]),
        at=datetime.fromisoformat(value["at"]),
    )
