"""The plain driver: claims due engagements and steps each until it waits or ends. No LangGraph."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread

from core.clock import Clock
from core.engagement.nodes import NODES, Engagement, Goto
from core.errors import FenceLost
from core.logs import get_logger
from core.storage.calls import ENGAGEMENT_QUEUE
from core.storage.runs import Claim, RunLedger

# A step that fails is tried again after a while that doubles up to the last.
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
# How long a look waits for the steps it began, in seconds.
PATIENCE = 2.0
# A chain of steps this long is a loop of ours.
MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class StepReport:
    """One look at what is due. `next_due` is when the earliest waiting engagement wants to be looked at."""

    claimed: int
    errors: int
    next_due: datetime | None


class PlainDriver:
    """Several engagements are stepped at once, each by one thread; leases are renewed by a thread of their own."""

    def __init__(self, ledger: RunLedger, work: Engagement, clock: Clock, *, threads: int, renew_every: float = 15.0) -> None:
        self._ledger = ledger
        self._work = work
        self._clock = clock
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="engagement")
        self._held: dict[str, Claim] = {}
        self._held_lock = Lock()
        self._stop = Event()
        self._position: str | None = None
        self._log = get_logger()
        self._renewer = Thread(target=self._renew, args=(renew_every,), name="leases", daemon=True)
        self._renewer.start()

    @property
    def in_flight(self) -> int:
        return len(self._held)

    def drain(self) -> None:
        """Dial nobody from now on; what was dialled is still watched."""
        self._position = "await_webhook"

    def recover(self, now: datetime) -> int:
        """Put back what dead processes held. Returns how many runs."""
        recovered = self._ledger.release_dead(now)
        if recovered:
            self._log.warning("runs.recovered", count=recovered)
        return recovered

    def step_due(self, now: datetime) -> StepReport:
        """Step what is due. Several callers at once share the work safely; a slow dial holds up one thread only.

        Returns when the claimed engagements have been stepped, or after PATIENCE with the rest still under way.
        """
        now = max(now, self._clock.now())
        self._work.watch.end_strays(now)
        with self._held_lock:
            free = self._threads - len(self._held)
        wanted = free > 0 and not self._stop.is_set()
        claims = self._ledger.claim_due(ENGAGEMENT_QUEUE, now, free, position=self._position) if wanted else []
        if claims:
            self._log.info("call.pending_found", count=len(claims))
            self._hold(claims)
            finished, _ = wait([self._pool.submit(self._work_off, claim) for claim in claims], timeout=PATIENCE)
            errors = sum(future.result() for future in finished)
        else:
            errors = 0
        return StepReport(len(claims), errors, self._ledger.next_wake(ENGAGEMENT_QUEUE))

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True)
        self._renewer.join(timeout=5)

    def _work_off(self, claim: Claim) -> int:
        """Carry one claim, then whatever else is due. Returns the number of steps that failed."""
        errors = int(not self._carry(claim))
        while not self._stop.is_set():
            claims = self._ledger.claim_due(ENGAGEMENT_QUEUE, self._clock.now(), 1, position=self._position)
            if not claims:
                break
            self._hold(claims)
            errors += not self._carry(claims[0])
        return errors

    def _hold(self, claims: Sequence[Claim]) -> None:
        with self._held_lock:
            self._held.update({claim.run_id: claim for claim in claims})

    def _carry(self, claim: Claim) -> bool:
        try:
            self._step(claim)
            return True
        except FenceLost as error:
            self._log.warning("run.fence_lost", run=claim.run_id, call=claim.subject_id, error=str(error))
            return True
        except Exception as error:  # noqa: BLE001
            # One broken engagement must not stop the others; it keeps its place and is tried again.
            self._log.exception("run.step_failed", run=claim.run_id, call=claim.subject_id, position=claim.position)
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(claim.errors, 10))
            self._ledger.fail_step(claim, f"{type(error).__name__}: {error}", self._clock.now(), pause)
            return False
        finally:
            with self._held_lock:
                self._held.pop(claim.run_id, None)

    def _step(self, claim: Claim) -> None:
        position = claim.position
        for _ in range(MAX_STEPS):
            if self._position is not None and position == "initiate_call":
                self._ledger.give_back(claim, self._clock.now())
                return
            step = NODES[position](self._work, claim)
            if not isinstance(step, Goto):
                return
            position = step.position
        raise RuntimeError(f"engagement {claim.run_id} took {MAX_STEPS} steps without waiting")

    def _renew(self, every: float) -> None:
        while not self._stop.wait(every):
            with self._held_lock:
                held = list(self._held.values())
            try:
                self._ledger.renew(held, self._clock.now())
            except Exception:  # noqa: BLE001
                # The next round may succeed before the leases end; if not, the fence protects what we hold.
                self._log.exception("leases.renewal_failed", count=len(held))
