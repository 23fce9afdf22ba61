"""Media streams from the network's end, with a hand-written other end."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from workers.phone_simulator.audio import silence, tone
from workers.phone_simulator.weather import Weather

STREAM = '<Connect><Stream url="{}"><Parameter name="token" value="s3cr3t"/></Stream></Connect>'
AFTER = '<Redirect method="POST">/after</Redirect>'
PROMPT = tone(300, 0.4)


def start(rig: Any, stream: Any, **options: Any) -> Any:
    """A network whose calls are connected to `stream`, and then ask what is next."""
    rig.start(**options)
    rig.us.stream = stream
    url = rig.us.url("/media").replace("http:", "ws:")
    rig.us.answers |= {"/voice": [rig.twiml(STREAM.format(url), AFTER)], "/after": [rig.twiml("<Hangup/>")]}
    return rig


def codes(rig: Any, sid: str) -> list[int]:
    return [event.detail["code"] for event in rig.ledger.warnings(sid)]


def payload(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["media"]["payload"])


def test_a_stream_begins_as_documented_and_sends_silence_in_real_time(rig: Any) -> None:
    async def listen(talk: Any) -> None:
        await talk.until(lambda t: len(t.of("media")) >= 50)

    start(rig, listen)

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    (talk,) = rig.us.talks
    assert talk.authentic
    connected, begin, *rest = talk.received
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert begin == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": talk.sid,
        "start": {
            "accountSid": rig.account,
            "streamSid": talk.sid,
            "callSid": sid,
            "tracks": ["inbound"],
            "customParameters": {"token": "s3cr3t"},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }
    assert [message["sequenceNumber"] for message in rest] == [str(n) for n in range(2, len(rest) + 2)]
    frames = talk.of("media")
    assert [frame["media"]["chunk"] for frame in frames] == [str(n) for n in range(1, len(frames) + 1)]
    assert [frame["media"]["timestamp"] for frame in frames[:3]] == ["20", "40", "60"]
    assert {frame["media"]["track"] for frame in frames} == {"inbound"}
    assert {payload(frame) for frame in frames} == {silence(160)}
    streamed = rig.ledger.events(sid, "stream")
    began, ended = (event.at for event in streamed)
    # Nothing may run ahead of time; a busy machine may be late.
    assert 0.95 < (ended - began).total_seconds() < 3


def test_the_next_verb_runs_when_our_side_closes(rig: Any) -> None:
    async def close(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))

    start(rig, close)

    call = rig.until_over(rig.dial("+12025550199"))

    assert call.status == "completed"
    assert len(rig.us.to("/after")) == 1
    assert rig.ledger.warnings() == []
    assert rig.us.talks[0].of("stop") == []


def test_a_callee_answers_each_prompt_when_it_has_ended(rig: Any) -> None:
    async def ask_twice(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        for heard in (9, 19):
            await talk.play(PROMPT)
            words = sum(payload(frame) != silence(160) for frame in talk.of("media"))
            await talk.until(lambda t, w=words, n=heard: sum(payload(f) != silence(160) for f in t.of("media")) > w + n)
            await talk.until(lambda t: all(payload(f) == silence(160) for f in t.of("media")[-10:]))

    start(rig, ask_twice)

    sid = rig.dial()
    rig.until_over(sid)

    said = rig.ledger.events(sid, "said")
    heard = rig.ledger.events(sid, "heard")
    assert [event.detail["text"] for event in said] == ["i am well", "yes please"]
    assert [event.detail["ms"] for event in heard] == [400, 400]
    # 400 ms of prompt, 500 ms of quiet until it counts as over, and the answer after 600 ms of quiet.
    assert said[0].detail["at_ms"] - heard[0].detail["at_ms"] == pytest.approx(100, abs=20)
    assert said[1].detail["at_ms"] > heard[1].detail["at_ms"]


def test_marks_come_back_when_what_was_before_them_has_been_played(rig: Any) -> None:
    async def marks(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        await talk.mark("at once")
        await talk.play(tone(300, 0.5))
        await talk.mark("half a second")
        await talk.play(tone(300, 0.3))
        await talk.mark("the end")
        await talk.until(lambda t: len(t.of("mark")) == 3)

    start(rig, marks)

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    marks_seen = [(event.detail["name"], event.detail["at_ms"], event.detail["cleared"]) for event in rig.ledger.events(sid, "mark")]
    assert [name for name, _, _ in marks_seen] == ["at once", "half a second", "the end"]
    first, second, third = (at for _, at, _ in marks_seen)
    assert 480 <= second - first < 1000
    assert third - second == pytest.approx(300, abs=20)
    assert not any(cleared for _, _, cleared in marks_seen)
    assert [message["mark"] for message in rig.us.talks[0].of("mark")] == [
        {"name": "at once"},
        {"name": "half a second"},
        {"name": "the end"},
    ]


def test_clear_drops_the_audio_and_returns_every_mark_at_once(rig: Any) -> None:
    async def interrupt(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        await talk.play(tone(300, 30))
        await talk.mark("one")
        await talk.mark("two")
        await talk.until(lambda t: len(t.of("media")) > 10)
        await talk.clear()
        await talk.until(lambda t: len(t.of("mark")) == 2)
        # What comes after it is played as if nothing had been before.
        await talk.play(tone(300, 0.1))
        await talk.mark("three")
        await talk.until(lambda t: len(t.of("mark")) == 3, seconds=3)

    start(rig, interrupt)

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    assert [(e.detail["name"], e.detail["cleared"]) for e in rig.ledger.events(sid, "mark")] == [
        ("one", True),
        ("two", True),
        ("three", False),
    ]


def test_keys_reach_our_side_one_by_one(rig: Any) -> None:
    async def ask(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        await talk.play(PROMPT)
        await talk.until(lambda t: len(t.of("dtmf")) == 2)

    start(rig, ask)

    rig.until_over(rig.dial("+12025550160"))

    assert [message["dtmf"] for message in rig.us.talks[0].of("dtmf")] == [
        {"track": "inbound_track", "digit": "1"},
        {"track": "inbound_track", "digit": "*"},
    ]


def test_a_callee_who_hangs_up_stops_the_stream_and_ends_the_call(rig: Any) -> None:
    async def talk_on(talk: Any) -> None:
        going_on = await talk.until(lambda t: t.of("media"))
        while going_on:
            await talk.play(PROMPT)
            heard = len(talk.of("media"))
            going_on = await talk.until(lambda t, n=heard: len(t.of("media")) > n + 100)

    start(rig, talk_on)

    call = rig.until_over(rig.dial("+12025550140"))

    assert call.status == "completed"
    assert rig.us.talks[0].received[-1]["event"] == "stop"
    assert rig.us.talks[0].received[-1]["stop"] == {"accountSid": rig.account, "callSid": call.sid}
    assert rig.us.to("/after") == []


def test_hanging_up_by_rest_stops_the_stream(rig: Any) -> None:
    async def listen(talk: Any) -> None:
        await talk.until(lambda t: False, seconds=20)

    start(rig, listen)
    sid = rig.dial("+12025550199")
    rig.until(lambda: rig.us.talks and len(rig.us.talks[0].received) > 5)

    rig.carrier().hang_up(sid)

    assert rig.until_over(sid).status == "completed"
    rig.until(lambda: rig.us.talks[0].of("stop"))
    assert rig.us.to("/after") == []


def test_an_answering_machine_greets_beeps_and_listens(rig: Any) -> None:
    async def listen(talk: Any) -> None:
        await talk.until(lambda t: len(t.of("media")) > 130)

    start(rig, listen)

    sid = rig.dial("+12025550150")
    rig.until_over(sid)

    assert [event.detail["text"] for event in rig.ledger.events(sid, "said")] == ["leave a message", "(tone of 0.5 s)"]
    loud = [payload(frame) != silence(160) for frame in rig.us.talks[0].of("media")]
    beep = tone(1000, 0.5)
    sent = b"".join(payload(frame) for frame in rig.us.talks[0].of("media"))
    assert beep in sent
    assert not any(loud[-10:])


@pytest.mark.parametrize(
    "wrong",
    [
        "not json",
        "[]",
        '{"event":"hello","streamSid":"SID"}',
        '{"event":"media","streamSid":"SID","media":{"payload":"//8="},"extra":1}',
        '{"event":"media","streamSid":"SID","media":{"payload":"//8=","track":"outbound"}}',
        '{"event":"media","streamSid":"SID","media":{}}',
        '{"event":"media","streamSid":"SID","media":{"payload":"not base64!"}}',
        '{"event":"media","streamSid":"SID","media":{"payload":"UklGRiQAAABXQVZF"}}',
        '{"event":"media","streamSid":"MZ1","media":{"payload":"//8="}}',
        '{"event":"media","media":{"payload":"//8="}}',
        '{"event":"mark","streamSid":"SID","mark":{"name":7}}',
        '{"event":"mark","streamSid":"SID"}',
        '{"event":"clear","streamSid":"SID","clear":{}}',
    ],
)
def test_a_message_that_is_not_to_the_letter_is_dropped_and_counted(rig: Any, wrong: str) -> None:
    async def err(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        await talk.socket.send_str(wrong.replace("SID", talk.sid))
        await talk.mark("still here")
        await talk.until(lambda t: t.of("mark"))

    start(rig, err)

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    assert codes(rig, sid) == [31951]


def test_a_binary_message_is_counted(rig: Any) -> None:
    async def err(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        await talk.socket.send_bytes(b"\xff" * 160)

    start(rig, err)

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    assert codes(rig, sid) == [31950]


@pytest.mark.parametrize(("then", "asked_again"), [("next_verb", 1), ("hang_up", 0), ("silence", 0)])
def test_after_a_connection_that_broke_the_network_goes_on_or_hangs_up_or_is_silent(rig: Any, then: str, asked_again: int) -> None:
    async def break_it(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))
        talk.socket._req.transport.abort()

    start(rig, break_it, weather=Weather.model_validate({"after_break": {then: 1}}))

    sid = rig.dial("+12025550199")
    if then == "silence":
        rig.until(lambda: any(event.detail.get("then") == then for event in rig.ledger.events(sid, "stream")))
        assert rig.call(sid).status == "in-progress"
        rig.carrier().hang_up(sid)
    call = rig.until_over(sid)

    assert call.status == "completed"
    assert codes(rig, sid) == [31903]
    assert len(rig.us.to("/after")) == asked_again


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/media", 31922),
        ("ws:///media", 31923),
        ("ws://127.0.0.1:1/media?token=x", 31920),
        ("ws://127.0.0.1:1/media", 31902),
    ],
)
def test_a_stream_that_cannot_be_made_is_recorded(rig: Any, url: str, code: int) -> None:
    rig.start()
    rig.us.answers |= {"/voice": [rig.twiml(STREAM.format(url), AFTER)], "/after": [rig.twiml("<Hangup/>")]}

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    assert codes(rig, sid) == [code]


def test_a_server_that_is_no_websocket_is_recorded(rig: Any) -> None:
    rig.start()
    url = rig.us.url("/nothing").replace("http:", "ws:")
    rig.us.answers |= {"/voice": [rig.twiml(STREAM.format(url), AFTER)], "/after": [rig.twiml("<Hangup/>")]}

    sid = rig.dial("+12025550199")
    rig.until_over(sid)

    assert codes(rig, sid) == [31920]


def test_the_stream_reports_its_own_beginning_and_end(rig: Any) -> None:
    async def close(talk: Any) -> None:
        await talk.until(lambda t: t.of("media"))

    start(rig, close)
    url = rig.us.url("/media").replace("http:", "ws:")
    rig.us.answers["/voice"] = [rig.twiml(f'<Connect><Stream url="{url}" name="s" statusCallback="{rig.us.url("/stream")}"/></Connect>')]

    rig.until_over(rig.dial("+12025550199"))

    assert [hit.fields["StreamEvent"] for hit in rig.us.to("/stream")] == ["stream-started", "stream-stopped"]
    assert all(hit.authentic and hit.fields["StreamName"] == "s" for hit in rig.us.to("/stream"))


def test_twenty_streams_keep_their_pace(rig: Any) -> None:
    """In real time: none falls behind, none runs ahead."""

    async def listen(talk: Any) -> None:
        await talk.until(lambda t: len(t.of("media")) >= 100)

    start(rig, listen)

    sids = [rig.dial(f"+120255501{n}") for n in range(80, 100)]
    for sid in sids:
        rig.until_over(sid)

    lengths = []
    for sid in sids:
        began, ended = (event.at for event in rig.ledger.events(sid, "stream"))
        lengths.append((ended - began).total_seconds())
    assert all(1.95 < length < 4 for length in lengths), lengths
