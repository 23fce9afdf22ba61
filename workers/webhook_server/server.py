"""uvicorn under our runtime: it leaves signals alone, and goes down only once live calls no longer need it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """A server whose end is decided by the runtime. uvicorn's own answer to SIGTERM is to close every connection at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: object) -> None:
        """Signals go to the runtime, which drains first and then calls `finish`."""

    def finish(self) -> None:
        self.should_exit = True


def make_server(app: FastAPI, grace_seconds: int = 5) -> DrainingServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # Client addresses are not to be taken from headers: the API's access rules look at the real peer.
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return DrainingServer(config)


async def serve(server: DrainingServer, listening: socket.socket) -> None:
    await server.serve(sockets=[listening])
