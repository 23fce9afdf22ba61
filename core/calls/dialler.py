"""One dial: judged and written down in one transaction, then one request, then what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from core.calls.addresses import continue_url
from core.calls.facts import DialRules, dial_facts, has_lost_its_place
from core.calls.reach import FRESH, TRY_AGAIN, PublicUrl
from core.calls.settlement import HISTORY_LASTS, Settlement, report_double
from core.clock import Clock
from core.domain.calls import AttemptStatus, CallState, Unplaced
from core.domain.compliance import Judgement, VerdictResult, dial_until, judge
from core.domain.outcomes import Outcome
from core.logs import get_logger, mask_phone
from core.storage.attempts import DialRows, begin_attempt, lock_attempt, lock_dial, store_verdicts
from core.storage.calls import set_state
from core.storage.control import ALARM_LASTS, ControlStore, note_queue
from core.storage.database import Database, Session
from core.storage.problems import report, resolve, resolve_all
from core.storage.runs import Claim, Owner, fenced, move
from core.telephony.base import NOT_SENT, Carrier, DialRequest, NotPlaced, Placed, Unknown

# From the decision to the request: past it, what was judged may no longer hold.
SEND_WITHIN = timedelta(seconds=10)
STALE = "stale"
REFUSED = "carrier:"
# What stops every dial, and is no wish of the operator's.
ALARMING = frozenset({"carrier_health", "clock"})
# What may keep a call waiting until its window closes, and is the reason then.
HOLDS_BACK = frozenset({"kill_switch", "contact", "last_words", "public_url", "carrier_health", "clock", "concurrency", "rate"})


@dataclass(frozen=True, slots=True)
class Intent:
    """A dial that is written down and may be sent until `boot_deadline` (seconds on the clock that counts sleep)."""

    attempt_id: str
    call_id: str
    phone: str
    boot_deadline: float
    dial_until: datetime
    mode: str
    mode_reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """May not dial: `kind` is wait or never, as the judgement says."""

    kind: str
    rule: str
    detail: str
    wake_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlreadyDialled:
    """This call has an open attempt: nothing is dialled over it."""


Decision = Intent | Blocked | AlreadyDialled


class Dialler:
    def __init__(
        self,
        database: Database,
        carrier: Carrier,
        rules: DialRules,
        settlement: Settlement,
        owner: Owner,
        clock: Clock,
        public: PublicUrl,
    ) -> None:
        self._database = database
        self._carrier = carrier
        self._rules = rules
        self._settlement = settlement
        self._owner = owner
        self._clock = clock
        self._public = public
        self._trying = Lock()
        self._control = ControlStore(database)
        self._log = get_logger()

    def decide(self, claim: Claim) -> Decision:
        """Verdicts and intent in one transaction. Raises FenceLost when the run is somebody else's by now."""
        self._try_public_url()
        with self._database.write() as session:
            # The clock is read with the lock held: waiting for it may have taken seconds.
            now = self._clock.now()
            run = fenced(session, claim)
            rows = lock_dial(session, claim.subject_id, now)
            if rows.open_attempt is not None and rows.open_attempt.scheduled_call_id == rows.call.id:
                move(run, "await_webhook", now)
                return AlreadyDialled()
            if rows.call.not_before is not None and now < rows.call.not_before and rows.call.cancel_requested_at is None:
                # Something else than the retry's time has woken the run: a resume, a late webhook.
                return Blocked("wait", "retry", f"the next try is at {rows.call.not_before:%Y-%m-%d %H:%M:%S} UTC", rows.call.not_before)
            if has_lost_its_place(rows, self._rules, now):
                rows.call.slot_at = None
            facts = dial_facts(rows, self._rules, now)
            judgement = judge(facts)
            store_verdicts(session, rows, judgement.verdicts, now)
            _raise_alarms(session, judgement, now)
            if judgement.kind != "allowed":
                return self._blocked(rows, judgement, now)
            until = dial_until(facts)
            mode, mode_reason = self._mode(rows)
            rows.control.next_slot_at = max(now, rows.control.next_slot_at or now)
            if rows.call.slot_at is None:
                rows.control.next_slot_at += self._rules.spacing
            rows.call.slot_at = None
            rows.control.last_dial_at = now
            attempt = begin_attempt(
                session,
                rows,
                run,
                self._owner,
                carrier=self._rules.carrier,
                account=self._carrier.account,
                mode=mode,
                now=now,
                send_before=now + SEND_WITHIN,
                dial_until=until,
            )
            set_state(rows.call, CallState.DIALING, None, now)
            # A crash from here on finds the run waiting for an attempt, never about to make another.
            move(run, "await_webhook", now)
            return Intent(
                attempt_id=attempt.id,
                call_id=rows.call.id,
                phone=attempt.phone,
                boot_deadline=self._clock.boot_seconds() + SEND_WITHIN.total_seconds(),
                dial_until=until,
                mode=mode,
                mode_reason=mode_reason,
            )

    def _mode(self, rows: DialRows) -> tuple[str, str]:
        """How this call is to be held, and why so."""
        if self._rules.mode == "enhanced" and rows.control.speech_problem is not None:
            return "standard", rows.control.speech_problem
        return self._rules.mode, "USE_ENHANCED_CALLS"

    def _try_public_url(self) -> None:
        """A network request, so before the transaction; its answer is judged inside it, with all the rest."""
        with self._trying:
            now = self._clock.now()
            last = self._control.reach()
            # Compared without its sign: a clock that was set back must not make an old answer hold for hours.
            if last is not None and abs(now - last[0]) < (FRESH if last[1] is None else TRY_AGAIN):
                return
            problem = self._public.problem()
            if problem is not None:
                self._log.error("public_url.unreachable", problem=problem)
            self._control.record_reach(problem, self._clock.now())

    def send(self, intent: Intent) -> None:
        """The one request. Whatever happens, the attempt's row tells afterwards what is known."""
        log = self._log.bind(call=intent.call_id, attempt=intent.attempt_id, to=mask_phone(intent.phone))
        if self._clock.boot_seconds() > intent.boot_deadline:
            self._not_placed(intent, NotPlaced(STALE, "the machine was busy or asleep for too long after the decision", False, False))
            return
        base = self._rules.public_url
        result = self._carrier.dial(
            DialRequest(
                attempt_id=intent.attempt_id,
                to=intent.phone,
                voice_url=f"{base}/webhooks/twilio/voice?attempt={intent.attempt_id}",
                fallback_url=continue_url(base, intent.attempt_id),
                status_url=f"{base}/webhooks/twilio/status?attempt={intent.attempt_id}",
                amd_url=f"{base}/webhooks/twilio/amd?attempt={intent.attempt_id}",
                ring_seconds=self._rules.ring_seconds,
                max_seconds=self._rules.max_call_seconds,
            ),
            # In all, connecting included: past it the first byte may not leave, for what was judged may no longer hold.
            deadline_seconds=max(0.1, intent.boot_deadline - self._clock.boot_seconds()),
        )
        now = self._clock.now()
        if result.carrier_now is not None:
            self._control.record_skew((result.carrier_now - now).total_seconds(), now)
        match result:
            case Placed():
                self._placed(intent, result, now)
                log.info(
                    "call.dialled",
                    carrier_call=result.carrier_call_id,
                    queue_seconds=result.queue_seconds,
                    mode=intent.mode,
                    mode_reason=intent.mode_reason,
                )
            case NotPlaced():
                self._not_placed(intent, result)
                log.warning("call.not_placed", code=result.code, reason=result.reason, permanent=result.permanent, operator=result.operator)
            case Unknown():
                self._unknown(intent, result, now)
                log.error("call.unknown", reason=result.reason)

    def _blocked(self, rows: DialRows, judgement: Judgement, now: datetime) -> Blocked:
        verdict = judgement.blocking
        assert verdict is not None
        wake_at = verdict.wake_at
        if verdict.rule == "rate" and rows.call.slot_at is None:
            # Each call gets a place of its own in the queue, so that a thousand due at once do not all wake for each place.
            slot = max(now, verdict.wake_at or now, rows.control.next_slot_at or now)
            rows.control.next_slot_at = slot + self._rules.spacing
            rows.call.slot_at = wake_at = slot
        return Blocked(judgement.kind, verdict.rule, _why(judgement, verdict), wake_at)

    def _placed(self, intent: Intent, placed: Placed, now: datetime) -> None:
        with self._database.write() as session:
            attempt = lock_attempt(session, intent.attempt_id)
            assert attempt is not None
            attempt.request_ended_at = now
            note_queue(session, placed.queue_seconds, now)
            # It takes calls: whatever it refused them for is mended.
            resolve_all(session, REFUSED, now)
            if attempt.carrier_call_id is None:
                attempt.carrier_call_id = placed.carrier_call_id
            elif attempt.carrier_call_id != placed.carrier_call_id:
                report_double(session, attempt, placed.carrier_call_id, over=placed.status.is_final, now=now)
            # A webhook may have been quicker than this answer: what it said stands.
            if attempt.status == AttemptStatus.DIALING:
                attempt.status = AttemptStatus.QUEUED

    def _not_placed(self, intent: Intent, result: NotPlaced) -> None:
        now = self._clock.now()
        with self._database.write() as session:
            attempt = lock_attempt(session, intent.attempt_id)
            assert attempt is not None
            attempt.request_ended_at = now
            if attempt.status != AttemptStatus.DIALING:
                # The carrier says no, and a webhook says the phone rang: believe the phone.
                detail = f"refused with {result.code}, yet webhooks arrived"
                report(session, f"contradiction:{attempt.id}", "carrier", detail, now, lasts=HISTORY_LASTS)
                return
            if result.operator:
                report(session, f"{REFUSED}{result.code}", "carrier", f"the carrier refuses calls: {result.reason} ({result.code})", now)
            outcome = Outcome.REJECTED if result.permanent else Outcome.FAILED
            attempt.unplaced = _unplaced(result)
            self._settlement.close_attempt(session, attempt, outcome, f"not placed: {result.reason} ({result.code})", now)

    def _unknown(self, intent: Intent, result: Unknown, now: datetime) -> None:
        with self._database.write() as session:
            attempt = lock_attempt(session, intent.attempt_id)
            assert attempt is not None
            attempt.request_ended_at = now
            if attempt.status == AttemptStatus.DIALING:
                attempt.status = AttemptStatus.UNKNOWN
                attempt.reason = result.reason
                report(
                    session,
                    f"unknown:{attempt.id}",
                    "unknown",
                    f"nobody knows whether {mask_phone(attempt.phone)} was rung: {result.reason}",
                    now,
                )


def _raise_alarms(session: Session, judgement: Judgement, now: datetime) -> None:
    """What keeps everybody from being called is for a person to know at once, and not only in a call's record."""
    for verdict in judgement.verdicts:
        if verdict.rule not in ALARMING:
            continue
        if verdict.allowed:
            resolve(session, f"dialling:{verdict.rule}", now)
        else:
            report(session, f"dialling:{verdict.rule}", "dialling", f"nobody is dialled: {verdict.detail}", now, lasts=ALARM_LASTS)


def _why(judgement: Judgement, verdict: VerdictResult) -> str:
    """A call that missed its window while something held it back says so: the close of the window is not the cause."""
    held = [v.detail for v in judgement.verdicts if not v.allowed and v.rule in HOLDS_BACK]
    return "; ".join([verdict.detail, *held]) if verdict.rule == "window" and judgement.kind == "never" else verdict.detail


def _unplaced(result: NotPlaced) -> Unplaced:
    if result.permanent:
        return Unplaced.NUMBER
    if result.operator:
        return Unplaced.DESTINATION if result.destination else Unplaced.OPERATOR
    return {NOT_SENT: Unplaced.UNREACHED, STALE: Unplaced.STALE}.get(result.code, Unplaced.LATER)
