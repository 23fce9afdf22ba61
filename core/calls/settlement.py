"""From a carrier's word to what it means: statuses applied in order, each attempt settled once.

Only the carrier's final status ends an attempt. The outcome, the journal entry and the signal that wakes the run
are written in one transaction, and the journal is made from what SQL holds, because the media server may be dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.domain.calls import AttemptStatus, CallState
from core.domain.conversation import ConversationState
from core.domain.journal import AskedCheckpoint, AskedPlan, journal_body
from core.domain.outcomes import Outcome
from core.domain.settling import outcome_of
from core.errors import OrchError
from core.logs import get_logger
from core.plans.library import PlanLibrary
from core.storage.attempts import add_stray, call_of, conversation_of, lock_attempt, successor
from core.storage.calls import set_state
from core.storage.conversations import ConversationStore
from core.storage.database import Database, Session
from core.storage.journal import JournalStore
from core.storage.problems import report, report_unknown_call, resolve
from core.storage.runs import add_signal, revive, wake_run
from core.storage.tables import Attempt, Conversation
from core.telephony.base import CarrierStatus

# A media server commits turns in batches; the call's last words may be this far behind the carrier's final status.
LAST_WORDS = timedelta(seconds=3)
# With a stream that has not said how it ended, its server died: a new one commits what the old one had written down.
LAST_WORDS_OF_THE_DEAD = timedelta(seconds=30)

ABSENT = "absent"
# What was mended already is shown for so long, so that somebody hears of it.
HISTORY_LASTS = timedelta(days=7)

_STATUS = {
    CarrierStatus.QUEUED: AttemptStatus.QUEUED,
    CarrierStatus.INITIATED: AttemptStatus.QUEUED,
    CarrierStatus.RINGING: AttemptStatus.RINGING,
    CarrierStatus.IN_PROGRESS: AttemptStatus.IN_PROGRESS,
}
_RANK = {
    AttemptStatus.INTENDED: 0,
    AttemptStatus.DIALING: 1,
    AttemptStatus.UNKNOWN: 1,
    AttemptStatus.QUEUED: 2,
    AttemptStatus.RINGING: 3,
    AttemptStatus.IN_PROGRESS: 4,
    AttemptStatus.ENDED: 5,
}


class Applied(StrEnum):
    """What became of a status report."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    UNKNOWN_ATTEMPT = "unknown_attempt"
    FOREIGN_CALL = "foreign_call"


@dataclass(frozen=True, slots=True)
class StatusReport:
    """One word of the carrier about one call. `external_id` is what makes a repetition recognisable."""

    attempt_id: str
    carrier_call_id: str
    status: CarrierStatus
    source: str
    external_id: str
    sequence: int | None = None
    sip_code: int | None = None
    answered_by: str | None = None


@dataclass(frozen=True, slots=True)
class _LostPlan:
    name: str
    title: str
    checkpoints: Sequence[AskedCheckpoint]


class Settlement:
    def __init__(self, database: Database, plans: PlanLibrary) -> None:
        self._database = database
        self._plans = plans
        self._conversations = ConversationStore(database)
        self._journal = JournalStore(database)
        self._log = get_logger()

    def apply(self, said: StatusReport, now: datetime) -> Applied:
        """Store one status report and act on it. Late, repeated and reordered ones change nothing twice."""
        with self._database.write() as session:
            attempt = lock_attempt(session, said.attempt_id)
            if attempt is None:
                report_unknown_call(session, said.carrier_call_id, now)
                return Applied.UNKNOWN_ATTEMPT
            if attempt.carrier_call_id not in (None, said.carrier_call_id):
                report_double(session, attempt, said.carrier_call_id, over=said.status.is_final, now=now)
                return Applied.FOREIGN_CALL
            new = add_signal(
                session,
                run_id=attempt.run_id,
                attempt_id=attempt.id,
                source=said.source,
                external_id=said.external_id,
                kind="status",
                payload={"status": said.status, "sequence": said.sequence},
                now=now,
            )
            if not new:
                return Applied.DUPLICATE
            attempt.carrier_call_id = said.carrier_call_id
            if attempt.settled_at is not None and _was_wrong(attempt, over=said.status.is_final):
                self._reopen(session, attempt, now, over=said.status.is_final)
            if attempt.outcome is None:
                self._revive(session, attempt, now)
            if attempt.status in (AttemptStatus.UNKNOWN, AttemptStatus.DIALING):
                resolve(session, f"unknown:{attempt.id}", now)
            if attempt.ended_at is not None:
                # Final states win: whatever else arrives was sent earlier.
                return Applied.STORED
            if said.answered_by is not None and attempt.answered_by is None:
                attempt.answered_by = said.answered_by
            if said.status.is_final:
                attempt.carrier_status = said.status
                attempt.carrier_sequence = said.sequence
                attempt.sip_code = said.sip_code
                attempt.ended_at = now
                self.try_settle(session, attempt, now)
                return Applied.STORED
            status = _STATUS[said.status]
            if _RANK[status] > _RANK[AttemptStatus(attempt.status)]:
                attempt.status = status
                attempt.carrier_status = said.status
            if status is AttemptStatus.IN_PROGRESS:
                call = call_of(session, attempt.scheduled_call_id)
                if call.state == CallState.DIALING:
                    set_state(call, CallState.IN_PROGRESS, None, now)
        return Applied.STORED

    def try_settle(self, session: Session, attempt: Attempt, now: datetime) -> bool:
        """Settle an attempt whose call is over, unless its last words may still be on their way to SQL."""
        if attempt.outcome is not None or attempt.ended_at is None or attempt.carrier_status is None:
            return attempt.outcome is not None
        conversation = conversation_of(session, attempt.id)
        if conversation is not None and conversation.ended_by is None and now < attempt.ended_at + _patience(attempt):
            return False
        if conversation is not None and conversation.ended_by is None:
            _abandon(conversation, attempt, attempt.ended_at)
        outcome, reason = self._evaluate(session, attempt, conversation, now)
        self.close_attempt(session, attempt, outcome, reason, now)
        return True

    def amend(self, session: Session, attempt: Attempt, now: datetime) -> bool:
        """Words that came after the settlement: the journal gets them. True: they make it another outcome."""
        conversation = conversation_of(session, attempt.id)
        if attempt.outcome is None or conversation is None:
            return False
        if attempt.resolved_by is not None or attempt.carrier_status is None:
            self._write_journal(session, conversation, Outcome(attempt.outcome), now)
            return False
        outcome, reason = self._evaluate(session, attempt, conversation, now)
        self._log.info("call.words_came_late", call=attempt.scheduled_call_id, attempt=attempt.id, before=attempt.outcome, outcome=outcome)
        changed = outcome != attempt.outcome
        attempt.outcome = outcome
        attempt.reason = reason
        return changed

    def _evaluate(self, session: Session, attempt: Attempt, conversation: Conversation | None, now: datetime) -> tuple[Outcome, str]:
        """The outcome and its reason, from what SQL holds of the conversation; its journal entry is written."""
        assert attempt.carrier_status is not None
        turns = self._conversations.turns_in(session, conversation.id) if conversation is not None else []
        outcome, reason = outcome_of(
            final=attempt.carrier_status,
            # A conversation is proof enough: the note that our webhook answered may have died with its server.
            voice_served=attempt.voice_served_at is not None or conversation is not None,
            answered_by=attempt.answered_by,
            conversation_state=conversation.state if conversation is not None else "none",
            ended_by=conversation.ended_by if conversation is not None else None,
            turns=sum(1 for turn in turns if turn.said),
            sip_code=attempt.sip_code,
            cancelled_because=attempt.cancel_reason,
        )
        if conversation is not None:
            self._write_journal(session, conversation, outcome, now)
        return outcome, reason

    def close_attempt(self, session: Session, attempt: Attempt, outcome: Outcome, reason: str, now: datetime) -> None:
        """The one settlement of an attempt; its run is woken."""
        if attempt.outcome is not None:
            return
        self._record(session, attempt, outcome, reason, now)
        self._revive(session, attempt, now)
        wake_run(session, attempt.run_id, now)

    def settle_by_hand(self, session: Session, attempt: Attempt, outcome: Outcome, reason: str, by: str, now: datetime) -> None:
        """A person's word about an unknown attempt. Unlike the carrier's it wakes nothing: its call never dials again by itself."""
        if attempt.outcome is not None:
            return
        conversation = conversation_of(session, attempt.id)
        if conversation is not None:
            if conversation.ended_by is None:
                _abandon(conversation, attempt, now)
            self._write_journal(session, conversation, outcome, now)
        attempt.resolved_by = by
        self._record(session, attempt, outcome, reason, now)

    def _write_journal(self, session: Session, conversation: Conversation, outcome: Outcome, now: datetime) -> None:
        turns = self._conversations.turns_in(session, conversation.id)
        if outcome is Outcome.VOICEMAIL or not any(turn.said for turn in turns):
            return
        state = ConversationState.from_json(self._conversations.state_in(conversation))
        self._journal.write_in(session, conversation, journal_body(self._asked(conversation.plan), state, turns), state.is_complete, now)

    def _record(self, session: Session, attempt: Attempt, outcome: Outcome, reason: str, now: datetime) -> None:
        attempt.outcome = outcome
        attempt.reason = reason
        attempt.status = AttemptStatus.ENDED
        attempt.ended_at = attempt.ended_at or now
        attempt.settled_at = now
        for kind in ("unknown", "account", "stranger"):
            resolve(session, f"{kind}:{attempt.id}", now)
        self._log.info(
            "call.settled",
            call=attempt.scheduled_call_id,
            attempt=attempt.id,
            carrier_call=attempt.carrier_call_id,
            outcome=outcome,
            reason=reason,
        )

    def _asked(self, plan: str) -> AskedPlan:
        try:
            return self._plans.get(plan)
        except OrchError as error:
            # A plan deleted or broken since the call must not keep its answers out of the journal.
            self._log.warning("journal.plan_unreadable", plan=plan, error=str(error))
            return _LostPlan(plan, plan, ())

    def _reopen(self, session: Session, attempt: Attempt, now: datetime, *, over: bool) -> None:
        """An attempt that was given up shows up after all: it counts again, and the retry it led to does not happen."""
        report(
            session,
            f"late:{attempt.id}",
            "late",
            f"attempt {attempt.id[:8]} was settled as {attempt.outcome} without the carrier's word, and then reported",
            now,
            lasts=HISTORY_LASTS,
        )
        if successor(session, attempt) is not None:
            # Its successor is under way, or over: this one cannot count again, so it is ended at the carrier.
            assert attempt.carrier_call_id is not None
            add_stray(session, attempt, attempt.carrier_call_id, over=over, now=now)
            return
        attempt.outcome = None
        attempt.resolved_by = None
        attempt.settled_at = None
        attempt.ended_at = None
        attempt.reason = "showed up after it was given up"
        attempt.status = AttemptStatus.UNKNOWN
        # Its moment has passed: the run cancels it at the carrier as soon as it looks.
        attempt.dial_until = now

    def _revive(self, session: Session, attempt: Attempt, now: datetime) -> None:
        """An engagement that had ended without knowing goes on when something is heard after all."""
        if not revive(session, attempt.run_id, "await_webhook", now):
            return
        call = call_of(session, attempt.scheduled_call_id)
        set_state(call, CallState.DIALING, "heard of after it was given up", now)
        resolve(session, f"unresolved:{call.id}", now)
        self._log.warning("call.revived", call=call.id, attempt=attempt.id)


def _was_wrong(attempt: Attempt, *, over: bool) -> bool:
    """Whether a report shows that a settled attempt was settled wrongly: what was never placed was, or what was over goes on.

    A person who said that the phone rang is only confirmed by a report that the call is `over`.
    """
    return attempt.reason == ABSENT or (attempt.resolved_by is not None and (not over or attempt.outcome == Outcome.FAILED))


def _abandon(conversation: Conversation, attempt: Attempt, at: datetime | None) -> None:
    # A media server that lives says who ended the call. In standard mode nobody does, and only the contact could.
    conversation.ended_by = "dropped" if _is_streamed(attempt) else "hung_up"
    conversation.ended_at = at
    conversation.state = "abandoned"


def report_double(session: Session, attempt: Attempt, carrier_call_id: str, *, over: bool, now: datetime) -> None:
    """A second carrier call was placed with this attempt's address: it is ours, and one too many. `over`: it has ended."""
    detail = f"a second carrier call reports for attempt {attempt.id[:8]}; it is hung up"
    report(session, f"double:{attempt.id}:{carrier_call_id}", "double", detail, now, lasts=HISTORY_LASTS)
    add_stray(session, attempt, carrier_call_id, over=over, now=now)


def _patience(attempt: Attempt) -> timedelta:
    return LAST_WORDS_OF_THE_DEAD if _is_streamed(attempt) else LAST_WORDS


def _is_streamed(attempt: Attempt) -> bool:
    """Whether a media server had the line to the end: a call that went on in standard mode is in nobody's spool."""
    return attempt.stream_epoch > 0 and attempt.mode != "standard"
