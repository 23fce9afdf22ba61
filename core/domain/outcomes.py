"""What an ended attempt means. The carrier says how a call ended; the conversation says what came of it."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    ANSWERED = "answered"
    HUNG_UP_EARLY = "hung_up_early"
    VOICEMAIL = "voicemail"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"  # permanent: this number will never take the call
    FAILED = "failed"  # may be tried again
    DROPPED = "dropped"  # the carrier or one of our servers cut it
    CANCELLED = "cancelled"
