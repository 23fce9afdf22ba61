"""Recordings: of the whole call, by `<Record>`, by REST; their resources, their sound, their callbacks."""

from __future__ import annotations

import io
import wave
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException

from workers.phone_simulator.audio import silence, tone
from workers.phone_simulator.wave_files import BadWaveError, as_wave, seconds_of

# "i am well" in the voice of these tests, without the silent samples at either end.
SAID = (tone(440, 0.06) * 9).strip(b"\xff")


def sound_of(rig: Any, sid: str) -> wave.Wave_read:
    answer = rig.ask("GET", f"/Recordings/{sid}.wav")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/x-wav")
    return wave.open(io.BytesIO(answer.content))


def test_a_call_is_recorded_reported_fetched_and_deleted(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="1"/>')]
    events = ["in-progress", "completed", "absent"]

    sid = rig.order(
        "+12025550199",
        Record="true",
        RecordingChannels="dual",
        RecordingStatusCallback=rig.us.url("/recorded"),
        RecordingStatusCallbackEvent=events,
        StatusCallback=rig.us.url("/status"),
    )
    rig.until_over(sid)
    rig.until(lambda: len(rig.us.to("/recorded")) == 2)

    begun, done = (hit.fields for hit in rig.us.to("/recorded"))
    assert [begun["RecordingStatus"], done["RecordingStatus"]] == ["in-progress", "completed"]
    assert all(hit.authentic for hit in rig.us.hits)
    assert (done["CallSid"], done["RecordingSource"], done["RecordingChannels"]) == (sid, "OutboundAPI", "2")
    client = rig.sdk()
    (listed,) = client.calls(sid).recordings.list()
    (also,) = client.recordings.list(call_sid=sid)
    fetched = client.recordings(listed.sid).fetch()
    assert listed.sid == also.sid == done["RecordingSid"]
    assert (fetched.status, fetched.duration, fetched.channels, fetched.call_sid) == ("completed", done["RecordingDuration"], 2, sid)
    assert fetched.media_url == done["RecordingUrl"]
    final = rig.us.to("/status")[-1].fields
    assert (final["RecordingSid"], final["RecordingUrl"]) == (listed.sid, done["RecordingUrl"])
    with sound_of(rig, listed.sid) as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getsampwidth()) == (2, 8000, 2)
        assert 0.9 < sound.getnframes() / 8000 < 3

    assert client.recordings(listed.sid).delete() is True

    assert client.recordings.list() == []
    assert rig.ask("GET", f"/Recordings/{listed.sid}.wav").status_code == 404
    with pytest.raises(TwilioRestException) as caught:
        client.recordings(listed.sid).fetch()
    assert caught.value.code == 20404
    (kept,) = client.recordings.list(include_soft_deleted=True)
    assert kept.status == "deleted"


def test_both_sides_of_a_stream_are_recorded_each_on_its_own_channel(rig: Any) -> None:
    async def talk(stream: Any) -> None:
        await stream.until(lambda t: t.of("media"))
        await stream.play(tone(300, 0.5))
        await stream.until(lambda t: len(t.of("media")) > 100)

    rig.start()
    rig.us.stream = talk
    url = rig.us.url("/media").replace("http:", "ws:")
    rig.us.answers["/voice"] = [rig.twiml(f'<Connect><Stream url="{url}"/></Connect>')]

    sid = rig.order("+12025550110", Record="true", RecordingChannels="dual")
    rig.until_over(sid)

    (recording,) = rig.ledger.recordings(sid)
    inbound, outbound = rig.ledger.sound(recording.sid)
    assert SAID in inbound
    assert tone(300, 0.5) in outbound
    with sound_of(rig, recording.sid) as sound:
        assert sound.getnchannels() == 2


def test_a_message_is_recorded_until_it_is_followed_by_quiet(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {
        "/voice": [rig.twiml('<Record action="/left" timeout="3" recordingStatusCallback="/recorded"/>')],
        "/left": [rig.twiml("<Hangup/>")],
    }

    sid = rig.order("+12025550110", StatusCallback=rig.us.url("/status"))
    rig.until_over(sid)

    (left,) = rig.us.to("/left")
    (recording,) = rig.ledger.recordings(sid)
    assert left.fields["RecordingSid"] == recording.sid
    assert left.fields["Digits"] == ""
    assert (recording.source, recording.channels, recording.status) == ("RecordVerb", 1, "completed")
    inbound, _ = rig.ledger.sound(recording.sid)
    assert SAID in inbound
    assert [event.detail["text"] for event in rig.ledger.events(sid, "said")] == ["i am well yes please"]


def test_a_message_can_be_ended_by_a_key_and_by_hanging_up(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml('<Record action="/left" finishOnKey="*"/>')], "/left": [rig.twiml("<Hangup/>")]}

    for number, digits in (("+12025550160", "1*"), ("+12025550140", "hangup")):
        rig.until_over(rig.order(number))
        assert rig.us.to("/left")[-1].fields["Digits"] == digits


def test_without_a_message_the_next_verb_runs(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers["/voice"] = [rig.twiml('<Record action="/left"/>', "<Say>Nobody?</Say>")]

    sid = rig.order("+12025550199")
    rig.until_over(sid)

    assert rig.us.to("/left") == []
    assert rig.verbs(sid) == ["Record", "Say"]


def test_a_recording_is_started_and_stopped_by_rest(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    client = rig.sdk()
    sid = rig.order("+12025550199")
    refused = rig.ask("POST", f"/Calls/{sid}/Recordings.json")
    rig.until(lambda: rig.call(sid).status == "in-progress")

    begun = client.calls(sid).recordings.create(recording_track="inbound")
    stopped = client.calls(sid).recordings(begun.sid).update(status="stopped")

    assert (refused.status_code, refused.json()["code"]) == (400, 21220)
    assert (begun.status, begun.source, begun.duration) == ("in-progress", "StartCallRecordingAPI", "-1")
    assert stopped.status in {"completed", "absent"}
    again = rig.ask("POST", f"/Calls/{sid}/Recordings/{begun.sid}.json", Status="stopped")
    assert again.json()["code"] == 21220
    rig.carrier().hang_up(sid)


@pytest.mark.parametrize(
    "fields",
    [
        {"RecordingChannels": "three"},
        {"RecordingTrack": "left"},
        {"Trim": "all"},
        {"RecordingStatusCallbackEvent": "paused"},
        {"RecordingStatusCallbackMethod": "PUT"},
    ],
)
def test_a_wish_for_a_recording_is_checked(rig: Any, fields: dict[str, str]) -> None:
    rig.start()
    order = {"To": "+12025550199", "From": rig.caller, "Url": rig.us.url("/voice"), "Record": "true", **fields}

    answer = rig.ask("POST", "/Calls.json", **order)

    assert (answer.status_code, answer.json()["code"]) == (400, 20001)


def test_silence_is_cut_off_where_that_was_asked_for(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="1"/>')]

    sid = rig.order("+12025550199", Record="true", Trim="trim-silence", StatusCallback=rig.us.url("/status"))
    rig.until_over(sid)

    (recording,) = rig.ledger.recordings(sid)
    assert (recording.status, recording.seconds) == ("absent", 0)
    assert "RecordingSid" not in rig.us.to("/status")[-1].fields


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wave_file_is_as_long_as_its_sound(channels: int) -> None:
    assert seconds_of(as_wave([tone(440, 0.5)] * channels)) == 0.5


@pytest.mark.parametrize("content", [b"", b"ID3" + bytes(100), b"RIFF\0\0\0\0WAVE", as_wave([silence(80)])[:20]])
def test_what_is_no_wave_file_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(BadWaveError):
        seconds_of(content)
