"""The Twilio adapter: against the phone network, and against servers that fail in each way that decides about a second dial."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import ProviderError
from core.telephony.base import CarrierStatus, DialRequest, NotPlaced, Placed, Unknown
from core.telephony.twilio import TwilioCarrier
from workers.phone_simulator.weather import Weather

ACCOUNT = "AC" + "a" * 32
REQUEST = DialRequest(
    attempt_id="a-1",
    to="+12025550110",
    voice_url="http://us/voice?attempt=a-1",
    fallback_url="http://us/continue?attempt=a-1",
    status_url="http://us/status?attempt=a-1",
    amd_url="http://us/amd?attempt=a-1",
    ring_seconds=30,
    max_seconds=60,
)
CALL = {
    "sid": "CA" + "b" * 32,
    "account_sid": ACCOUNT,
    "status": "queued",
    "queue_time": "2500",
    "direction": "outbound-api",
    "to": "+12025550110",
}


class RawServer:
    """Accepts connections and lets `behave` do with each what it likes. Counts them, and keeps what was sent."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._behave(connection)

    def read_request(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        while len(body) < sum(lengths):
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    servers: list[RawServer] = []

    def start(behave: Callable[[RawServer, socket.socket], None]) -> RawServer:
        servers.append(RawServer(lambda connection: behave(servers[-1], connection)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def carrier(server: RawServer | int, **changes: Any) -> TwilioCarrier:
    port = server if isinstance(server, int) else server.port
    return TwilioCarrier(ACCOUNT, "token", "+15005550006", f"http://127.0.0.1:{port}", **changes)


def http_answer(status: int, body: object, *, date: str = "Sat, 21 Nov 2026 10:00:00 GMT") -> bytes:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def answers(status: int, body: object) -> Callable[[RawServer, socket.socket], None]:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(http_answer(status, body))

    return behave


# --- what goes over the wire ----------------------------------------------------------------------------------------


def test_a_dial_is_one_request_with_the_attempt_in_every_url(serve: Any) -> None:
    from base64 import b64encode
    from urllib.parse import parse_qsl

    server = serve(answers(201, CALL))

    result = carrier(server).dial(REQUEST, deadline_seconds=5)

    assert result == Placed(CALL["sid"], CarrierStatus.QUEUED, 2.5, datetime(2026, 11, 21, 10, tzinfo=UTC))
    (sent,) = server.requests
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(f"POST /2010-04-01/Accounts/{ACCOUNT}/Calls.json HTTP/1.1\r\n".encode())
    assert b"Authorization: Basic " + b64encode(f"{ACCOUNT}:token".encode()) in head
    assert sorted(parse_qsl(body.decode())) == sorted(
        [
            ("To", "+12025550110"),
            ("From", "+15005550006"),
            ("Url", REQUEST.voice_url),
            ("Method", "POST"),
            ("FallbackUrl", REQUEST.fallback_url),
            ("FallbackMethod", "POST"),
            ("StatusCallback", REQUEST.status_url),
            ("StatusCallbackMethod", "POST"),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("Timeout", "30"),
            ("TimeLimit", "60"),
            ("MachineDetection", "Enable"),
            ("AsyncAmd", "true"),
            ("AsyncAmdStatusCallback", REQUEST.amd_url),
            ("AsyncAmdStatusCallbackMethod", "POST"),
        ]
    )


def test_the_environment_decides_nothing(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(answers(201, CALL))
    for name, value in {
        "TWILIO_EDGE": "sydney",
        "TWILIO_REGION": "au1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)

    assert isinstance(carrier(server).dial(REQUEST, deadline_seconds=5), Placed)


# --- not placed: no byte left, or Twilio's own word for it ----------------------------------------------------------


def test_a_refused_connection_is_not_placed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    result = carrier(port).dial(REQUEST, deadline_seconds=5)

    assert isinstance(result, NotPlaced)
    assert (result.code, result.permanent, result.operator) == ("not_sent", False, False)


def test_a_name_that_does_not_exist_is_not_placed() -> None:
    result = TwilioCarrier(ACCOUNT, "token", "+15005550006", "http://no-such-host.invalid").dial(REQUEST, deadline_seconds=20)

    assert isinstance(result, NotPlaced)


def test_a_handshake_that_fails_is_not_placed(serve: Any) -> None:
    def not_tls(server: RawServer, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = serve(not_tls)

    result = TwilioCarrier(ACCOUNT, "token", "+15005550006", f"https://127.0.0.1:{server.port}").dial(REQUEST, deadline_seconds=5)

    assert isinstance(result, NotPlaced)
    assert server.connections == 1


def test_a_handshake_that_never_ends_is_not_placed_and_nothing_is_sent_later(serve: Any) -> None:
    received: list[bytes] = []
    ended = threading.Event()

    def hold(server: RawServer, connection: socket.socket) -> None:
        received.append(connection.recv(65536))
        with contextlib.suppress(OSError):
            received.append(connection.recv(65536))
        ended.set()

    server = serve(hold)
    began = time.monotonic()

    result = TwilioCarrier(ACCOUNT, "token", "+15005550006", f"https://127.0.0.1:{server.port}").dial(REQUEST, deadline_seconds=0.5)

    assert isinstance(result, NotPlaced)
    assert time.monotonic() - began < 3
    assert ended.wait(5)
    assert received[1:] in ([], [b""])
    assert b"Calls.json" not in received[0]


@pytest.mark.parametrize(
    ("status", "code", "permanent", "operator"),
    [
        (400, 21211, True, False),
        (400, 21217, True, False),
        (400, 21214, True, False),
        (400, 21216, True, True),
        (400, 21210, False, True),
        (400, 21212, False, True),
        (400, 21215, False, True),
        (400, 21219, False, True),
        (400, 21205, False, True),
        (401, 20003, False, True),
        (404, 20404, False, True),
        (429, 20429, False, False),
        (400, 10004, False, False),
        (400, 22005, False, False),
    ],
)
def test_a_listed_error_is_not_placed(serve: Any, status: int, code: int, permanent: bool, operator: bool) -> None:
    server = serve(answers(status, {"code": code, "message": "number +12025550110", "more_info": "...", "status": status}))

    result = carrier(server).dial(REQUEST, deadline_seconds=5)

    assert isinstance(result, NotPlaced)
    assert (result.code, result.permanent, result.operator) == (str(code), permanent, operator)
    assert result.carrier_now == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert "2025550110" not in result.reason
    assert server.connections == 1


# --- unknown: everything else ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"code": 20500, "message": "Internal", "status": 500}),
        (500, {"code": 21211, "message": "a listed code, but not a refusal", "status": 500}),
        (502, b"<html>Bad gateway</html>"),
        (503, {"message": "Service unavailable"}),
        (408, {"code": 21211, "message": "Timeout", "status": 408}),
        (400, {"code": 99999, "message": "never heard of", "status": 400}),
        (400, {"message": "no code", "status": 400}),
        (400, {"code": "21211", "message": "a code that is no number", "status": 400}),
        (400, b"<html>Bad request</html>"),
        (400, [21211]),
        (429, b"slow down"),
        (302, b""),
        (201, b"not json"),
        (201, b"[]"),
        (201, b"null"),
        (201, {}),
        (201, {**CALL, "sid": "CA1"}),
        (201, {**CALL, "account_sid": "AC" + "c" * 32}),
        (200, b""),
    ],
)
def test_an_answer_that_proves_nothing_is_unknown_and_not_repeated(serve: Any, status: int, body: object) -> None:
    server = serve(answers(status, body))

    result = carrier(server).dial(REQUEST, deadline_seconds=5)

    assert isinstance(result, Unknown), result
    assert server.connections == 1


@pytest.mark.parametrize("changes", [{"status": "waiting"}, {"queue_time": None}, {"queue_time": "soon"}, {"date_created": "today"}])
def test_a_call_that_exists_is_placed_however_odd_the_rest_of_the_answer(serve: Any, changes: dict[str, Any]) -> None:
    server = serve(answers(201, {**CALL, **changes}))

    result = carrier(server).dial(REQUEST, deadline_seconds=5)

    assert isinstance(result, Placed)
    assert result.carrier_call_id == CALL["sid"]


def test_a_reset_after_accepting_is_unknown(serve: Any) -> None:
    def reset(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = serve(reset)

    assert isinstance(carrier(server).dial(REQUEST, deadline_seconds=5), Unknown)
    assert server.connections == 1


def test_a_connection_closed_without_an_answer_is_unknown(serve: Any) -> None:
    server = serve(lambda server, connection: server.read_request(connection))

    assert isinstance(carrier(server).dial(REQUEST, deadline_seconds=5), Unknown)
    assert server.connections == 1


def test_an_answer_cut_short_is_unknown(serve: Any) -> None:
    def cut(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(http_answer(201, CALL)[:-20])

    server = serve(cut)

    assert isinstance(carrier(server).dial(REQUEST, deadline_seconds=5), Unknown)


def test_garbage_is_unknown(serve: Any) -> None:
    def babble(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"\0\1\2 what is this\r\n\r\n")

    server = serve(babble)

    assert isinstance(carrier(server).dial(REQUEST, deadline_seconds=5), Unknown)


def test_an_answer_that_does_not_come_is_unknown_at_the_deadline(serve: Any) -> None:
    release = threading.Event()

    def hold(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        release.wait(10)

    server = serve(hold)
    began = time.monotonic()

    result = carrier(server).dial(REQUEST, deadline_seconds=0.5)

    assert isinstance(result, Unknown)
    assert 0.4 < time.monotonic() - began < 3
    release.set()


def test_the_deadline_bounds_an_answer_that_comes_byte_by_byte(serve: Any) -> None:
    def drip(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        for byte in http_answer(201, CALL):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    server = serve(drip)
    began = time.monotonic()

    result = carrier(server).dial(REQUEST, deadline_seconds=0.5)

    assert isinstance(result, Unknown)
    assert time.monotonic() - began < 3


# --- ending, reading, listing ---------------------------------------------------------------------------------------


def test_hanging_up_ends_a_call_in_any_state_and_twice_is_harmless(rig: Any) -> None:
    rig.start(calls_per_second=1.0)
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    adapter = rig.carrier()
    live, queued = rig.dial("+12025550199"), rig.dial("+12025550198")
    rig.until(lambda: rig.call(live).status == "in-progress")
    assert rig.call(queued).status == "queued"

    for sid in (live, queued, live, queued, "CA" + "0" * 32):
        adapter.hang_up(sid)

    assert rig.until_over(live).status == "completed"
    assert rig.until_over(queued).status == "canceled"


def test_a_call_answered_just_before_it_is_cancelled_is_ended_all_the_same(serve: Any) -> None:
    updates: list[str] = []

    def network(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        request = server.requests[-1]
        if request.startswith(b"GET"):
            connection.sendall(http_answer(200, {**CALL, "status": "in-progress" if updates else "ringing"}))
            return
        updates.append(request.rpartition(b"=")[2].decode())
        answer = http_answer(200, {**CALL, "status": "completed"}) if updates[1:] else http_answer(400, {"code": 21220, "status": 400})
        connection.sendall(answer)

    carrier(serve(network)).hang_up(CALL["sid"])

    assert updates == ["canceled", "completed"]


def test_a_cancel_that_changes_nothing_is_followed_up(serve: Any) -> None:
    updates: list[str] = []

    def network(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        request = server.requests[-1]
        if request.startswith(b"POST"):
            updates.append(request.rpartition(b"=")[2].decode())
        status = "in-progress" if updates else "ringing"
        connection.sendall(http_answer(200, {**CALL, "status": status}))

    carrier(serve(network)).hang_up(CALL["sid"])

    assert updates == ["canceled", "completed"]


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (503, True), (429, True), (401, False)])
def test_a_call_that_cannot_be_ended_is_an_error(serve: Any, status: int, retryable: bool) -> None:
    server = serve(answers(status, {"code": 20003, "message": "no", "status": status}))

    with pytest.raises(ProviderError) as caught:
        carrier(server).hang_up(CALL["sid"])

    assert caught.value.retryable is retryable


def test_a_call_is_read_with_its_times_in_utc(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml("<Hangup/>")]
    sid = rig.dial(amd_url=None)
    rig.until_over(sid)

    call = rig.carrier().fetch(sid)

    assert call is not None
    assert (call.carrier_call_id, call.to, call.direction) == (sid, "+12025550110", "outbound-api")
    assert call.status is CarrierStatus.COMPLETED
    assert abs(call.created_at - rig.call(sid).created_at) < timedelta(seconds=1)
    assert call.seconds == rig.call(sid).seconds


def test_a_call_that_does_not_exist_is_none(rig: Any) -> None:
    rig.start()

    assert rig.carrier().fetch("CA" + "0" * 32) is None


def test_a_404_that_is_not_twilios_is_an_error(serve: Any) -> None:
    server = serve(answers(404, b"<html>no such page</html>"))

    with pytest.raises(ProviderError):
        carrier(server).fetch(CALL["sid"])


def test_an_unreachable_carrier_is_an_error_that_may_pass() -> None:
    with pytest.raises(ProviderError) as caught:
        carrier(1).fetch(CALL["sid"])

    assert caught.value.retryable


def test_the_list_holds_all_our_calls_to_a_number_since_an_instant(rig: Any) -> None:
    rig.start(speed=50.0)
    sids = {rig.dial("+12025550170", attempt=f"a-{n}") for n in range(5)}
    rig.dial("+12025550120")

    listed = list(rig.carrier(page_size=2).list_calls("+12025550170", datetime.now(UTC) - timedelta(hours=1)))

    assert {call.carrier_call_id for call in listed} == sids
    assert list(rig.carrier().list_calls("+12025550170", datetime.now(UTC) + timedelta(hours=1))) == []
    requests = [event for event in rig.ledger.events(kind="request") if event.detail["method"] == "GET"]
    assert len(requests) == 4


PAGE = {"calls": [CALL], "next_page_uri": None}


@pytest.mark.parametrize(
    "body",
    [
        {"calls": [CALL]},
        {"next_page_uri": None},
        {**PAGE, "calls": None},
        {**PAGE, "calls": [{**CALL, "status": "unheard of"}]},
        {**PAGE, "calls": [{**CALL, "account_sid": "AC" + "c" * 32}]},
        {**PAGE, "calls": [{}]},
        {**PAGE, "next_page_uri": 7},
        {**PAGE, "next_page_uri": f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json?Page=1"},
        b'{"calls": [',
        b"",
    ],
)
def test_an_incomplete_list_is_an_error_and_never_an_empty_one(serve: Any, body: object) -> None:
    server = serve(answers(200, body))

    with pytest.raises(ProviderError):
        carrier(server).list_calls("+12025550110", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_page_that_fails_fails_the_list(serve: Any) -> None:
    def second_fails(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        page = {**PAGE, "next_page_uri": f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json?Page=1&PageToken=PA1"}
        connection.sendall(http_answer(200, page) if len(server.requests) == 1 else http_answer(500, b"oops"))

    server = serve(second_fails)

    with pytest.raises(ProviderError) as caught:
        carrier(server).list_calls("+12025550110", datetime(2026, 1, 1, tzinfo=UTC))

    assert caught.value.retryable
    assert server.connections == 2


def test_calls_that_came_in_are_not_ours(serve: Any) -> None:
    calls = [{**CALL, "direction": direction} for direction in ("inbound", "outbound-dial", "outbound-api")]
    server = serve(answers(200, {**PAGE, "calls": calls}))

    listed = carrier(server).list_calls("+12025550110", datetime(2026, 1, 1, tzinfo=UTC))

    assert [call.direction for call in listed] == ["outbound-api"]


# --- the carrier's clock, and the carrier in bad weather ------------------------------------------------------------


def test_the_carriers_clock_is_read_from_its_answers(rig: Any) -> None:
    rig.start()

    now = rig.carrier().carrier_now()

    assert now is not None
    assert now.tzinfo is not None
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)
    (request,) = rig.ledger.events(kind="request")
    assert (request.detail["method"], request.detail["fields"]) == ("GET", {"PageSize": ["1"]})


def test_a_clock_that_is_wrong_is_told_as_it_is(serve: Any) -> None:
    assert carrier(serve(answers(200, PAGE))).carrier_now() == datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_a_carrier_without_a_clock_is_none_and_one_that_fails_an_error(serve: Any, rig: Any) -> None:
    def undated(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(http_answer(200, PAGE).replace(b"Date: ", b"X-Was: "))

    assert carrier(serve(undated)).carrier_now() is None

    rig.start(weather=Weather(request_fails=1))
    with pytest.raises(ProviderError) as caught:
        rig.carrier().carrier_now()
    assert (caught.value.retryable, caught.value.code) == (True, "20503")


def test_a_list_that_lags_is_complete_later_and_a_call_is_found_by_its_id_at_once(rig: Any) -> None:
    rig.start(speed=50.0, weather=Weather(listed_after=(1, 1)))
    adapter = rig.carrier(page_size=2)
    sids = {rig.dial("+12025550170", attempt=f"a-{n}") for n in range(5)}
    since = datetime.now(UTC) - timedelta(hours=1)

    early = {call.carrier_call_id for call in adapter.list_calls("+12025550170", since)}

    assert early < sids
    assert all(adapter.fetch(sid) is not None for sid in sids)
    rig.until(lambda: {call.carrier_call_id for call in adapter.list_calls("+12025550170", since)} == sids, "the whole list")


def test_a_list_is_whole_or_an_error_whichever_page_fails(rig: Any) -> None:
    rig.start(speed=50.0, weather=Weather(request_fails=0.4))
    sids = {rig.dial("+12025550170", attempt=f"a-{n}") for n in range(6)}
    adapter = rig.carrier(page_size=2)
    results: list[set[str] | str] = []

    for _ in range(20):
        try:
            results.append({call.carrier_call_id for call in adapter.list_calls("+12025550170", datetime(2026, 1, 1, tzinfo=UTC))})
        except ProviderError as error:
            results.append("error" if error.retryable else "final")

    assert "error" in results
    assert [found for found in results if found != "error"] == [sids] * (len(results) - results.count("error"))
    assert sids in results


def test_a_call_that_is_ended_although_the_answer_says_otherwise_is_over(rig: Any) -> None:
    rig.start(weather=Weather(update_fails_after=1))
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    sid = rig.dial("+12025550199")
    rig.until(lambda: rig.call(sid).status == "in-progress")
    adapter = rig.carrier()

    with pytest.raises(ProviderError) as caught:
        adapter.hang_up(sid)
    adapter.hang_up(sid)

    assert caught.value.retryable
    assert rig.until_over(sid).status == "completed"
    ended = adapter.fetch(sid)
    assert ended is not None
    assert ended.status is CarrierStatus.COMPLETED


def test_a_live_call_is_told_to_fetch_another_document(rig: Any) -> None:
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    rig.us.answers["/continue"] = [rig.twiml("<Hangup/>")]
    rig.start()
    sid = rig.dial()
    rig.until(lambda: rig.verbs(sid) == ["Pause"])
    rig.carrier().redirect(sid, rig.us.url("/continue?attempt=a-1"))
    rig.until(lambda: rig.call(sid).is_over)
    (asked,) = rig.us.to("/continue")
    assert (asked.query, asked.authentic) == ({"attempt": "a-1"}, True)
    # Over, or never heard of: nothing to tell, and no error.
    rig.carrier().redirect(sid, rig.us.url("/continue?attempt=a-1"))
    rig.carrier().redirect("CA" + "f" * 32, rig.us.url("/continue?attempt=a-1"))


def test_a_voice_address_that_fails_is_made_up_for_by_the_other(rig: Any) -> None:
    rig.us.answers["/voice"] = [(503, "text/plain", "restarting")]
    rig.us.answers["/continue"] = [rig.twiml("<Hangup/>")]
    rig.start()
    sid = rig.dial(fallback_url=rig.us.url("/continue?attempt=a-1"))
    rig.until(lambda: rig.call(sid).is_over)
    (asked,) = rig.us.to("/continue")
    assert asked.fields["CallSid"] == sid
    assert asked.authentic


def test_a_redirect_that_may_have_been_lost_is_an_error(serve: Any) -> None:
    server = serve(answers(503, {"code": 20500, "message": "busy"}))
    with pytest.raises(ProviderError) as error:
        carrier(server).redirect(CALL["sid"], "http://us/continue?attempt=a-1")
    assert error.value.retryable
