"""People ring a missed number back: what they hear, what they can ask for, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from core.domain import prompts
from core.domain.calls import AttemptStatus
from core.domain.outcomes import Outcome
from core.domain.runs import RunState
from core.settings import CHECKOUT
from core.storage.calls import set_state
from core.storage.database import Database
from core.storage.inbound import InboundView
from core.storage.numbers import is_suppressed
from core.storage.tables import Contact, InboundCall, Number, Problem, Run, RunEvent, ScheduledCall, Signal
from tests.integration.webhook_doubles import BASE, OWN_NUMBER, PHONE, SID, World, make_world, tags, verbs

RINGS = "CA" + "7" * 32
STRANGER = "+13105550142"
VOICE = "/webhooks/twilio/voice"


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return make_world(database, tmp_path, "standard")


@pytest.fixture
def quick(sqlite_database: Database, tmp_path: Path) -> World:
    """Where only what is said matters."""
    return make_world(sqlite_database, tmp_path, "standard")


def rings(world: World, path: str = VOICE, sid: str = RINGS, **form: str):
    fields = {"CallSid": sid, "Direction": "inbound", "From": PHONE, "To": OWN_NUMBER, "CallStatus": "ringing", **form}
    return world.post(path, fields)


def action(response) -> str:
    gather = verbs(response)[0]
    assert gather.tag == "Gather", response.text
    return gather.attrib["action"].removeprefix(BASE)


def said(response) -> str:
    return " ".join(text.strip() for verb in verbs(response) for text in verb.itertext() if not text.startswith("http"))


def kept(world: World) -> InboundView:
    (call,) = world.parts.inbound_calls.recent()
    return call


def suppressed(world: World, phone: str = PHONE) -> bool:
    with world.database.read() as session:
        return is_suppressed(session, phone)


def missed(world: World, days: float = 0) -> None:
    """The attempt was not answered, so many days ago, and its engagement waits for the retry."""
    world.change(status=AttemptStatus.ENDED, outcome=Outcome.NO_ANSWER, created_at=datetime.now(UTC) - timedelta(days=days))
    with world.database.write() as session:
        run = session.scalars(select(Run)).one()
        run.state, run.wake_at, run.waiting_for = RunState.WAITING, datetime.now(UTC) + timedelta(hours=1), "retry"


def test_who_rings_back_hears_who_called_why_and_how_to_stop(quick: World) -> None:
    missed(quick)
    response = rings(quick)
    assert tags(response) == ["Gather", "Redirect"]
    (gather, redirect) = verbs(response)
    assert gather.attrib["input"] == "speech dtmf"
    # Said inside <Gather>: whoever knows what they want need not hear it out.
    assert [child.tag for child in gather] == ["Say"]
    assert "stop calling me" in gather.attrib["hints"]
    assert redirect.text == gather.attrib["action"]
    text = said(response)
    for part in ("this is Acme", "Medication check-in", prompts.HOW_TO_STOP):
        assert part in text
    # Whoever rings from this number may be somebody else.
    assert "Ada" not in text
    assert "Ay-da" not in text


def test_the_call_is_kept_with_whom_it_rings_back(world: World) -> None:
    missed(world)
    before = datetime.now(UTC)
    rings(world)
    call = kept(world)
    assert (call.carrier_call_id, call.phone, call.attempt_id, call.contact_name) == (RINGS, PHONE, world.attempt_id, "Ada")
    assert call.answered_at is not None
    assert call.answered_at >= before
    assert (call.opted_out_at, call.ended_at) == (None, None)
    rings(world, "/webhooks/twilio/status", CallStatus="completed", CallDuration="12")
    assert kept(world).ended_at is not None


@pytest.mark.parametrize("form", [{"Digits": "*"}, {"SpeechResult": "Stop calling me.", "Confidence": "0.91"}])
def test_an_opt_out_takes_effect_before_the_answer(world: World, form: dict[str, str]) -> None:
    missed(world)
    response = rings(world, action(rings(world)), **form)
    assert tags(response) == ["Say", "Hangup"]
    assert said(response) == prompts.OPTED_OUT
    assert suppressed(world)
    with world.database.read() as session:
        number = session.get_one(Number, PHONE)
        assert number.do_not_call_source == "inbound call"
    assert kept(world).opted_out_at is not None


def test_an_opt_out_ends_the_engagement_that_waits(quick: World) -> None:
    missed(quick)
    rings(quick, action(rings(quick)), Digits="*")
    with quick.database.read() as session:
        run = session.scalars(select(Run)).one()
        assert run.wake_at is not None
        assert run.wake_at <= datetime.now(UTC)


@pytest.mark.parametrize("form", [{}, {"SpeechResult": "oh all right then"}, {"Digits": "5"}])
def test_whatever_else_they_say_they_are_thanked(quick: World, form: dict[str, str]) -> None:
    missed(quick)
    response = rings(quick, action(rings(quick)), **form)
    assert tags(response) == ["Say", "Hangup"]
    assert said(response) == prompts.THANKS_FOR_CALLING
    assert not suppressed(quick)


def test_it_is_said_again_to_who_asks_but_not_for_ever(quick: World) -> None:
    missed(quick)
    response, times = rings(quick), 0
    while tags(response) == ["Gather", "Redirect"]:
        times += 1
        assert times < 6
        response = rings(quick, action(response), SpeechResult="can you repeat that")
    assert times == 3
    assert said(response) == prompts.THANKS_FOR_CALLING


@pytest.mark.parametrize("again", ["99", "-1", "9" * 5000, "x", ""])
def test_a_count_of_repeats_that_is_none_of_ours_says_goodbye(quick: World, again: str) -> None:
    response = rings(quick, f"/webhooks/twilio/inbound?again={again}", SpeechResult="who is this")
    assert tags(response) == ["Say", "Hangup"]


def test_a_stranger_is_told_that_we_did_not_call_and_may_still_say_stop(world: World) -> None:
    response = rings(world, From=STRANGER)
    assert prompts.rang_nobody("Acme") in said(response)
    assert "Medication" not in said(response)
    rings(world, action(response), From=STRANGER, Digits="*")
    assert suppressed(world, STRANGER)
    assert not suppressed(world)
    assert (kept(world).contact_id, kept(world).attempt_id) == (None, None)


def test_who_was_rung_weeks_ago_is_a_stranger(quick: World) -> None:
    missed(quick, days=15)
    assert prompts.rang_nobody("Acme") in said(rings(quick))
    quick.change(created_at=datetime.now(UTC) - timedelta(days=13))
    assert "Medication check-in" in said(rings(quick))


def test_who_was_never_rung_because_nothing_was_placed_is_a_stranger(quick: World) -> None:
    missed(quick)
    quick.change(carrier_call_id=None)
    assert prompts.rang_nobody("Acme") in said(rings(quick))


def test_who_said_stop_before_is_told_that_it_holds(quick: World) -> None:
    missed(quick)
    quick.parts.contacts.suppress(PHONE, "operator", datetime.now(UTC))
    response = rings(quick)
    assert tags(response) == ["Say", "Hangup"]
    assert prompts.OPTED_OUT_BEFORE in said(response)


@pytest.mark.parametrize("shown", ["anonymous", "", "+266696687", "Restricted", "client:ada", "+999999999999999999999"])
def test_a_withheld_number_is_told_what_to_do(world: World, shown: str) -> None:
    response = rings(world, From=shown)
    assert tags(response) == ["Say", "Hangup"]
    assert prompts.NUMBER_WITHHELD in said(response)
    assert kept(world).phone is None
    # Nobody can be taken off a list without a number.
    rings(world, "/webhooks/twilio/inbound?again=0", From=shown, Digits="*")
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Number).where(Number.do_not_call_at.is_not(None))) == 0


def test_a_plan_that_is_gone_keeps_nobody_from_saying_stop(quick: World) -> None:
    missed(quick)
    with quick.database.write() as session:
        session.scalars(select(ScheduledCall)).one().plan = "deleted-since"
    response = rings(quick)
    assert prompts.rang_you_for_a_lost_plan("Acme") in said(response)
    rings(quick, action(response), Digits="*")
    assert suppressed(quick)


def test_a_waiting_engagement_hears_of_it_once(world: World) -> None:
    missed(world)
    for _ in range(3):
        rings(world)
    rings(world, action(rings(world)))
    with world.database.read() as session:
        (signal,) = session.scalars(select(Signal).where(Signal.kind == "inbound"))
        run = session.scalars(select(Run)).one()
        assert (signal.run_id, signal.attempt_id) == (run.id, world.attempt_id)
        assert run.wake_at is not None
        assert run.wake_at <= datetime.now(UTC)
        assert [event.kind for event in session.scalars(select(RunEvent))] == ["rang_back"]
        assert session.scalar(select(func.count()).select_from(InboundCall)) == 1
    rings(world, sid="CA" + "8" * 32)
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Signal).where(Signal.kind == "inbound")) == 2


def test_an_engagement_that_is_over_is_left_alone(quick: World) -> None:
    missed(quick)
    with quick.database.write() as session:
        set_state(session.scalars(select(ScheduledCall)).one(), "missed", None, datetime.now(UTC))
    rings(quick)
    with quick.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Signal)) == 0
    assert kept(quick).attempt_id == quick.attempt_id


def test_a_replayed_opt_out_does_not_undo_what_was_agreed_since(quick: World) -> None:
    missed(quick)
    url = action(rings(quick))
    rings(quick, url, Digits="*")
    first = kept(quick)
    with quick.database.write() as session:
        number = session.get_one(Number, PHONE)
        number.do_not_call_at, number.do_not_call_source = None, None
    rings(quick, url, Digits="*")
    assert not suppressed(quick)
    assert kept(quick) == first


def test_an_opt_out_that_outruns_the_greetings_record_is_kept(quick: World) -> None:
    """The record of the greeting is written after the answer: our server may die in between."""
    missed(quick)
    rings(quick, "/webhooks/twilio/inbound?again=0", Digits="*")
    assert suppressed(quick)
    assert (kept(quick).phone, kept(quick).attempt_id) == (PHONE, quick.attempt_id)


def test_a_call_that_rang_while_we_were_down_is_kept_as_unanswered(quick: World) -> None:
    rings(quick, "/webhooks/twilio/status", CallStatus="ringing")
    assert quick.parts.inbound_calls.recent() == []
    rings(quick, "/webhooks/twilio/status", CallStatus="no-answer")
    assert kept(quick).answered_at is None
    assert kept(quick).ended_at is not None
    assert quick.parts.problems.open() == []


def test_a_call_to_a_number_that_is_not_ours_is_one_problem(quick: World) -> None:
    for number in range(3):
        assert tags(rings(quick, sid=f"CA{number:032d}", To="+12025550199")) == ["Hangup"]
    (problem,) = quick.parts.problems.open()
    assert (problem.key, problem.count) == ("webhook:number", 3)
    assert "+12025550199" not in problem.detail
    assert quick.parts.inbound_calls.recent() == []


def test_while_draining_nobody_is_answered(quick: World) -> None:
    draining = quick.with_parts(draining_since=lambda: datetime.now(UTC))
    (reject,) = verbs(rings(draining))
    assert (reject.tag, reject.attrib["reason"]) == ("Reject", "busy")


def test_dialling_that_is_paused_keeps_nobody_from_saying_stop(quick: World) -> None:
    quick.parts.control.pause("storm", datetime.now(UTC))
    rings(quick, action(rings(quick)), Digits="*")
    assert suppressed(quick)


def test_an_unsigned_call_changes_nothing(quick: World) -> None:
    fields = {"CallSid": RINGS, "Direction": "inbound", "From": PHONE, "To": OWN_NUMBER, "Digits": "*"}
    for path in (VOICE, "/webhooks/twilio/inbound?again=0"):
        assert quick.post(path, fields, signed=False).status_code == 403
    assert not suppressed(quick)


def test_direction_inbound_does_not_open_an_attempts_door(quick: World) -> None:
    response = rings(quick, f"{VOICE}?attempt={quick.attempt_id}")
    assert tags(response) == ["Hangup"]
    assert quick.parts.inbound_calls.recent() == []


def test_two_people_with_one_number_are_both_served(quick: World) -> None:
    with quick.database.write() as session:
        now = datetime.now(UTC)
        session.add(
            Contact(id="b" * 32, name="Bob", phone=PHONE, timezone="America/New_York", simulated=True, created_at=now, updated_at=now)
        )
    missed(quick)
    assert "Medication check-in" in said(rings(quick))
    assert kept(quick).contact_name == "Ada"


def test_nothing_that_is_said_is_logged(quick: World) -> None:
    missed(quick)
    with capture_logs() as logs:
        url = action(rings(quick))
        rings(quick, url, SpeechResult="I have a secret and who is this")
        rings(quick, url, SpeechResult="stop calling me", Digits="*")
    text = str(logs)
    assert [line["event"] for line in logs][-1] == "contact.opted_out"
    for word in ("secret", "stop calling", PHONE, SID):
        assert word not in text


def test_the_api_lists_the_calls_the_newest_first(quick: World) -> None:
    missed(quick)
    rings(quick)
    rings(quick, sid="CA" + "8" * 32, From="anonymous")
    listed = quick.client.get("/api/inbound").json()
    assert [call["phone"] for call in listed] == [None, PHONE]
    assert listed[1]["contact_name"] == "Ada"
    assert len(quick.client.get("/api/inbound?limit=1").json()) == 1
    assert quick.client.get("/api/inbound", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 401


def test_no_text_is_said_that_stands_anywhere_but_among_the_prompts() -> None:
    for path in (CHECKOUT / "workers" / "webhook_server").glob("*.py"):
        text = path.read_text()
        assert "Goodbye" not in text, path.name


def test_unknown_calls_and_wrong_numbers_are_two_problems(quick: World) -> None:
    rings(quick, To="+12025550199")
    quick.post(VOICE, {"Direction": "outbound-api"})
    with quick.database.read() as session:
        assert set(session.scalars(select(Problem.key))) == {"webhook:number", "webhook:unknown"}
