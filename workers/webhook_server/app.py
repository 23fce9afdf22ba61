"""The HTTP application: webhooks, JSON API, health."""

from __future__ import annotations

from fastapi import FastAPI, Response

from workers.webhook_server import api, problem, twilio
from workers.webhook_server.parts import WebhookParts


def create_app(parts: WebhookParts) -> FastAPI:
    app = FastAPI(title="orch", docs_url="/docs", redoc_url=None)
    app.state.parts = parts
    problem.install(app)
    app.include_router(twilio.router(parts))
    app.include_router(api.router(parts))

    @app.get("/health")
    def health(response: Response) -> dict[str, str]:
        """200 while calls can be answered, 503 while draining."""
        if parts.draining():
            response.status_code = 503
            return {"status": "draining"}
        return {"status": "ok"}

    return app
