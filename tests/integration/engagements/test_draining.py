"""Told to stop: nobody new is dialled, and what rings is watched to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.calls import CallState
from core.domain.outcomes import Outcome
from core.storage.attempts import unanswered_attempt_ids
from core.telephony.base import CarrierStatus, Unknown


def test_a_draining_driver_dials_nobody_and_leaves_what_is_due_to_the_next(bench) -> None:
    bench.driver.drain()
    call = bench.call()
    assert bench.step().claimed == 0
    assert bench.carrier.dials == []
    bench.rebuild()
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert bench.state(call) == CallState.DIALING


def test_what_rang_before_is_still_settled_and_ended_in_time(bench) -> None:
    busy, rings = bench.call(), bench.call(window=timedelta(minutes=3))
    bench.step()
    bench.driver.drain()
    bench.says(busy, CarrierStatus.BUSY)
    bench.step()
    assert bench.attempt(busy).outcome == Outcome.BUSY
    assert unanswered_attempt_ids(bench.database) == [bench.attempt(rings).id]
    bench.tick(121)
    assert bench.carrier.hung_up == [bench.attempt(rings).carrier_call_id]
    # Its retry is due, and not dialled by a driver that drains.
    bench.tick(3600)
    assert len(bench.carrier.dials) == 2


def test_a_drain_that_begins_during_a_dial_stops_the_next(bench) -> None:
    call = bench.call()
    bench.carrier.on_dial = lambda _request: bench.driver.drain()
    bench.step()
    other = bench.call()
    bench.carrier.on_dial = lambda _request: None
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert (bench.state(call), bench.state(other)) == (CallState.DIALING, CallState.PENDING)


def test_at_the_end_of_the_drain_ringing_phones_are_silenced_and_tried_again_later(bench) -> None:
    rings, talks = bench.call(), bench.call()
    bench.step()
    bench.says(talks, CarrierStatus.IN_PROGRESS, sequence=2)
    assert bench.watch.stop_unanswered("stopping", bench.clock.now()) == 1
    assert bench.carrier.hung_up == [bench.attempt(rings).carrier_call_id]
    bench.says(rings, CarrierStatus.CANCELED, sequence=3)
    bench.step()
    assert bench.attempt(rings).outcome == Outcome.FAILED
    assert "orch was stopped" in (bench.attempt(rings).reason or "")
    assert bench.state(rings) == CallState.WAITING_RETRY


def test_a_lost_callback_does_not_keep_a_stop_waiting(bench) -> None:
    call = bench.call()
    bench.step()
    bench.driver.drain()
    sid = bench.attempt(call).carrier_call_id
    bench.carrier.calls[sid] = replace(bench.carrier.calls[sid], status=CarrierStatus.NO_ANSWER)
    bench.watch.check_live(bench.clock.now())
    assert bench.attempt(call).outcome is None
    bench.watch.check_live(bench.clock.advance(10))
    assert bench.attempt(call).outcome == Outcome.NO_ANSWER
    assert bench.calls.live_attempts(bench.clock.now()) == 0


@pytest.mark.parametrize("answer", [None, Unknown("time-out")])
def test_a_dial_that_nobody_heard_of_again_is_not_waited_for(bench, answer) -> None:
    bench.carrier.on_dial = lambda _request: answer
    bench.call()
    bench.step()
    assert bench.calls.live_attempts(bench.clock.now()) == 1
    assert bench.calls.live_attempts(bench.clock.advance(121)) == 0


def test_a_carrier_that_is_down_at_the_end_of_the_drain_holds_nothing_up(bench) -> None:
    bench.call()
    bench.step()
    bench.carrier.down = True
    assert bench.watch.stop_unanswered("stopping", bench.clock.now()) == 0
