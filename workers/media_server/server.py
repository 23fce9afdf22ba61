"""The media server: who may stream, and the live calls of this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import orjson
from picows import WSCloseCode, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server

from core.bootstrap import MediaParts
from core.clock import Clock
from core.conversation.hearing import BeepDetector, TurnDetector
from core.conversation.orchestrator import Orchestrator
from core.conversation.pacer import Pacer
from core.conversation.recording import CallTape, Tapes
from core.conversation.services import Services
from core.conversation.session import Session
from core.conversation.turn_log import TurnLog
from core.errors import InvalidInput, OrchError, ProviderError
from core.logs import get_logger
from core.plans.model import Plan
from core.storage.conversations import CallContext
from core.telephony import stream_token
from core.telephony.stream_token import StreamClaim
from workers.media_server.stream import MAX_FRAME, Counters, MediaStream, Start

PATH = b"/media"
HEALTH_PATH = b"/health"
SPOOL_FOLDER = "spool"
# Redeeming a token is two small transactions; more at once would only queue on the database's lock.
GATE_THREADS = 4
# Streams that have not said which call they are. The carrier says it at once.
MAX_WAITING = 64
# A flood must not become a flood of log lines.
LOG_EVERY_SECONDS = 60.0
WARM_UP_SECONDS = 20.0
REPLAY_RETRY_SECONDS = 20.0
# How long until a provider that could not be reached is tried again.
SPEECH_RETRY_SECONDS = 60.0
# Of the time a worker has for its end.
LAST_COMMIT_SECONDS = 2.0


class Refused(OrchError):
    """A stream may not be let in; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Admission:
    context: CallContext
    plan: Plan
    epoch: int
    tape: CallTape | None

    def close_tape(self) -> None:
        if self.tape is not None:
            self.tape.close()


class MediaServer:
    """Speaks Twilio's media streams at `/media` and answers `GET /health`. Use it from one event loop."""

    def __init__(
        self,
        parts: MediaParts,
        clock: Clock,
        turn_detector: Callable[[int], TurnDetector] | None = None,
        beep_detector: Callable[[], BeepDetector] | None = None,
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._turn_detector = turn_detector or _endpointer
        self._beep_detector = beep_detector or _beeps
        self._turn_log = TurnLog(parts.data_dir / SPOOL_FOLDER, parts.vault, parts.store, clock)
        self._log = get_logger()
        self._gate_threads = ThreadPoolExecutor(max_workers=GATE_THREADS, thread_name_prefix="media-gate")
        self._tape_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tapes")
        self._tapes = Tapes(parts.data_dir, parts.vault, parts.store, clock, self._tape_thread, self._turn_log.do)
        self._calls: set[asyncio.Task[None]] = set()
        self._streams: set[MediaStream] = set()
        self._waiting: dict[MediaStream, None] = {}  # the oldest first
        self._crowded_at = float("-inf")
        self._server: asyncio.Server | None = None
        self._services: Services | None = None
        self._pacer: Pacer | None = None
        self._retry: asyncio.Task[None] | None = None
        self._replaying: asyncio.Task[None] | None = None
        self.counters = Counters()
        self.draining = False

    async def start(self, host: str | None = None, port: int | None = None, *, sock: socket.socket | None = None) -> None:
        """Replay what a dead process left, then listen. Port 0 takes a free one; see `port`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._gate_threads, self._turn_log.replay)
        self._turn_log.start()
        if not self._turn_log.replayed:
            self._replaying = loop.create_task(self._replay_the_rest())
        await self._warm_up()
        self._pacer = Pacer()
        parts = self._parts
        caller = parts.settings.conversations.caller_name
        self._services = Services(
            orchestrator=Orchestrator(parts.judge, caller),
            caller_name=caller,
            recognizer=parts.recognizer,
            synthesizer=parts.synthesizer,
            turn_log=self._turn_log,
            pacer=self._pacer,
            clock=self._clock,
            turn_detector=self._turn_detector,
            beep_detector=self._beep_detector,
            mark_answered_by=lambda attempt, answered_by: parts.store.mark_answered_by(attempt, answered_by, self._clock.now()),
            max_call_seconds=parts.settings.conversations.max_call_seconds,
        )
        where = {"sock": sock} if sock is not None else {"host": host, "port": port}
        self._server = await ws_create_server(self._route, max_frame_size=MAX_FRAME, read_buffer_init_size=4096, **where)

    async def _replay_the_rest(self) -> None:
        """Until it is done nobody who was in one of the dead calls is dialled, and after a day they would be, unheard."""
        loop = asyncio.get_running_loop()
        while not self._turn_log.replayed:
            await asyncio.sleep(REPLAY_RETRY_SECONDS)
            await loop.run_in_executor(self._gate_threads, self._turn_log.replay)

    async def _warm_up(self) -> None:
        """A first call must not wait for voices and decoders to be built."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                await self._ready_speech()
        except (ProviderError, TimeoutError) as error:
            # The server comes up all the same, and calls run in standard mode until speech can be had.
            await self._note_speech(error)
            self._retry = loop.create_task(self._until_speech_is_ready())
        else:
            await self._note_speech(None)
            self._log.info("speech.ready", seconds=round(loop.time() - began, 1))

    async def _ready_speech(self) -> None:
        loop = asyncio.get_running_loop()
        voice = loop.run_in_executor(self._gate_threads, self._parts.synthesizer.warm_up)
        judge = loop.run_in_executor(self._gate_threads, self._parts.judge.warm_up)
        plans = await loop.run_in_executor(self._gate_threads, self._plans)
        await asyncio.gather(voice, judge, self._parts.recognizer.warm_up([plan.all_hints() for plan in plans]))

    async def _until_speech_is_ready(self) -> None:
        while True:
            await asyncio.sleep(SPEECH_RETRY_SECONDS)
            try:
                async with asyncio.timeout(WARM_UP_SECONDS):
                    await self._ready_speech()
            except (ProviderError, TimeoutError) as error:
                await self._note_speech(error)
                continue
            await self._note_speech(None)
            self._log.info("speech.ready")
            return

    async def _note_speech(self, error: BaseException | None) -> None:
        """Tell the dialler, through the database, how calls are to be held."""
        problem = None if error is None else f"{str(error) or type(error).__name__}"
        if problem is not None:
            self._log.error("speech.warm_up_failed", error=problem)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._gate_threads, self._parts.control.record_speech, problem, self._clock.now())
        except OrchError as failure:
            self._log.error("speech.state_not_saved", error=str(failure))

    def _plans(self) -> list[Plan]:
        plans = []
        for name in self._parts.plans.names():
            try:
                plans.append(self._parts.plans.get(name))
            except OrchError as error:
                self._log.error("plan.unusable", plan=name, error=str(error))
        return plans

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def live_calls(self) -> int:
        return len(self._calls)

    def status(self) -> dict[str, object]:
        """For `orch status`."""
        calls = self.live_calls
        trouble = self._parts.judge.trouble
        return {
            "problems": [f"judge: {trouble}; the rules judge meanwhile"] if trouble is not None else [],
            "work": f"{calls} call{'' if calls == 1 else 's'}",
            "live_calls": calls,
            "streams_started": self.counters.started,
            "streams_refused": self.counters.refused,
            "malformed_messages": self.counters.malformed,
            "streams_without_start": len(self._waiting),
            "calls_not_saved": self._turn_log.unsaved,
            "pacing_lateness_ms": round(self._pacer.take_worst_lateness_ms(), 1) if self._pacer is not None else 0.0,
        }

    def drain(self) -> None:
        """Refuse new streams; live calls go on."""
        self.draining = True

    async def close(self) -> None:
        """End what is left. A conversation cut here stays open in SQL, so that another stream may resume it."""
        self.draining = True
        for waiting in (self._retry, self._replaying):
            if waiting is not None:
                waiting.cancel()
        if self._server is not None:
            self._server.close()
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for stream in [*self._streams, *self._waiting]:
            stream.abort()
        # The last seconds of sound first: what they add to SQL goes through the turn log.
        await asyncio.get_running_loop().run_in_executor(None, self._tape_thread.shutdown)
        await self._turn_log.close(LAST_COMMIT_SECONDS)
        parts = self._parts
        await asyncio.gather(parts.recognizer.close(), parts.synthesizer.close(), parts.judge.close(), return_exceptions=True)
        self._gate_threads.shutdown(wait=False, cancel_futures=True)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _route(self, request: WSUpgradeRequest) -> MediaStream | WSUpgradeResponseWithListener | None:
        if request.path == PATH:
            return MediaStream(self, self.counters)
        if request.path == HEALTH_PATH:
            health = {
                "status": "draining" if self.draining else "ok",
                "live_calls": self.live_calls,
                "installation": self._parts.installation,
            }
            body = orjson.dumps(health)
            headers = {"Content-Type": "application/json"}
            if self.draining:
                return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(503, body, headers), None)
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(body, headers), None)
        return None

    # --- Gate ---------------------------------------------------------------------------------------------------------

    def on_refused(self, reason: str) -> None:
        self._log.warning("media.stream_refused", reason=reason)

    def on_connected(self, stream: MediaStream) -> None:
        self._waiting[stream] = None
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.give_way()
            now = asyncio.get_running_loop().time()
            if now - self._crowded_at > LOG_EVERY_SECONDS:
                self._crowded_at = now
                self._log.warning("media.crowded", waiting=len(self._waiting))

    def on_gone(self, stream: MediaStream) -> None:
        self._waiting.pop(stream, None)

    def on_start(self, stream: MediaStream, start: Start) -> None:
        self._waiting.pop(stream, None)
        if self.draining:
            # An orderly close, so that the carrier asks our webhook what comes next.
            stream.refuse("draining", WSCloseCode.GOING_AWAY)
            return
        call = asyncio.get_running_loop().create_task(self._hold(stream, start))
        self._calls.add(call)
        self._streams.add(stream)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(lambda _: self._streams.discard(stream))

    async def _hold(self, stream: MediaStream, start: Start) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked: Future[Admission] | None = None
        try:
            claim = stream_token.verify(self._parts.stream_key, start.token, start.call_sid, self._clock.now())
            asked = self._gate_threads.submit(self._admitted, claim, start.call_sid)
            admission = await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            if asked is not None:
                # The thread goes on, and the tape it will open is nobody's.
                asked.add_done_callback(_close_tape)
            raise
        except (InvalidInput, Refused) as error:
            stream.refuse(str(error))
            return
        except OrchError as error:
            stream.refuse(f"{type(error).__name__}: {error}", WSCloseCode.TRY_AGAIN_LATER)
            return
        except Exception as error:  # noqa: BLE001
            # A bug of ours must not leave a stream open that nobody serves.
            self._log.error("media.gate_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
            stream.refuse(f"{type(error).__name__}: {error}", WSCloseCode.INTERNAL_ERROR)
            return
        if stream.gone:
            self._nothing_said(claim)
            admission.close_tape()
            self._log.info("media.stream_gone", attempt=claim.attempt_id, epoch=claim.epoch)
            return
        assert self._services is not None
        try:
            session = Session(self._services, admission.plan, admission.context, admission.epoch, stream, admission.tape)
            stream.admit(start.stream_sid, session)
        except Exception as error:  # noqa: BLE001
            admission.close_tape()
            self._log.error("media.session_failed", attempt=claim.attempt_id, error=f"{type(error).__name__}: {error}", exc_info=error)
            stream.abort()
            return
        self._log.info(
            "media.stream_started",
            attempt=claim.attempt_id,
            epoch=claim.epoch,
            carrier_call=start.call_sid,
            plan=admission.plan.name,
            resumed=admission.context.conversation_id is not None,
            ms=round((loop.time() - began) * 1000, 1),
        )
        try:
            ending = await session.run()
            self._log.info("media.stream_ended", attempt=claim.attempt_id, epoch=claim.epoch, reason=ending.reason)
        except Exception as error:  # noqa: BLE001
            # One call's failure must not reach the others.
            self._log.error("media.session_failed", attempt=claim.attempt_id, error=f"{type(error).__name__}: {error}", exc_info=error)
            stream.abort()
        finally:
            if stream.malformed:
                self._log.warning("media.malformed", attempt=claim.attempt_id, count=stream.malformed, last=stream.malformed_because)

    def _admitted(self, claim: StreamClaim, call_sid: str) -> Admission:
        """Use the token up, and read what the call is about. Blocks."""
        store = self._parts.store
        if not store.redeem_stream(claim.attempt_id, call_sid, claim.epoch, self._turn_log.spool_id, self._clock.now()):
            raise Refused("the stream token was used before, or belongs to another call")
        try:
            return self._admission(claim)
        except Exception:
            self._nothing_said(claim)
            raise

    def _nothing_said(self, claim: StreamClaim) -> None:
        """A stream that was let in and never spoke has no words that anybody must wait for."""
        self._turn_log.do(lambda: self._parts.store.stream_saved(claim.attempt_id, claim.epoch, self._clock.now()))

    def _admission(self, claim: StreamClaim) -> Admission:
        context = self._parts.store.context(claim.attempt_id)
        if context is None:
            raise Refused("the attempt is unknown")
        if context.conversation_state not in (None, "in_progress"):
            raise Refused("the conversation is over")
        plan = self._parts.plans.get(context.plan)
        return Admission(context, plan, claim.epoch, self._tapes.open(claim.attempt_id, claim.epoch))


def _close_tape(asked: Future[Admission]) -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.result().close_tape()


def _endpointer(patience_ms: int) -> TurnDetector:
    from core.speech.endpointing import Endpointer

    return Endpointer(patience_ms=patience_ms)


def _beeps() -> BeepDetector:
    from core.speech.endpointing import BeepDetector

    return BeepDetector()
