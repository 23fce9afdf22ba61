"""What a server that the carrier talks to says when it is told to stop."""

from __future__ import annotations

import asyncio

from workers.runtime import Runtime


def close_the_door(runtime: Runtime) -> None:
    """Once this worker drains nobody is dialled: whoever was dialled from then on would be turned away. Called in `start`."""
    noting = asyncio.create_task(_note(runtime))

    async def stop() -> None:
        noting.cancel()

    runtime.on_stop(stop)


async def _note(runtime: Runtime) -> None:
    from core.storage.control import ControlStore

    await runtime.draining.wait()
    try:
        # The next dial finds out by itself, but an earlier answer of ours may still hold for half a minute.
        await asyncio.to_thread(ControlStore(runtime.db).record_reach, f"the {runtime.name} is stopping", runtime.clock.now())
    except Exception:
        runtime.log.exception("worker.drain_not_noted")
