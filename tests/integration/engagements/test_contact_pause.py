"""A paused contact is not dialled: what rings stops, what comes due waits, and what closes meanwhile says why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.domain.calls import CallState
from core.errors import Conflict
from core.telephony.base import CarrierStatus


def pause(bench, contact: str, reason: str | None = "on holiday") -> bool:
    return bench.contacts.pause(contact, reason, bench.clock.now())


def test_a_call_that_comes_due_waits_for_the_contact_to_be_resumed(bench) -> None:
    contact, other = bench.contact(), bench.contact()
    assert pause(bench, contact)
    assert not pause(bench, contact, "again")
    assert bench.contacts.find(contact).paused_reason == "on holiday"
    waiting, dialled = bench.call(contact), bench.call(other)
    bench.step()
    assert [dial.to for dial in bench.carrier.dials] == [bench.view(dialled).phone]
    assert (bench.state(waiting), bench.view(waiting).reason) == (CallState.PENDING, "the contact is paused: on holiday")
    # It is woken by the resume, and not by looking again and again.
    assert bench.run(waiting).wake_at == bench.row(waiting).closes_at
    assert bench.contacts.resume(contact, bench.clock.now())
    assert not bench.contacts.resume(contact, bench.clock.now())
    bench.step()
    assert bench.state(waiting) is CallState.DIALING
    assert bench.contacts.find(contact).paused_at is None


def test_a_window_that_closes_meanwhile_is_missed_because_of_the_pause(sqlite_bench) -> None:
    bench = sqlite_bench
    contact = bench.contact()
    pause(bench, contact)
    call = bench.call(contact, window=timedelta(hours=1))
    bench.step()
    bench.tick(3600)
    view = bench.view(call)
    assert view.state == CallState.MISSED
    assert view.reason is not None
    assert "the window closed" in view.reason
    assert "the contact is paused: on holiday" in view.reason
    assert bench.carrier.dials == []


def test_a_phone_that_rings_stops_ringing_and_is_tried_again_after_the_resume(bench) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    contact = bench.view(call).contact_id
    pause(bench, contact)
    bench.step()
    sid = bench.attempt(call).carrier_call_id
    assert bench.carrier.hung_up == [sid]
    bench.says(call, CarrierStatus.CANCELED, sequence=2)
    bench.step()
    assert bench.attempt(call).reason == "stopped while ringing: the contact was paused"
    bench.tick(1800)
    assert len(bench.carrier.dials) == 1
    bench.contacts.resume(contact, bench.clock.now())
    bench.step()
    assert len(bench.carrier.dials) == 2


def test_somebody_elses_phone_goes_on_ringing(sqlite_bench) -> None:
    bench = sqlite_bench
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    pause(bench, bench.contact())
    bench.step()
    assert bench.carrier.hung_up == []


def test_a_conversation_goes_on(sqlite_bench) -> None:
    bench = sqlite_bench
    call = bench.call()
    bench.step()
    with bench.database.write() as session:
        session.merge(bench.attempt(call)).voice_served_at = bench.clock.now()
    bench.says(call, CarrierStatus.IN_PROGRESS, sequence=1)
    pause(bench, bench.view(call).contact_id)
    bench.step()
    assert bench.carrier.hung_up == []


def test_a_resume_between_the_verdict_and_the_wait_is_not_lost(bench) -> None:
    contact = bench.contact()
    pause(bench, contact)
    call = bench.call(contact)
    decide = bench.dialler.decide

    class ResumedMeanwhile:
        """The dialler, with somebody resuming the contact just after it has decided."""

        def decide(self, claim):
            decision = decide(claim)
            bench.contacts.resume(contact, bench.clock.now())
            return decision

    bench.work = type(bench.work)(**{name: getattr(bench.work, name) for name in bench.work.__slots__} | {"dialler": ResumedMeanwhile()})
    from core.engagement.nodes import initiate_call

    (claim,) = bench.ledger.claim_due("engagements", bench.clock.now(), 5)
    initiate_call(bench.work, claim)
    assert bench.run(call).wake_at == bench.clock.now()


def test_calling_a_paused_contact_now_is_refused(sqlite_bench) -> None:
    bench = sqlite_bench
    contact = bench.contact()
    pause(bench, contact, None)
    with pytest.raises(Conflict, match="orch contact resume"):
        bench.calls.call_now(contact, "daily", request_id="r", simulated=False, closes_at=None, now=bench.clock.now())
