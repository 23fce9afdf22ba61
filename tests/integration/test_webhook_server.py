"""The webhook server as its callers see it: signed webhooks, TwiML, problem+json, and who may use the API."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from core.storage.database import Database
from core.storage.numbers import is_suppressed
from core.storage.tables import Run, ScheduledCall
from core.telephony import stream_token
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from tests.integration.webhook_doubles import BASE, KEY, PHONE, SID, STREAM_KEY, TOKEN, World, make_world, verbs
from workers.webhook_server.access import AccessRules


@pytest.fixture
def enhanced(sqlite_database: Database, tmp_path: Path) -> World:
    return make_world(sqlite_database, tmp_path, "enhanced")


@pytest.fixture
def standard(database: Database, tmp_path: Path) -> World:
    return make_world(database, tmp_path, "standard")


def test_an_unsigned_or_wrongly_signed_webhook_is_refused(enhanced: World) -> None:
    path = f"/webhooks/twilio/voice?attempt={enhanced.attempt_id}"
    for response in (enhanced.post(path, signed=False), enhanced.post(path, token="f" * 32)):
        assert response.status_code == 403
        assert response.headers["content-type"] == "application/problem+json"
    assert enhanced.attempt().voice_served_at is None


def test_a_signature_does_not_cover_another_attempt(enhanced: World) -> None:
    fields = {"CallSid": SID}
    signature = signature_of(TOKEN, f"{BASE}/webhooks/twilio/status?attempt=other", fields.items())
    path = f"/webhooks/twilio/status?attempt={enhanced.attempt_id}"
    assert enhanced.client.post(path, data=fields, headers={SIGNATURE_HEADER: signature}).status_code == 403


def test_a_body_over_the_limit_is_refused(enhanced: World) -> None:
    response = enhanced.client.post("/webhooks/twilio/status?attempt=x", content=b"a=" + b"b" * 70000)
    assert response.status_code == 413


def test_voice_hands_the_call_to_a_stream_with_a_token_for_this_call_alone(enhanced: World) -> None:
    connect, redirect = verbs(enhanced.post(f"/webhooks/twilio/voice?attempt={enhanced.attempt_id}"))
    stream = connect[0]
    assert stream.attrib["url"] == "ws://127.0.0.1:8001/media"
    assert urlsplit(stream.attrib["url"]).query == ""
    token = next(p.attrib["value"] for p in stream if p.attrib["name"] == "token")
    claim = stream_token.verify(STREAM_KEY, token, SID, datetime.now(UTC))
    assert (claim.attempt_id, claim.epoch) == (enhanced.attempt_id, 1)
    assert redirect.text == f"{BASE}/webhooks/twilio/continue?attempt={enhanced.attempt_id}&stream=1"
    assert enhanced.attempt().voice_served_at is not None


def test_voice_for_a_call_nobody_placed_hangs_up_and_is_reported(enhanced: World) -> None:
    assert [v.tag for v in verbs(enhanced.post("/webhooks/twilio/voice?attempt=nobody"))] == ["Hangup"]
    assert [problem.kind for problem in enhanced.parts.problems.open()] == ["webhook"]


def test_voice_of_another_carrier_call_for_the_same_attempt_hangs_up(enhanced: World) -> None:
    response = enhanced.post(f"/webhooks/twilio/voice?attempt={enhanced.attempt_id}", {"CallSid": "CA" + "2" * 32})
    assert [v.tag for v in verbs(response)] == ["Hangup"]
    assert enhanced.attempt().voice_served_at is None


def test_voice_of_an_attempt_that_is_over_hangs_up(enhanced: World) -> None:
    enhanced.post(f"/webhooks/twilio/status?attempt={enhanced.attempt_id}", {"CallStatus": "no-answer", "SequenceNumber": "2"})
    assert [v.tag for v in verbs(enhanced.post(f"/webhooks/twilio/voice?attempt={enhanced.attempt_id}"))] == ["Hangup"]


def test_statuses_are_taken_once_and_final_ones_win(enhanced: World) -> None:
    path = f"/webhooks/twilio/status?attempt={enhanced.attempt_id}"
    for status, sequence in [("ringing", "1"), ("no-answer", "3"), ("no-answer", "3"), ("initiated", "0"), ("in-progress", "2")]:
        assert enhanced.post(path, {"CallStatus": status, "SequenceNumber": sequence}).status_code == 204
    attempt = enhanced.attempt()
    assert (attempt.status, attempt.outcome) == ("ended", "no_answer")


def test_an_unknown_status_word_is_no_error(enhanced: World) -> None:
    path = f"/webhooks/twilio/status?attempt={enhanced.attempt_id}"
    assert enhanced.post(path, {"CallStatus": "levitating"}).status_code == 204


def test_machine_detection_is_kept(enhanced: World) -> None:
    enhanced.post(f"/webhooks/twilio/amd?attempt={enhanced.attempt_id}", {"AnsweredBy": "machine_start"})
    assert enhanced.attempt().answered_by == "machine_start"


def test_after_a_crash_of_the_media_server_the_call_waits_then_goes_on_in_standard_mode(enhanced: World) -> None:
    path = f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}"
    for number in range(1, 6):
        pause, redirect = verbs(enhanced.post(path))
        assert (pause.tag, redirect.tag) == ("Pause", "Redirect")
        assert (redirect.text or "").endswith(f"&try={number}")
        path = (redirect.text or "").removeprefix(BASE)
    gather = verbs(enhanced.post(path))[0]
    assert gather.tag == "Gather"


def test_a_finished_conversation_ends_the_call(enhanced: World) -> None:
    conversations = enhanced.parts.conversations
    state, _ = enhanced.parts.orchestrator.begin(enhanced.parts.plans.get("medication-check-in"), "Ada")
    conversation_id = conversations.open(enhanced.attempt_id, "medication-check-in", "d", "voice", state.to_json(), datetime.now(UTC))
    conversations.save(conversation_id, 0, [], state.to_json(), "complete", datetime.now(UTC))
    assert [v.tag for v in verbs(enhanced.post(f"/webhooks/twilio/continue?attempt={enhanced.attempt_id}"))] == ["Hangup"]


def gather_url(response) -> str:
    gather = verbs(response)[0]
    assert gather.tag == "Gather", response.text
    return gather.attrib["action"].removeprefix(BASE)


def test_standard_mode_talks_turn_by_turn_to_the_closing_and_the_journal(standard: World) -> None:
    response = standard.post(f"/webhooks/twilio/voice?attempt={standard.attempt_id}")
    assert "Ay-da" in response.text
    answers = 0
    while (verb := verbs(response)[0]).tag == "Gather":
        assert verb.attrib["input"] == "speech dtmf"
        context = standard.parts.conversations.context(standard.attempt_id)
        assert context is not None
        assert context.state is not None
        expected = standard.parts.plans.get(context.plan).checkpoints[context.state["checkpoint_index"]].hints[0]
        response = standard.post(gather_url(response), {"SpeechResult": expected, "Confidence": "0.9"})
        answers += 1
        assert answers < 12
    assert [v.tag for v in verbs(response)] == ["Say", "Hangup"]
    standard.post(
        f"/webhooks/twilio/status?attempt={standard.attempt_id}", {"CallStatus": "completed", "SequenceNumber": "3", "CallDuration": "20"}
    )
    assert standard.attempt().outcome == "answered"
    (entry,) = standard.parts.journal.recent()
    assert entry.complete
    assert [answer["complete"] for answer in entry.body["answers"]] == [True] * len(entry.body["answers"])


def test_a_repeated_gather_does_not_use_up_a_turn(standard: World) -> None:
    first = gather_url(standard.post(f"/webhooks/twilio/voice?attempt={standard.attempt_id}"))
    standard.post(first, {"SpeechResult": "yes I did"})
    context = standard.parts.conversations.context(standard.attempt_id)
    standard.post(first, {"SpeechResult": "yes I did"})
    again = standard.parts.conversations.context(standard.attempt_id)
    assert context is not None
    assert again is not None
    assert (context.next_turn, context.state) == (again.next_turn, again.state)


@pytest.mark.parametrize("form", [{"Digits": "*"}, {"SpeechResult": "please stop calling me"}])
def test_star_or_words_stop_calls_for_good(standard: World, form: dict[str, str]) -> None:
    url = gather_url(standard.post(f"/webhooks/twilio/voice?attempt={standard.attempt_id}"))
    assert [v.tag for v in verbs(standard.post(url, form))] == ["Say", "Hangup"]
    with standard.database.read() as session:
        assert is_suppressed(session, PHONE)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong"},
    ],
)
def test_the_api_wants_the_key_from_anybody_but_this_machine(enhanced: World, headers: dict[str, str]) -> None:
    response = enhanced.client.get("/api/calls", headers=headers)
    assert response.status_code == 401
    assert response.json()["status"] == 401
    assert enhanced.client.get("/api/calls", headers={**headers, "Authorization": f"Bearer {KEY}"}).status_code == 200


def test_a_direct_loopback_request_needs_no_key_under_the_simulator(enhanced: World) -> None:
    assert enhanced.client.get("/api/calls").status_code == 200


def test_with_a_public_url_even_loopback_needs_the_key(enhanced: World) -> None:
    closed = enhanced.with_parts(access=AccessRules(KEY, open_to_loopback=False))
    assert closed.client.get("/api/jobs").status_code == 401


def test_what_is_not_there_is_a_problem_with_one_line(enhanced: World) -> None:
    for path, status in [("/api/calls/zzz", 404), ("/api/nothing", 404), ("/api/calls?limit=0", 422)]:
        response = enhanced.client.get(path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert "\n" not in response.json()["detail"]


def test_a_job_of_a_dead_worker_is_not_triggered(enhanced: World) -> None:
    response = enhanced.client.post("/api/jobs/window_scan/trigger")
    assert response.status_code == 503
    assert enhanced.parts.jobs.take("window-scheduler", datetime.now(UTC)) == []
    assert enhanced.client.post("/api/jobs/windowscan/trigger").status_code == 422


def test_a_job_of_a_live_worker_is_triggered(sqlite_database: Database, tmp_path: Path) -> None:
    world = make_world(sqlite_database, tmp_path, "enhanced", live={"window_scan": {"next_run": None}})
    assert world.client.post("/api/jobs/window_scan/trigger").status_code == 202
    assert [t.job for t in world.parts.jobs.take("window-scheduler", datetime.now(UTC))] == ["window_scan"]
    assert world.client.get("/api/jobs").json()["scheduler_running"] is True


def test_pause_and_resume(enhanced: World) -> None:
    assert enhanced.client.post("/api/dialling/pause", json={"reason": "storm"}).json() == {"changed": True}
    assert enhanced.client.get("/api/dialling").json()["reason"] == "storm"
    assert enhanced.client.post("/api/dialling/resume").json() == {"changed": True}


def test_a_call_can_be_cancelled(enhanced: World) -> None:
    with enhanced.database.read() as session:
        call_id = session.scalars(select(ScheduledCall)).one().id
    assert enhanced.client.post(f"/api/calls/{call_id[:8]}/cancel").status_code == 202
    with enhanced.database.read() as session:
        assert session.scalars(select(Run)).one().cancel_requested


def test_health_says_when_it_drains(enhanced: World) -> None:
    assert enhanced.client.get("/health").status_code == 200
    assert enhanced.with_parts(draining_since=lambda: datetime.now(UTC)).client.get("/health").status_code == 503
