"""The HTTP application: webhooks, JSON API, health."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from workers.webhook_server import api, problem, twilio
from workers.webhook_server.body import BodyLimit
from workers.webhook_server.parts import WebhookParts


def create_app(parts: WebhookParts) -> FastAPI:
    # The description of the API is behind the same door as the API.
    app = FastAPI(title="orch", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.parts = parts
    problem.install(app)
    app.add_middleware(BodyLimit)
    app.include_router(twilio.router(parts))
    app.include_router(api.router(parts))
    guarded = [Depends(parts.access.check)]

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    def health(response: Response) -> dict[str, str]:
        """200 while calls can be answered, 503 while draining."""
        if parts.draining_since() is not None:
            response.status_code = 503
            return {"status": "draining"}
        # The installation lets the dialler tell that its public URL leads here, and not to somebody else.
        return {"status": "ok", "installation": parts.installation}

    @app.get("/openapi.json", dependencies=guarded, include_in_schema=False)
    def description() -> dict[str, Any]:
        return app.openapi()

    @app.get("/docs", dependencies=guarded, include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="/openapi.json", title="orch")

    return app
