"""Both sides of a live call onto one time line, and the recording's row in SQL.

The contact's frames are the clock: one comes every 20 ms, silence included. Ours are sent ahead of the moment they
are heard, so each stands where the one before it ended, and never before the present. Encryption and disk have a
thread of their own, which gets each whole second of sound at its end: a crash costs the one begun.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import Protocol

from core.clock import Clock
from core.logs import get_logger
from core.recordings.recorder import CallRecorder
from core.recordings.vault import Vault
from core.speech.base import FRAME_BYTES, SAMPLE_RATE

FOLDER = "recordings"
SUFFIX = ".orec"


class RecordingStore(Protocol):
    def recording_started(self, attempt_id: str, epoch: int, path: str, now: datetime) -> None: ...
    def recording_sealed(self, attempt_id: str, epoch: int, seconds: float, size_bytes: int, now: datetime) -> None: ...


def recording_context(attempt_id: str, epoch: int) -> bytes:
    """What a recording's encryption is bound to: its place, so that two of them cannot be exchanged."""
    return f"recording:{attempt_id}:{epoch}".encode()


class CallTape:
    """A session's `Recorder`. Never raises and never blocks: a call without a recording is still a call."""

    def __init__(self, recording: CallRecorder, thread: Executor, on_closed: Callable[[float, int], None]) -> None:
        self._recording: CallRecorder | None = recording
        self._thread = thread
        self._on_closed = on_closed
        self._log = get_logger()
        self._batch: list[tuple[bool, bytes, int]] = []
        self._now = 0  # samples of the contact so far
        self._ours_end = 0
        self._closed = False

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
            self._thread.submit(self._seal)

    def _add(self, contact: bool, frame: bytes, position: int) -> None:
        if not self._closed:
            self._batch.append((contact, frame, position))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._thread.submit(self._write, batch)

    def _write(self, batch: list[tuple[bool, bytes, int]]) -> None:
        if self._recording is None:
            return
        try:
            for contact, frame, position in batch:
                (self._recording.contact if contact else self._recording.orch)(frame, position)
        except Exception as error:  # noqa: BLE001
            # A full disk must not take the calls with it.
            self._log.error("recording.failed", error=f"{type(error).__name__}: {error}")
            self._recording = None

    def _seal(self) -> None:
        if self._recording is None:
            return
        try:
            self._on_closed(*self._recording.close())
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

        def closed(seconds: float, size_bytes: int) -> None:
            self._later(lambda: store.recording_sealed(attempt_id, epoch, seconds, size_bytes, clock.now()))

        return CallTape(recording, self._thread, closed)
