"""One stream's two tracks, side by side in time and encrypted as they come.

Mu-law at 8 kHz, two bytes a sample: the contact, then orch. The contact's track is the clock. What lies before its end
is final and goes to disk a second at a time; ours may stand ahead of it, and waits in memory until then.
"""

from __future__ import annotations

from pathlib import Path

from core.logs import get_logger
from core.recordings.sealed_file import SealedFileWriter
from core.recordings.vault import Vault
from core.speech.base import SAMPLE_RATE, SILENCE

CONTACT, ORCH = 0, 1
TRACKS = 2
PIECE = SAMPLE_RATE  # samples written at a time, all that a crash may cost
MAX_AHEAD = 10 * SAMPLE_RATE  # samples held in memory: 160 kB a call


class CallRecorder:
    """Writes one recording. For one thread, and not the event loop's: it encrypts and waits for the disk.

    Every method raises OSError when the disk will not take more. The file is closed then, what it holds can be read,
    and what comes later is ignored.
    """

    def __init__(self, path: Path, vault: Vault, context: bytes) -> None:
        """Creates the file. Raises OSError, FileExistsError too."""
        self._file = SealedFileWriter(path, vault, context, chunk_bytes=PIECE * TRACKS)
        self._pending = bytearray()  # both tracks from sample `_written` on
        self._written = 0
        self._contact_end = 0
        self._late = 0
        self._closed = False

    def contact(self, frame: bytes, position: int) -> None:
        """What the contact said, from sample `position` of the stream on."""
        self._lay(CONTACT, frame, position)
        self._contact_end = max(self._contact_end, position + len(frame))
        self._write_until(self._contact_end // PIECE * PIECE)

    def orch(self, frame: bytes, position: int) -> None:
        """What orch said, from sample `position` of the stream on."""
        self._lay(ORCH, frame, position)

    def close(self) -> tuple[float, int]:
        """Finish the file. Returns its length in seconds and its size in bytes."""
        if not self._closed:
            self._write_until(self._written + len(self._pending) // TRACKS)
            self._closed = True
            self._file.close()
            if self._late:
                get_logger().warning("recording.late_sound", seconds=self._late / SAMPLE_RATE)
        return self._written / SAMPLE_RATE, self._file.size_bytes

    def _lay(self, track: int, frame: bytes, position: int) -> None:
        if position < 0:
            raise ValueError(f"position {position} lies before the stream's start")
        for start in range(0, len(frame), PIECE):
            self._lay_piece(track, frame[start : start + PIECE], position + start)

    def _lay_piece(self, track: int, piece: bytes, position: int) -> None:
        end = position + len(piece)
        if end - self._written > MAX_AHEAD:
            # The contact's side has stalled. Its silence is a better record than our memory's end.
            self._write_until(-((MAX_AHEAD - end) // PIECE) * PIECE)
        if self._closed:
            return
        late = min(max(self._written - position, 0), len(piece))
        self._late += late
        self._reach(end)
        start = (position + late - self._written) * TRACKS + track
        self._pending[start : (end - self._written) * TRACKS : TRACKS] = piece[late:]

    def _reach(self, end: int) -> None:
        missing = (end - self._written) * TRACKS - len(self._pending)
        if missing > 0:
            self._pending += bytes([SILENCE]) * missing

    def _write_until(self, end: int) -> None:
        while not self._closed and self._written < end:
            count = min(PIECE, end - self._written)
            self._reach(self._written + count)
            try:
                self._file.write(bytes(self._pending[: count * TRACKS]))
            except OSError:
                self._closed = True
                self._pending.clear()
                raise
            del self._pending[: count * TRACKS]
            self._written += count
