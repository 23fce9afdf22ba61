"""What orch asks of a carrier, whichever it is. Every call blocks; none retries by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class CarrierStatus(StrEnum):
    """A carrier's word for where a call is, in Twilio's terms; adapters translate into them."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in FINAL_CARRIER_STATUSES


# The code of a NotPlaced that never left this machine.
NOT_SENT = "not_sent"

FINAL_CARRIER_STATUSES = frozenset(
    {
        CarrierStatus.COMPLETED,
        CarrierStatus.BUSY,
        CarrierStatus.NO_ANSWER,
        CarrierStatus.CANCELED,
        CarrierStatus.FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class DialRequest:
    """One dial. `attempt_id` goes into every URL the carrier is given: Calls.create has no idempotency key."""

    attempt_id: str
    to: str
    voice_url: str
    fallback_url: str | None  # asked when the voice URL fails
    status_url: str
    amd_url: str | None
    ring_seconds: int
    max_seconds: int


@dataclass(frozen=True, slots=True)
class Placed:
    """The carrier has the call. `queue_seconds` is its own estimate of when it will ring."""

    carrier_call_id: str
    status: CarrierStatus
    queue_seconds: float
    carrier_now: datetime | None  # the carrier's Date header, to measure clock skew


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """The carrier certainly has no call: its own listed error, or a failure before any byte left."""

    code: str
    reason: str
    permanent: bool  # this number will never take the call
    operator: bool  # our account or set-up is at fault: stop dialling, tell the operator
    carrier_now: datetime | None = None
    destination: bool = False  # with `operator`: only as far as this number goes


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether the phone will ring: time-out, reset, 408, 5xx, unreadable answer."""

    reason: str
    carrier_now: datetime | None = None


DialResult = Placed | NotPlaced | Unknown


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """A call as the carrier's records show it. Times are aware UTC; `seconds` is the connected time."""

    carrier_call_id: str
    to: str
    status: CarrierStatus
    direction: str
    created_at: datetime | None
    seconds: int | None
    answered_by: str | None


class Carrier(Protocol):
    """Raises ProviderError from every method but `dial`, which answers with a DialResult instead."""

    name: str
    account: str  # whose calls this carrier lists and ends

    def dial(self, request: DialRequest, *, deadline_seconds: float) -> DialResult: ...

    def hang_up(self, carrier_call_id: str) -> None:
        """End the call whether it is queued, ringing or live. Ending one that is over is harmless."""
        ...

    def redirect(self, carrier_call_id: str, url: str) -> None:
        """Have a live call fetch its next document from `url` now. Harmless for one that is over or not answered yet."""
        ...

    def carrier_now(self) -> datetime | None:
        """The carrier's clock, by a request that changes nothing; None when its answer names no time."""
        ...

    def fetch(self, carrier_call_id: str) -> CarrierCall | None:
        """The carrier's record, or None when it has no such call."""
        ...

    def list_calls(self, to: str, since: datetime) -> Iterator[CarrierCall]:
        """All outbound calls to a number since an instant, over all pages."""
        ...
