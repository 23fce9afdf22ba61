"""Twilio's REST interface over HTTP: who may ask, what is written down, and what the weather does to answers.

Source: the OpenAPI document of the 2010 API.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import BasicAuth, web

from workers.phone_simulator import rest_calls, rest_inspection, rest_recordings
from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.call_resource import API_VERSION
from workers.phone_simulator.network import PhoneNetwork
from workers.phone_simulator.rest_answers import Answer, Asked
from workers.phone_simulator.weather import CreateTrouble, Dice

_ACCOUNT = f"/{API_VERSION}/Accounts/{{account}}"
_FIRST_CALLBACK_SECONDS = 3.0
_LARGEST_BODY = 64 * 1024


Handler = Callable[[PhoneNetwork, Asked], Awaitable[Answer]]


class _ConnectionResetByWeather(Exception):
    pass


class SimulatorApp:
    """The network behind its REST interface. `rest_concurrency`: requests at once before Twilio answers 429."""

    def __init__(self, network: PhoneNetwork, *, rest_concurrency: int = 100) -> None:
        self.network = network
        self._concurrency = rest_concurrency
        self._busy = 0
        self._asked: Counter[str] = Counter()
        self._site: web.SockSite | None = None
        self._port = 0
        application = web.Application(client_max_size=_LARGEST_BODY)
        for path, handler in {
            f"{_ACCOUNT}/Calls.json": rest_calls.calls,
            f"{_ACCOUNT}/Calls/{{call}}.json": rest_calls.call,
            f"{_ACCOUNT}/Calls/{{call}}/Recordings.json": rest_recordings.recordings,
            f"{_ACCOUNT}/Calls/{{call}}/Recordings/{{recording}}.json": rest_recordings.recording,
            f"{_ACCOUNT}/Recordings.json": rest_recordings.recordings,
            f"{_ACCOUNT}/Recordings/{{recording}}.json": rest_recordings.recording,
            f"{_ACCOUNT}/Recordings/{{recording}}": rest_recordings.media,
            "/simulator/{what}": rest_inspection.inspect,
            "/simulator/{what}/{which}": rest_inspection.inspect,
            "/{other:.*}": rest_calls.nothing,
        }.items():
            application.router.add_route("*", path, self._serving(handler))
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, listener: socket.socket | None = None) -> None:
        """Serve on `listener`, or on a free port of this machine."""
        if listener is None:
            listener = socket.create_server(("127.0.0.1", 0))
        self._port = listener.getsockname()[1]
        self.network.start(self.base_url)
        await self._runner.setup()
        self._site = web.SockSite(self._runner, listener)
        await self._site.start()

    async def close(self) -> None:
        await self._runner.cleanup()
        await self.network.close()

    def _serving(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            """Counts, authenticates, records, and turns errors into Twilio's form."""
            self._busy += 1
            asked = Asked(request.method, request.path, dict(request.match_info), {})
            answer = Answer(500, {})
            try:
                self._admit(request)
                asked = Asked(request.method, request.path, dict(request.match_info), await _fields_of(request))
                answer = await self._answer(handler, asked)
            except ApiError as error:
                answer = Answer(error.status, error.body())
            except _ConnectionResetByWeather:
                answer = Answer(0, {})
                _reset(request)
            finally:
                self._busy -= 1
                self._record(asked, answer)
            return answer.response()

        return serve

    async def _answer(self, handler: Handler, asked: Asked) -> Answer:
        if asked.path.startswith("/simulator/"):
            # How the network is looked into is no part of the network, and has no weather.
            return await handler(self.network, asked)
        if asked.method == "POST" and asked.path.endswith("/Calls.json"):
            return await self._create(handler, asked)
        return await self._other(handler, asked)

    async def _create(self, handler: Handler, asked: Asked) -> Answer:
        network = self.network
        trouble = network.create_trouble(asked.fields)
        if trouble is CreateTrouble.REFUSED:
            network.refused(asked.fields)
            network.ledger.weather(None, "create_refused", fields=asked.fields)
            raise ApiError(20429)
        answer = await handler(network, asked)
        sid = answer.body["sid"]
        call = network.call(sid)
        dice = network.dice(call)
        if dice.hits("callback before answer", dice.weather.callback_before_answer):
            network.ledger.weather(sid, "callback_before_answer")
            network.callbacks.watch_first(sid)
            await network.callbacks.first_sent(sid, _FIRST_CALLBACK_SECONDS)
        await asyncio.sleep(dice.between("create answered after", dice.weather.create_answered_after))
        if trouble is not CreateTrouble.NONE:
            network.ledger.weather(sid, f"create_{trouble}")
        if trouble is CreateTrouble.FAILS:
            raise ApiError(20500)
        if trouble is CreateTrouble.RESET:
            raise _ConnectionResetByWeather
        return answer

    async def _other(self, handler: Handler, asked: Asked) -> Answer:
        """Reads, updates and deletions: each kind throws anew for each request."""
        network = self.network
        key = f"{asked.method} {asked.path}"
        self._asked[key] += 1
        call = network.ledger.call(asked.named.get("call", ""))
        dice = Dice(network.weather_of(call), network.options.seed, key, self._asked[key])
        if dice.hits("fails", dice.weather.request_fails):
            network.ledger.weather(asked.named.get("call"), "request_fails", method=asked.method, path=asked.path)
            raise ApiError(20503)
        answer = await handler(network, asked)
        if asked.method == "POST" and dice.hits("fails after", dice.weather.update_fails_after):
            network.ledger.weather(asked.named.get("call"), "update_fails_after", path=asked.path)
            raise ApiError(20500)
        return answer

    def _admit(self, request: web.Request) -> None:
        if self._busy > self._concurrency:
            raise ApiError(20429)
        try:
            given = BasicAuth.decode(request.headers.get("Authorization", ""))
        except ValueError:
            raise ApiError(20003) from None
        right = hmac.compare_digest(given.password.encode(), self.network.auth_token.encode())
        if not right or given.login != self.network.account_sid:
            raise ApiError(20003)
        if request.match_info.get("account", self.network.account_sid) != self.network.account_sid:
            raise ApiError(20404, request.path)

    def _record(self, asked: Asked, answer: Answer) -> None:
        if asked.path.startswith("/simulator/") and asked.method == "GET":
            return
        sid = answer.body.get("sid", asked.named.get("call"))
        self.network.ledger.event(
            sid if str(sid).startswith("CA") else asked.named.get("call"),
            "request",
            method=asked.method,
            path=asked.path,
            fields=asked.fields,
            status=answer.status,
            code=answer.body.get("code"),
        )


async def _fields_of(request: web.Request) -> dict[str, list[str]]:
    if request.method == "POST" and request.content_type == "application/json":
        try:
            given = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise ApiError(20001, "the body is not JSON") from None
        if not isinstance(given, dict):
            raise ApiError(20001, "the body is not a JSON object")
        return {str(name): [str(value)] for name, value in given.items() if value is not None}
    grouped: dict[str, list[str]] = {}
    for name, value in (await request.post() if request.method == "POST" else request.query).items():
        grouped.setdefault(name, []).append(str(value))
    return grouped


def _reset(request: web.Request) -> None:
    """The connection ends with a reset, so that the other side cannot take it for an answer."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
