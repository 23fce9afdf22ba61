"""The webhook server through real sockets: who may use the API, and what slow, greedy and broken clients can do to the others."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn

from core.settings import load_settings
from core.storage.database import Database
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from tests.integration.webhook_doubles import ACCOUNT, BASE, KEY, SID, TOKEN, World, a_database, make_world
from workers.webhook_server.access import AccessRules
from workers.webhook_server.app import create_app
from workers.webhook_server.body import MAX_BODY
from workers.webhook_server.connection import MAX_HEAD, Limits
from workers.webhook_server.server import DrainingServer, make_server, serve

PATIENCE = 0.4
CROWD = 20


@dataclass
class Live:
    """A server on a port of its own."""

    world: World
    port: int
    server: DrainingServer
    limits: Limits

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None, host: str | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host if host is not None else f"127.0.0.1:{self.port}")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def webhook(self, kind: str = "status", sequence: int = 1) -> tuple[int, float]:
        """A carrier's status callback, or another of its webhooks: its answer, and how long it took."""
        fields = {"CallSid": SID, "AccountSid": ACCOUNT, "CallStatus": "ringing", "SequenceNumber": str(sequence)}
        path = f"/webhooks/twilio/{kind}?attempt={self.world.attempt_id}"
        headers = {
            SIGNATURE_HEADER: signature_of(TOKEN, BASE + path, fields.items()),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        began = time.monotonic()
        response, _ = self.ask("POST", path, headers, urlencode(fields).encode())
        return response.status, time.monotonic() - began


@contextmanager
def serving(world: World, limits: Limits) -> Iterator[Live]:
    server = make_server(create_app(world.parts), grace_seconds=1, limits=limits)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=lambda: asyncio.run(serve(server, listening)))
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield Live(world, port, server, limits)
    finally:
        server.finish()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, vault) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sockets")
    with a_database(folder, vault) as database:
        yield make_world(database, folder, "enhanced")


@pytest.fixture(scope="module")
def live(world: World) -> Iterator[Live]:
    with serving(world, Limits(request_seconds=PATIENCE, linger_seconds=PATIENCE, max_connections=CROWD)) as running:
        yield running


def read_all(connection: socket.socket) -> bytes:
    """Until the other side closes."""
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def is_problem(response, content: bytes, status: int) -> None:
    assert response.status == status, content
    assert response.getheader("content-type") == "application/problem+json"
    said = json.loads(content)
    assert said["status"] == status
    assert said["title"]
    assert "\n" not in said["detail"]


# --- who may use the API ----------------------------------------------------------------------------------------------

PROXIED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"x-forwarded-for": ""},
    {"X-Forwarded-Host": "127.0.0.1"},
    {"X-Forwarded-Proto": "http"},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
    {"CF-Connecting-IP": "127.0.0.1"},
    {"True-Client-IP": "127.0.0.1"},
    {"X-Original-URL": "/api/calls"},
]
FOREIGN_PAGES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
WRONG_KEYS = [
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"X-API-Key": ""},
    {"X-API-Key": "wrong"},
    {"Authorization": "Bearer \xff\xfe"},
]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "",
    "[::1",
    "localhost.evil.example",
    "0.0.0.0",
    "10.0.0.1",
    "a b",
]


@pytest.mark.parametrize("headers", PROXIED + FOREIGN_PAGES + WRONG_KEYS, ids=str)
def test_these_headers_need_the_right_key(live: Live, headers: dict[str, str]) -> None:
    response, content = live.ask("GET", "/api/calls", headers)
    is_problem(response, content, 401)
    assert response.getheader("www-authenticate") == "Bearer"
    assert KEY.encode() not in content
    rest = {name: value for name, value in headers.items() if name not in ("Authorization", "X-API-Key")}
    response, content = live.ask("GET", "/api/calls", {**rest, "Authorization": f"Bearer {KEY}"})
    assert response.status == 200, content


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_needs_the_key(live: Live, host: str) -> None:
    """A name of a stranger's that resolves to this machine is how a web page reaches it."""
    response, content = live.ask("GET", "/api/calls", host=host)
    is_problem(response, content, 401)
    response, _ = live.ask("GET", "/api/calls", {"X-API-Key": KEY}, host=host)
    assert response.status == 200


def test_two_hosts_are_one_too_many(live: Live) -> None:
    response, content = live.ask("GET", "/api/calls", {"host": "evil.example"})
    is_problem(response, content, 401)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "127.9.9.9"])
def test_this_machine_itself_needs_none_under_the_simulator(live: Live, host: str) -> None:
    for headers in ({}, {"Origin": f"http://{host}"}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}):
        response, content = live.ask("GET", "/api/calls", headers, host=host)
        assert response.status == 200, content


@pytest.mark.parametrize("path", ["/api/calls", "/api/contacts", "/api/inbound", "/api/journal", "/api/problems", "/docs", "/openapi.json"])
def test_behind_a_public_address_or_a_real_carrier_every_door_needs_the_key(closed: Live, path: str) -> None:
    is_problem(*closed.ask("GET", path), 401)
    is_problem(*closed.ask("GET", path, {"Authorization": f"Basic {KEY}"}), 401)
    assert closed.ask("GET", path, {"Authorization": f"bearer {KEY}"})[0].status == 200


@pytest.mark.parametrize("path", ["/api/dialling/pause", "/api/dialling/resume", "/api/jobs/window_scan/trigger", "/api/calls/x/cancel"])
def test_nothing_is_changed_without_the_key(closed: Live, path: str) -> None:
    is_problem(*closed.ask("POST", path, {"Content-Type": "application/json"}, b"{}"), 401)
    assert closed.world.parts.control.paused() is None


@pytest.mark.parametrize(
    ("environment", "opened"),
    [
        ({}, True),
        ({"ORCH_PUBLIC_URL": "https://orch.example"}, False),
        (
            {
                "ORCH_CARRIER": "twilio",
                "TWILIO_ACCOUNT_SID": ACCOUNT,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_FROM_NUMBER": "+12025550100",
                "ORCH_PUBLIC_URL": "https://orch.example",
                "ORCH_PUBLIC_MEDIA_URL": "wss://orch.example",
                "ORCH_DIAL_ONLY": "+12025550123",
            },
            False,
        ),
    ],
)
def test_only_a_simulator_without_a_public_address_is_open_to_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], opened: bool
) -> None:
    for name, value in {"ORCH_HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    assert AccessRules.under(load_settings(), KEY) == AccessRules(KEY, open_to_loopback=opened)


def test_health_is_open_to_everybody(closed: Live) -> None:
    response, content = closed.ask("GET", "/health", {"X-Forwarded-For": "8.8.8.8"}, host="orch.example")
    assert (response.status, json.loads(content)["status"]) == (200, "ok")


@pytest.fixture(scope="module")
def closed(world: World) -> Iterator[Live]:
    with serving(world.with_parts(access=AccessRules(KEY, open_to_loopback=False)), Limits()) as running:
        yield running


def test_an_empty_key_opens_nothing(world: World) -> None:
    rules = AccessRules("", open_to_loopback=False)
    with serving(world.with_parts(access=rules), Limits()) as running:
        for headers in ({"X-API-Key": ""}, {"Authorization": "Bearer "}, {}):
            is_problem(*running.ask("GET", "/api/calls", headers), 401)


# --- methods and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/api/nothing", 404),
        ("POST", "/api/nothing", 404),
        ("GET", "/api/%00", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/api/calls/zzz", 404),
        ("POST", "/api/calls", 405),
        ("POST", "/api/jobs", 405),
        ("OPTIONS", "/api/calls", 405),
        ("DELETE", "/api/calls", 405),
        ("PUT", "/health", 405),
        ("PROPFIND", "/api/calls", 405),
        ("GET", "/webhooks/twilio/voice", 405),
        ("OPTIONS", "/webhooks/twilio/voice", 405),
        ("TRACE", "/webhooks/twilio/voice", 405),
        ("POST", "/webhooks/twilio/nothing", 404),
        ("GET", "/api/calls?limit=x", 422),
        ("GET", "/api/calls?limit=-1", 422),
        ("GET", "/api/calls?limit=" + "9" * 5000, 422),
    ],
)
def test_what_is_not_there_is_a_problem(live: Live, method: str, path: str, status: int) -> None:
    response, content = live.ask(method, path)
    is_problem(response, content, status)
    if status == 405:
        assert response.getheader("allow")


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/api/calls", 405), ("/nothing", 404), ("/webhooks/twilio/voice", 405)])
def test_head_has_a_status_and_no_body(live: Live, path: str, status: int) -> None:
    response, content = live.ask("HEAD", path)
    assert (response.status, content) == (status, b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    ],
)
def test_what_is_no_http_is_answered_and_closed(live: Live, raw: bytes) -> None:
    with live.connect() as connection:
        connection.sendall(raw)
        assert read_all(connection).startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json")
    assert live.webhook()[0] == 204


def test_nobody_gets_a_websocket_here(live: Live) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x" * 22 + "==", "Sec-WebSocket-Version": "13"}
    is_problem(*live.ask("GET", "/media", headers), 404)


# --- greedy and slow clients ------------------------------------------------------------------------------------------


def test_a_body_that_is_declared_too_long_is_refused_before_it_is_read(live: Live) -> None:
    with live.connect() as connection:
        connection.sendall(f"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 413")
        assert b"application/problem+json" in head


@pytest.mark.parametrize("length", [str(10**18), "9" * 400, "0x10", "%D9%A1"])
def test_lengths_that_are_none_are_refused(live: Live, length: str) -> None:
    with live.connect() as connection:
        connection.sendall(f"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        assert read_all(connection).split(b" ")[1] in (b"400", b"413")


@pytest.mark.parametrize("path", ["/webhooks/twilio/voice", "/api/dialling/pause"])
def test_a_body_of_no_declared_length_is_refused_once_it_is_too_long(live: Live, path: str) -> None:
    with live.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        connection.settimeout(0.02)
        answer = b""
        # It goes on sending; the answer comes all the same, long before the end that never comes.
        while not answer and sent < 100 * MAX_BODY:
            connection.sendall(chunk)
            sent += 0x4000
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b"application/problem+json" in answer
        assert sent < 10 * MAX_BODY


def test_a_chunked_webhook_of_a_fair_size_is_taken(live: Live) -> None:
    fields = {"CallSid": SID, "AccountSid": ACCOUNT, "CallStatus": "ringing"}
    path = f"/webhooks/twilio/status?attempt={live.world.attempt_id}"
    body = urlencode(fields).encode()
    with live.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\n{SIGNATURE_HEADER}: {signature_of(TOKEN, BASE + path, fields.items())}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        )
        for start in range(0, len(body), 10):
            part = body[start : start + 10]
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 204")


def test_after_a_refusal_the_connection_is_not_read_for_ever(live: Live) -> None:
    with live.connect() as connection:
        connection.sendall(f"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: {10**9}\r\n\r\n".encode())
        connection.settimeout(0.05)
        began = time.monotonic()
        got = b""
        try:
            while True:
                assert time.monotonic() - began < 8, "it is still read"
                connection.sendall(b"a" * 4096)
                try:
                    got += connection.recv(65536)
                except TimeoutError:
                    continue
        except (ConnectionResetError, BrokenPipeError):
            pass
        # Long enough that the answer was read.
        assert got.startswith(b"HTTP/1.1 413")


def test_a_head_without_end_is_cut(live: Live) -> None:
    with live.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        sent = 0
        try:
            while sent < 100 * MAX_HEAD:
                sent += connection.send(b"X-Filler: " + b"a" * 4000 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        # What the kernel had taken meanwhile does not count as read.
        assert sent < 100 * MAX_HEAD
    assert live.limits.reached["head"] >= 1


TRICKLES = {
    "headers": b"GET /health HTTP/1.1\r\nHost: a\r\nX-A: ",
    "body": b"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\na=",
    "chunks": b"POST /webhooks/twilio/voice HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n",
    "second request": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nX-A: ",
}


@pytest.mark.parametrize("what", TRICKLES)
def test_a_client_that_trickles_is_cut_while_others_are_served(live: Live, what: str) -> None:
    began = time.monotonic()
    with live.connect() as slow:
        slow.sendall(TRICKLES[what])
        slow.settimeout(0.05)
        got = b""
        while True:
            assert time.monotonic() - began < PATIENCE + 3, "it is still there"
            try:
                slow.send(b"x")
                part = slow.recv(65536)
            except TimeoutError:
                assert live.webhook()[0] == 204
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
            if not part:
                break
            got += part
    assert time.monotonic() - began >= PATIENCE * 0.9
    assert b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json" in got


def test_a_client_that_says_nothing_is_cut_without_a_word(live: Live) -> None:
    with live.connect() as silent:
        began = time.monotonic()
        assert read_all(silent) == b""
        assert PATIENCE * 0.9 <= time.monotonic() - began < PATIENCE + 3


def test_a_connection_kept_open_between_requests_is_not_cut_by_the_deadline(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)
    for _ in range(2):
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
        time.sleep(PATIENCE * 1.5)  # not waiting for anything: the idle time is what is tested
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_slow_answer_of_ours_is_not_the_clients_fault(world: World) -> None:
    """The deadline is for the request: one that has arrived is worked on for as long as it takes."""
    with serving(world, Limits(request_seconds=0.2)) as running:
        release = threading.Event()
        held = threading.Event()

        def hold() -> None:
            with world.database.write():
                held.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(5)
        threading.Timer(0.6, release.set).start()
        status, seconds = running.webhook()
        holder.join()
        assert status == 204
        assert seconds > 0.4


def test_a_flood_of_connections_does_not_stop_webhooks(live: Live) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(live.connect()) for _ in range(CROWD * 3)]
        for number, connection in enumerate(held):
            try:
                connection.sendall(b"" if number % 2 else b"POST /webhooks/twilio/voice HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                continue
        for _ in range(5):
            status, seconds = live.webhook()
            assert status == 204
            assert seconds < 2
        assert len(live.server.server_state.connections) <= CROWD + 1
    assert live.limits.reached["connections"] >= CROWD


def test_a_webhook_under_way_is_not_what_gives_way(world: World) -> None:
    with serving(world, Limits(max_connections=4)) as running, ExitStack() as stack:
        release, held = threading.Event(), threading.Event()

        def hold() -> None:
            with world.database.write():
                held.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(5)
        answers: list[int] = []
        webhook = threading.Thread(target=lambda: answers.append(running.webhook()[0]))
        webhook.start()
        deadline = time.monotonic() + 5
        while not running.server.server_state.tasks:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(20):
            stack.enter_context(running.connect())
        while running.limits.reached["connections"] < 15:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        release.set()
        webhook.join(10)
        holder.join(10)
        assert answers == [204]


# --- what is ours of uvicorn's ----------------------------------------------------------------------------------------


def test_while_the_database_is_locked_a_person_on_the_line_gets_their_answer(vault, tmp_path: Path) -> None:
    """Status callbacks wait for the lock; whoever has picked up does not wait behind them."""
    with a_database(tmp_path, vault) as database, ThreadPoolExecutor(25) as carriers:
        own = make_world(database, tmp_path, "enhanced")
        with serving(own, Limits()) as live:
            with database.write():
                waiting = [carriers.submit(live.webhook, "status", number) for number in range(25)]
                status, seconds = live.webhook("voice")
                done = sum(future.done() for future in waiting)
            assert (status, done) == (200, 0)
            assert seconds < 8
            assert {future.result()[0] for future in waiting} == {204}


def test_the_parts_of_uvicorn_that_are_overridden_are_there() -> None:
    """Internal names: a new minor of uvicorn has to be read before it is allowed in pyproject.toml."""
    assert uvicorn.__version__.startswith("0.54.")
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

    for name in ("capture_signals", "handle_exit"):
        assert callable(getattr(uvicorn.Server, name))
    for name in ("on_message_begin", "on_headers_complete", "on_message_complete", "on_response_complete"):
        assert callable(getattr(HttpToolsProtocol, name))
    for name in ("send_400_response", "_unsupported_upgrade_warning"):
        assert callable(getattr(HttpToolsProtocol, name))
    assert "response_complete" in RequestResponseCycle.__init__.__code__.co_names


def test_sigterm_does_not_reach_the_server_and_a_request_under_way_is_answered(sqlite_database: Database, tmp_path: Path) -> None:
    """uvicorn's own answer would be to close every connection; ours waits to be told."""
    world = make_world(sqlite_database, tmp_path, "standard")
    since: list[object] = []
    world = world.with_parts(draining_since=lambda: since[0] if since else None)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, told.set)
        server = make_server(create_app(world.parts), grace_seconds=1, limits=Limits())
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        port = listening.getsockname()[1]
        task = asyncio.create_task(serve(server, listening))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = f"/webhooks/twilio/voice?attempt={world.attempt_id}"
        body = urlencode({"CallSid": SID, "AccountSid": ACCOUNT})
        signature = signature_of(TOKEN, BASE + path, [("CallSid", SID), ("AccountSid", ACCOUNT)])
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{SIGNATURE_HEADER}: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body[:10]).encode())
        await writer.drain()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await told.wait()
            assert not server.should_exit
            writer.write(body[10:].encode())
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            # Told to finish, it goes.
            server.finish()
            await task
        writer.close()
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(live())
