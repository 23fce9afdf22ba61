"""The webhook server's process: HTTP on one port, until its calls are over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core import bootstrap
from core.calls.inbound import InboundCalls
from core.calls.settlement import Settlement
from core.conversation.orchestrator import Orchestrator
from core.errors import OrchError
from core.storage.calls import CallStore
from core.storage.contacts import ContactStore
from core.storage.control import ControlStore
from core.storage.conversations import ConversationStore
from core.storage.inbound import InboundStore
from core.storage.jobs import JobStore
from core.storage.journal import JournalStore
from core.storage.problems import ProblemStore
from workers.control import ask
from workers.draining import close_the_door
from workers.runtime import Runtime, run_worker
from workers.webhook_server.access import AccessRules
from workers.webhook_server.app import create_app
from workers.webhook_server.connection import Limits
from workers.webhook_server.parts import WebhookParts
from workers.webhook_server.server import make_server, serve

NAME = "webhook-server"
# Twilio waits 15 s for an answer: a database that is locked for longer than this must not use that up.
BUSY_SECONDS = 5.0


def build(runtime: Runtime) -> WebhookParts:
    settings = runtime.settings
    database = bootstrap.open_database(settings, busy_seconds=BUSY_SECONDS)
    plans = bootstrap.plan_library(settings)
    account = bootstrap.webhook_account(settings)
    inbound_calls = InboundStore(database)
    began_draining: datetime | None = None

    def draining_since() -> datetime | None:
        nonlocal began_draining
        if began_draining is None and runtime.draining.is_set():
            began_draining = runtime.clock.now()
        return began_draining

    def live_jobs() -> Mapping[str, Mapping[str, Any]] | None:
        try:
            status = ask(settings.paths.run, {"do": "status"}, timeout=2.0)
        except OrchError:
            return None
        return {name: job for worker in status["workers"] for name, job in (worker.get("jobs") or {}).items()}

    return WebhookParts(
        settings=settings,
        clock=runtime.clock,
        account_sid=account.sid,
        auth_token=account.auth_token,
        own_number=account.number,
        stream_key=bootstrap.stream_key(settings),
        installation=bootstrap.installation(settings),
        access=AccessRules.under(settings, bootstrap.api_key(settings)),
        settlement=Settlement(database, plans),
        judge=(judge := bootstrap.judge(settings)),
        orchestrator=Orchestrator(judge, settings.conversations.caller_name),
        plans=plans,
        conversations=ConversationStore(database),
        contacts=ContactStore(database),
        calls=CallStore(database),
        control=ControlStore(database),
        journal=JournalStore(database),
        jobs=JobStore(database),
        problems=ProblemStore(database),
        inbound=InboundCalls(inbound_calls, plans, settings.conversations.caller_name),
        inbound_calls=inbound_calls,
        draining_since=draining_since,
        live_jobs=live_jobs,
    )


async def start(runtime: Runtime) -> None:
    parts = build(runtime)
    await asyncio.to_thread(parts.judge.warm_up)
    limits = Limits()
    server = make_server(create_app(parts), limits=limits)
    listening = runtime.listen_socket(runtime.settings.server.host, runtime.settings.server.port)
    serving = asyncio.create_task(serve(server, listening))

    async def stop() -> None:
        server.finish()
        await serving
        await parts.judge.close()

    def in_flight() -> int:
        # Live calls need their webhooks answered: they are what this worker drains. Asked for only then, not each second.
        if parts.draining_since() is None:
            return 0
        try:
            return parts.calls.live_attempts(runtime.clock.now())
        except OrchError as error:
            runtime.log.warning("worker.live_calls_unknown", error=str(error))
            return 1

    runtime.in_flight = in_flight
    runtime.status_extra = lambda: {"limits_reached": dict(limits.reached)}
    runtime.on_stop(stop)
    close_the_door(runtime)
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start, listen=True))
