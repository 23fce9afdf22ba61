"""Request bodies have a size that they may not pass, whatever their headers say."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.webhook_server.problem import problem

# Twilio's own forms are a few kilobytes.
MAX_BODY = 64 * 1024
TOO_LARGE = f"a request body may have {MAX_BODY} bytes"


class BodyLimit:
    """Refuses a body that is declared too long before reading it, and one of no declared length once it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or len(declared) > 10 or int(declared) > MAX_BODY:
            await problem(413, TOO_LARGE)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self._app(scope, counted, send)
