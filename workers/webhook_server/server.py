"""uvicorn under our runtime: it leaves signals alone, and goes down only once live calls no longer need it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import uvicorn
from fastapi import FastAPI

from workers.webhook_server.connection import GuardedProtocol, Limits


class DrainingServer(uvicorn.Server):
    """A server whose end is decided by the runtime. uvicorn's own answer to SIGTERM is to close every connection at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: object) -> None:
        """Signals go to the runtime, which drains first and then calls `finish`."""

    def finish(self) -> None:
        self.should_exit = True


def make_server(app: FastAPI, grace_seconds: int = 5, limits: Limits | None = None) -> DrainingServer:
    config = uvicorn.Config(
        app,
        http=partial(GuardedProtocol, limits or Limits()),  # type: ignore[arg-type]
        # Calls' sound has a server of its own; nothing here is to be upgraded.
        ws="none",
        log_config=None,
        access_log=False,
        # Client addresses are not to be taken from headers: the API's access rules look at the real peer.
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=30,
    )
    return DrainingServer(config)


async def serve(server: DrainingServer, listening: socket.socket) -> None:
    await server.serve(sockets=[listening])
