"""A phone network in this process, and orch's side of the wire: webhooks that answer what a test tells them to, and media streams."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import WSMsgType, web
from twilio.rest import Client

from core.telephony.base import DialRequest, Placed
from core.telephony.signature import is_authentic
from core.telephony.twilio import TwilioCarrier
from workers.phone_simulator.audio import tone
from workers.phone_simulator.behaviours import CalleeBook
from workers.phone_simulator.ledger import CallRecord, Ledger
from workers.phone_simulator.network import InboundSetup, NetworkOptions
from workers.phone_simulator.threaded import ThreadedSimulator

ACCOUNT = "AC" + "a" * 32
TOKEN = "0123456789abcdef0123456789abcdef"
CALLER = "+15005550006"
CALLEE = "+12025550110"

BOOK: dict[str, Any] = {
    "behaviours": {
        "talks": {
            "kind": "answers",
            "ring_seconds": 0.2,
            "script": [{"say": "i am well"}, {"say": "yes please"}],
        },
        "hangs_up": {"kind": "answers", "ring_seconds": 0.2, "script": [{"say": "hello"}, {"hang_up": True}]},
        "presses": {"kind": "answers", "ring_seconds": 0.2, "script": [{"dtmf": "1*"}]},
        "silent": {"kind": "answers", "ring_seconds": 0.2, "gives_up_seconds": 600},
        "voicemail": {"kind": "voicemail", "ring_seconds": 0.2, "greeting": "leave a message", "detection_seconds": 0.5},
        "busy": {"kind": "busy", "ring_seconds": 0.1},
        "no_answer": {"kind": "no_answer"},
        "rejected": {"kind": "rejected", "sip_code": 404},
    },
    "callees": [
        {"numbers": ["+1202555011?"], "behaviour": "talks"},
        {"numbers": ["+12025550120"], "sequence": ["busy", "talks"]},
        {"numbers": ["+12025550130"], "behaviour": "no_answer"},
        {"numbers": ["+12025550140"], "behaviour": "hangs_up"},
        {"numbers": ["+12025550150"], "behaviour": "voicemail"},
        {"numbers": ["+12025550160"], "behaviour": "presses"},
        {"numbers": ["+12025550170"], "behaviour": "rejected"},
    ],
    "otherwise": {"behaviour": "silent"},
}


class ToneVoice:
    """Speaks in a tone of 60 ms a character."""

    def __init__(self, voice: str, words_per_minute: int) -> None:
        self.name = (voice, words_per_minute)

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        for _ in text:
            yield tone(440, 0.06)

    async def close(self) -> None: ...


@dataclass
class Hit:
    """One request our side received."""

    path: str
    query: dict[str, str]
    fields: dict[str, str]
    pairs: list[tuple[str, str]]
    method: str
    authentic: bool
    path_and_query: str
    signature: str


@dataclass
class Talk:
    """One media stream, our end: what was received, and how to answer."""

    socket: web.WebSocketResponse
    authentic: bool
    received: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sid(self) -> str:
        return str(self.received[1]["streamSid"])

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == event]

    async def until(self, done: Callable[[Talk], bool], seconds: float = 10) -> bool:
        """Receive until the condition holds. False when the other side ended the stream first."""
        async with asyncio.timeout(seconds):
            while not done(self):
                message = await self.socket.receive()
                if message.type is not WSMsgType.TEXT:
                    return False
                self.received.append(json.loads(message.data))
        return True

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send_str(json.dumps(message))

    async def play(self, audio: bytes) -> None:
        payload = base64.b64encode(audio).decode()
        await self.send({"event": "media", "streamSid": self.sid, "media": {"payload": payload}})

    async def mark(self, name: str) -> None:
        await self.send({"event": "mark", "streamSid": self.sid, "mark": {"name": name}})

    async def clear(self) -> None:
        await self.send({"event": "clear", "streamSid": self.sid})


Answer = str | tuple[int, str, str] | Callable[[Hit], Awaitable[web.StreamResponse]]
Stream = Callable[[Talk], Awaitable[None]]


class OurSide:
    """orch as the carrier sees it. Answers by path, one after the other, the last for ever; records everything."""

    def __init__(self) -> None:
        self.port = 0
        self.hits: list[Hit] = []
        self.talks: list[Talk] = []
        self.answers: dict[str, list[Answer]] = {}
        self.stream: Stream | None = None
        self.failures: list[BaseException] = []
        self._runner: web.AppRunner | None = None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def to(self, path: str) -> list[Hit]:
        return [hit for hit in self.hits if hit.path == path]

    @property
    def statuses(self) -> list[str]:
        return [hit.fields["CallStatus"] for hit in self.to("/status")]

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/media", self._media)
        application.router.add_route("*", "/{path:.*}", self._webhook)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        pairs = [(name, str(value)) for name, value in form.items()]
        signed_url = self.url(request.raw_path)
        hit = Hit(
            request.path,
            dict(request.query),
            dict(pairs),
            pairs,
            request.method,
            is_authentic(TOKEN, signed_url, pairs, request.headers.get("X-Twilio-Signature")),
            request.raw_path,
            request.headers.get("X-Twilio-Signature", ""),
        )
        self.hits.append(hit)
        waiting = self.answers.get(request.path, [])
        answer = (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if waiting else (204, "text/plain", "")
        if callable(answer):
            return await answer(hit)
        status, kind, text = (200, "text/xml", answer) if isinstance(answer, str) else answer
        return web.Response(status=status, text=text or None, content_type=kind)

    async def _media(self, request: web.Request) -> web.StreamResponse:
        url = f"ws://127.0.0.1:{self.port}{request.raw_path}"
        response = web.WebSocketResponse(autoclose=True)
        await response.prepare(request)
        talk = Talk(response, is_authentic(TOKEN, url, [], request.headers.get("X-Twilio-Signature")))
        self.talks.append(talk)
        assert self.stream is not None
        try:
            await self.stream(talk)
        except BaseException as failure:
            self.failures.append(failure)
            raise
        return response


def twiml(*verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(verbs)}</Response>'


class Rig:
    """Both sides, and the carrier adapter between them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.us = OurSide()
        self.twiml = twiml
        self.account, self.token, self.caller = ACCOUNT, TOKEN, CALLER
        self.network: ThreadedSimulator = None  # type: ignore[assignment]  # made by `start`

    def start(self, *, book: dict[str, Any] | None = None, rest_concurrency: int = 100, **options: Any) -> Rig:
        chosen = {"calls_per_second": 1000.0, "speed": 1.0, **options}
        self.network = self._stack.enter_context(
            ThreadedSimulator(
                NetworkOptions(account_sid=ACCOUNT, auth_token=TOKEN, numbers=frozenset({CALLER}), **chosen),
                CalleeBook.model_validate(book or BOOK),
                self._folder / "phone_network.db",
                ToneVoice,
                rest_concurrency=rest_concurrency,
            )
        )
        self.network.run(self.us.start())
        self._stack.callback(lambda: self.network.run(self.us.close()))
        return self

    def take_calls(self) -> None:
        """From now on our number asks `/incoming` what to do with calls that come in."""
        network = self.network.app.network
        network.options = replace(network.options, inbound=InboundSetup(self.us.url("/incoming"), self.us.url("/status")))

    @property
    def ledger(self) -> Ledger:
        return self.network.ledger

    @property
    def api(self) -> str:
        """Where the account's resources are."""
        return f"{self.network.base_url}/2010-04-01/Accounts/{self.account}"

    def ask(self, method: str, path: str, /, **fields: Any) -> httpx.Response:
        """A request to the account's resource at `path`, or to one outside it (`/simulator/...`)."""
        url = f"{self.network.base_url}{path}" if path.startswith("/simulator") else f"{self.api}{path}"
        given: dict[str, Any] = {"params": fields} if method == "GET" else {"data": fields}
        return httpx.request(method, url, auth=(self.account, self.token), **(given if fields else {}))

    def order(self, to: str = CALLEE, **changes: Any) -> str:
        """The sid of a call created with these fields beside To, From and Url."""
        answer = self.ask("POST", "/Calls.json", **{"To": to, "From": self.caller, "Url": self.us.url("/voice"), **changes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["sid"])

    def sdk(self) -> Client:
        client = Client(self.account, self.token, environment={"TWILIO_EDGE": "", "TWILIO_REGION": ""})
        client.api.base_url = self.network.base_url
        return client

    def codes(self, sid: str) -> list[int]:
        return [event.detail["code"] for event in self.ledger.warnings(sid)]

    def verbs(self, sid: str) -> list[str]:
        return [event.detail["verb"] for event in self.ledger.events(sid, "verb")]

    def troubles(self, sid: str | None = None) -> list[str]:
        """What the weather did."""
        return [event.detail["what"] for event in self.ledger.events(sid, "weather")]

    def carrier(self, **changes: Any) -> TwilioCarrier:
        given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": CALLER, "base_url": self.network.base_url, **changes}
        return TwilioCarrier(**given)

    def request(self, to: str = CALLEE, attempt: str = "a-1", **changes: Any) -> DialRequest:
        given: dict[str, Any] = {
            "attempt_id": attempt,
            "to": to,
            "voice_url": self.us.url(f"/voice?attempt={attempt}"),
            "fallback_url": None,
            "status_url": self.us.url(f"/status?attempt={attempt}"),
            "amd_url": None,
            "ring_seconds": 30,
            "max_seconds": 60,
        }
        return DialRequest(**{**given, **changes})

    def dial(self, to: str = CALLEE, **changes: Any) -> str:
        result = self.carrier().dial(self.request(to, **changes), deadline_seconds=10)
        assert isinstance(result, Placed), result
        return result.carrier_call_id

    def call(self, sid: str) -> CallRecord:
        call = self.ledger.call(sid)
        assert call is not None
        return call

    def until(self, condition: Callable[[], Any], what: str = "the condition", seconds: float = 15) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert not self.us.failures, self.us.failures
            assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
            time.sleep(0.01)
        return found

    def until_over(self, sid: str) -> CallRecord:
        """The call, once it is over and every callback about it has been sent."""
        self.until(lambda: self.call(sid).is_over, f"the end of the call (now {self.call(sid).status})")
        asked = self.call(sid)
        if asked.asked("StatusCallback"):
            self.until(lambda: self._callbacks(sid) == self.call(sid).callbacks, "the last status callback")
        return self.call(sid)

    def _callbacks(self, sid: str) -> int:
        return sum(event.detail["purpose"] == "status" for event in self.ledger.events(sid, "webhook"))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Call `rig.start()` first; it takes the options of the network."""
    with ExitStack() as stack:
        yield Rig(stack, tmp_path)
