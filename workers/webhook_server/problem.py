"""Errors over HTTP: application/problem+json (RFC 9457), one clear line in `detail`."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from core.errors import Conflict, InvalidInput, NotFound, NotRunning, OrchError, SettingsError

_STATUS: dict[type[OrchError], int] = {NotFound: 404, InvalidInput: 422, Conflict: 409, NotRunning: 503, SettingsError: 500}


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def install(app: FastAPI) -> None:
    @app.exception_handler(OrchError)
    async def _orch(_request: Request, error: OrchError) -> Response:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 503)
        return problem(status, str(error))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"there is nothing at {request.scope['path'][:200]}; /docs lists what there is"
        elif error.status_code == 405:
            detail = f"{request.method} is not allowed here; allowed: {(error.headers or {}).get('Allow', 'nothing')}"
        return problem(error.status_code, detail, dict(error.headers) if error.headers else None)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, f"{where}: {first['msg']}")

    @app.exception_handler(Exception)
    async def _bug(_request: Request, _error: Exception) -> Response:
        return problem(500, "something went wrong here; `orch logs --worker webhook-server` says what")
