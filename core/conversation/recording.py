"""Both sides of a live call onto one time line, and the recording's row in SQL.

The contact's frames are the clock: one comes every 20 ms, silence included. Ours are sent ahead of the moment they
are heard, so each stands where the one before it ended, and never before the present. Encryption and disk have a
thread of their own, which gets each whole second of sound at its end: a crash costs the one begun.

A disk that is too slow costs sound, never memory and never the call: what does not fit into a tape's queue is left out,
and what is missing is written beside the recording.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from core.clock import Clock
from core.logs import get_logger
from core.recordings.recorder import CallRecorder
from core.recordings.vault import Vault
from core.speech.base import FRAME_BYTES, SAMPLE_RATE

# Seconds of sound of one call that may wait for the disk: some 16 kB each.
MOST_WAITING = 30

FOLDER = "recordings"
SUFFIX = ".orec"


class RecordingStore(Protocol):
    def recording_started(self, attempt_id: str, epoch: int, path: str, now: datetime) -> None: ...
    def recording_sealed(
        self,
        attempt_id: str,
        epoch: int,
        seconds: float,
        size_bytes: int,
        now: datetime,
        *,
        missing_seconds: float,
        cut: bool,
    ) -> None: ...


def recording_context(attempt_id: str, epoch: int) -> bytes:
    """What a recording's encryption is bound to: its place, so that two of them cannot be exchanged."""
    return f"recording:{attempt_id}:{epoch}".encode()


@dataclass(frozen=True, slots=True)
class TapeEnd:
    """What became of a tape. `missing_seconds` of the contact's time are not on it; `cut`: its file was never closed."""

    seconds: float
    size_bytes: int
    missing_seconds: float
    cut: bool


class CallTape:
    """A session's `Recorder`. Never raises and never blocks: a call without a recording is still a call."""

    def __init__(self, recording: CallRecorder, thread: Executor, on_closed: Callable[[TapeEnd], None]) -> None:
        self._recording = recording
        self._thread = thread
        self._on_closed = on_closed
        self._log = get_logger()
        self._batch: list[tuple[bool, bytes, int]] = []
        self._now = 0  # samples of the contact so far
        self._ours_end = 0
        self._dropped = 0  # samples of the contact's time that were left out
        self._closed = False
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        # The disk thread's.
        self._failed = False

    def contact(self, frame: bytes) -> None:
        self._add(True, frame, self._now)
        self._now += FRAME_BYTES
        if self._now % SAMPLE_RATE == 0:
            self._flush()

    def orch(self, frame: bytes) -> None:
        position = max(self._ours_end, self._now)
        self._add(False, frame, position)
        self._ours_end = position + FRAME_BYTES

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._flush()
            self._submit(self._seal)

    def _add(self, contact: bool, frame: bytes, position: int) -> None:
        if not self._closed:
            self._batch.append((contact, frame, position))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        if not self._room.acquire(blocking=False):
            if not self._dropped:
                self._log.error("recording.disk_too_slow", seconds_waiting=MOST_WAITING)
            self._dropped += FRAME_BYTES * sum(contact for contact, _, _ in batch)
            return
        self._submit(lambda: self._write(batch))

    def _submit(self, work: Callable[[], None]) -> None:
        try:
            self._thread.submit(work)
        except RuntimeError:
            # The process is ending, and its disk thread has ended: what is left is written here.
            work()

    def _write(self, batch: list[tuple[bool, bytes, int]]) -> None:
        try:
            if not self._failed:
                for contact, frame, position in batch:
                    (self._recording.contact if contact else self._recording.orch)(frame, position)
        except Exception as error:  # noqa: BLE001
            # A full disk must not take the calls with it.
            self._failed = True
            self._log.error("recording.failed", error=f"{type(error).__name__}: {error}")
        finally:
            self._room.release()

    def _seal(self) -> None:
        try:
            # Of one that failed this only tells how far it got.
            seconds, size_bytes = self._recording.close()
        except Exception as error:  # noqa: BLE001
            self._log.error("recording.failed", error=f"{type(error).__name__}: {error}")
            return
        missing = max(0.0, self._now / SAMPLE_RATE - seconds) if self._failed else self._dropped / SAMPLE_RATE
        if missing:
            self._log.error("recording.incomplete", seconds=seconds, missing_seconds=missing)
        try:
            self._on_closed(TapeEnd(seconds, size_bytes, missing, self._failed))
        except Exception as error:  # noqa: BLE001
            self._log.error("recording.failed", error=f"{type(error).__name__}: {error}")


class Tapes:
    """Opens tapes in `data_dir`/recordings. One per process."""

    def __init__(
        self,
        data_dir: Path,
        vault: Vault,
        store: RecordingStore,
        clock: Clock,
        thread: Executor,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._data_dir = data_dir
        self._vault = vault
        self._store = store
        self._clock = clock
        self._thread = thread
        self._later = later  # runs a small SQL write off the event loop
        self._log = get_logger()

    def open(self, attempt_id: str, epoch: int) -> CallTape | None:
        """Blocks for a moment. None when the disk will not have it: the call goes on unrecorded."""
        relative = f"{FOLDER}/{attempt_id}-{epoch}{SUFFIX}"
        path = self._data_dir / relative
        store, clock = self._store, self._clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            recording = CallRecorder(path, self._vault, recording_context(attempt_id, epoch))
        except OSError as error:
            self._log.error("recording.failed", attempt=attempt_id, error=str(error))
            return None
        self._later(lambda: store.recording_started(attempt_id, epoch, relative, clock.now()))

        def closed(end: TapeEnd) -> None:
            self._later(
                lambda: store.recording_sealed(
                    attempt_id,
                    epoch,
                    end.seconds,
                    end.size_bytes,
                    clock.now(),
                    missing_seconds=end.missing_seconds,
                    cut=end.cut,
                )
            )

        return CallTape(recording, self._thread, closed)
