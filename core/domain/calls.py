"""Scheduled calls and attempts: their states, and which of them are over."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """Where a scheduled call comes from."""

    WINDOW = "window"
    NOW = "now"
    CALLBACK = "callback"
    LEAD = "lead"


class CallState(StrEnum):
    """States of a scheduled call."""

    PENDING = "pending"
    DIALING = "dialing"
    IN_PROGRESS = "in_progress"
    WAITING_RETRY = "waiting_retry"
    COMPLETED = "completed"
    MISSED = "missed"  # its window closed, or its retries ran out, before a conversation
    UNRESOLVED = "unresolved"  # nobody knows whether the phone rang: a person has to find out
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_CALL_STATES


class Unplaced(StrEnum):
    """Why a dial certainly rang nobody. All but the first may be tried again, at no cost to the call's retries."""

    NUMBER = "number"  # this number will never take the call
    OPERATOR = "operator"  # our account or set-up is at fault
    DESTINATION = "destination"  # our account may not call this number, and may call others
    UNREACHED = "unreached"  # no byte of the request left
    LATER = "later"  # the carrier takes no more calls just now
    STALE = "stale"  # the decision lay too long before it could be sent


FINAL_CALL_STATES = frozenset({CallState.COMPLETED, CallState.MISSED, CallState.UNRESOLVED, CallState.FAILED, CallState.CANCELLED})


class AttemptStatus(StrEnum):
    """Statuses of an attempt. `unknown` is a status and never an outcome: it is not dialled over."""

    INTENDED = "intended"
    DIALING = "dialing"
    UNKNOWN = "unknown"
    QUEUED = "queued"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    ENDED = "ended"


OPEN_ATTEMPT_STATUSES = frozenset(AttemptStatus) - {AttemptStatus.ENDED}
