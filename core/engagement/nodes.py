"""The steps of an engagement: dial, wait for the outcome, retry, close.

Each node reads what it needs from SQL, and one that finds its work done returns what it found: any of them may run
again after a crash. They know nothing of what drives them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.calls.dialler import AlreadyDialled, Blocked, Dialler, Intent
from core.calls.settlement import Settlement
from core.calls.watch import Watch
from core.clock import Clock
from core.domain.calls import FINAL_CALL_STATES, AttemptStatus, CallState, Unplaced
from core.domain.outcomes import Outcome
from core.domain.permitted import PermittedHours
from core.domain.retries import Close, RetryAt, RetryPolicy, decide, outcomes_to_retry
from core.domain.runs import RunState
from core.domain.windows import zone_of
from core.engagement.open_call import is_silent, look_again_at, reason_to_stop
from core.errors import OrchError, ProviderError
from core.logs import get_logger
from core.plans.library import PlanLibrary
from core.plans.model import Plan
from core.settings import RETRY_UNITS
from core.storage.attempts import call_of, contact_of, latest_attempt, lock_attempt, unplaced_since
from core.storage.calls import set_state
from core.storage.control import lock_control
from core.storage.database import Database, Session
from core.storage.problems import report
from core.storage.runs import Claim, add_event, end, fenced, has_late_words, move, revive, take_late_words, take_signals, wait
from core.storage.tables import Attempt, Run, ScheduledCall

# A call that our account or set-up prevents is tried again this much later, without using up a retry.
OPERATOR_WAIT = timedelta(minutes=5)
# One that the carrier would not take just now (too many at once, not reached) likewise.
REFUSED_WAIT = timedelta(minutes=1)
# How long a call outside any window is offered to a carrier that does not take it.
UNPLACED_PATIENCE = timedelta(hours=24)
# All lines busy: look again.
CAPACITY_WAIT = timedelta(seconds=5)
# An unknown attempt of a call that has no window is unresolved after this long.
UNKNOWN_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Engagement:
    """What the nodes work with."""

    database: Database
    dialler: Dialler
    watch: Watch
    settlement: Settlement
    plans: PlanLibrary
    clock: Clock
    default_policy: RetryPolicy
    permitted: PermittedHours
    dial_time: timedelta  # ringing to its end, and the margin before a close
    public_url: str


@dataclass(frozen=True, slots=True)
class Goto:
    """The run moved on: step it at once."""

    position: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """The run waits, or has ended: nothing more to do in this claim."""


Step = Goto | LetGo
Node = Callable[[Engagement, Claim], Step]

_log = get_logger()


def initiate_call(work: Engagement, claim: Claim) -> Step:
    """Judge, write down, dial."""
    try:
        _plan_of(work, claim)
    except OrchError as error:
        return _close(work, claim, CallState.FAILED, f"its plan cannot be used: {error}")
    if _hear_late_words(work, claim):
        return Goto("check_retry")
    decision = work.dialler.decide(claim)
    match decision:
        case AlreadyDialled():
            pass
        case Intent():
            work.dialler.send(decision)
        case Blocked(kind="wait"):
            return _wait_for_permission(work, claim, decision)
        case Blocked():
            return _close_blocked(work, claim, decision)
    return Goto("await_webhook")


def await_webhook(work: Engagement, claim: Claim) -> Step:
    """Wait until the attempt is settled; end what must not go on; ask when nothing is heard."""
    if _hear_late_words(work, claim):
        return Goto("check_retry")
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        take_signals(session, run, now)
        attempt = latest_attempt(session, claim.subject_id)
        if attempt is None:
            # The transaction that would have made it was rolled back: nothing was dialled.
            move(run, "initiate_call", now)
            return Goto("initiate_call")
        settled = work.settlement.try_settle(session, attempt, now)
        if settled:
            move(run, "check_retry", now)
        stop = None if settled else reason_to_stop(work.plans, work.watch.account, session, run, attempt, now)
        silent = not settled and stop is None and is_silent(work.watch.account, session, attempt, now)
        if not settled and attempt.status == AttemptStatus.UNKNOWN and _given_up(call_of(session, claim.subject_id), attempt, now):
            _unresolved(session, run, call_of(session, claim.subject_id), attempt, now)
            return LetGo()
        attempt_id = attempt.id
    if settled:
        return Goto("check_retry")
    try:
        if stop is not None:
            work.watch.stop(attempt_id, stop, now)
        if silent:
            work.watch.wake_line(attempt_id, work.public_url, now)
        work.watch.check(attempt_id, now)
    except ProviderError as error:
        _log.warning("call.carrier_error", attempt=attempt_id, error=str(error))
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        attempt = latest_attempt(session, claim.subject_id)
        assert attempt is not None
        if attempt.outcome is not None:
            move(run, "check_retry", now)
            return Goto("check_retry")
        # A pause, an opt-out or a cancellation that came while the carrier was asked found this run awake, and woke nobody.
        unheard = reason_to_stop(work.plans, work.watch.account, session, run, attempt, now) is not None
        wait(
            session,
            run,
            position="await_webhook",
            waiting_for=f"attempt:{attempt.id}",
            wake_at=now if unheard else look_again_at(session, attempt, now),
            now=now,
        )
    return LetGo()


def check_retry(work: Engagement, claim: Claim) -> Step:
    """Try again, or close."""
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        call = call_of(session, claim.subject_id)
        attempt = latest_attempt(session, claim.subject_id)
        if attempt is None or attempt.outcome is None:
            move(run, "await_webhook", now)
            return Goto("await_webhook")
        if call.cancel_requested_at is not None and attempt.outcome not in (Outcome.ANSWERED, Outcome.HUNG_UP_EARLY):
            _finish(work, session, run, call, CallState.CANCELLED, "cancelled", now)
            return LetGo()
        decision = _decide(work, session, call, attempt, now)
        if call.state in FINAL_CALL_STATES and isinstance(decision, RetryAt):
            # Late words woke an engagement that had ended: they may tell what it came to, and never make it dial again.
            _finish(work, session, run, call, CallState(call.state), call.reason or "", now)
            return LetGo()
        if isinstance(decision, RetryAt):
            move(run, "increment_retry", now)
            return Goto("increment_retry")
        _finish(work, session, run, call, decision.state, decision.reason, now)
    return LetGo()


def increment_retry(work: Engagement, claim: Claim) -> Step:
    """Count the retry and wait for its time."""
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        call = call_of(session, claim.subject_id)
        attempt = latest_attempt(session, claim.subject_id)
        assert attempt is not None
        if call.cancel_requested_at is not None:
            _finish(work, session, run, call, CallState.CANCELLED, "cancelled", now)
            return LetGo()
        decision = _decide(work, session, call, attempt, now)
        if isinstance(decision, Close):
            _finish(work, session, run, call, decision.state, decision.reason, now)
            return LetGo()
        if _placed_again_after(attempt) is None:
            call.retry_count += 1
        call.not_before = decision.at
        set_state(call, CallState.WAITING_RETRY, f"{attempt.outcome}; next try at {decision.at.isoformat(timespec='seconds')}", now)
        wait(session, run, position="initiate_call", waiting_for="retry", wake_at=decision.at, now=now)
        add_event(work.database, session, run.id, "retry", {"number": call.retry_count, "at": decision.at.isoformat()}, now)
        _log.info("call.retry_scheduled", call=call.id, retry=call.retry_count, after=attempt.outcome, at=decision.at.isoformat())
    return LetGo()


def _hear_late_words(work: Engagement, claim: Claim) -> bool:
    """Words that came after an attempt was settled. True when they say that the call came to something else than was thought."""
    with work.database.read() as session:
        if not has_late_words(session, claim.run_id):
            return False
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        call = call_of(session, claim.subject_id)
        spoken = {signal.attempt_id for signal in take_late_words(session, run, now)}
        latest = latest_attempt(session, claim.subject_id)
        changed = False
        for attempt_id in spoken:
            attempt = lock_attempt(session, attempt_id) if attempt_id is not None else None
            if attempt is not None and work.settlement.amend(session, attempt, now):
                changed = changed or (latest is not None and attempt.id == latest.id)
        if changed:
            if call.state == CallState.WAITING_RETRY:
                # The retry that the wrong outcome led to was counted, and has not happened.
                call.retry_count = max(0, call.retry_count - 1)
                call.not_before = None
            move(run, "check_retry", now)
        return changed


NODES: dict[str, Node] = {
    "initiate_call": initiate_call,
    "await_webhook": await_webhook,
    "check_retry": check_retry,
    "increment_retry": increment_retry,
}


def retry_policy(plan: Plan, default: RetryPolicy) -> RetryPolicy:
    """The plan's own rules where it has them, the settings' elsewhere."""
    rules = plan.retry
    waits = default.waits
    if rules.intervals is not None:
        waits = tuple(timedelta(seconds=interval * RETRY_UNITS[rules.units or "hours"]) for interval in rules.intervals)
    max_retries = rules.max_retries if rules.max_retries is not None else default.max_retries
    return RetryPolicy(max_retries, waits, outcomes_to_retry(rules.on))


def _plan_of(work: Engagement, claim: Claim) -> Plan:
    with work.database.read() as session:
        name = call_of(session, claim.subject_id).plan
    return work.plans.get(name)


def _decide(work: Engagement, session: Session, call: ScheduledCall, attempt: Attempt, now: datetime) -> RetryAt | Close:
    assert attempt.outcome is not None
    assert attempt.ended_at is not None
    pause = _placed_again_after(attempt)
    if pause is not None:
        at = max(now, attempt.ended_at + pause)
        if call.closes_at is not None and at >= call.closes_at:
            return Close(CallState.MISSED, f"{attempt.reason}, until the window closed")
        if at >= unplaced_since(session, attempt) + UNPLACED_PATIENCE:
            return Close(CallState.FAILED, f"{attempt.reason}, for {UNPLACED_PATIENCE.total_seconds() / 3600:.0f} hours")
        return RetryAt(at)
    try:
        policy = retry_policy(work.plans.get(call.plan), work.default_policy)
    except OrchError as error:
        _log.warning("call.plan_unreadable", call=call.id, plan=call.plan, error=str(error))
        policy = work.default_policy
    return decide(
        policy,
        Outcome(attempt.outcome),
        call.retry_count,
        attempt.ended_at,
        now,
        closes_at=call.closes_at,
        permitted=work.permitted,
        zone=zone_of(contact_of(session, call.contact_id).timezone),
        dial_time=work.dial_time,
    )


def _placed_again_after(attempt: Attempt) -> timedelta | None:
    """How long to wait after a dial that certainly rang nobody, which costs the call none of its retries; None: somebody was rung."""
    if attempt.unplaced is None or attempt.outcome != Outcome.FAILED:
        return None
    return OPERATOR_WAIT if attempt.unplaced == Unplaced.OPERATOR else REFUSED_WAIT


def _given_up(call: ScheduledCall, attempt: Attempt, now: datetime) -> bool:
    return now >= (call.closes_at or attempt.created_at + UNKNOWN_PATIENCE)


def _unresolved(session: Session, run: Run, call: ScheduledCall, attempt: Attempt, now: datetime) -> None:
    """Nobody will ever know from records: a person has to find out. The number stays blocked until then."""
    set_state(call, CallState.UNRESOLVED, f"nobody knows whether the phone rang: {attempt.reason}", now)
    report(
        session,
        f"unresolved:{call.id}",
        "unresolved",
        f"call {call.id[:8]}: ask the carrier whether attempt {attempt.id[:8]} rang, then `orch call resolve {call.id[:8]}`",
        now,
    )
    end(run, RunState.COMPLETED, now)
    _log.error("call.unresolved", call=call.id, attempt=attempt.id)


def _wait_for_permission(work: Engagement, claim: Claim, blocked: Blocked) -> Step:
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        take_signals(session, run, now)
        call = call_of(session, claim.subject_id)
        wake_at = blocked.wake_at
        resumed = (blocked.rule == "kill_switch" and lock_control(session).paused_at is None) or (
            blocked.rule == "contact" and contact_of(session, call.contact_id).paused_at is None
        )
        if resumed or run.cancel_requested:
            # It came after the verdict, found this run awake, and woke nobody.
            wake_at = now
        elif wake_at is None and blocked.rule not in ("kill_switch", "contact"):
            wake_at = now + CAPACITY_WAIT
        if call.closes_at is not None:
            if wake_at is not None and wake_at >= call.closes_at:
                _finish(work, session, run, call, CallState.MISSED, f"{blocked.detail}, until the window closed", now)
                return LetGo()
            wake_at = min(wake_at or call.closes_at, call.closes_at)
        if call.state != CallState.WAITING_RETRY:
            set_state(call, CallState.PENDING, blocked.detail, now)
        wait(session, run, position="initiate_call", waiting_for=f"permission:{blocked.rule}", wake_at=wake_at, now=now)
        _log.info("call.blocked", call=call.id, rule=blocked.rule, detail=blocked.detail, wake_at=wake_at.isoformat() if wake_at else None)
    return LetGo()


def _close_blocked(work: Engagement, claim: Claim, blocked: Blocked) -> Step:
    state = {
        "window": CallState.MISSED,
        "cancel": CallState.CANCELLED,
        "do_not_call": CallState.CANCELLED,
        "contact": CallState.CANCELLED,
    }.get(blocked.rule, CallState.FAILED)
    return _close(work, claim, state, blocked.detail)


def _close(work: Engagement, claim: Claim, state: CallState, reason: str) -> Step:
    with work.database.write() as session:
        now = work.clock.now()
        run = fenced(session, claim)
        _finish(work, session, run, call_of(session, claim.subject_id), state, reason, now)
    return LetGo()


def _finish(work: Engagement, session: Session, run: Run, call: ScheduledCall, state: CallState, reason: str, now: datetime) -> None:
    take_signals(session, run, now)
    set_state(call, state, reason, now)
    end(run, RunState.CANCELLED if state is CallState.CANCELLED else RunState.COMPLETED, now)
    if has_late_words(session, run.id):
        # They found this run awake, and could not revive what had not ended.
        revive(session, run.id, "await_webhook", now)
    add_event(work.database, session, run.id, "closed", {"state": state, "reason": reason}, now)
    _log.info("call.closed", call=call.id, state=state, reason=reason, retries=call.retry_count)
