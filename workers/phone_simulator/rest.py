"""Twilio's REST interface for calls, over HTTP.

Source: the OpenAPI document of the 2010 API (CreateCall, FetchCall, UpdateCall, ListCall).
"""

from __future__ import annotations

import hmac
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import BasicAuth, web

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.call_resource import API_VERSION, as_json
from workers.phone_simulator.network import PhoneNetwork

_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
_FILTERS = ("To", "From", "Status")
_DEFAULT_PAGE_SIZE = 50
_LARGEST_PAGE = 1000


class SimulatorApp:
    """The network behind its REST interface. `rest_concurrency`: requests at once before Twilio answers 429."""

    def __init__(self, network: PhoneNetwork, *, rest_concurrency: int = 100) -> None:
        self.network = network
        self._concurrency = rest_concurrency
        self._busy = 0
        self._site: web.SockSite | None = None
        self._port = 0
        application = web.Application()
        calls = f"/{API_VERSION}/Accounts/{{account}}/Calls"
        for path in (f"{calls}.json", f"{calls}/{{sid}}.json", "/{other:.*}"):
            application.router.add_route("*", path, self._serve)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, listener: socket.socket | None = None) -> None:
        """Serve on `listener`, or on a free port of this machine."""
        if listener is None:
            listener = socket.create_server(("127.0.0.1", 0))
        self._port = listener.getsockname()[1]
        self.network.start()
        await self._runner.setup()
        self._site = web.SockSite(self._runner, listener)
        await self._site.start()

    async def close(self) -> None:
        await self._runner.cleanup()
        await self.network.close()

    async def _serve(self, request: web.Request) -> web.Response:
        """Counts, authenticates, records, and turns errors into Twilio's form."""
        self._busy += 1
        fields: dict[str, list[str]] = {}
        sid: str | None = request.match_info.get("sid")
        status = 500
        body: dict[str, Any] = {}
        try:
            self._admit(request)
            fields = _grouped(await request.post() if request.method == "POST" else request.query)
            status, body = await self._dispatch(request, fields)
        except ApiError as error:
            status, body = error.status, error.body()
        finally:
            self._busy -= 1
            self.network.ledger.event(
                body.get("sid", sid),
                "request",
                method=request.method,
                path=request.path,
                fields=fields,
                status=status,
                code=body.get("code"),
            )
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8")

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

    async def _dispatch(self, request: web.Request, fields: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if "other" in request.match_info:
            raise ApiError(20404, request.path)
        sid = request.match_info.get("sid")
        match request.method, sid:
            case "POST", None:
                return 201, self._body(self.network.create(fields).sid)
            case "GET", None:
                return 200, self._page(fields)
            case "POST", str():
                self.network.update(sid, fields)
                await self.network.settled(sid)
                return 200, self._body(sid)
            case "GET", str():
                return 200, self._body(sid)
            case _:
                raise ApiError(20004)

    def _body(self, sid: str) -> dict[str, Any]:
        return as_json(self.network.call(sid), self.network.account_sid)

    def _page(self, fields: Mapping[str, list[str]]) -> dict[str, Any]:
        given = {name: values[0] for name, values in fields.items() if values and values[0]}
        unknown = given.keys() - {*_FILTERS, "PageSize", "Page", "PageToken"}
        if unknown:
            raise ApiError(20001, f"the phone simulator does not filter by {', '.join(sorted(unknown))}")
        size = _whole(given, "PageSize", _DEFAULT_PAGE_SIZE, least=1, most=_LARGEST_PAGE)
        page = _whole(given, "Page", 0, least=0, most=10**6)
        token = given.get("PageToken")
        if token is not None and not _CALL_SID.fullmatch(token.removeprefix("PA")):
            raise ApiError(20001, "PageToken is not valid")
        if page > 0 and token is None:
            raise ApiError(20001, "a Page but the first needs the PageToken of next_page_uri")
        filters = [(name, given[name]) for name in _FILTERS if name in given]
        # One more than fits tells whether another page follows. The token makes pages stand still while new calls come in.
        found = self.network.ledger.page(filters, size + 1, token.removeprefix("PA") if token else None)
        shown = found[:size]
        path = f"/{API_VERSION}/Accounts/{self.network.account_sid}/Calls.json"

        def uri(number: int, after: str | None) -> str:
            place = [("PageToken", f"PA{after}")] if after else []
            return f"{path}?{urlencode([*filters, ('PageSize', str(size)), ('Page', str(number)), *place])}"

        return {
            "calls": [as_json(call, self.network.account_sid) for call in shown],
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + max(0, len(shown) - 1),
            "uri": uri(page, token.removeprefix("PA") if token else None),
            "first_page_uri": uri(0, None),
            # Twilio lists no way back from a page reached by a token that it can forget; the SDK never asks for it.
            "previous_page_uri": None,
            "next_page_uri": uri(page + 1, shown[-1].sid) if len(found) > size else None,
        }


def _grouped(fields: Any) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in fields.items():
        grouped.setdefault(name, []).append(str(value))
    return grouped


def _whole(given: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if not value.isdigit() or not least <= int(value) <= most:
        raise ApiError(20001, f"{name} must be a whole number from {least} to {most}")
    return int(value)
