"""Keeping what live calls say: on local disk first, then in SQL by one writer thread for the whole process.

The event loop never waits for SQL. A commit takes everything a call has waiting, so under load batches grow by
themselves; a commit that fails is tried again until it succeeds, with the spool file standing in meanwhile.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from core.clock import Clock
from core.conversation import spool
from core.conversation.spool import Cipher, Entry, SpoolFile, SpoolHead
from core.errors import InvalidInput, NotFound
from core.logs import get_logger
from core.storage.conversations import CallContext, TurnRecord

# As the do-not-call list names where an opt-out came from.
OPT_OUT_SOURCE = "call"
RETRY_SECONDS = 0.5
KEPT_ASIDE = ".kept"


class TurnStore(Protocol):
    """What the log needs of `core.storage.conversations.ConversationStore`. Every method may block."""

    def context(self, attempt_id: str) -> CallContext | None: ...

    def open(self, attempt_id: str, plan: str, plan_digest: str, channel: str, state: dict[str, Any], now: datetime) -> str: ...

    def save(
        self, conversation_id: str, epoch: int | None, turns: list[TurnRecord], state: dict[str, Any], ended_by: str | None, now: datetime
    ) -> bool: ...

    def opt_out(self, attempt_id: str, source: str, now: datetime) -> None: ...

    def stream_saved(self, attempt_id: str, epoch: int, now: datetime) -> None: ...

    def spool_replayed(self, spool: str, now: datetime) -> None: ...

    def spool_unusable(self, file: str, error: str, now: datetime) -> None: ...


class CallLog:
    """The log of one media stream. Used from the event loop alone."""

    def __init__(self, log: TurnLog, head: SpoolHead, file: SpoolFile, on_superseded: Callable[[], None]) -> None:
        self.head = head
        self.file = file
        self.conversation_id: str | None = None
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._on_superseded = on_superseded
        self._settled = asyncio.Event()
        # Shared with the writer thread.
        self.lock = threading.Lock()
        self.waiting: deque[Entry] = deque()
        self.closed = False
        self.superseded = False

    async def append(self, entry: Entry) -> None:
        """On local disk when this returns; in SQL soon after. Never raises: a full disk must not end a conversation."""
        await asyncio.shield(self._loop.run_in_executor(self._log.disk, self._log.store_locally, self, entry))

    async def settled(self, seconds: float) -> bool:
        """Wait until everything appended is in SQL. False if it was not within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with self.lock:
                        if not self.waiting:
                            return True
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return False

    def close(self) -> None:
        """No more entries will come; the spool file goes once all of them are in SQL."""
        with self.lock:
            self.closed = True
        self._log.wake(self)

    def report_settled(self) -> None:
        self._from_thread(self._settled.set)

    def report_superseded(self) -> None:
        self._from_thread(self._on_superseded)

    def _from_thread(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is gone: nobody waits any more.
            return


class TurnLog:
    """One per process. `start` it before the first call, after `replay`."""

    def __init__(self, folder: Path, cipher: Cipher, store: TurnStore, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self.spool_id = spool.identify(folder)
        self._left: list[Path] | None = None
        self._began = clock.now()
        self.replayed = False  # everything that dead processes had left is in SQL, and SQL knows it
        self._cipher = cipher
        self._store = store
        self._log = get_logger()
        self._work: queue.SimpleQueue[CallLog | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="turn-spool")
        self.unsaved = 0  # calls whose last commit failed

    def replay(self) -> int:
        """Bring what a dead process left behind into SQL. Blocks. Returns how many streams were replayed.

        A file that SQL will not take now stays for the next call of this; one that cannot be read is set aside under another name.
        Until all are taken over, nobody who was in one of these calls is dialled again: they may have said not to.
        """
        if self._left is None:
            # Listed once: what comes later belongs to calls of this process.
            self._began, self._left = self._clock.now(), spool.leftovers(self._folder)
        replayed = 0
        for path in list(self._left):
            try:
                content = spool.read(path, self._cipher)
                if content is not None and content[1]:
                    self._replay_one(*content)
                    replayed += 1
                path.unlink(missing_ok=True)
            except (InvalidInput, NotFound) as error:
                self._set_aside(path, str(error))
            except Exception as error:  # noqa: BLE001
                # The server must come up whatever the database says; the file waits for the next round.
                self._log.error("conversation.spool_not_replayed", file=path.name, error=f"{type(error).__name__}: {error}")
                continue
            self._left.remove(path)
        if not self._left and not self.replayed:
            try:
                # The instant of the start: a stream that began since is this process's own.
                self._store.spool_replayed(self.spool_id, self._began)
                self.replayed = True
            except Exception as error:  # noqa: BLE001
                self._log.error("conversation.replay_not_noted", error=f"{type(error).__name__}: {error}")
        return replayed

    def _set_aside(self, path: Path, error: str) -> None:
        kept = path.rename(path.with_suffix(KEPT_ASIDE))
        self._log.error("conversation.spool_unusable", file=kept.name, error=error)
        self._attempt(lambda: self._store.spool_unusable(kept.name, error, self._clock.now()))

    def _replay_one(self, head: SpoolHead, entries: list[Entry]) -> None:
        context = self._store.context(head.attempt_id)
        if context is None:
            raise NotFound(f"attempt {head.attempt_id} is unknown")
        taken = self._commit(head, context.conversation_id, entries)[1]
        self._log.info("conversation.spool_replayed", attempt=head.attempt_id, epoch=head.epoch, turns=len(entries), taken=taken)
        if not taken:
            raise InvalidInput(f"attempt {head.attempt_id} has a newer stream than {head.epoch}")

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="turn-log", daemon=True)
        self._thread.start()

    def open_call(self, head: SpoolHead, conversation_id: str | None, on_superseded: Callable[[], None]) -> CallLog:
        """`conversation_id` is given when an earlier stream began the conversation. `on_superseded` runs on the loop."""
        call = CallLog(self, head, SpoolFile(self._folder, head, self._cipher), on_superseded)
        call.conversation_id = conversation_id
        return call

    def do(self, write: Callable[[], None]) -> None:
        """Another small write of a call, in order with its turns. Tried once: an error is logged."""
        self._work.put(write)

    def wake(self, call: CallLog) -> None:
        self._work.put(call)

    def store_locally(self, call: CallLog, entry: Entry) -> None:
        try:
            call.file.append(entry)
        except Exception as error:  # noqa: BLE001
            # SQL still gets it: only the protection against our own death is lost for this turn.
            self._log.error("conversation.spool_failed", attempt=call.head.attempt_id, error=f"{type(error).__name__}: {error}")
        with call.lock:
            call.waiting.append(entry)
        self.wake(call)

    async def close(self, seconds: float = 10.0) -> None:
        """Bring everything into SQL, for at most `seconds`; what is left stays in the spool for the next start."""
        self._stopping.set()
        self._work.put(None)
        thread = self._thread
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, seconds)
        self.disk.shutdown(wait=False)

    def _run(self) -> None:
        dirty: dict[CallLog, None] = {}
        while True:
            stop = self._gather(dirty)
            failed = [call for call in list(dirty) if not self._drain(call)]
            self.unsaved = len(failed)
            dirty = dict.fromkeys(failed)
            if self._stopping.is_set() and (stop or self._work.empty()):
                # Another round would only hold up the shutdown: the spool has what SQL would not take.
                return

    def _gather(self, dirty: dict[CallLog, None]) -> bool:
        """Wait for work, then take all there is. True when told to stop."""
        stop = False
        try:
            item = self._work.get(timeout=RETRY_SECONDS if dirty else None)
            while True:
                if item is None:
                    stop = True
                elif isinstance(item, CallLog):
                    dirty[item] = None
                else:
                    self._attempt(item)
                item = self._work.get_nowait()
        except queue.Empty:
            return stop

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001
            # One call's bookkeeping must not stop the writer of all calls.
            self._log.error("conversation.write_failed", error=f"{type(error).__name__}: {error}")

    def _drain(self, call: CallLog) -> bool:
        """Commit what a call has waiting. False when SQL would not take it now."""
        with call.lock:
            entries = list(call.waiting)
        if entries and not call.superseded:
            try:
                call.conversation_id, taken = self._commit(call.head, call.conversation_id, entries)
            except Exception as error:  # noqa: BLE001
                # Whatever is wrong with the database, it is asked again; the spool holds the turns meanwhile.
                self._log.error("conversation.save_failed", attempt=call.head.attempt_id, error=f"{type(error).__name__}: {error}")
                return False
            if not taken:
                call.superseded = True
                self._log.warning("conversation.superseded", attempt=call.head.attempt_id, epoch=call.head.epoch)
                call.report_superseded()
        with call.lock:
            last = call.closed and len(call.waiting) == len(entries)
        if last and not self._saved(call.head):
            return False
        with call.lock:
            for _ in entries:
                call.waiting.popleft()
            over = call.closed and not call.waiting
        if over and call.superseded:
            # Its last turns were spoken, and SQL belongs to the newer stream: a person may want to look.
            call.file.set_aside(KEPT_ASIDE)
        elif over:
            call.file.delete()
        call.report_settled()
        return True

    def _saved(self, head: SpoolHead) -> bool:
        try:
            self._store.stream_saved(head.attempt_id, head.epoch, self._clock.now())
        except Exception as error:  # noqa: BLE001
            self._log.error("conversation.save_failed", attempt=head.attempt_id, error=f"{type(error).__name__}: {error}")
            return False
        return True

    def _commit(self, head: SpoolHead, conversation_id: str | None, entries: list[Entry]) -> tuple[str, bool]:
        # Never call again comes first: it holds whatever becomes of the rest.
        for entry in entries:
            if entry.opted_out:
                self._store.opt_out(head.attempt_id, OPT_OUT_SOURCE, entry.at)
                self._log.info("contact.opted_out", attempt=head.attempt_id)
        if conversation_id is None:
            first = entries[0]
            conversation_id = self._store.open(head.attempt_id, head.plan, head.plan_digest, "voice", first.state, first.at)
        last = entries[-1]
        turns = [entry.turn for entry in entries if entry.turn is not None]
        ended_by = next((entry.ended_by for entry in entries if entry.ended_by is not None), None)
        return conversation_id, self._store.save(conversation_id, head.epoch, turns, last.state, ended_by, last.at)
