"""The JSON API: what the command line shows, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from core.errors import NotRunning
from workers.jobs import JOBS, job_named
from workers.webhook_server.parts import WebhookParts

Limit = Annotated[int, Query(ge=1, le=500)]


class PauseRequest(BaseModel):
    reason: str = Field("", max_length=500)


def router(parts: WebhookParts) -> APIRouter:
    routes = APIRouter(prefix="/api", dependencies=[Depends(parts.access.check)])

    @routes.get("/jobs")
    def jobs() -> dict[str, Any]:
        """Every job of every worker, as its worker last said, else as the database last knew."""
        live = parts.live_jobs()
        known = {record.name: record for record in parts.jobs.all()}
        purposes = {job.name: job.summary for job in JOBS}
        listed = []
        for name in sorted(set(known) | set(live or {})):
            record, current = known.get(name), (live or {}).get(name, {})
            listed.append(
                {
                    "id": name,
                    "name": purposes.get(name, name),
                    "worker": record.worker if record else None,
                    "next_run": current.get("next_run") or (record.next_run_at if record else None),
                    "last_run": current.get("last_run") or (record.last_run_at if record else None),
                    "duration_ms": current.get("duration_ms") or (record.last_duration_ms if record else None),
                    "last_error": current.get("last_error") if current else (record.last_error if record else None),
                    "trigger": f"interval[{record.period_seconds:g}s]" if record else None,
                    "running": name in (live or {}),
                }
            )
        return {"scheduler_running": live is not None, "job_count": len(listed), "jobs": listed}

    @routes.post("/jobs/{job}/trigger", status_code=202)
    def trigger(job: str) -> dict[str, str]:
        """Run a job now. 503 when its worker is down: nothing is kept for later."""
        info = job_named(job)
        live = parts.live_jobs()
        if live is None or info.name not in live:
            raise NotRunning(f"{info.worker} is not running, so {info.name} was not triggered; see `orch status`")
        return {"trigger": parts.jobs.request(info.name, info.worker, "api", parts.clock.now()), "job": info.name, "worker": info.worker}

    @routes.get("/triggers/{trigger_id}")
    def trigger_state(trigger_id: str) -> dict[str, Any]:
        return asdict(parts.jobs.get(trigger_id))

    @routes.get("/contacts")
    def contacts() -> list[dict[str, Any]]:
        return [asdict(contact) for contact in parts.contacts.all()]

    @routes.get("/contacts/{wanted}")
    def contact(wanted: str) -> dict[str, Any]:
        return asdict(parts.contacts.find(wanted))

    @routes.get("/calls")
    def calls(state: Annotated[list[str] | None, Query()] = None, limit: Limit = 50) -> list[dict[str, Any]]:
        return [asdict(call) for call in parts.calls.recent(states=state, limit=limit)]

    @routes.get("/calls/{wanted}")
    def call(wanted: str) -> dict[str, Any]:
        found = parts.calls.find(wanted)
        return {**asdict(found), "verdicts": [asdict(verdict) for verdict in parts.calls.verdicts(found.id)]}

    @routes.post("/calls/{wanted}/cancel", status_code=202)
    def cancel(wanted: str) -> dict[str, str]:
        found = parts.calls.find(wanted)
        parts.calls.cancel(found.id, parts.clock.now())
        return {"call": found.id}

    @routes.get("/journal")
    def journal(limit: Limit = 50) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in parts.journal.recent(limit=limit)]

    @routes.get("/journal/{wanted}")
    def entry(wanted: str) -> dict[str, Any]:
        return asdict(parts.journal.find(wanted))

    @routes.get("/inbound")
    def inbound(limit: Limit = 50) -> list[dict[str, Any]]:
        """Calls that people made to us, the newest first."""
        return [asdict(call) for call in parts.inbound_calls.recent(limit=limit)]

    @routes.get("/problems")
    def problems() -> list[dict[str, Any]]:
        return [asdict(problem) for problem in parts.problems.open(parts.clock.now())]

    @routes.get("/dialling")
    def dialling() -> dict[str, Any]:
        pause = parts.control.paused()
        return {"paused": pause is not None, "since": pause.since if pause else None, "reason": pause.reason if pause else None}

    @routes.post("/dialling/pause")
    def pause(request: PauseRequest) -> dict[str, bool]:
        return {"changed": parts.control.pause(request.reason or "paused through the API", parts.clock.now())}

    @routes.post("/dialling/resume")
    def resume() -> dict[str, bool]:
        return {"changed": parts.control.resume(parts.clock.now())}

    return routes
