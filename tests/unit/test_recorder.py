"""Recordings: both sides at their right time, encrypted as they come, and out again as sound."""

from __future__ import annotations

import random
import resource
import stat
import tempfile
import tracemalloc
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from core import bootstrap
from core.clock import SystemClock
from core.conversation.recording import MOST_WAITING, CallTape, Tapes, recording_context
from core.errors import InvalidInput, NotFound
from core.recordings.recorder import PIECE, CallRecorder
from core.recordings.sealed_file import open_sealed
from core.recordings.vault import CannotOpenError, Vault
from core.recordings.wav import Part, export_wav
from core.settings import Settings, load_settings
from core.speech import mulaw
from core.speech.base import FRAME_BYTES, SAMPLE_RATE, SILENCE
from core.storage.calls import CallStore
from core.storage.conversations import ConversationStore
from core.storage.database import Database, new_id
from core.storage.tables import Attempt, Contact, Run, ScheduledCall

CONTEXT = b"recording:a:1"
QUIET = bytes([SILENCE])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "call.orec"


@contextmanager
def disk_that_takes(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tracks(path: Path, vault: Vault, context: bytes = CONTEXT) -> tuple[bytes, bytes]:
    """The contact's side, and orch's."""
    with open_sealed(path, vault, context) as sealed:
        both = b"".join(sealed)
    return both[0::2], both[1::2]


def frame(value: int) -> bytes:
    return bytes([value]) * FRAME_BYTES


def speak(recorder: CallRecorder, frames: int, first: int = 0, value: int = 1) -> None:
    for number in range(first, first + frames):
        recorder.contact(frame(value), number * FRAME_BYTES)


# --- Alignment ------------------------------------------------------------------------------------------------------------


def test_each_side_stands_where_it_was_heard_and_the_rest_is_silence(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    speak(recorder, 10)
    recorder.orch(frame(2), 12 * FRAME_BYTES)
    speak(recorder, 10, first=10)
    recorder.contact(frame(3), 25 * FRAME_BYTES)
    seconds, size = recorder.close()
    contact, orch = tracks(path, vault)
    assert contact == frame(1) * 20 + QUIET * 5 * FRAME_BYTES + frame(3)
    assert orch == QUIET * 12 * FRAME_BYTES + frame(2) + QUIET * 13 * FRAME_BYTES
    assert seconds == 26 * 0.02
    assert size == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(ours=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 150), st.integers(1, 250)), max_size=8), length=st.integers(1, 400))
def test_any_order_of_frames_gives_the_tracks_side_by_side(vault: Vault, ours: list[tuple[int, int, int]], length: int) -> None:
    """Ours: (when it is sent, how far ahead, what), in frames; never before the present, as a tape places them."""
    total = max([length, *(min(at, length) + ahead + 1 for at, ahead, _ in ours)])
    expected_contact = b"".join(frame(number % 251) for number in range(length)) + QUIET * FRAME_BYTES * (total - length)
    expected_orch = bytearray(QUIET * FRAME_BYTES * total)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call"
        recorder = CallRecorder(path, vault, CONTEXT)
        for number in range(length + 1):
            for at, ahead, value in ours:
                if min(at, length) == number:
                    position = (number + ahead) * FRAME_BYTES
                    recorder.orch(frame(value), position)
                    expected_orch[position : position + FRAME_BYTES] = frame(value)
            if number < length:
                recorder.contact(frame(number % 251), number * FRAME_BYTES)
        seconds, _ = recorder.close()
        assert tracks(path, vault) == (expected_contact, bytes(expected_orch))
        assert seconds == total * FRAME_BYTES / SAMPLE_RATE


def test_a_tape_places_ours_after_one_another_and_never_in_the_past(tmp_path: Path, vault: Vault) -> None:
    rows = Rows()
    with ThreadPoolExecutor(1) as thread:
        tape = Tapes(tmp_path, vault, rows, SystemClock(), thread, lambda work: work()).open("a", 1)
        assert tape is not None
        for _ in range(10):
            tape.contact(frame(1))
        tape.orch(frame(2))
        tape.orch(frame(3))
        for _ in range(190):
            tape.contact(frame(1))
        tape.close()
    contact, orch = tracks(tmp_path / "recordings/a-1.orec", vault, recording_context("a", 1))
    assert contact == frame(1) * 200
    assert orch == QUIET * 10 * FRAME_BYTES + frame(2) + frame(3) + QUIET * 188 * FRAME_BYTES
    assert rows.sealed == [("a", 1, 4.0, (tmp_path / "recordings/a-1.orec").stat().st_size)]


def test_sound_for_a_time_that_is_on_disk_is_counted_and_said(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    speak(recorder, 50)
    recorder.orch(frame(9), PIECE + FRAME_BYTES)
    recorder.orch(frame(2) + frame(3), PIECE - FRAME_BYTES)
    with capture_logs() as logs:
        recorder.close()
    assert tracks(path, vault)[1] == QUIET * PIECE + frame(3) + frame(9)
    assert [(line["event"], line["seconds"]) for line in logs] == [("recording.late_sound", 0.02)]


def test_a_position_before_the_start_is_a_bug_and_says_so(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    with pytest.raises(ValueError, match="before the stream's start"):
        recorder.contact(frame(1), -1)
    recorder.close()


# --- Crash, memory, disk --------------------------------------------------------------------------------------------------


def test_a_crash_costs_less_than_a_second(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    for number in range(200):
        recorder.contact(frame(1), number * FRAME_BYTES)
        recorder.orch(frame(2), number * FRAME_BYTES)
        with open_sealed(path, vault, CONTEXT) as sealed:
            on_disk = sum(len(chunk) for chunk in sealed) // 2
            assert not sealed.complete
        assert (number + 1) * FRAME_BYTES - on_disk < PIECE
    recorder.close()


def test_an_hour_takes_no_more_memory_than_a_minute(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    speak(recorder, 100)
    tracemalloc.start()
    try:
        # Frames as long as a second: the same path, fifty times faster.
        for second in range(2, 3600):
            recorder.contact(bytes(PIECE), second * PIECE)
            recorder.orch(bytes(PIECE), second * PIECE + 1600)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024
    assert recorder.close()[0] == 3600.2


@pytest.mark.parametrize("side", ["contact", "orch"])
def test_a_contact_whose_sound_stops_does_not_fill_the_memory(path: Path, vault: Vault, side: str) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    lay = recorder.contact if side == "contact" else recorder.orch
    tracemalloc.start()
    try:
        lay(frame(7), 600 * SAMPLE_RATE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 * 1024
    assert recorder.close()[0] == 600.02
    spoken = tracks(path, vault)[0 if side == "contact" else 1]
    assert spoken == QUIET * 600 * SAMPLE_RATE + frame(7)


def test_closing_twice_gives_the_same(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    speak(recorder, 3)
    assert recorder.close() == recorder.close() == (0.06, path.stat().st_size)


def test_after_the_disk_was_full_the_recorder_is_quiet_and_the_file_readable(path: Path, vault: Vault) -> None:
    recorder = CallRecorder(path, vault, CONTEXT)
    with disk_that_takes(40_000), pytest.raises(OSError, match="File too large"):
        speak(recorder, 500)
    speak(recorder, 200, first=500)
    recorder.orch(frame(2), 700 * FRAME_BYTES)
    assert recorder.close()[0] == 2.0
    assert tracks(path, vault)[0] == bytes([1]) * 2 * SAMPLE_RATE


def test_a_full_disk_ends_the_recording_once_and_the_call_goes_on(tmp_path: Path, vault: Vault) -> None:
    rows = Rows()
    with capture_logs() as logs, disk_that_takes(40_000), ThreadPoolExecutor(1) as thread:
        tape = Tapes(tmp_path, vault, rows, SystemClock(), thread, lambda work: work()).open("a", 1)
        assert tape is not None
        for _ in range(1000):
            tape.contact(frame(1))
            tape.orch(frame(2))
        tape.close()
    assert [line["event"] for line in logs] == ["recording.failed", "recording.incomplete"]
    assert rows.started == [("a", 1, "recordings/a-1.orec")]
    assert rows.sealed == []
    assert rows.incomplete == [(2.0, 18.0, True)]
    assert tracks(tmp_path / "recordings/a-1.orec", vault, recording_context("a", 1))[0] == bytes([1]) * 2 * SAMPLE_RATE


class StuckDisk:
    """An executor whose thread does not come to its work until told to."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []

    def submit(self, work: Callable[[], object]) -> None:
        self.work.append(work)

    def move(self) -> None:
        todo, self.work = self.work, []
        for work in todo:
            work()


def test_a_disk_that_is_too_slow_costs_sound_and_not_memory(tmp_path: Path, vault: Vault) -> None:
    rows, disk = Rows(), StuckDisk()
    tape = Tapes(tmp_path, vault, rows, SystemClock(), disk, lambda work: work()).open("a", 1)
    assert tape is not None
    with capture_logs() as logs:
        for _ in range((MOST_WAITING + 20) * 50):
            tape.contact(frame(1))
            tape.orch(frame(2))
        # Only so much waits, however long the disk takes.
        assert len(disk.work) == MOST_WAITING
        disk.move()
        # It has caught up: what comes now is recorded, in its right place.
        for _ in range(50):
            tape.contact(frame(3))
        tape.close()
        disk.move()
    assert [line["event"] for line in logs] == ["recording.disk_too_slow", "recording.incomplete"]
    contact, _ = tracks(tmp_path / "recordings/a-1.orec", vault, recording_context("a", 1))
    second = SAMPLE_RATE
    assert contact == bytes([1]) * MOST_WAITING * second + QUIET * 20 * second + bytes([3]) * second
    # A whole file, of which it is known what is not in it.
    assert rows.incomplete == [(float(MOST_WAITING + 21), 20.0, False)]
    assert [seconds for _, _, seconds, _ in rows.sealed] == [float(MOST_WAITING + 21)]


def test_a_tape_closed_after_its_thread_has_ended_is_whole_all_the_same(tmp_path: Path, vault: Vault) -> None:
    rows = Rows()
    with ThreadPoolExecutor(1) as thread:
        tape = Tapes(tmp_path, vault, rows, SystemClock(), thread, lambda work: work()).open("a", 1)
    assert tape is not None
    for _ in range(60):
        tape.contact(frame(1))
    tape.close()
    tape.close()
    assert tracks(tmp_path / "recordings/a-1.orec", vault, recording_context("a", 1))[0] == frame(1) * 60
    assert [seconds for _, _, seconds, _ in rows.sealed] == [1.2]
    assert rows.incomplete == []


def test_a_store_that_refuses_the_end_of_a_tape_harms_nobody(tmp_path: Path, vault: Vault) -> None:
    def refuse(_: object) -> None:
        raise OSError("locked")

    with capture_logs() as logs, ThreadPoolExecutor(1) as thread:
        recorder = CallRecorder(tmp_path / "a", vault, CONTEXT)
        tape = CallTape(recorder, thread, refuse)
        tape.contact(frame(1))
        tape.close()
    assert [line["event"] for line in logs] == ["recording.failed"]


def test_only_the_owner_can_read_a_recording(path: Path, vault: Vault) -> None:
    CallRecorder(path, vault, CONTEXT).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- WAV ------------------------------------------------------------------------------------------------------------------


def make_part(folder: Path, vault: Vault, number: int, contact: bytes, orch: bytes) -> Part:
    path, context = folder / f"{number}.orec", b"part:%d" % number
    recorder = CallRecorder(path, vault, context)
    recorder.contact(contact, 0)
    recorder.orch(orch, 0)
    recorder.close()
    return Part(path, context, finished=True)


def cut(part: Part, keep: int) -> None:
    part.path.write_bytes(part.path.read_bytes()[:keep])


def sides(target: Path) -> tuple[bytes, bytes]:
    with wave.open(str(target)) as wav:
        both = wav.readframes(wav.getnframes())
    left = b"".join(both[at : at + 2] for at in range(0, len(both), 4))
    right = b"".join(both[at + 2 : at + 4] for at in range(0, len(both), 4))
    return left, right


@pytest.fixture
def part(tmp_path: Path, vault: Vault) -> Part:
    source = random.Random(5)
    return make_part(tmp_path, vault, 1, source.randbytes(3 * SAMPLE_RATE), source.randbytes(2 * SAMPLE_RATE))


def test_the_wav_is_stereo_with_the_contact_left(tmp_path: Path, vault: Vault) -> None:
    contact, orch = mulaw.tone(440, 500), mulaw.tone(880, 250)
    target = tmp_path / "out.wav"
    assert export_wav([make_part(tmp_path, vault, 1, contact, orch)], vault, target, overwrite=False) == 0.5
    header = target.read_bytes()[:44]
    assert (header[:4], header[8:16]) == (b"RIFF", b"WAVEfmt ")
    assert int.from_bytes(header[4:8], "little") == target.stat().st_size - 8
    with wave.open(str(target)) as wav:
        assert wav.getparams()[:4] == (2, 2, SAMPLE_RATE, 4000)
    left, right = sides(target)
    assert left == mulaw.decode(contact)
    assert right == mulaw.decode(orch) + bytes(4000)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_parts_follow_one_another(tmp_path: Path, vault: Vault) -> None:
    parts = [make_part(tmp_path, vault, number, bytes([number]) * 100, b"") for number in (3, 1, 2)]
    assert export_wav(parts, vault, tmp_path / "out.wav", overwrite=False) == 300 / SAMPLE_RATE
    assert sides(tmp_path / "out.wav")[0] == mulaw.decode(bytes([3]) * 100 + bytes([1]) * 100 + bytes([2]) * 100)


def test_a_part_that_a_crash_cut_is_written_as_far_as_it_goes(tmp_path: Path, vault: Vault, part: Part) -> None:
    cut(part, 2 * 2 * SAMPLE_RATE + 300)
    crashed = Part(part.path, part.context)
    after = make_part(tmp_path, vault, 2, bytes(800), b"")
    assert export_wav([crashed, after], vault, tmp_path / "out.wav", overwrite=False) == 2.1


def test_a_finished_part_that_was_cut_is_not_passed_off_as_whole(tmp_path: Path, vault: Vault, part: Part) -> None:
    cut(part, 2 * 2 * SAMPLE_RATE + 300)
    with pytest.raises(CannotOpenError, match="cut off"):
        export_wav([part], vault, tmp_path / "out.wav", overwrite=False)
    assert_untouched(tmp_path, part)


def test_a_changed_part_leaves_no_file(tmp_path: Path, vault: Vault, part: Part) -> None:
    data = bytearray(part.path.read_bytes())
    data[-1] ^= 1
    part.path.write_bytes(data)
    with pytest.raises(CannotOpenError):
        export_wav([part], vault, tmp_path / "out.wav", overwrite=False)
    assert_untouched(tmp_path, part)


def test_a_part_that_is_gone_is_named(tmp_path: Path, vault: Vault, part: Part) -> None:
    gone = Part(tmp_path / "gone.orec", b"x")
    with pytest.raises(NotFound, match=r"gone\.orec"):
        export_wav([part, gone], vault, tmp_path / "out.wav", overwrite=False)
    assert_untouched(tmp_path, part)


def test_an_existing_file_is_replaced_only_when_told(tmp_path: Path, vault: Vault, part: Part) -> None:
    target = tmp_path / "out.wav"
    target.write_bytes(b"precious")
    with pytest.raises(InvalidInput, match="exists"):
        export_wav([part], vault, target, overwrite=False)
    assert target.read_bytes() == b"precious"
    assert export_wav([part], vault, target, overwrite=True) == 3.0
    assert target.read_bytes()[:4] == b"RIFF"


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path, vault: Vault, part: Part) -> None:
    target = tmp_path / "out.wav"
    target.write_bytes(b"precious")
    with disk_that_takes(20_000), pytest.raises(InvalidInput, match="cannot write"):
        export_wav([part], vault, target, overwrite=True)
    assert target.read_bytes() == b"precious"
    assert {file.name for file in tmp_path.iterdir()} == {"out.wav", part.path.name}


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, vault: Vault, part: Part) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        export_wav([part], vault, tmp_path / "nowhere" / "out.wav", overwrite=True)
    with pytest.raises(InvalidInput, match="is a folder"):
        export_wav([part], vault, tmp_path, overwrite=True)
    assert_untouched(tmp_path, part)


def test_exporting_a_long_call_takes_little_memory(tmp_path: Path, vault: Vault) -> None:
    recorder = CallRecorder(tmp_path / "long", vault, b"long")
    for second in range(1800):
        recorder.contact(bytes(PIECE), second * PIECE)
    recorder.close()
    tracemalloc.start()
    try:
        assert export_wav([Part(tmp_path / "long", b"long", finished=True)], vault, tmp_path / "out.wav", overwrite=False) == 1800.0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024


# --- A whole call ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    loaded = load_settings()
    bootstrap.initialise(loaded)
    return loaded


def test_a_call_is_exported_with_all_its_attempts_and_streams_in_order(home: Settings, tmp_path: Path) -> None:
    database = bootstrap.open_database(home)
    conversations = ConversationStore(database)
    call_id, attempts = a_call(database, attempts=3)
    said = {(attempts[0], 2): 2, (attempts[1], 1): 3, (attempts[0], 1): 1}
    with ThreadPoolExecutor(1) as thread:
        tapes = Tapes(home.paths.data, bootstrap.open_vault(home), conversations, SystemClock(), thread, lambda work: work())
        for (attempt, epoch), value in said.items():
            tape = tapes.open(attempt, epoch)
            assert tape is not None
            for _ in range(60):
                tape.contact(frame(value))
            tape.close()
    call = CallStore(database).find(call_id)
    target = tmp_path / "out.wav"
    assert bootstrap.export_recording(home, conversations, call, target, overwrite=False) == 3.6
    assert sides(target)[0] == mulaw.decode(b"".join(frame(value) * 60 for value in (1, 2, 3)))

    # The rows say that this part was finished, so its end is missed.
    cut(Part(home.paths.data / conversations.recording_parts(attempts[0])[0].path, b""), SAMPLE_RATE * 2 + 300)
    with pytest.raises(CannotOpenError, match="cut off"):
        bootstrap.export_recording(home, conversations, call, target, overwrite=True)
    database.close()


def test_a_call_that_is_still_going_on_is_exported_as_far_as_it_got(home: Settings, tmp_path: Path) -> None:
    database = bootstrap.open_database(home)
    conversations = ConversationStore(database)
    call_id, attempts = a_call(database, attempts=1)
    (home.paths.data / "recordings").mkdir()
    recorder = CallRecorder(home.paths.data / "recordings/live", bootstrap.open_vault(home), recording_context(attempts[0], 1))
    conversations.recording_started(attempts[0], 1, "recordings/live", SystemClock().now())
    speak(recorder, 120)
    call = CallStore(database).find(call_id)
    assert bootstrap.export_recording(home, conversations, call, tmp_path / "out.wav", overwrite=False) == 2.0
    recorder.close()
    database.close()


def test_a_call_without_a_recording_says_so(home: Settings, tmp_path: Path) -> None:
    database = bootstrap.open_database(home)
    call_id, _ = a_call(database, attempts=1)
    with pytest.raises(NotFound, match="has no recording"):
        bootstrap.export_recording(
            home, ConversationStore(database), CallStore(database).find(call_id), tmp_path / "o.wav", overwrite=False
        )
    assert not (tmp_path / "o.wav").exists()
    database.close()


def a_call(database: Database, *, attempts: int) -> tuple[str, list[str]]:
    now = SystemClock().now()
    contact, call, run = new_id(), new_id(), new_id()
    ids = [new_id() for _ in range(attempts)]
    stamps = {"created_at": now, "updated_at": now}
    with database.write() as session:
        session.add(Contact(id=contact, name="Ann", phone="+15550100001", timezone="UTC", simulated=True, **stamps))
        session.flush()
        session.add(
            ScheduledCall(id=call, contact_id=contact, origin="now", origin_key=call, opens_at=now, plan="p", state="done", **stamps)
        )
        session.add(
            Run(id=run, workflow="w", version="1", driver="plain", queue="calls", subject_id=call, state="done", position="end", **stamps)
        )
        session.flush()
        for ordinal, attempt in enumerate(ids, 1):
            session.add(
                Attempt(
                    id=attempt,
                    scheduled_call_id=call,
                    run_id=run,
                    contact_id=contact,
                    phone="+15550100001",
                    ordinal=ordinal,
                    carrier="simulator",
                    mode="enhanced",
                    status="completed",
                    owner_boot="b",
                    owner_pid=1,
                    owner_started="s",
                    created_at=now,
                    send_before=now,
                    dial_until=now,
                    settled_at=now,
                )
            )
    return call, ids


def assert_untouched(folder: Path, *parts: Part) -> None:
    assert {file.name for file in folder.iterdir()} == {part.path.name for part in parts}


class Rows:
    """The SQL rows a tape writes."""

    def __init__(self) -> None:
        self.started: list[tuple[str, int, str]] = []
        self.sealed: list[tuple[str, int, float, int]] = []
        self.incomplete: list[tuple[float, float, bool]] = []  # seconds, seconds missing, cut

    def recording_started(self, attempt_id: str, epoch: int, path: str, now: datetime) -> None:
        assert now.tzinfo is UTC
        self.started.append((attempt_id, epoch, path))

    def recording_sealed(
        self, attempt_id: str, epoch: int, seconds: float, size_bytes: int, now: datetime, *, missing_seconds: float, cut: bool
    ) -> None:
        assert now.tzinfo is UTC
        if missing_seconds or cut:
            self.incomplete.append((seconds, missing_seconds, cut))
        if not cut:
            self.sealed.append((attempt_id, epoch, seconds, size_bytes))
