"""Recordings of calls that are going on: both parties' sound by the clock, until the recording or the call ends."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from core.speech.base import SAMPLE_RATE, SILENCE
from workers.phone_simulator.ledger import Fields, Recording, Request
from workers.phone_simulator.ledger_writer import LedgerWriter, NewCallback
from workers.phone_simulator.recording_resource import callback_fields
from workers.phone_simulator.statuses import deliveries
from workers.phone_simulator.weather import Dice

_QUIET = bytes([SILENCE])
_SLACK = SAMPLE_RATE // 5


class LiveRecording:
    """One recording. `hear` and `hear_us` take mu-law; what nobody brought is silence."""

    def __init__(self, record: Recording) -> None:
        self.record = record
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._inbound, self._outbound = bytearray(), bytearray()

    def hear(self, inbound: bytes = b"", outbound: bytes = b"") -> None:
        """What either side sounds like from now on."""
        for track, sound in ((self._inbound, inbound), (self._outbound, outbound)):
            if sound:
                gap = self._elapsed - len(track)
                # Frames come now early, now late; only a real pause is silence between them.
                track += _QUIET * (gap if gap > _SLACK else 0) + sound

    def ended(self, *, trim: bool) -> tuple[Recording, tuple[bytes, bytes] | None]:
        """The record as it is now, and its sound; without a sound if nothing was recorded."""
        length = max(self._elapsed, len(self._inbound), len(self._outbound))
        tracks = [bytes(track + _QUIET * (length - len(track))) for track in (self._inbound, self._outbound)]
        if trim:
            # Silence at either end is cut off.
            lead = min(len(track) - len(track.lstrip(_QUIET)) for track in tracks)
            tail = min(len(track) - len(track.rstrip(_QUIET)) for track in tracks)
            tracks = [track[lead : len(track) - tail] for track in tracks]
        inbound, outbound = tracks
        if not inbound:
            return replace(self.record, status="absent", seconds=0), None
        return replace(self.record, status="completed", seconds=math.ceil(len(inbound) / SAMPLE_RATE)), (inbound, outbound)

    @property
    def _elapsed(self) -> int:
        return round((self._loop.time() - self._began) * SAMPLE_RATE)


class CallRecorder:
    """All recordings of one call."""

    def __init__(
        self, ledger: LedgerWriter, account: tuple[str, str], call_sid: str, dice: Dice, callbacks_due: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._account = account  # its sid, and where its REST interface is
        self._call_sid = call_sid
        self._dice = dice
        self._callbacks_due = callbacks_due
        self._live: dict[str, LiveRecording] = {}

    def start(self, source: str, channels: int, track: str, request: Request) -> str:
        """Begin a recording. Returns its sid."""
        now = datetime.now(UTC)
        record = Recording(
            "RE" + uuid.uuid4().hex, self._call_sid, "in-progress", source, channels, track, now, now, now, seconds=None, request=request
        )
        self._ledger.add_recording(record, self._callbacks(record, now))
        self._live[record.sid] = LiveRecording(record)
        self._callbacks_due(self._call_sid)
        return record.sid

    def hear(self, inbound: bytes = b"", outbound: bytes = b"") -> None:
        for recording in self._live.values():
            recording.hear(inbound, outbound)

    def stop(self, sid: str) -> Recording:
        """End one that is going on, and keep it."""
        live = self._live.pop(sid)
        now = datetime.now(UTC)
        record, sound = live.ended(trim=(live.record.asked("Trim") or "do-not-trim") == "trim-silence")
        self._ledger.end_recording(record, sound, now, self._callbacks(record, now))
        self._callbacks_due(self._call_sid)
        return record

    def stop_all(self) -> list[Recording]:
        return [self.stop(sid) for sid in list(self._live)]

    def is_live(self, sid: str) -> bool:
        return sid in self._live

    def _callbacks(self, record: Recording, now: datetime) -> list[NewCallback]:
        return recording_callbacks(record, self._account, self._dice, now)


def recording_callbacks(record: Recording, account: tuple[str, str], dice: Dice, now: datetime) -> list[NewCallback]:
    """The callback that a recording's status makes due, if it was asked for."""
    url = record.asked("RecordingStatusCallback")
    wanted = record.request.get("RecordingStatusCallbackEvent") or ["completed"]
    if url is None or record.status not in wanted:
        return []
    fields: Fields = callback_fields(record, *account)
    method = record.asked("RecordingStatusCallbackMethod") or "POST"
    return deliveries(dice, f"recording {record.source} {record.status}", "recording", url, method, fields, now)
