"""The phone network: takes orders for calls, releases them at the account's rate, and runs each to its end."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.logs import get_logger
from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.behaviours import Behaviour, CalleeBook
from workers.phone_simulator.call import PhoneCall
from workers.phone_simulator.call_kinds import InboundCall, OutboundCall
from workers.phone_simulator.callbacks import CallbackSender
from workers.phone_simulator.callee import Voices
from workers.phone_simulator.interpreter import Source
from workers.phone_simulator.ledger import CallRecord, Recording, Request
from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.live_recording import recording_callbacks
from workers.phone_simulator.orders import RECORDING_FIELDS, check_create, check_recording, check_update
from workers.phone_simulator.statuses import ending, record_status
from workers.phone_simulator.values import Order, check_known, first_values
from workers.phone_simulator.verbs import Target
from workers.phone_simulator.weather import CALM, CreateTrouble, Dice, Weather
from workers.phone_simulator.webhooks import Webhooks

_LONGEST_QUEUE_SECONDS = 86400
_CANCELLABLE = {"queued", "initiated", "ringing"}
_log = get_logger()


@dataclass(frozen=True, slots=True)
class InboundSetup:
    """What a number of ours does with calls that come in: its voice URL and its status callback."""

    voice_url: str = ""
    status_url: str = ""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """`numbers` are those the account owns. `speed` makes people and pauses, never audio or the queue, so many times faster.

    `calls_per_second` replaces the weather's.
    """

    account_sid: str
    auth_token: str
    numbers: frozenset[str]
    seed: int = 1
    calls_per_second: float | None = None
    speed: float = 1.0
    weather: Weather = CALM
    inbound: InboundSetup = InboundSetup()


class PhoneNetwork:
    """Lives on one event loop. Owns none of what it is given but closes it in `close`."""

    def __init__(self, options: NetworkOptions, book: CalleeBook, voices: Voices, ledger: LedgerWriter, webhooks: Webhooks) -> None:
        self.options = options
        self.account_sid = options.account_sid
        self.auth_token = options.auth_token
        self.speed = options.speed
        self.numbers = options.numbers
        self.base_url = ""
        self.book = book
        self.ledger = ledger
        self.webhooks = webhooks
        self.voices = voices
        self.callbacks = CallbackSender(ledger, webhooks)
        self._calls: dict[str, PhoneCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._created: Counter[str] = Counter()
        self._next_release = 0.0

    @property
    def live_calls(self) -> int:
        return len(self._calls)

    @property
    def open_callbacks(self) -> int:
        """Calls that our side is about to be told something about."""
        return self.callbacks.busy

    def start(self, base_url: str) -> None:
        """Settle what a killed predecessor left: the lines it held are dead, and those who wait for callbacks get them."""
        self.base_url = base_url
        now = datetime.now(UTC)
        for recording in self.ledger.open_recordings():
            self._lose_recording(recording, now)
        for call in self.ledger.open_calls():
            connected = call.status == "in-progress"
            new = ending("completed") if connected else ending("failed", 503)
            record_status(self.ledger, call, self.account_sid, self.dice(call), new, now)
            _log.info("call.lost_in_restart", call_sid=call.sid, status=call.status)
        self.callbacks.start()

    async def close(self) -> None:
        """Stop at once, as a killed network would: what is open is settled at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.callbacks.close()
        await self.webhooks.close()
        await self.voices.close()
        self.ledger.close()

    def dice(self, call: CallRecord) -> Dice:
        """The weather of a call."""
        return self._dice(call.direction, call.phone, call.visit)

    def weather_of(self, call: CallRecord | None) -> Weather:
        """The weather of the phone at the other end, or, without a call, everybody's."""
        return self.options.weather if call is None else self.book.weather_for(call.phone, self.options.weather)

    def create_trouble(self, order: Order) -> CreateTrouble:
        """What happens to this create. Each create to a number throws anew, refused ones too."""
        to = first_values(order).get("To", "")
        nth = self.ledger.visits(to, "outbound-api") + self._created[to]
        return self._dice("create", to, nth).create_trouble()

    def refused(self, order: Order) -> None:
        """So that the next create to this number has other dice."""
        self._created[first_values(order).get("To", "")] += 1

    def create(self, order: Order) -> CallRecord:
        """Accept a call. Raises ApiError."""
        check_create(order, self.numbers)
        loop_now = asyncio.get_running_loop().time()
        release = max(loop_now, self._next_release)
        queue_seconds = release - loop_now
        if queue_seconds > _LONGEST_QUEUE_SECONDS:
            raise ApiError(22005)
        self._next_release = release + 1 / (self.options.calls_per_second or self.options.weather.calls_per_second)
        to = order["To"][0]
        call, behaviour, dice = self._book_call("outbound-api", to, order["From"][0], dict(order), queue_ms=round(queue_seconds * 1000))
        self._run(call.sid, OutboundCall(self, call.sid, behaviour, dice, queue_seconds))
        return call

    def ring_us(self, phone: str, number: str, behaviour_name: str | None) -> CallRecord:
        """A simulated phone rings one of our numbers. Raises ApiError."""
        setup = self.options.inbound
        if number not in self.numbers:
            raise ApiError(21210, number)
        if not setup.voice_url:
            raise ApiError(20001, "no voice URL is set for calls that come in")
        known = self.book.behaviours
        if behaviour_name is not None and behaviour_name not in known:
            raise ApiError(20001, f"there is no behaviour {behaviour_name}; there are {', '.join(sorted(known))}")
        if behaviour_name is not None and known[behaviour_name].kind != "answers":
            raise ApiError(
                20001, f"{behaviour_name} is a phone that {known[behaviour_name].kind}; one that rings us must be held by somebody"
            )
        request: Request = {"Url": [setup.voice_url], **({"StatusCallback": [setup.status_url]} if setup.status_url else {})}
        call, behaviour, dice = self._book_call("inbound", number, phone, request, behaviour_name=behaviour_name)
        self._run(call.sid, InboundCall(self, call.sid, behaviour, dice))
        return call

    def place_leg(self, parent: CallRecord, caller: str, target: Target) -> tuple[str, Behaviour, Dice]:
        request: Request = {}
        if target.status_callback:
            request = {
                "StatusCallback": [target.status_callback],
                "StatusCallbackMethod": [target.status_callback_method],
                "StatusCallbackEvent": list(target.status_callback_events),
            }
        call, behaviour, dice = self._book_call("outbound-dial", target.number, caller, request, parent_sid=parent.sid)
        return call.sid, behaviour, dice

    def update(self, sid: str, order: Order) -> CallRecord:
        """End or redirect a call. Raises ApiError; 21220 for a call that is not in the state needed."""
        call = self.call(sid)
        check_update(order)
        fields = first_values(order)
        live = self._calls.get(sid)
        if live is None or call.is_over:
            raise ApiError(21220)
        status = fields.get("Status")
        redirected = "Url" in fields or "Twiml" in fields
        if status == "canceled" and call.status not in _CANCELLABLE:
            raise ApiError(21220)
        if status is None and redirected and call.status != "in-progress":
            raise ApiError(21220)
        changed: Request = {name: [fields[name]] for name in ("StatusCallback", "StatusCallbackMethod", "TimeLimit") if name in fields}
        if changed:
            self.ledger.set_request(sid, {**call.request, **changed})
            if "TimeLimit" in changed:
                live.limit(float(fields["TimeLimit"]))
        if status is not None:
            live.end("completed" if status == "completed" and call.status == "in-progress" else "canceled")
        elif redirected:
            live.redirect(_redirection(fields))
        return call

    def delete(self, sid: str) -> None:
        """Raises ApiError for a call that is not over."""
        if not self.call(sid).is_over:
            raise ApiError(21220)
        self.ledger.hide_call(sid, datetime.now(UTC))

    def call(self, sid: str) -> CallRecord:
        """Raises ApiError 20404."""
        call = self.ledger.call(sid)
        if call is None or call.deleted_at is not None:
            raise ApiError(20404, f"/2010-04-01/Accounts/{self.account_sid}/Calls/{sid}.json")
        return call

    def start_recording(self, call_sid: str, order: Order) -> Recording:
        """Record a live call from now on. Raises ApiError 21220 for one that is not connected."""
        call = self.call(call_sid)
        check_known(order, RECORDING_FIELDS, "in a recording")
        check_recording(order)
        live = self._calls.get(call_sid)
        if live is None or call.status != "in-progress":
            raise ApiError(21220)
        fields = first_values(order)
        channels = 2 if fields.get("RecordingChannels") == "dual" else 1
        sid = live.recorder.start("StartCallRecordingAPI", channels, fields.get("RecordingTrack", "both"), dict(order))
        return self.recording(sid)

    def stop_recording(self, call_sid: str, sid: str) -> Recording:
        """Raises ApiError 21220 for one that is over."""
        live = self._calls.get(call_sid)
        if live is None or not live.recorder.is_live(sid):
            raise ApiError(21220)
        return live.recorder.stop(sid)

    def recording(self, sid: str, *, deleted_too: bool = False) -> Recording:
        """Raises ApiError 20404."""
        recording = self.ledger.recording(sid)
        if recording is None or (recording.status == "deleted" and not deleted_too):
            raise ApiError(20404, f"/2010-04-01/Accounts/{self.account_sid}/Recordings/{sid}.json")
        return recording

    def delete_recording(self, sid: str) -> None:
        """Its sound is gone, a note that it was there stays. Raises ApiError."""
        recording = self.recording(sid)
        if recording.seconds is None:
            raise ApiError(21220)
        self.ledger.end_recording(replace(recording, status="deleted"), None, datetime.now(UTC))

    async def settled(self, sid: str) -> None:
        """Wait until an ending asked for by `update` is recorded."""
        phone_call = self._calls.get(sid)
        if phone_call is not None and phone_call.ending_asked:
            await phone_call.over.wait()

    def callbacks_due(self, call_sid: str) -> None:
        self.callbacks.due(call_sid)

    def _book_call(
        self,
        direction: str,
        to: str,
        caller: str,
        request: Request,
        *,
        queue_ms: int = 0,
        parent_sid: str | None = None,
        behaviour_name: str | None = None,
    ) -> tuple[CallRecord, Behaviour, Dice]:
        """Write a new call into the ledger. Everything that is left to chance about it depends on the phone and how often it rang."""
        phone = caller if direction == "inbound" else to
        visit = self.ledger.visits(phone, direction)
        name, behaviour = self.book.behaviour_for(phone, visit, self.options.seed)
        if behaviour_name is not None:
            name, behaviour = behaviour_name, self.book.behaviours[behaviour_name]
        elif direction == "inbound" and behaviour.kind != "answers":
            # Whoever rings us holds the phone, whatever that phone does when it is rung.
            name, behaviour = "(listens)", Behaviour(kind="answers")
        dice = self._dice(direction, phone, visit)
        now = datetime.now(UTC)
        call = CallRecord(
            sid="CA" + uuid.uuid4().hex,
            to=to,
            from_=caller,
            status="queued",
            direction=direction,
            answered_by=None,
            behaviour=name,
            created_at=now,
            updated_at=now,
            started_at=None,
            answered_at=None,
            ended_at=None,
            seconds=None,
            queue_ms=queue_ms,
            sip_code=None,
            callbacks=0,
            request=request,
            parent_sid=parent_sid,
            visit=visit,
            listed_at=now.timestamp() + dice.between("listed after", dice.weather.listed_after),
        )
        self.ledger.add_call(call)
        return call, behaviour, dice

    def _dice(self, kind: str, phone: str, nth: int) -> Dice:
        return Dice(self.book.weather_for(phone, self.options.weather), self.options.seed, kind, phone, nth)

    def _lose_recording(self, recording: Recording, now: datetime) -> None:
        call = self.ledger.call(recording.call_sid)
        lost = replace(recording, status="absent", seconds=0)
        account = (self.account_sid, self.base_url)
        callbacks = recording_callbacks(lost, account, self.dice(call), now) if call is not None else []
        self.ledger.end_recording(lost, None, now, callbacks)

    def _run(self, sid: str, phone_call: PhoneCall) -> None:
        self._calls[sid] = phone_call
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
            call = phone_call.record_now
            record_status(self.ledger, call, self.account_sid, self.dice(call), ending("failed", 500), datetime.now(UTC))
            self.callbacks_due(sid)
            phone_call.over.set()
        finally:
            del self._calls[sid]


def _redirection(fields: dict[str, str]) -> Source:
    twiml = fields.get("Twiml")
    return Source(
        fields.get("Url", ""),
        fields.get("Method", "POST"),
        body=twiml.encode() if twiml else None,
        fallback_url=fields.get("FallbackUrl", ""),
        fallback_method=fields.get("FallbackMethod", "POST"),
    )
