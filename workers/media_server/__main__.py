"""Media-stream websockets: the live calls. Nothing else runs on its event loop."""

from __future__ import annotations

import sys

from core import bootstrap
from workers.draining import close_the_door
from workers.media_server.server import MediaServer
from workers.runtime import Runtime, run_worker

NAME = "media-server"


async def start(runtime: Runtime) -> None:
    parts = bootstrap.media_parts(runtime.settings)
    server = MediaServer(parts, runtime.clock)
    address = runtime.settings.server
    await server.start(sock=runtime.listen_socket(address.host, address.media_port))

    def in_flight() -> int:
        if runtime.draining.is_set():
            server.drain()
        return server.live_calls

    runtime.in_flight = in_flight
    runtime.status_extra = server.status
    runtime.on_stop(server.close)
    close_the_door(runtime)


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start, listen=True))
