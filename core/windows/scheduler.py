"""From call windows to scheduled calls: whatever is due is opened, whatever closed unserved is recorded as missed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.domain.windows import occurrences_between, zone_of
from core.errors import InvalidInput, OrchError
from core.logs import get_logger
from core.plans.library import PlanLibrary
from core.storage import problems
from core.storage.contacts import local_window, reschedule
from core.storage.database import Database, Session
from core.storage.tables import CallWindow, Contact
from core.storage.windows import (
    BATCH,
    UptimeLog,
    any_due,
    contacts_with_windows,
    due_windows,
    next_opening,
    open_occurrence,
    record_missed,
    reschedule_for_tzdata,
)

# Seconds between two batches of due windows.
BATCH_PAUSE = 0.05
WORKER = "window-scheduler"
# Counting contacts costs a walk over all windows, so it is not done at each wake-up.
RECOUNT = timedelta(minutes=1)


@dataclass(slots=True)
class ScanReport:
    """What one scan did. `skipped` counts occurrences that made no call, by reason."""

    due: int = 0
    opened: int = 0
    missed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    next_opens_at: datetime | None = None

    @property
    def changed(self) -> bool:
        return bool(self.due)


class WindowScheduler:
    def __init__(self, database: Database, plans: PlanLibrary, *, default_plan: str, simulated: bool) -> None:
        self._database = database
        self._plans = plans
        self._default_plan = default_plan
        self._simulated = simulated
        self._uptime = UptimeLog(database, WORKER)
        self._log = get_logger()
        self._contacts = 0
        self._counted_at: datetime | None = None
        self._tzdata_checked = False

    def tick(self, now: datetime) -> ScanReport:
        """Serve every due window. Safe to run in several processes, and again after a crash anywhere in it."""
        if not self._tzdata_checked:
            moved = reschedule_for_tzdata(self._database, now)
            if moved:
                self._log.info("window.tzdata_changed", windows=moved)
            self._tzdata_checked = True
        report = ScanReport()
        while any_due(self._database, now):
            with self._database.write() as session:
                rows = due_windows(session, now)
                for window, contact in rows:
                    report.due += 1
                    self._serve(session, window, contact, now, report)
            if len(rows) < BATCH:
                break
            # Others want the write lock, too, and SQLite hands it out unfairly.
            time.sleep(BATCH_PAUSE)
        # After serving: an interval that already covered the outage would call it up time.
        self._uptime.seen(now)
        report.next_opens_at = next_opening(self._database)
        local = now.astimezone()
        self._log.info(
            "window.scan.finished",
            weekday=f"{local:%A}",
            local_time=f"{local:%H:%M}",
            contacts_with_windows=self._count_contacts(now),
            due=report.due,
            opened=report.opened,
            missed=report.missed,
            skipped=dict(report.skipped),
            next_opens_at=report.next_opens_at.isoformat() if report.next_opens_at else None,
        )
        return report

    def _serve(self, session: Session, window: CallWindow, contact: Contact, now: datetime, report: ScanReport) -> None:
        assert window.next_opens_at is not None
        try:
            zone = zone_of(contact.timezone)
        except InvalidInput as error:
            # One contact's zone that this machine no longer knows must not stop everybody's calls. Moving the contact puts it right.
            problems.report(session, f"zone:{contact.id}", "zone", f"contact {contact.id[:8]} cannot be called: {error}", now)
            window.next_opens_at = None
            report.skipped["zone_unknown"] += 1
            return
        plan_name = window.plan or contact.plan or self._default_plan
        calls_per_day = self._calls_per_day(plan_name)
        # `end` is exclusive: an occurrence that opens at this very instant is due.
        for occurrence in occurrences_between(local_window(window), zone, window.next_opens_at, now + timedelta(microseconds=1)):
            log = self._log.bind(contact=contact.id, window=window.id, opening_date=occurrence.opening_date.isoformat())
            if not contact.active:
                report.skipped["contact_inactive"] += 1
            elif occurrence.closes_at > now:
                call_id = open_occurrence(session, window, contact, occurrence, plan_name, calls_per_day, self._simulated, now)
                if call_id is None:
                    report.skipped["called_today"] += 1
                    log.info("window.skipped", reason="called_today")
                    continue
                report.opened += 1
                log.info(
                    "window.opened",
                    start=window.start,
                    end=window.end,
                    timezone=contact.timezone,
                    late_seconds=round((now - occurrence.opens_at).total_seconds(), 3),
                )
                log.info("call.scheduled", call=call_id, plan=plan_name, closes_at=occurrence.closes_at.isoformat())
            else:
                up = self._uptime.was_up(session, occurrence.opens_at, occurrence.closes_at)
                reason = "the window closed before it could be served" if up else "orch was not running while the window was open"
                if contact.paused_at is not None and contact.paused_at <= occurrence.opens_at:
                    reason = "the contact is paused" + (f": {contact.paused_reason}" if contact.paused_reason else "")
                if record_missed(session, window, contact, occurrence, plan_name, calls_per_day, self._simulated, reason, now):
                    report.missed += 1
                    log.warning("window.missed", reason=reason)
                else:
                    report.skipped["called_today"] += 1
        reschedule(window, contact.timezone, now, including_open=False)

    def _calls_per_day(self, plan_name: str) -> int:
        try:
            return self._plans.get(plan_name).calls_per_day
        except OrchError as error:
            # The call is scheduled all the same, so that the plan's absence is recorded on it rather than here alone.
            self._log.warning("window.plan_unreadable", plan=plan_name, error=str(error))
            return 1

    def _count_contacts(self, now: datetime) -> int:
        if self._counted_at is None or now - self._counted_at >= RECOUNT:
            self._contacts = contacts_with_windows(self._database)
            self._counted_at = now
        return self._contacts
