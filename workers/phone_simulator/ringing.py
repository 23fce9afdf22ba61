"""A phone that rings: picked up, or why not."""

from __future__ import annotations

from collections.abc import Callable

from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.callee import Sleep
from workers.phone_simulator.statuses import Ending, ending

_SETUP_SECONDS = 0.05  # from dialling until the network reports that it rings
_PICKED_UP_AFTER = 2.0
_BUSY_AFTER = 0.5


async def ring(behaviour: Behaviour, patience: float, move: Callable[[str], None], sleep: Sleep) -> Ending | None:
    """None when somebody, or something, answers. `patience`: the caller's, in seconds."""
    await sleep(_SETUP_SECONDS)
    if behaviour.kind == "rejected":
        return ending("failed", behaviour.sip_code)
    move("ringing")
    given = behaviour.ring_seconds
    if behaviour.kind == "busy":
        await sleep(_BUSY_AFTER if given is None else given)
        return ending("busy", behaviour.sip_code)
    unanswered = behaviour.kind == "no_answer"
    rings = given if given is not None else patience if unanswered else _PICKED_UP_AFTER
    await sleep(min(rings, patience))
    return ending("no-answer", behaviour.sip_code) if unanswered or rings >= patience else None
