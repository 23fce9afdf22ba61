"""What an ended attempt means: the carrier says how the call ended, the conversation says what came of it."""

from __future__ import annotations

from core.domain.outcomes import Outcome

# RFC 3261 sections 21.4 and 21.6: nobody is there, and never will be. 404 not found, 410 gone, 484 address incomplete,
# 604 does not exist anywhere.
_NO_SUCH_NUMBER = frozenset({404, 410, 484, 604})
# Somebody, or a service acting for them, said no: 603 decline (RFC 3261), 607 unwanted (RFC 8197), 608 rejected (RFC 8688).
# Dialling again what was declined is how people come to be rung again and again.
_DECLINED = frozenset({603, 607, 608})
# Why orch itself may end a ringing call that the contact may be tried for again.
_NOT_THEIR_WISH = {"pause": "dialling was paused", "contact_pause": "the contact was paused", "stopping": "orch was stopped"}
# A mailbox's greeting may be taken for so many turns; a machine that says more is a person whom detection mistook for one.
GREETING_TURNS = 1
_THEY_ENDED_IT = frozenset({"hung_up", "goodbye"})


def outcome_of(
    final: str,
    voice_served: bool,
    answered_by: str | None,
    conversation_state: str,
    ended_by: str | None,
    turns: int,
    sip_code: int | None,
    *,
    cancelled_because: str | None = None,
) -> tuple[Outcome, str]:
    """The outcome of an attempt whose carrier status is final, and the reason in words.

    `final` is the carrier's status in Twilio's terms (ValueError for one that is not final). `voice_served`: our voice
    webhook was answered for this attempt. `answered_by` is the answering-machine verdict (human, machine_*, fax, unknown).
    `conversation_state` is none, in_progress, complete or abandoned; `ended_by` is the conversation's EndedBy
    (None: nobody ended it, the line just went). `turns` counts the turns in which the contact said or pressed something.
    `cancelled_because` says why orch cancelled the call, if it did: dial_until, or one of `_NOT_THEIR_WISH`; anything else is a
    person's wish.
    """
    match final:
        case "completed":
            return _completed(voice_served, answered_by, conversation_state, ended_by, turns)
        case "canceled" if cancelled_because == "dial_until":
            return Outcome.NO_ANSWER, "rang until it had to stop"
        case "canceled" if cancelled_because in _NOT_THEIR_WISH:
            return Outcome.FAILED, f"stopped while ringing: {_NOT_THEIR_WISH[cancelled_because]}"
        case "canceled":
            return Outcome.CANCELLED, "cancelled before it was answered"
        case "busy" | "no-answer" | "failed" if sip_code in _DECLINED:
            return Outcome.REJECTED, f"declined (SIP {sip_code})"
        case "busy":
            return Outcome.BUSY, "busy"
        case "no-answer":
            return Outcome.NO_ANSWER, "nobody answered"
        case "failed" if sip_code in _NO_SUCH_NUMBER:
            return Outcome.REJECTED, f"no such number (SIP {sip_code})"
        case "failed":
            return Outcome.FAILED, "the carrier could not connect the call" + (f" (SIP {sip_code})" if sip_code else "")
    raise ValueError(f"not a final carrier status: {final!r}")


def _completed(
    voice_served: bool, answered_by: str | None, conversation_state: str, ended_by: str | None, turns: int
) -> tuple[Outcome, str]:
    """`completed` only says that audio was connected: a mailbox, a stream we refused and a good talk all end so."""
    if not voice_served:
        return Outcome.DROPPED, "answered, but our voice webhook was not reached"
    # What was said outweighs the answering-machine verdict, which takes people with a long greeting for machines.
    if ended_by == "opted_out":
        return Outcome.ANSWERED, "asked not to be called again"
    if ended_by == "complete" or (conversation_state == "complete" and ended_by is None):
        return Outcome.ANSWERED, "the plan was completed"
    if ended_by == "voicemail" or (_is_machine(answered_by) and turns <= GREETING_TURNS):
        return Outcome.VOICEMAIL, "a fax machine answered" if answered_by == "fax" else "voicemail answered"
    if conversation_state == "none":
        return Outcome.DROPPED, "answered, but the conversation never began"
    if ended_by == "dropped":
        return Outcome.DROPPED, "the line was cut during the conversation"
    if ended_by is None or ended_by in _THEY_ENDED_IT:
        return Outcome.HUNG_UP_EARLY, "ended the call before the plan was complete"
    if turns == 0:
        return Outcome.NO_ANSWER, "picked up, but nobody spoke"
    return Outcome.ANSWERED, f"talked, and ended by {ended_by.replace('_', ' ')}"


def _is_machine(answered_by: str | None) -> bool:
    # machine_start, machine_end_beep, machine_end_silence, machine_end_other: all of them are mailboxes.
    return answered_by is not None and (answered_by.startswith("machine") or answered_by == "fax")
