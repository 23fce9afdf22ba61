"""Media-stream websockets: the live calls. Nothing else runs on its event loop."""

from __future__ import annotations

import contextlib
import sys

from core import bootstrap
from core.errors import OrchError
from workers.media_server.server import MediaServer
from workers.runtime import Runtime, run_worker

NAME = "media-server"


async def start(runtime: Runtime) -> None:
    parts = bootstrap.media_parts(runtime.settings)
    # A plan that cannot be read is reported where it is used; the others are no worse for it.
    hint_sets = []
    for name in parts.plans.names():
        with contextlib.suppress(OrchError):
            hint_sets.append(parts.plans.get(name).all_hints())
    parts.synthesizer.warm_up()
    await parts.recognizer.warm_up(hint_sets)
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


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start, listen=True))
