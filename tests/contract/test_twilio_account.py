"""The doctor's question to Twilio: one GET of the account, through the real SDK, against a server that answers as Twilio does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import ProviderError
from core.telephony.account import check_account

SID = "AC" + "0" * 31 + "1"


class Twilio(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {}
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Twilio

    def do_GET(self) -> None:
        self.server.asked.append((self.path, str(self.headers["Authorization"])))
        raw = json.dumps(self.server.body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def twilio() -> Iterator[Twilio]:
    server = Twilio()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_account_is_asked_for_once_and_told_of(twilio: Twilio) -> None:
    twilio.body = {"sid": SID, "status": "active", "type": "Trial", "friendly_name": "x", "date_created": "Sat, 21 Nov 2026 17:00:00 +0000"}
    found = check_account(SID, "token", base_url=twilio.url)
    assert (found.status, found.kind) == ("active", "Trial")
    assert found.carrier_now is not None
    ((path, authorization),) = twilio.asked
    assert path == f"/2010-04-01/Accounts/{SID}.json"
    assert authorization.startswith("Basic ")


@pytest.mark.parametrize(
    ("status", "body", "retryable", "fragment"),
    [
        (
            401,
            {"code": 20003, "message": "Authenticate"},
            False,
            "does not accept TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (HTTP 401, error 20003)",
        ),
        (404, {"code": 20404}, False, "does not accept"),
        (503, {}, True, "HTTP 503"),
        (200, {"sid": "AC" + "9" * 32, "status": "active"}, True, "HTTP 200"),
        (200, [], True, "HTTP 200"),
    ],
)
def test_what_is_wrong_is_said_without_the_token(twilio: Twilio, status: int, body: Any, retryable: bool, fragment: str) -> None:
    twilio.status, twilio.body = status, body
    with pytest.raises(ProviderError) as caught:
        check_account(SID, "s3cret-token", base_url=twilio.url)
    assert fragment in str(caught.value)
    assert caught.value.retryable is retryable
    assert "s3cret-token" not in str(caught.value)
    assert len(twilio.asked) == 1


def test_nobody_there_is_said_too(twilio: Twilio) -> None:
    url = twilio.url
    twilio.server_close()
    with pytest.raises(ProviderError, match="does not answer"):
        check_account(SID, "token", base_url=url, timeout_seconds=2)
