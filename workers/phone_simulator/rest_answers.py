"""What a resource is asked, and how it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from workers.phone_simulator.values import Order


@dataclass(frozen=True, slots=True)
class Asked:
    """`named` are the parts of the path that have names."""

    method: str
    path: str
    named: Mapping[str, str]
    fields: Order


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON, or `content` of another type."""

    status: int
    body: dict[str, Any]
    content: bytes | None = None
    content_type: str = "application/json"

    def response(self) -> web.Response:
        if self.status == 204:
            return web.Response(status=204)
        if self.content is not None:
            return web.Response(body=self.content, status=self.status, content_type=self.content_type)
        # Status 0 is an answer that nobody gets any more.
        return web.Response(body=orjson.dumps(self.body), status=self.status or 500, content_type="application/json", charset="utf-8")
