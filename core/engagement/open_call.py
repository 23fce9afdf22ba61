"""A call under way: why it must be ended now, whether anybody talks on it, and when to look at it again."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.calls.silence import BEARABLE, MOST_REDIRECTS, silent_since
from core.domain.calls import AttemptStatus
from core.domain.settling import GREETING_TURNS
from core.errors import OrchError
from core.plans.library import PlanLibrary
from core.storage.attempts import call_of, contact_of, conversation_of
from core.storage.control import lock_control
from core.storage.conversations import turns_spoken
from core.storage.database import Session
from core.storage.numbers import is_suppressed
from core.storage.tables import Attempt, Run

# How often a stop that did not take is repeated, and how long a finished conversation may keep its line.
STOP_AGAIN = timedelta(seconds=10)
LINGER = timedelta(seconds=45)
# The safety net under webhooks that never come.
LOOK_AGAIN = timedelta(seconds=60)


def reason_to_stop(plans: PlanLibrary, account: str, session: Session, run: Run, attempt: Attempt, now: datetime) -> str | None:
    """Why this call must be ended at the carrier now, or None. Another account's call cannot be: `Watch` raises the alarm."""
    if attempt.account not in (None, account):
        return None
    if attempt.carrier_call_id is None or attempt.ended_at is not None:
        return None
    if attempt.cancel_sent_at is not None and now - attempt.cancel_sent_at < STOP_AGAIN:
        return None
    if run.cancel_requested:
        return "cancelled"
    conversation = conversation_of(session, attempt.id)
    if conversation is not None and conversation.ended_at is not None and now - conversation.ended_at >= LINGER:
        return "conversation_over"
    if attempt.voice_served_at is not None:
        mailbox = _is_machine(attempt) and turns_spoken(session, attempt.id) <= GREETING_TURNS
        if mailbox and _hangs_up_on_voicemail(plans, session, attempt):
            return "voicemail"
        return "silent" if is_silent(account, session, attempt, now) and (attempt.redirects or 0) >= MOST_REDIRECTS else None
    if now >= attempt.dial_until:
        return "dial_until"
    if is_suppressed(session, attempt.phone):
        return "do_not_call"
    if lock_control(session).paused_at is not None:
        return "pause"
    if contact_of(session, attempt.contact_id).paused_at is not None:
        return "contact_pause"
    return None


def is_silent(account: str, session: Session, attempt: Attempt, now: datetime) -> bool:
    """Whether somebody listens to nothing, and this account can do something about it."""
    if attempt.account not in (None, account):
        return False
    since = silent_since(session, attempt, conversation_of(session, attempt.id))
    return since is not None and now - since >= BEARABLE


def _is_machine(attempt: Attempt) -> bool:
    return attempt.answered_by is not None and attempt.answered_by.startswith(("machine", "fax"))


def _hangs_up_on_voicemail(plans: PlanLibrary, session: Session, attempt: Attempt) -> bool:
    # In standard mode nobody listens for the beep, so a message would be spoken over the greeting.
    if attempt.mode == "standard":
        return True
    try:
        return plans.get(call_of(session, attempt.scheduled_call_id).plan).voicemail == "hang_up"
    except OrchError:
        return True


def look_again_at(session: Session, attempt: Attempt, now: datetime) -> datetime:
    """When something may have to be done about it, whatever is heard meanwhile."""
    times = [now + LOOK_AGAIN]
    if attempt.status == AttemptStatus.DIALING:
        times.append(attempt.send_before + timedelta(seconds=31))
    if attempt.ended_at is not None:
        times.append(max(now, attempt.ended_at) + timedelta(seconds=1))
    if attempt.voice_served_at is None and attempt.carrier_call_id is not None:
        times.append(_ahead(attempt.dial_until, now))
    if attempt.cancel_sent_at is not None:
        times.append(_ahead(attempt.cancel_sent_at + STOP_AGAIN, now))
    conversation = conversation_of(session, attempt.id)
    if conversation is not None and conversation.ended_at is not None:
        times.append(_ahead(conversation.ended_at + LINGER, now))
    since = silent_since(session, attempt, conversation)
    if since is not None:
        times.append(_ahead(since + BEARABLE, now))
    return min(times)


def _ahead(at: datetime, now: datetime) -> datetime:
    """What was due has just been done, or could not be: it is tried again after a while."""
    return at if at > now else now + STOP_AGAIN
