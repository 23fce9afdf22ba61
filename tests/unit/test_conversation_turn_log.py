"""Turns on local disk and in SQL: what happens when either is slow, away, or left behind by a dead process."""

from __future__ import annotations

import asyncio
import resource
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.conversation import spool
from core.conversation.spool import Entry, SpoolFile, SpoolHead
from core.conversation.turn_log import TurnLog
from core.errors import InvalidInput
from core.recordings.vault import Keyring, Vault
from core.storage.conversations import CallContext, TurnRecord

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
HEAD = SpoolHead("a1", 1, "plan", "digest")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def cipher(vault: Vault) -> Vault:
    return vault


def entry(ordinal: int, *, ended_by: str | None = None, opted_out: bool = False) -> Entry:
    turn = TurnRecord(ordinal, "mood", f"said {ordinal}", f"reply {ordinal}", NOW, {"judge_ms": 1.5})
    return Entry(turn, {"n": ordinal}, ended_by, opted_out, NOW)


@dataclass
class Store:
    """The conversation store's promises, in memory: a turn is kept once, and only the newest stream may save."""

    epoch: int = 1
    failures: int = 0
    known: bool = True
    gate: threading.Event = field(default_factory=threading.Event)
    turns: dict[int, TurnRecord] = field(default_factory=dict)
    state: dict[str, Any] | None = None
    ended_by: str | None = None
    opted_out: list[str] = field(default_factory=list)
    opened: int = 0
    saves: int = 0
    saved_epochs: list[int] = field(default_factory=list)
    replayed: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def context(self, attempt_id: str) -> CallContext | None:
        if not self.known:
            return None
        return CallContext(
            attempt_id=attempt_id,
            scheduled_call_id="c",
            contact_id="p",
            contact_name="Ann",
            pronunciation=None,
            phone="+15551230123",
            plan="plan",
            mode="enhanced",
            carrier_call_id="CA1",
            status="in_progress",
            dial_until=datetime(2026, 11, 21, 21, 0, tzinfo=UTC),
            unwanted=False,
            answered=True,
            answered_by=None,
            stream_epoch=self.epoch,
            conversation_id="conv" if self.opened else None,
            conversation_state="in_progress" if self.opened else None,
            state=self.state,
            next_turn=len(self.turns),
            dialled_at=NOW,
        )

    def open(self, attempt_id: str, plan: str, plan_digest: str, channel: str, state: dict[str, Any], now: datetime) -> str:
        self._fail()
        self.opened += 1
        return "conv"

    def save(self, conversation_id: str, epoch: int | None, turns: Any, state: dict[str, Any], ended_by: str | None, now: datetime) -> bool:
        self.gate.wait(5)
        self._fail()
        self.saves += 1
        if epoch != self.epoch:
            return False
        for turn in turns:
            self.turns.setdefault(turn.ordinal, turn)
        self.state, self.ended_by = state, self.ended_by or ended_by
        return True

    def opt_out(self, attempt_id: str, source: str, now: datetime) -> None:
        self._fail()
        self.opted_out.append(source)

    def stream_saved(self, attempt_id: str, epoch: int, now: datetime) -> None:
        self._fail()
        self.saved_epochs.append(epoch)

    def spool_replayed(self, spool: str, now: datetime) -> None:
        self.replayed.append(spool)

    def spool_unusable(self, file: str, error: str, now: datetime) -> None:
        self.unusable.append(file)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("database is locked")


@dataclass
class Desk:
    folder: Path
    cipher: Vault
    store: Store
    log: TurnLog
    superseded: int = 0

    def open_call(self) -> Any:
        return self.log.open_call(HEAD, None, self._on_superseded)

    def _on_superseded(self) -> None:
        self.superseded += 1

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != "spool.id")


@pytest.fixture
async def desk(tmp_path: Path, cipher: Vault) -> AsyncIterator[Desk]:
    store = Store()
    log = TurnLog(tmp_path / "spool", cipher, store, SystemClock())
    log.start()
    yield Desk(tmp_path / "spool", cipher, store, log)
    store.gate.set()
    await log.close()


async def until(condition: Callable[[], bool], seconds: float = 4.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "not in time"
        await asyncio.sleep(0.005)


async def test_a_turn_reaches_sql_and_its_file_goes(desk: Desk) -> None:
    call = desk.open_call()
    await call.append(entry(0))
    assert await call.settled(3)
    await call.append(entry(1, ended_by="complete"))
    assert await call.settled(3)
    call.close()
    await until(lambda: desk.files() == [])
    assert sorted(desk.store.turns) == [0, 1]
    assert (desk.store.state, desk.store.ended_by, desk.store.opened) == ({"n": 1}, "complete", 1)


async def test_the_loop_never_waits_for_sql_and_waiting_turns_are_saved_together(desk: Desk) -> None:
    desk.store.gate.clear()
    call = desk.open_call()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for ordinal in range(5):
        await call.append(entry(ordinal))
    assert loop.time() - began < 1.0
    assert not await call.settled(0.05)
    assert desk.files() == ["a1-1.turns"]
    desk.store.gate.set()
    assert await call.settled(3)
    assert sorted(desk.store.turns) == [0, 1, 2, 3, 4]
    assert desk.store.saves == 2


async def test_a_commit_that_fails_is_tried_again(desk: Desk) -> None:
    desk.store.failures = 2
    call = desk.open_call()
    await call.append(entry(0))
    await until(lambda: desk.log.unsaved == 1)
    assert await call.settled(4)
    assert sorted(desk.store.turns) == [0]
    await until(lambda: desk.log.unsaved == 0)


async def test_an_opt_out_is_stored_first(desk: Desk) -> None:
    call = desk.open_call()
    await call.append(entry(0, opted_out=True))
    assert await call.settled(3)
    assert desk.store.opted_out == ["call"]


async def test_a_newer_stream_silences_this_one(desk: Desk) -> None:
    call = desk.open_call()
    await call.append(entry(0))
    assert await call.settled(3)
    desk.store.epoch = 2
    await call.append(entry(1, opted_out=True))
    await until(lambda: desk.superseded == 1)
    call.close()
    await until(lambda: desk.files() == ["a1-1.kept"])
    assert sorted(desk.store.turns) == [0]
    # The wish not to be called holds whoever heard it.
    assert desk.store.opted_out == ["call"]


async def test_other_writes_run_in_order_and_their_errors_stay_theirs(desk: Desk) -> None:
    seen: list[int] = []
    desk.log.do(lambda: seen.append(1))
    desk.log.do(lambda: seen.append(1 // 0))
    desk.log.do(lambda: seen.append(2))
    await until(lambda: seen == [1, 2])


async def test_a_disk_that_refuses_does_not_stop_the_conversation(desk: Desk) -> None:
    shutil.rmtree(desk.folder)
    call = desk.open_call()
    await call.append(entry(0))
    assert await call.settled(3)
    assert sorted(desk.store.turns) == [0]
    desk.folder.mkdir()


async def test_what_sql_never_took_stays_for_the_next_start(tmp_path: Path, cipher: Vault) -> None:
    store = Store(failures=1000)
    log = TurnLog(tmp_path, cipher, store, SystemClock())
    log.start()
    call = log.open_call(HEAD, None, lambda: None)
    await call.append(entry(0))
    await call.append(entry(1, ended_by="opted_out", opted_out=True))
    call.close()
    await log.close(3)
    assert store.turns == {}

    healthy = Store()
    assert TurnLog(tmp_path, cipher, healthy, SystemClock()).replay() == 1
    assert [turn.said for turn in healthy.turns.values()] == ["said 0", "said 1"]
    assert (healthy.state, healthy.ended_by, healthy.opted_out) == ({"n": 1}, "opted_out", ["call"])
    assert list(tmp_path.glob("*.turns")) == []
    assert healthy.replayed == [log.spool_id]


async def test_a_stream_is_saved_once_all_its_words_are(desk: Desk) -> None:
    call = desk.open_call()
    await call.append(entry(0))
    assert await call.settled(3)
    assert desk.store.saved_epochs == []
    desk.store.failures = 2
    await call.append(entry(1))
    call.close()
    await until(lambda: desk.store.saved_epochs == [1])
    assert sorted(desk.store.turns) == [0, 1]
    await until(lambda: desk.files() == [])


async def test_a_stream_in_which_nothing_was_said_is_saved_too(desk: Desk) -> None:
    desk.open_call().close()
    await until(lambda: desk.store.saved_epochs == [1])


def test_a_spool_keeps_its_id_and_no_two_share_one(tmp_path: Path, cipher: Vault) -> None:
    first = TurnLog(tmp_path / "a", cipher, Store(), SystemClock()).spool_id
    assert TurnLog(tmp_path / "a", cipher, Store(), SystemClock()).spool_id == first
    assert TurnLog(tmp_path / "b", cipher, Store(), SystemClock()).spool_id != first
    assert len(first) == 32


def written(folder: Path, cipher: Vault, *entries: Entry) -> Path:
    file = SpoolFile(folder, HEAD, cipher)
    for one in entries:
        file.append(one)
    file.close()
    return file.path


def test_a_record_cut_off_by_the_crash_is_left_out(tmp_path: Path, cipher: Vault) -> None:
    path = written(tmp_path, cipher, entry(0), entry(1))
    whole = path.read_bytes()
    for cut in (1, 3, 50):
        path.write_bytes(whole[:-cut])
        content = spool.read(path, cipher)
        assert content is not None
        assert content == (HEAD, [entry(0)])
    path.write_bytes(whole[:2])
    assert spool.read(path, cipher) is None
    path.write_bytes(whole)
    assert spool.read(path, cipher) == (HEAD, [entry(0), entry(1)])


def test_the_file_holds_no_words(tmp_path: Path, cipher: Vault) -> None:
    path = written(tmp_path, cipher, entry(0))
    assert b"said" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_replaying_twice_changes_nothing(tmp_path: Path, cipher: Vault) -> None:
    store = Store()
    content = written(tmp_path, cipher, entry(0), entry(1)).read_bytes()
    log = TurnLog(tmp_path, cipher, store, SystemClock())
    assert log.replay() == 1
    first = dict(store.turns)
    (tmp_path / "a1-1.turns").write_bytes(content)
    assert TurnLog(tmp_path, cipher, store, SystemClock()).replay() == 1
    assert store.turns == first


@pytest.mark.parametrize("fault", ["other key", "damaged", "moved", "unknown attempt", "newer stream"])
def test_a_file_that_cannot_be_replayed_is_set_aside(tmp_path: Path, cipher: Vault, fault: str) -> None:
    store = Store(known=fault != "unknown attempt", epoch=2 if fault == "newer stream" else 1)
    path = written(tmp_path, cipher, entry(0))
    opener = cipher
    if fault == "other key":
        opener = Vault(Keyring.create(tmp_path / "keys"))
    if fault == "damaged":
        raw = bytearray(path.read_bytes())
        raw[40] ^= 1
        path.write_bytes(raw)
    if fault == "moved":
        path = path.rename(tmp_path / "a2-1.turns")
    if fault in {"other key", "damaged", "moved"}:
        with pytest.raises(InvalidInput):
            spool.read(path, opener)
    assert TurnLog(tmp_path, opener, store, SystemClock()).replay() == 0
    assert [found.name for found in tmp_path.glob("a*")] == [path.with_suffix(".kept").name]
    assert store.turns == {}
    assert store.unusable == [path.with_suffix(".kept").name]


def test_a_file_that_sql_will_not_take_now_waits(tmp_path: Path, cipher: Vault) -> None:
    path = written(tmp_path, cipher, entry(0))
    store = Store(failures=1)
    log = TurnLog(tmp_path, cipher, store, SystemClock())
    assert log.replay() == 0
    assert path.exists()
    assert (store.replayed, log.replayed) == ([], False)
    # Asked again it is taken, and what calls of this process have written since is left alone.
    own = tmp_path / "own-1.turns"
    own.write_bytes(b"")
    assert log.replay() == 1
    assert not path.exists()
    assert own.exists()
    assert (store.replayed, log.replayed) == ([log.spool_id], True)


def test_a_record_that_a_full_disk_tore_does_not_hide_the_next(tmp_path: Path, cipher: Vault) -> None:
    file = SpoolFile(tmp_path, HEAD, cipher)
    file.append(entry(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel takes fifty bytes more, and then refuses, as a disk does that fills up.
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.path.stat().st_size + 50, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(entry(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.append(entry(2, opted_out=True))
    file.close()
    assert spool.read(file.path, cipher) == (HEAD, [entry(0), entry(2, opted_out=True)])
