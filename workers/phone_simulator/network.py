"""The phone network: takes orders for calls, releases them at the account's rate, and runs each to its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.behaviours import CalleeBook
from workers.phone_simulator.call import PhoneCall, ending, record_status
from workers.phone_simulator.callee import Voices
from workers.phone_simulator.interpreter import Source
from workers.phone_simulator.ledger import CallRecord, LedgerWriter
from workers.phone_simulator.orders import check_order, check_url
from workers.phone_simulator.webhooks import Webhooks

_LONGEST_QUEUE_SECONDS = 86400
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """`numbers` are those the account owns. `speed` makes people and pauses, never audio or the queue, so many times faster."""

    account_sid: str
    auth_token: str
    numbers: frozenset[str]
    seed: int = 1
    calls_per_second: float = 1.0
    speed: float = 1.0
    hang_up_after_break: bool = False


class PhoneNetwork:
    """Lives on one event loop. Owns none of what it is given but closes it in `close`."""

    def __init__(self, options: NetworkOptions, book: CalleeBook, voices: Voices, ledger: LedgerWriter, webhooks: Webhooks) -> None:
        self.account_sid = options.account_sid
        self.auth_token = options.auth_token
        self.speed = options.speed
        self.hang_up_after_break = options.hang_up_after_break
        self.ledger = ledger
        self.webhooks = webhooks
        self.voices = voices
        self._options = options
        self._book = book
        self._calls: dict[str, PhoneCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._next_release = 0.0

    @property
    def live_calls(self) -> int:
        return len(self._calls)

    @property
    def open_callbacks(self) -> int:
        """Calls that our side has yet to be told something about."""
        return len(self._senders)

    def start(self) -> None:
        """Settle what a killed predecessor left: the lines it held are dead, and those who wait for callbacks get them."""
        now = datetime.now(UTC)
        for call in self.ledger.open_calls():
            connected = call.status == "in-progress"
            record_status(self.ledger, call, self.account_sid, ending("completed") if connected else ending("failed", 503), now)
            _log.info("call.lost_in_restart", call_sid=call.sid, status=call.status)
        for call_sid in {callback.call_sid for callback in self.ledger.waiting_callbacks()}:
            self.callbacks_due(call_sid)

    async def close(self) -> None:
        """Stop at once, as a killed network would: what is open is settled at the next start."""
        tasks = [*self._tasks, *self._senders.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.webhooks.close()
        await self.voices.close()
        self.ledger.close()

    def create(self, order: Mapping[str, list[str]]) -> CallRecord:
        """Accept a call. Raises ApiError."""
        check_order(order, self._options.numbers)
        loop_now = asyncio.get_running_loop().time()
        release = max(loop_now, self._next_release)
        queue_seconds = release - loop_now
        if queue_seconds > _LONGEST_QUEUE_SECONDS:
            raise ApiError(22005)
        self._next_release = release + 1 / self._options.calls_per_second
        to = order["To"][0]
        name, behaviour = self._book.behaviour_for(to, self.ledger.count(to), self._options.seed)
        now = datetime.now(UTC)
        call = CallRecord(
            sid="CA" + uuid.uuid4().hex,
            to=to,
            from_=order["From"][0],
            status="queued",
            direction="outbound-api",
            answered_by=None,
            behaviour=name,
            created_at=now,
            updated_at=now,
            started_at=None,
            answered_at=None,
            ended_at=None,
            seconds=None,
            queue_ms=round(queue_seconds * 1000),
            sip_code=None,
            callbacks=0,
            request=dict(order),
        )
        self.ledger.add_call(call)
        phone_call = PhoneCall(self, call.sid, behaviour, queue_seconds)
        self._calls[call.sid] = phone_call
        self._spawn(call.sid, phone_call)
        return call

    def update(self, sid: str, order: Mapping[str, list[str]]) -> CallRecord:
        """End or redirect a call. Raises ApiError; 21220 for a call that is not in the state needed."""
        call = self.call(sid)
        fields = {name: values[0] for name, values in order.items() if values and values[0]}
        unknown = fields.keys() - {"Status", "Url", "Method", "Twiml", "FallbackUrl", "FallbackMethod"}
        if unknown:
            raise ApiError(20001, f"the phone simulator does not simulate {', '.join(sorted(unknown))} in an update")
        live = self._calls.get(sid)
        if live is None or call.is_over:
            raise ApiError(21220)
        status = fields.get("Status")
        if status == "canceled":
            if call.status not in {"queued", "initiated", "ringing"}:
                raise ApiError(21220)
            live.end("canceled")
        elif status == "completed":
            live.end("completed" if call.status == "in-progress" else "canceled")
        elif status is not None:
            raise ApiError(20001, f"Status must be canceled or completed, not {status}")
        else:
            if call.status != "in-progress":
                raise ApiError(21220)
            live.redirect(_redirection(fields))
        return call

    def call(self, sid: str) -> CallRecord:
        call = self.ledger.call(sid)
        if call is None:
            raise ApiError(20404, f"/2010-04-01/Accounts/{self.account_sid}/Calls/{sid}.json")
        return call

    async def settled(self, sid: str) -> None:
        """Wait until an ending asked for by `update` is recorded."""
        phone_call = self._calls.get(sid)
        if phone_call is not None and phone_call.ending_asked:
            await phone_call.over.wait()

    def callbacks_due(self, call_sid: str) -> None:
        """Send what is due for the call, one after the other; at most one sender a call keeps them in order."""
        if call_sid in self._senders:
            return
        sender = asyncio.get_running_loop().create_task(self._send_callbacks(call_sid))
        self._senders[call_sid] = sender

    async def _send_callbacks(self, call_sid: str) -> None:
        try:
            while due := self.ledger.waiting_callbacks(call_sid):
                callback = due[0]
                await self.webhooks.send("status", call_sid, callback.url, callback.method, callback.fields)
                self.ledger.callback_done(callback.id, datetime.now(UTC))
        finally:
            del self._senders[call_sid]

    def _spawn(self, sid: str, phone_call: PhoneCall) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(sid, phone_call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, sid: str, phone_call: PhoneCall) -> None:
        try:
            await phone_call.run()
        except Exception:  # noqa: BLE001
            # A bug in one call must not leave it open for ever, nor end the others.
            _log.exception("call.crashed", call_sid=sid)
            self.ledger.warn(sid, 0, "the phone simulator failed in this call; its log says why")
            record_status(self.ledger, self.call(sid), self.account_sid, ending("failed", 500), datetime.now(UTC))
            self.callbacks_due(sid)
        finally:
            del self._calls[sid]


def _redirection(fields: Mapping[str, str]) -> Source:
    url, twiml = fields.get("Url"), fields.get("Twiml")
    if (url is None) == (twiml is None):
        raise ApiError(20001, "an update needs Status, Url or Twiml")
    if url is not None:
        check_url(url, 21205)
    return Source(
        url or "",
        fields.get("Method", "POST"),
        body=twiml.encode() if twiml else None,
        fallback_url=fields.get("FallbackUrl", ""),
        fallback_method=fields.get("FallbackMethod", "POST"),
    )
