"""Webhooks that come too late, twice, for nobody, or wrongly made: what is answered, and that nothing happens twice."""

from __future__ import annotations

import asyncio
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlalchemy import func, select

from core.recordings.vault import Vault
from core.storage.database import Database
from core.storage.numbers import is_suppressed
from core.storage.problems import UNKNOWN_CALL, UNKNOWN_CALL_LASTS
from core.storage.tables import Problem, ScheduledCall, Signal, StrayCall, Turn
from core.telephony import stream_token
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from tests.integration.webhook_doubles import ACCOUNT, BASE, PHONE, SID, STREAM_KEY, TOKEN, World, a_database, make_world, tags, verbs
from workers.webhook_server.app import create_app
from workers.webhook_server.twilio import MAX_STREAMS

STRANGER = "CA" + "9" * 32


@pytest.fixture
def enhanced(sqlite_database: Database, tmp_path: Path) -> World:
    return make_world(sqlite_database, tmp_path, "enhanced")


@pytest.fixture
def standard(sqlite_database: Database, tmp_path: Path) -> World:
    return make_world(sqlite_database, tmp_path, "standard")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, vault: Vault) -> Iterator[World]:
    """Shared by tests of what changes nothing, and seen to be unchanged at the end."""
    folder = tmp_path_factory.mktemp("calm")
    with a_database(folder, vault) as database:
        world = make_world(database, folder, "enhanced")
        before = world.context()
        yield world
        assert world.context() == before
        assert world.parts.problems.open() == []


def voice(world: World) -> str:
    return f"/webhooks/twilio/voice?attempt={world.attempt_id}"


# --- picked up too late -----------------------------------------------------------------------------------------------


def _too_late(world: World) -> None:
    world.change(dial_until=datetime.now(UTC) - timedelta(minutes=5))


def _opted_out(world: World) -> None:
    world.parts.contacts.suppress(PHONE, "operator", datetime.now(UTC))


def _cancelled(world: World) -> None:
    with world.database.read() as session:
        call = session.scalars(select(ScheduledCall.id)).one()
    world.parts.calls.cancel(call, datetime.now(UTC))


def _paused(world: World) -> None:
    world.parts.control.pause("a storm", datetime.now(UTC))


@pytest.mark.parametrize("mode", ["enhanced", "standard"])
@pytest.mark.parametrize("happened", [_too_late, _opted_out, _cancelled, _paused])
def test_who_picks_up_when_it_should_no_longer_ring_is_told_nothing(
    sqlite_database: Database, tmp_path: Path, mode: str, happened: Callable[[World], None]
) -> None:
    world = make_world(sqlite_database, tmp_path, mode)
    happened(world)
    response = world.post(voice(world))
    assert tags(response) == ["Hangup"]
    assert world.attempt().voice_served_at is None
    assert world.context().conversation_id is None


def test_a_moment_after_the_last_ring_is_within_the_margin(enhanced: World) -> None:
    enhanced.change(dial_until=datetime.now(UTC) - timedelta(milliseconds=200))
    assert tags(enhanced.post(voice(enhanced))) == ["Connect", "Redirect"]


def test_a_call_resumed_after_a_pause_is_talked_to(enhanced: World) -> None:
    _paused(enhanced)
    enhanced.parts.control.resume(datetime.now(UTC))
    assert tags(enhanced.post(voice(enhanced))) == ["Connect", "Redirect"]


def test_a_pick_up_whose_voice_webhook_failed_is_talked_to_all_the_same(enhanced: World) -> None:
    """The carrier's fallback address: the first that we hear of the answer."""
    response = enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}")
    assert tags(response) == ["Pause", "Redirect"]
    assert enhanced.attempt().voice_served_at is not None
    assert enhanced.attempt().document_at is not None


def test_in_standard_mode_the_fallback_address_begins_the_conversation(standard: World) -> None:
    response = standard.post(f"/webhooks/twilio/continue?attempt={standard.attempt_id}")
    assert "Gather" in tags(response)
    assert standard.attempt().voice_served_at is not None


@pytest.mark.parametrize("arrange", [_too_late, _opted_out, _cancelled, _paused])
def test_the_fallback_address_talks_to_nobody_who_may_not_be_talked_to(enhanced: World, arrange: Callable[[World], None]) -> None:
    arrange(enhanced)
    response = enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}")
    assert tags(response) == ["Hangup"]
    assert enhanced.attempt().voice_served_at is None


# --- the loop behind <Connect> ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tried", [str(MAX_STREAMS), "99", "9" * 5000, "-1", "+1", "1.0", "%D9%A3", "abc", "", "1%00"])
def test_a_count_of_tries_that_is_none_of_ours_ends_the_call(enhanced: World, tried: str) -> None:
    response = enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}&try={tried}")
    assert tags(response) == ["Hangup"]


@pytest.mark.parametrize("stream", ["9" * 5000, "-1", "x", "7"])
def test_a_stream_number_that_is_none_of_ours_opens_no_other_stream(enhanced: World, stream: str) -> None:
    response = enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}&stream={stream}")
    assert tags(response) == ["Pause", "Redirect"]
    redirect = verbs(response)[1].text or ""
    assert "&stream=0&try=1" in redirect


def test_a_call_whose_streams_break_every_time_ends(enhanced: World) -> None:
    enhanced.change(stream_epoch=MAX_STREAMS)
    assert tags(enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}")) == ["Hangup"]


def test_a_call_that_waits_for_a_media_server_does_not_wait_for_ever(enhanced: World) -> None:
    path = f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}&stream=1"
    documents = 0
    while tags(response := enhanced.post(path)) == ["Pause", "Redirect"]:
        path = (verbs(response)[1].text or "").removeprefix(BASE)
        documents += 1
        assert documents < 10
    assert tags(response) == ["Gather", "Redirect"]


# --- calls that nobody here placed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/webhooks/twilio/voice", "/webhooks/twilio/continue", "/webhooks/twilio/gather"])
@pytest.mark.parametrize("query", ["", "?attempt=" + "0" * 32])
def test_an_unknown_call_is_ended_politely(enhanced: World, path: str, query: str) -> None:
    response = enhanced.post(path + query, {"CallSid": STRANGER, "Direction": "outbound-api"})
    assert tags(response) == ["Hangup"]
    assert [problem.key for problem in enhanced.parts.problems.open()] == [UNKNOWN_CALL]


def test_unknown_calls_are_one_problem_however_often_they_are_asked_about(enhanced: World) -> None:
    for number in range(5):
        sid = f"CA{number % 2:032d}"
        assert tags(enhanced.post("/webhooks/twilio/voice?attempt=" + "0" * 32, {"CallSid": sid})) == ["Hangup"]
        enhanced.post("/webhooks/twilio/status?attempt=" + "0" * 32, {"CallSid": sid, "CallStatus": "completed"})
        enhanced.post("/webhooks/twilio/amd?attempt=" + "0" * 32, {"CallSid": sid, "AnsweredBy": "human"})
    (problem,) = enhanced.parts.problems.open()
    assert (problem.key, problem.count) == (UNKNOWN_CALL, 15)
    assert "CA" + "0" * 32 in problem.detail
    assert enhanced.client.get("/api/problems").json()[0]["key"] == UNKNOWN_CALL
    with enhanced.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Signal)) == 0


def test_the_alarm_about_unknown_calls_ages_out_and_comes_back(enhanced: World) -> None:
    now = datetime.now(UTC)
    problems = enhanced.parts.problems
    problems.report_unknown_call(STRANGER, now)
    assert len(problems.open(now + UNKNOWN_CALL_LASTS - timedelta(minutes=1))) == 1
    assert problems.open(now + UNKNOWN_CALL_LASTS) == []
    later = now + timedelta(days=3)
    problems.report_unknown_call(STRANGER, later)
    assert [problem.count for problem in problems.open(later)] == [2]
    with enhanced.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Problem)) == 1


def test_a_second_call_with_the_address_of_an_attempt_is_ended_and_hunted_down(enhanced: World) -> None:
    response = enhanced.post(voice(enhanced), {"CallSid": STRANGER, "CallStatus": "in-progress"})
    assert tags(response) == ["Hangup"]
    assert [problem.kind for problem in enhanced.parts.problems.open()] == ["double"]
    with enhanced.database.read() as session:
        assert [stray.carrier_call_id for stray in session.scalars(select(StrayCall))] == [STRANGER]


def test_machine_detection_of_another_call_is_not_believed(enhanced: World) -> None:
    response = enhanced.post(f"/webhooks/twilio/amd?attempt={enhanced.attempt_id}", {"CallSid": STRANGER, "AnsweredBy": "fax"})
    assert response.status_code == 204
    assert enhanced.attempt().answered_by is None


# --- the same webhook again -------------------------------------------------------------------------------------------


def token_of(response) -> stream_token.StreamClaim:
    connect = verbs(response)[0]
    value = next(p.attrib["value"] for p in connect[0] if p.attrib["name"] == "token")
    return stream_token.verify(STREAM_KEY, value, SID, datetime.now(UTC))


def test_a_replayed_voice_webhook_gets_no_second_stream(enhanced: World) -> None:
    first = token_of(enhanced.post(voice(enhanced)))
    redeem = enhanced.parts.conversations.redeem_stream
    assert redeem(enhanced.attempt_id, SID, first.epoch, "spool", datetime.now(UTC))
    served = enhanced.attempt().voice_served_at
    again = token_of(enhanced.post(voice(enhanced)))
    # Whoever replays it holds a token that has been used up: the live call is not theirs to take over.
    assert not redeem(enhanced.attempt_id, SID, again.epoch, "spool", datetime.now(UTC))
    assert (enhanced.attempt().stream_epoch, enhanced.attempt().voice_served_at) == (1, served)


def test_a_replayed_continue_webhook_gets_no_second_stream(enhanced: World, media_health: str) -> None:
    server = enhanced.parts.settings.server.model_copy(update={"media_port": int(media_health)})
    groups = {name: getattr(enhanced.parts.settings, name) for name in enhanced.parts.settings.__slots__}
    world = enhanced.with_parts(settings=type(enhanced.parts.settings)(**{**groups, "server": server}))
    redeem = world.parts.conversations.redeem_stream
    assert redeem(world.attempt_id, SID, token_of(world.post(voice(world))).epoch, "spool", datetime.now(UTC))
    path = f"/webhooks/twilio/continue?attempt={world.attempt_id}&stream=1"
    second = token_of(world.post(path))
    assert second.epoch == 2
    assert redeem(world.attempt_id, SID, second.epoch, "spool", datetime.now(UTC))
    assert not redeem(world.attempt_id, SID, token_of(world.post(path)).epoch, "spool", datetime.now(UTC))
    assert world.attempt().stream_epoch == 2


@pytest.fixture
def media_health():
    """The port of something that answers as a media server that is well."""
    import http.server

    class Well(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Well) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def test_a_replayed_voice_webhook_in_standard_mode_asks_again_and_changes_nothing(standard: World) -> None:
    first = verbs(standard.post(voice(standard)))[0]
    standard.post(first.attrib["action"].removeprefix(BASE), {"SpeechResult": "yes I did"})
    before = standard.context()
    assert before.next_turn == 2
    again = verbs(standard.post(voice(standard)))[0]
    assert again.attrib["action"].endswith("&turn=2")
    assert standard.context() == before


def test_a_replayed_opt_out_has_no_second_effect(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    form = {"SpeechResult": "please stop calling me"}
    assert tags(standard.post(url, form)) == ["Say", "Hangup"]
    state = standard.context()
    assert tags(standard.post(url, form)) == ["Hangup"]
    assert standard.context() == state
    with standard.database.read() as session:
        assert is_suppressed(session, PHONE)
        assert session.scalar(select(func.count()).select_from(Turn)) == 2


@pytest.mark.parametrize("detected", [["human", "human"], ["human", "machine_start"]])
def test_a_replayed_detection_changes_nothing(enhanced: World, detected: list[str]) -> None:
    for answered_by in detected:
        enhanced.post(f"/webhooks/twilio/amd?attempt={enhanced.attempt_id}", {"AnsweredBy": answered_by})
    assert enhanced.attempt().answered_by == "human"


def test_a_replayed_status_is_stored_once(enhanced: World) -> None:
    path = f"/webhooks/twilio/status?attempt={enhanced.attempt_id}"
    form = {"CallStatus": "no-answer", "SequenceNumber": "3"}
    for _ in range(3):
        assert enhanced.post(path, form).status_code == 204
    settled = enhanced.attempt().settled_at
    assert settled is not None
    assert enhanced.post(path, form).status_code == 204
    assert enhanced.attempt().settled_at == settled
    with enhanced.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Signal)) == 1


async def _at_once(world: World, path: str, forms: list[dict[str, str]]) -> list[httpx.Response]:
    transport = httpx.ASGITransport(create_app(world.parts), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:

        async def send(form: dict[str, str]) -> httpx.Response:
            fields = {"CallSid": SID, "AccountSid": ACCOUNT, **form}
            return await client.post(path, data=fields, headers={SIGNATURE_HEADER: signature_of(TOKEN, BASE + path, fields.items())})

        return await asyncio.gather(*map(send, forms))


def test_the_same_turn_many_times_at_once_is_one_turn(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    answers = asyncio.run(_at_once(standard, url, [{"SpeechResult": "yes I did"}] * 6))
    assert {answer.status_code for answer in answers} == {200}
    turns = {ET.fromstring(answer.text)[0].attrib["action"].rpartition("=")[2] for answer in answers}
    assert turns == {"2"}
    with standard.database.read() as session:
        assert session.scalars(select(Turn.ordinal).order_by(Turn.ordinal)).all() == [0, 1]
    state = standard.context().state
    assert state is not None
    assert state["checkpoints"][0]["turns"] == 1


# --- wrongly made -----------------------------------------------------------------------------------------------------


def sent(world: World, path: str, body: bytes, fields: list[tuple[str, str]]):
    headers = {SIGNATURE_HEADER: signature_of(TOKEN, BASE + path, fields), "Content-Type": "application/x-www-form-urlencoded"}
    return world.client.post(path, content=body, headers=headers)


def test_another_account_is_refused(calm: World) -> None:
    response = calm.post(voice(calm), {"AccountSid": "AC" + "f" * 32})
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert calm.attempt().voice_served_at is None


@pytest.mark.parametrize("name", ["CallSid", "AccountSid", "CallStatus", "Direction", "From", "To"])
def test_what_identifies_a_call_may_not_be_given_twice(calm: World, name: str) -> None:
    fields = [("CallSid", SID), ("AccountSid", ACCOUNT), ("CallStatus", "ringing"), (name, "first"), (name, "second")]
    response = sent(calm, voice(calm), urlencode(fields).encode(), fields)
    assert response.status_code == 400
    assert response.json()["detail"] == f"{name} is given twice"
    assert calm.attempt().voice_served_at is None


def test_of_other_fields_that_come_twice_the_first_counts(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    fields = [("CallSid", SID), ("AccountSid", ACCOUNT), ("SpeechResult", "yes I did"), ("SpeechResult", "stop calling me")]
    assert tags(sent(standard, url, urlencode(fields).encode(), fields)) == ["Gather", "Redirect"]


def test_the_same_field_twice_with_one_value_is_no_contradiction(enhanced: World) -> None:
    fields = [("CallSid", SID), ("AccountSid", ACCOUNT), ("CallSid", SID)]
    assert tags(sent(enhanced, voice(enhanced), urlencode(fields).encode(), fields)) == ["Connect", "Redirect"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00=\x80",
        b"CallSid=%FF%FE",
        b"CallSid=%ED%A0%80&AccountSid=%00",
        b"{}",
        b"",
        b"&&&===&",
        b"%",
        b"a" * 60_000,
        b"&".join(b"a" for _ in range(30_000)),
        '{"CallSid": "CA1"}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_no_form_is_refused_without_a_fault(calm: World, body: bytes) -> None:
    response = calm.client.post(voice(calm), content=body, headers={SIGNATURE_HEADER: b"\xff\xfeAAAA"})
    assert response.status_code in (400, 403)
    assert response.headers["content-type"] == "application/problem+json"
    assert calm.attempt().voice_served_at is None


def test_letters_of_any_alphabet_are_signed_and_heard(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    response = standard.post(url, {"SpeechResult": "да, конечно — 好的 😀"})
    assert response.status_code == 200


@pytest.mark.parametrize("sid", ["", "CA 1", "CA1\n", "CA" + "1" * 100, "CA\x001", "../../etc"])
def test_a_webhook_that_names_no_call_is_refused(calm: World, sid: str) -> None:
    assert calm.post(voice(calm), {"CallSid": sid}).status_code == 400


@pytest.mark.parametrize("attempt", ["\x00", "a" * 65, "' OR 1=1 --", "a b", "😀"])
def test_an_address_that_names_no_attempt_is_refused(calm: World, attempt: str) -> None:
    assert calm.post(f"/webhooks/twilio/status?attempt={quote(attempt)}", {"CallStatus": "ringing"}).status_code == 400


@pytest.mark.parametrize(
    "form", [{"SequenceNumber": "9" * 400}, {"SequenceNumber": "-3"}, {"SipResponseCode": "9" * 30}, {"AnsweredBy": "x" * 500}]
)
def test_numbers_that_no_column_holds_are_left_out(database: Database, tmp_path: Path, form: dict[str, str]) -> None:
    world = make_world(database, tmp_path, "enhanced")
    response = world.post(f"/webhooks/twilio/status?attempt={world.attempt_id}", {"CallStatus": "no-answer", **form})
    assert response.status_code == 204
    assert world.attempt().outcome == "no_answer"


# --- draining ---------------------------------------------------------------------------------------------------------


def test_while_draining_what_rang_before_is_talked_to_and_what_was_dialled_since_is_not(standard: World) -> None:
    now = datetime.now(UTC)
    ringing = standard.with_parts(draining_since=lambda: now + timedelta(seconds=1))
    assert tags(ringing.post(voice(ringing))) == ["Gather", "Redirect"]


def test_a_call_dialled_while_draining_is_turned_away_with_a_word(standard: World) -> None:
    draining = standard.with_parts(draining_since=lambda: datetime.now(UTC) - timedelta(minutes=1))
    say, hangup = verbs(draining.post(voice(draining)))
    assert (say.tag, hangup.tag) == ("Say", "Hangup")
    assert standard.attempt().voice_served_at is None


def test_a_talk_under_way_goes_on_while_draining(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    draining = standard.with_parts(draining_since=lambda: datetime.now(UTC))
    assert tags(draining.post(url, {"SpeechResult": "yes I did"})) == ["Gather", "Redirect"]
    assert draining.client.get("/health").status_code == 503


PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "live"),
    [
        ({}, 1),
        ({"status": "dialing", "carrier_call_id": None}, 1),
        ({"status": "in_progress", "voice_served_at": "now", "dial_until": PAST}, 1),
        ({"status": "in_progress", "voice_served_at": PAST, "stream_began_at": "now"}, 1),
        # Over, and waiting for its last words before it is settled.
        ({"status": "in_progress", "voice_served_at": "now", "ended_at": "now"}, 0),
        # Nothing was heard of it since it had to stop ringing: a server that waits for it would wait for nobody.
        ({"status": "unknown", "carrier_call_id": None, "dial_until": PAST}, 0),
        ({"status": "ringing", "dial_until": PAST}, 0),
        # The callback of its end was lost, or its carrier has gone.
        ({"status": "queued", "created_at": PAST}, 0),
        ({"status": "in_progress", "voice_served_at": PAST}, 0),
        ({"status": "ended"}, 0),
    ],
)
def test_what_a_draining_server_waits_for(standard: World, changed: dict[str, object], live: int) -> None:
    now = datetime.now(UTC)
    standard.change(**{name: now if value == "now" else value for name, value in changed.items()})
    assert standard.parts.calls.live_attempts(now) == live


def test_a_long_talk_is_waited_for_while_words_are_said(standard: World) -> None:
    url = verbs(standard.post(voice(standard)))[0].attrib["action"].removeprefix(BASE)
    standard.change(voice_served_at=PAST)
    standard.post(url, {"SpeechResult": "yes I did"})
    now = datetime.now(UTC)
    assert standard.parts.calls.live_attempts(now) == 1
    assert standard.parts.calls.live_attempts(now + timedelta(minutes=3)) == 0


def test_everything_that_is_asked_can_be_interrupted(standard: World) -> None:
    response = standard.post(voice(standard))
    while (verb := verbs(response)[0]).tag == "Gather":
        # Said inside <Gather>, a prompt is heard out only by those who want to.
        assert [child.tag for child in verb] == ["Say"]
        assert verb.attrib.get("bargeIn", "true") == "true"
        response = standard.post(verb.attrib["action"].removeprefix(BASE), {"SpeechResult": "no"})
