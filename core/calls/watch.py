"""Between a dial and its settlement: stop what must not go on ringing, and ask the carrier when nothing is heard."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.calls.addresses import continue_url
from core.calls.settlement import ABSENT, Settlement, StatusReport
from core.clock import Clock
from core.domain.calls import AttemptStatus
from core.domain.outcomes import Outcome
from core.domain.permitted import MAX_CLOCK_SKEW
from core.errors import ProviderError
from core.logs import get_logger, mask_phone
from core.storage.attempts import end_stray, known_carrier_ids, lock_attempt, open_attempt_ids, owner_of, strays, unanswered_attempt_ids
from core.storage.control import ControlStore
from core.storage.database import Database, Session
from core.storage.problems import report, resolve
from core.storage.tables import Attempt
from core.telephony.base import Carrier, CarrierCall

# How long a request may still be under way after its last moment to be sent.
REQUEST_OVER = timedelta(seconds=30)
# No word about a call for this long: ask.
QUIET = timedelta(seconds=60)
QUIET_WHILE_STOPPING = timedelta(seconds=10)
# The carrier's list is eventually consistent: one listing without the call proves nothing.
BETWEEN_LISTINGS = timedelta(minutes=10)
LISTING_REACH = timedelta(days=1)
# No call that rang before its last moment goes on for so long: Twilio ends each after four hours.
CALL_OVER = timedelta(hours=4)
STOPS_AT_ONCE = 16


@dataclass(slots=True)
class ReconciliationReport:
    checked: int = 0
    settled: int = 0
    adopted: int = 0
    absent: int = 0
    errors: int = 0


class Watch:
    def __init__(self, database: Database, carrier: Carrier, settlement: Settlement, clock: Clock) -> None:
        self._database = database
        self._carrier = carrier
        self._settlement = settlement
        self._clock = clock
        self._control = ControlStore(database)
        self._log = get_logger()

    @property
    def account(self) -> str:
        """The carrier account whose calls can be asked about and ended."""
        return self._carrier.account

    def tick(self, now: datetime) -> ReconciliationReport:
        """Ask the carrier about every open attempt that has been quiet, and look for the unknown ones."""
        result = ReconciliationReport()
        self.end_strays(now)
        self._compare_clocks(result)
        for attempt_id in open_attempt_ids(self._database):
            try:
                self.check(attempt_id, now, result)
            except ProviderError as error:
                result.errors += 1
                self._log.warning("call.reconciliation_failed", attempt=attempt_id, error=str(error))
        return result

    def _compare_clocks(self, result: ReconciliationReport) -> None:
        """While the clocks differ too much nothing is dialled, so that no dial's answer can show that they agree again."""
        skew = self._control.skew()
        if skew is None or abs(skew) <= MAX_CLOCK_SKEW.total_seconds():
            return
        try:
            theirs = self._carrier.carrier_now()
        except ProviderError as error:
            result.errors += 1
            self._log.warning("clock.unknown", error=str(error))
            return
        if theirs is not None:
            now = self._clock.now()
            self._control.record_skew((theirs - now).total_seconds(), now)

    def check_live(self, now: datetime) -> None:
        """While orch stops: ask sooner about calls that may be over already, for their end is waited for."""
        for attempt_id in open_attempt_ids(self._database):
            try:
                self.check(attempt_id, now, quiet=QUIET_WHILE_STOPPING)
            except ProviderError as error:
                self._log.warning("call.carrier_error", attempt=attempt_id, error=str(error))

    def check(self, attempt_id: str, now: datetime, result: ReconciliationReport | None = None, *, quiet: timedelta = QUIET) -> None:
        """One attempt, unless it was heard of or asked about within `quiet`. Raises ProviderError when the carrier cannot be asked."""
        result = result if result is not None else ReconciliationReport()
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.outcome is not None:
                return
            if attempt.status == AttemptStatus.DIALING and (owner_of(attempt).is_dead() or now > attempt.send_before + REQUEST_OVER):
                self._orphaned(session, attempt, now)
            if attempt.ended_at is not None:
                result.settled += self._settlement.try_settle(session, attempt, now)
                return
            last_word = attempt.checked_at or attempt.created_at
            if now - last_word < quiet or attempt.status == AttemptStatus.DIALING:
                return
            attempt.checked_at = now
            if not self._is_ours(session, attempt, now):
                if attempt.status != AttemptStatus.UNKNOWN and now >= attempt.dial_until + CALL_OVER:
                    # Its callbacks go to nobody, and nobody here can ask: a person has to say what became of it.
                    attempt.status = AttemptStatus.UNKNOWN
                    attempt.reason = "dialled through another account"
                return
        result.checked += 1
        # What follows asks the carrier: no transaction may be open meanwhile.
        if attempt.carrier_call_id is not None:
            call = self._carrier.fetch(attempt.carrier_call_id)
            if call is not None:
                self._learn(attempt.id, call, now)
                result.settled += call.status.is_final
            else:
                self._lost_sight(attempt.id, now)
        else:
            self._look_for(attempt, now, result)

    def stop(self, attempt_id: str, reason: str, now: datetime) -> None:
        """End the call at the carrier; its final status settles it. Raises ProviderError."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.ended_at is not None or attempt.carrier_call_id is None:
                return
            if not self._is_ours(session, attempt, now):
                return
            attempt.cancel_sent_at = now
            attempt.cancel_reason = attempt.cancel_reason or reason
            carrier_call_id = attempt.carrier_call_id
        self._log.info("call.stopped", attempt=attempt_id, carrier_call=carrier_call_id, reason=reason)
        self._carrier.hang_up(carrier_call_id)

    def wake_line(self, attempt_id: str, base: str, now: datetime) -> None:
        """Tell the carrier to ask how a silent call goes on. Raises ProviderError."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.ended_at is not None or attempt.carrier_call_id is None:
                return
            if not self._is_ours(session, attempt, now):
                return
            attempt.redirected_at = now
            attempt.redirects = (attempt.redirects or 0) + 1
            carrier_call_id, stream = attempt.carrier_call_id, attempt.stream_epoch
        self._log.warning("call.silent", attempt=attempt_id, carrier_call=carrier_call_id, stream=stream)
        self._carrier.redirect(carrier_call_id, continue_url(base, attempt_id, stream=stream))

    def stop_unanswered(self, reason: str, now: datetime) -> int:
        """End every call that nobody has picked up, several at once: there is little time. Returns how many the carrier ends."""

        def stop(attempt_id: str) -> bool:
            try:
                self.stop(attempt_id, reason, now)
            except ProviderError as error:
                self._log.warning("call.carrier_error", attempt=attempt_id, error=str(error))
                return False
            return True

        with ThreadPoolExecutor(STOPS_AT_ONCE, thread_name_prefix="stop") as pool:
            return sum(pool.map(stop, unanswered_attempt_ids(self._database)))

    def end_strays(self, now: datetime) -> None:
        """Hang up calls that belong to no attempt any more. One the carrier would not end now is asked for again."""
        for attempt_id, carrier_call_id in strays(self._database, self._carrier.account):
            try:
                self._carrier.hang_up(carrier_call_id)
            except ProviderError as error:
                self._log.warning("call.stray_not_ended", attempt=attempt_id, carrier_call=carrier_call_id, error=str(error))
                continue
            self._log.warning("call.stray_ended", attempt=attempt_id, carrier_call=carrier_call_id)
            with self._database.write() as session:
                end_stray(session, carrier_call_id, now)

    def _is_ours(self, session: Session, attempt: Attempt, now: datetime) -> bool:
        """Whether the configured account can know this call at all: another account's silence proves nothing."""
        if attempt.account in (None, self._carrier.account):
            resolve(session, f"account:{attempt.id}", now)
            return True
        detail = (
            f"attempt {attempt.id[:8]} was dialled through account {attempt.account}, and {self._carrier.account} is configured: "
            f"set the first one back, or look it up there and use `orch call resolve {attempt.scheduled_call_id[:8]}`"
        )
        report(session, f"account:{attempt.id}", "account", detail, now)
        return False

    def _orphaned(self, session: Session, attempt: Attempt, now: datetime) -> None:
        """Its request has no owner any more: whether it was sent, nobody can say."""
        attempt.status = AttemptStatus.UNKNOWN
        attempt.request_ended_at = attempt.request_ended_at or now
        attempt.reason = "the process that dialled has gone"
        report(
            session,
            f"unknown:{attempt.id}",
            "unknown",
            f"nobody knows whether {mask_phone(attempt.phone)} was rung: the dialling process died",
            now,
        )
        self._log.error("call.unknown", call=attempt.scheduled_call_id, attempt=attempt.id, reason=attempt.reason)

    def _lost_sight(self, attempt_id: str, now: datetime) -> None:
        """The carrier named this call once, and knows it no more: nobody can say what became of it."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.ended_at is not None or attempt.status == AttemptStatus.UNKNOWN:
                return
            attempt.status = AttemptStatus.UNKNOWN
            attempt.reason = "the carrier has no record of the call any more"
            report(session, f"unknown:{attempt.id}", "unknown", f"attempt {attempt.id[:8]}: {attempt.reason}", now)
            self._log.error("call.unknown", call=attempt.scheduled_call_id, attempt=attempt.id, reason=attempt.reason)

    def _look_for(self, attempt: Attempt, now: datetime, result: ReconciliationReport) -> None:
        known = known_carrier_ids(self._database, attempt.phone)
        strangers = False
        for call in self._carrier.list_calls(attempt.phone, attempt.created_at - LISTING_REACH):
            if call.carrier_call_id in known:
                continue
            if call.created_at is not None and call.created_at < attempt.created_at - MAX_CLOCK_SKEW:
                strangers = True
                continue
            self._learn(attempt.id, call, now)
            result.adopted += 1
            return
        with self._database.write() as session:
            row = lock_attempt(session, attempt.id)
            if row is None or row.carrier_call_id is not None or row.outcome is not None:
                return
            if strangers:
                # Somebody's older call to this number: too old to be ours, but reason enough not to conclude that nobody rang.
                row.first_absent_at = None
                report(
                    session, f"stranger:{row.id}", "unknown", f"attempt {row.id[:8]}: the carrier lists an older call that is not ours", now
                )
            elif row.first_absent_at is None:
                row.first_absent_at = now
            elif now - row.first_absent_at >= BETWEEN_LISTINGS:
                self._settlement.close_attempt(session, row, Outcome.FAILED, ABSENT, now)
                result.absent += 1

    def _learn(self, attempt_id: str, call: CarrierCall, now: datetime) -> None:
        self._settlement.apply(
            StatusReport(
                attempt_id=attempt_id,
                carrier_call_id=call.carrier_call_id,
                status=call.status,
                source="reconciliation",
                external_id=f"{call.carrier_call_id}:{call.status}",
                answered_by=call.answered_by,
            ),
            now,
        )
