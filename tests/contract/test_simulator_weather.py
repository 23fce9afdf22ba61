"""The weather: drawn from a seed, read from a file, and what it does to REST answers, callbacks and webhooks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.errors import InvalidInput
from core.telephony.base import NotPlaced, Placed, Unknown
from workers.phone_simulator.weather import (
    CALM,
    PRESETS,
    REALISTIC,
    STORM,
    AfterBreak,
    CreateTrouble,
    Dice,
    StreamTrouble,
    Weather,
    load_weather,
)

HANG_UP = "<Hangup/>"
DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"


def weather(**fields: Any) -> Weather:
    return Weather.model_validate(fields)


def dice(of: Weather, number: int = 0, seed: int = 1) -> Dice:
    return Dice(of, seed, "outbound-api", f"+1202555{number:04}", 0)


# --- the draw -------------------------------------------------------------------------------------------------------


def test_the_same_seed_brings_the_same_weather_in_any_order() -> None:
    def drawn(seed: int, numbers: Any) -> dict[int, tuple[Any, ...]]:
        found = {}
        for n in numbers:
            thrown = dice(STORM, n, seed)
            found[n] = (thrown.create_trouble(), thrown.deliveries("status 0"), thrown.stream(0), thrown.after_break(0))
        return found

    assert drawn(1, range(300)) == drawn(1, reversed(range(300)))
    assert drawn(1, range(300)) != drawn(2, range(300))


def test_a_likelier_trouble_leaves_the_others_where_they_were() -> None:
    often = STORM.model_copy(update={"callback_lost": 0.5})

    for n in range(200):
        assert dice(STORM, n).create_trouble() == dice(often, n).create_trouble()
        if not dice(often, n).deliveries("status 1")[0].lost:
            assert dice(often, n).deliveries("status 1") == dice(STORM, n).deliveries("status 1")


def test_troubles_come_as_often_as_they_should() -> None:
    creates = [dice(STORM, n).create_trouble() for n in range(4000)]
    streams = [dice(STORM, n).stream(0).trouble for n in range(4000)]
    deliveries = [dice(STORM, n).deliveries("status 2") for n in range(4000)]

    def share(found: list[Any], wanted: Any) -> float:
        return found.count(wanted) / len(found)

    assert share(creates, CreateTrouble.REFUSED) == pytest.approx(STORM.create_refused, abs=0.02)
    assert share(creates, CreateTrouble.FAILS) == pytest.approx(STORM.create_fails_after_placing, abs=0.02)
    assert share(creates, CreateTrouble.RESET) == pytest.approx(STORM.create_reset_after_placing, abs=0.02)
    assert share(streams, StreamTrouble.BROKEN) == pytest.approx(STORM.stream_broken, abs=0.02)
    assert sum(sent[0].lost for sent in deliveries) / 4000 == pytest.approx(STORM.callback_lost, abs=0.02)
    assert sum(len(sent) == 2 for sent in deliveries) / 4000 == pytest.approx((1 - STORM.callback_lost) * STORM.callback_repeated, abs=0.02)
    assert {dice(REALISTIC, n).after_break(0) for n in range(50)} == set(AfterBreak)


def test_calm_weather_does_nothing() -> None:
    for n in range(200):
        thrown = dice(CALM, n)
        assert thrown.create_trouble() is CreateTrouble.NONE
        assert [(sending.after, sending.lost) for sending in thrown.deliveries("status 0")] == [(0, False)]
        assert thrown.stream(0).trouble is StreamTrouble.NONE
        assert thrown.after_break(0) is AfterBreak.NEXT_VERB


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_file_says_what_differs_from_its_preset(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("start_from: realistic\ncallback_lost: 0.5\ncallback_after: 3\n")

    found = load_weather("ours.yaml", tmp_path)

    assert (found.callback_lost, found.callback_after) == (0.5, (3, 3))
    assert found.model_copy(update={"callback_lost": REALISTIC.callback_lost, "callback_after": REALISTIC.callback_after}) == REALISTIC
    assert load_weather("storm", tmp_path) is STORM


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\ncallback_lost: 2\n", "2: callback_lost: Input should be less than or equal to 1"),
        ("start_from: hail\n", "1: start_from: Input should be 'calm', 'realistic' or 'storm'"),
        ("\n\ncolour: red\n", "3: colour: Extra inputs"),
        ("callback_after: [3, 1]\n", "1: callback_after: the least, 3, is more than the most, 1"),
        ("after_break: {next_verb: 0}\n", "1: after_break: one of the weights must be positive"),
        ("after_break: {explode: 1}\n", "explode"),
        ("callback_after: {a: 1}\n", "1: callback_after"),
        ("[", "1: "),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ours.yaml").write_text(text)

    with pytest.raises(InvalidInput) as caught:
        load_weather("ours.yaml", tmp_path)

    assert said in str(caught.value)
    assert "ours.yaml" in str(caught.value)


def test_weather_that_is_neither_known_nor_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"ORCH_SIMULATOR_WEATHER=hail: neither calm, realistic, storm nor a file"):
        load_weather("hail", tmp_path)


def test_the_manual_names_every_word_of_the_weather() -> None:
    manual = DOCS.read_text()

    assert [name for name in Weather.model_fields if f"`{name}`" not in manual] == []
    assert [name for name in PRESETS if f"`{name}`" not in manual] == []


def test_every_yaml_example_of_the_manual_is_accepted() -> None:
    from workers.phone_simulator.behaviours import CalleeBook

    blocks = [block.partition("```")[0] for block in DOCS.read_text().split("```yaml\n")[1:]]

    assert len(blocks) >= 2
    for block in blocks:
        given = yaml.safe_load(block)
        (CalleeBook if "behaviours" in given else Weather).model_validate(given)


# --- what it does ---------------------------------------------------------------------------------------------------


def test_one_number_has_weather_of_its_own(rig: Any) -> None:
    stormy = {"numbers": ["+12025550121"], "behaviour": "busy", "weather": {"create_refused": 1}}
    calm = {"numbers": ["+12025550122"], "behaviour": "busy", "weather": "calm"}
    book = {"behaviours": {"busy": {"kind": "busy"}}, "callees": [stormy, calm], "otherwise": {"behaviour": "busy"}}
    rig.start(book=book, weather=weather(create_fails_after_placing=1))

    results = [type(rig.carrier().dial(rig.request(f"+1202555012{n}"), deadline_seconds=10)) for n in (1, 2, 3)]

    assert results == [NotPlaced, Placed, Unknown]


def test_a_create_may_be_refused_and_then_nothing_is_placed(rig: Any) -> None:
    rig.start(weather=weather(create_refused=1))

    result = rig.carrier().dial(rig.request(), deadline_seconds=10)

    assert isinstance(result, NotPlaced)
    assert result.code == "20429"
    assert rig.ledger.calls() == []
    assert rig.troubles() == ["create_refused"]


def test_a_create_that_was_refused_once_may_be_accepted_later(rig: Any) -> None:
    rig.start(weather=weather(create_refused=0.5))

    results = [type(rig.carrier().dial(rig.request("+12025550170"), deadline_seconds=10)) for _ in range(12)]

    assert set(results) == {NotPlaced, Placed}


@pytest.mark.parametrize("trouble", ["create_fails_after_placing", "create_reset_after_placing"])
def test_a_create_may_fail_although_the_call_is_placed(rig: Any, trouble: str) -> None:
    rig.start(weather=weather(**{trouble: 1}))
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    result = rig.carrier().dial(rig.request(), deadline_seconds=10)

    assert isinstance(result, Unknown), result
    (call,) = rig.ledger.calls()
    assert rig.until_over(call.sid).status == "completed"
    assert rig.troubles(call.sid) == [trouble]


def test_a_callback_may_come_before_the_answer_to_the_create(rig: Any) -> None:
    rig.start(weather=weather(callback_before_answer=1, callback_after=0.3))

    rig.dial("+12025550130")

    assert rig.us.statuses[0] == "initiated"


def test_a_create_is_answered_in_any_case_when_our_side_does_not_answer_the_callback(rig: Any) -> None:
    rig.start(weather=weather(callback_before_answer=1))

    async def never(_: Any) -> Any:
        await asyncio.sleep(60)

    rig.us.answers["/status"] = [never]

    assert isinstance(rig.carrier().dial(rig.request("+12025550130"), deadline_seconds=10), Placed)


def test_a_new_call_is_missing_from_the_list_for_a_while_and_never_by_its_sid(rig: Any) -> None:
    rig.start(weather=weather(listed_after=1))
    sid = rig.dial("+12025550130")
    client = rig.sdk()

    assert client.calls.list(to="+12025550130") == []
    assert client.calls(sid).fetch().sid == sid
    rig.until(lambda: [call.sid for call in client.calls.list(to="+12025550130")] == [sid])
    assert (rig.ledger.events(kind="request")[-1].at - rig.call(sid).created_at).total_seconds() >= 0.95


@pytest.mark.parametrize(("trouble", "status", "ended"), [("request_fails", 503, False), ("update_fails_after", 500, True)])
def test_an_update_may_fail_with_or_without_effect(rig: Any, trouble: str, status: int, ended: bool) -> None:
    rig.start(weather=weather(**{trouble: 1}))
    sid = rig.order("+12025550130")

    answer = rig.ask("POST", f"/Calls/{sid}.json", Status="canceled")

    assert answer.status_code == status
    assert rig.call(sid).is_over is ended


def test_callbacks_may_be_lost(rig: Any) -> None:
    rig.start(speed=50.0, weather=weather(callback_lost=1))

    sid = rig.order("+12025550120", StatusCallback=rig.us.url("/status"), StatusCallbackEvent=["initiated", "ringing", "completed"])
    rig.until(lambda: rig.call(sid).is_over)

    assert rig.troubles(sid) == ["callback_lost"] * 3
    assert rig.call(sid).callbacks == 3
    assert rig.us.hits == []


def test_callbacks_may_come_twice_and_are_the_same(rig: Any) -> None:
    rig.start(speed=50.0, weather=weather(callback_repeated=1, callback_repeated_after=0.1))

    rig.order("+12025550120", StatusCallback=rig.us.url("/status"))
    rig.until(lambda: len(rig.us.to("/status")) == 2)

    first, second = rig.us.to("/status")
    assert first.pairs == second.pairs


def test_callbacks_may_overtake_one_another(rig: Any) -> None:
    rig.start(speed=20.0, weather=weather(callback_after=[0, 1]))
    wanted = ["initiated", "ringing", "completed"]

    for n in range(6):
        rig.order(f"+1202555012{n}", StatusCallback=rig.us.url(f"/status?n={n}"), StatusCallbackEvent=wanted)
    rig.until(lambda: len(rig.us.to("/status")) == 18)

    by_call = {n: [hit.fields["SequenceNumber"] for hit in rig.us.to("/status") if hit.query["n"] == str(n)] for n in range(6)}
    assert all(sorted(found) == ["0", "1", "2"] for found in by_call.values())
    assert any(found != ["0", "1", "2"] for found in by_call.values())


def test_callbacks_may_be_late_and_survive_the_wait(rig: Any) -> None:
    rig.start(speed=50.0, weather=weather(callback_late=1, callback_late_by=1))

    sid = rig.order("+12025550120", StatusCallback=rig.us.url("/status"))
    rig.until(lambda: rig.call(sid).is_over)
    assert rig.us.hits == []
    rig.until(lambda: rig.us.to("/status"))

    (sent,) = rig.ledger.events(sid, "webhook")
    assert 0.95 < (sent.at - rig.call(sid).ended_at).total_seconds() < 5


@pytest.mark.parametrize(("trouble", "asked"), [("webhook_unreached", 0), ("webhook_answer_lost", 1)])
def test_a_request_for_twiml_may_time_out_and_the_fallback_is_asked(rig: Any, trouble: str, asked: int) -> None:
    rig.start(speed=50.0, weather=weather(**{trouble: 1}))
    rig.us.answers |= {"/voice": [rig.twiml(HANG_UP)], "/fallback": [rig.twiml("<Say>Sorry.</Say>")]}

    sid = rig.order("+12025550199", FallbackUrl=rig.us.url("/fallback"))
    rig.until_over(sid)

    assert len(rig.us.to("/voice")) == asked
    (fallback,) = rig.us.to("/fallback")
    assert (fallback.fields["ErrorCode"], fallback.fields["ErrorUrl"]) == ("11200", rig.us.url("/voice"))
    assert rig.verbs(sid) == ["Say"]
    assert rig.codes(sid) == [11200]


def test_without_a_fallback_a_request_that_times_out_ends_the_call(rig: Any) -> None:
    rig.start(speed=50.0, weather=weather(webhook_unreached=1))

    sid = rig.dial("+12025550199")

    assert rig.until_over(sid).status == "completed"
    assert rig.us.to("/voice") == []


@pytest.mark.parametrize(("fields", "verdict"), [({"detection_longer_by": 3}, "machine_start"), ({"detection_unsure": 1}, "unknown")])
def test_machine_detection_may_take_longer_or_find_nothing(rig: Any, fields: dict[str, Any], verdict: str) -> None:
    rig.start(speed=20.0, weather=weather(**fields))
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    sid = rig.order("+12025550150", MachineDetection="Enable")
    rig.until_over(sid)

    (voice,) = rig.us.to("/voice")
    assert voice.fields["AnsweredBy"] == verdict
    assert voice.fields["MachineDetectionDuration"] == str(500 + 1000 * fields.get("detection_longer_by", 0))


def test_the_inspection_of_the_network_has_no_weather(rig: Any) -> None:
    rig.start(weather=weather(request_fails=1))

    assert rig.ask("GET", "/simulator/ledger").status_code == 200
    assert rig.ask("GET", "/Calls.json").status_code == 503


def test_a_lost_answer_really_is_a_reset(rig: Any) -> None:
    rig.start(weather=weather(create_reset_after_placing=1))

    with pytest.raises(httpx.ReadError):
        rig.ask("POST", "/Calls.json", To="+12025550130", From=rig.caller, Url=rig.us.url("/voice"))
