"""What is measured around a dial: our public URL, a carrier that takes no calls, the carrier's own queue."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.calls.reach import HealthCheck
from core.domain.calls import CallState
from core.storage.problems import ProblemStore
from core.telephony.base import CarrierStatus, NotPlaced, Placed, Unknown


def test_a_public_url_that_does_not_answer_stops_dialling_until_it_does(bench) -> None:
    bench.public.found = "it answers 502"
    call = bench.call()
    bench.step()
    assert bench.carrier.dials == []
    assert "it answers 502" in (bench.view(call).reason or "")
    bench.tick(4)
    assert bench.public.tried == 1
    bench.public.found = None
    bench.tick(1)
    assert len(bench.carrier.dials) == 1
    assert bench.verdict(call, "public_url") == [False, True]


def test_an_answer_holds_for_half_a_minute(bench) -> None:
    for _ in range(3):
        bench.call()
    bench.step()
    assert bench.public.tried == 1
    bench.public.found = "it answers 502"
    bench.call()
    bench.tick(29)
    assert len(bench.carrier.dials) == 4
    bench.call()
    bench.tick(1)
    assert (len(bench.carrier.dials), bench.public.tried) == (4, 2)


def test_a_carrier_that_takes_no_call_is_tried_once_a_minute(bench) -> None:
    bench.change(per_second=1.0)
    bench.carrier.on_dial = lambda _request: Unknown("503")
    calls = [bench.call() for _ in range(6)]
    for _ in range(10):
        bench.tick(1)
    assert len(bench.carrier.dials) == 3
    waiting = [call for call in calls if bench.state(call) == CallState.PENDING]
    assert len(waiting) == 3
    assert bench.verdict(waiting[0], "carrier_health")[-1] is False
    # One more, which fails as well, and another minute's rest.
    bench.tick(60)
    bench.tick(1)
    assert len(bench.carrier.dials) == 4
    bench.carrier.on_dial = lambda _request: None
    for _ in range(70):
        bench.tick(1)
    assert len(bench.carrier.dials) == 6


def test_a_carrier_that_has_too_many_calls_just_now_is_no_carrier_that_takes_none(bench) -> None:
    bench.carrier.on_dial = lambda _request: NotPlaced("20429", "too many requests at once", permanent=False, operator=False)
    for _ in range(5):
        bench.call()
    bench.step()
    assert len(bench.carrier.dials) == 5


def test_the_carriers_queue_counts_as_time_before_the_answer(bench) -> None:
    def queued(seconds: float):
        return lambda request: Placed(bench.carrier.place(request.to), CarrierStatus.QUEUED, seconds, None)

    bench.carrier.on_dial = queued(3600.0)
    bench.call()
    bench.step()
    assert len(bench.carrier.dials) == 1
    # An hour's queue, and a window of half an hour: it may get shorter, so the call waits.
    late = bench.call(window=timedelta(minutes=30))
    bench.tick(1)
    assert len(bench.carrier.dials) == 1
    assert bench.state(late) == CallState.PENDING
    assert "queue" in (bench.view(late).reason or "")
    bench.tick(1900)
    assert bench.state(late) == CallState.MISSED
    # It is over by now.
    bench.carrier.on_dial = queued(0.0)
    bench.clock.advance(1700)
    bench.call(window=timedelta(minutes=30))
    bench.step()
    assert len(bench.carrier.dials) == 2


class Door(BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b"")

    def do_GET(self) -> None:
        code, body = self.answer
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def door() -> Iterator[tuple[str, type[Door]]]:
    class Own(Door):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Own
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((200, json.dumps({"status": "ok", "installation": "ours"}).encode()), None),
        ((200, json.dumps({"status": "ok", "installation": "theirs"}).encode()), "something else"),
        ((200, b"[]"), "something else"),
        ((200, b"<h1>It works!</h1>"), "not as orch does"),
        ((503, b"{}"), "answers 503"),
        ((302, b""), "answers 302"),
    ],
)
def test_only_our_own_answer_counts(door, answer, problem) -> None:
    url, handler = door
    handler.answer = answer
    found = HealthCheck([url], "ours").problem()
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem in found


def test_every_door_must_be_open(door) -> None:
    url, handler = door
    handler.answer = (200, json.dumps({"installation": "ours"}).encode())
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        closed = f"ws://127.0.0.1:{bound.getsockname()[1]}"
        assert HealthCheck([url, url.replace("http", "ws")], "ours").problem() is None
        found = HealthCheck([url, closed], "ours").problem()
    assert found is not None
    assert found.startswith(closed.replace("ws", "http"))


def test_a_closed_door_is_a_problem_and_no_exception() -> None:
    with socket.socket() as bound:
        # Bound and not listening: nobody else can answer there.
        bound.bind(("127.0.0.1", 0))
        found = HealthCheck([f"http://127.0.0.1:{bound.getsockname()[1]}"], "ours").problem()
    assert found is not None
    assert "does not answer" in found


def test_while_nobody_of_ours_can_speak_calls_are_held_by_the_carrier(bench) -> None:
    bench.control.record_speech("GOOGLE_APPLICATION_CREDENTIALS: there is no file /nowhere", bench.noon)
    first = bench.call()
    bench.step()
    assert bench.attempt(first).mode == "standard"
    (problem,) = ProblemStore(bench.database).open(bench.clock.now())
    assert problem.detail == "calls run in standard mode: GOOGLE_APPLICATION_CREDENTIALS: there is no file /nowhere"
    # Speech is back: the next call is an enhanced one again, and the alarm is over.
    bench.control.record_speech(None, bench.noon)
    second = bench.call()
    bench.tick(1)
    assert bench.attempt(second).mode == "enhanced"
    assert ProblemStore(bench.database).open(bench.clock.now()) == []


def test_numbers_that_the_account_may_not_call_do_not_keep_others_from_being_called(bench) -> None:
    forbidden = [bench.call(window=timedelta(hours=2)) for _ in range(6)]
    numbers = {bench.view(call).phone for call in forbidden}

    def trial(request):
        refused = NotPlaced("21219", "a trial account", permanent=False, operator=True, destination=True)
        return refused if request.to in numbers else None

    bench.carrier.on_dial = trial
    bench.step()
    good = [bench.call(window=timedelta(hours=2)) for _ in range(3)]
    bench.tick(1)
    assert [bench.state(call) for call in good] == [CallState.DIALING] * 3


def test_what_keeps_everybody_from_being_called_is_an_alarm_and_the_reason_of_what_was_missed(bench) -> None:
    bench.public.found = "https://orch.example/health answers 502"
    call = bench.call(window=timedelta(minutes=5))
    while bench.state(call) == CallState.PENDING:
        bench.tick(5)
    assert bench.state(call) == CallState.MISSED
    assert "answers 502" in (bench.view(call).reason or "")
    problems = ProblemStore(bench.database)
    (problem,) = problems.open(bench.clock.now())
    assert problem.kind == "public_url"
    # Nobody asks any more: an old answer is no alarm.
    assert problems.open(bench.clock.advance(601)) == []
    bench.public.found = None
    bench.call()
    bench.step()
    assert problems.open(bench.clock.now()) == []


@pytest.mark.parametrize(("skew", "alarms"), [(61.0, 1), (0.0, 0)])
def test_clocks_that_differ_are_an_alarm(bench, skew, alarms) -> None:
    bench.control.record_skew(skew, bench.noon)
    bench.call()
    bench.step()
    assert [problem.kind for problem in ProblemStore(bench.database).open(bench.clock.now())] == ["dialling"] * alarms
