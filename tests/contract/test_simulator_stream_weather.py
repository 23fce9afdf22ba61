"""The weather of media streams: broken, half dead, jittery."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from workers.phone_simulator.audio import tone
from workers.phone_simulator.weather import Weather

AFTER = '<Redirect method="POST">/after</Redirect>'


def start(rig: Any, stream: Any, **weather: Any) -> str:
    """The sid of a call that is connected to `stream` and then asks what is next."""
    rig.start(weather=Weather.model_validate({"stream_trouble_after": 0.3, **weather}))
    rig.us.stream = stream
    url = rig.us.url("/media").replace("http:", "ws:")
    rig.us.answers |= {"/voice": [rig.twiml(f'<Connect><Stream url="{url}"/></Connect>', AFTER)], "/after": [rig.twiml("<Hangup/>")]}
    return str(rig.dial("+12025550199"))


async def listen(talk: Any) -> None:
    await talk.until(lambda t: False, seconds=30)


@pytest.mark.parametrize(("then", "asked"), [("next_verb", 1), ("hang_up", 0)])
def test_a_stream_breaks_without_a_close_frame(rig: Any, then: str, asked: int) -> None:
    sid = start(rig, listen, stream_broken=1, after_break={then: 1})

    rig.until_over(sid)

    (talk,) = rig.us.talks
    assert talk.of("stop") == []
    assert talk.socket.close_code == 1006
    assert 5 < len(talk.of("media")) < 40
    assert rig.codes(sid) == [31903]
    assert rig.troubles(sid) == ["stream_broken"]
    assert len(rig.us.to("/after")) == asked


def test_a_stream_may_not_be_connected_at_all(rig: Any) -> None:
    sid = start(rig, listen, stream_refused=1)

    rig.until_over(sid)

    assert rig.us.talks == []
    assert rig.codes(sid) == [31920]
    assert len(rig.us.to("/after")) == 1


def test_the_network_may_stop_reading_and_go_on_sending(rig: Any) -> None:
    taken: list[int] = []

    async def flood(talk: Any) -> None:
        await talk.until(lambda t: len(t.of("media")) > 30)
        await talk.mark("never played")
        chunk = tone(300, 10)
        try:
            for _ in range(200):
                async with asyncio.timeout(1):
                    await talk.play(chunk)
                taken.append(1)
        except TimeoutError:
            pass
        await talk.until(lambda t: len(t.of("media")) > 60)

    sid = start(rig, flood, stream_stops_reading=1)
    rig.until(lambda: rig.us.talks and len(rig.us.talks[0].of("media")) > 60, seconds=30)
    rig.carrier().hang_up(sid)
    rig.until_over(sid)

    # The buffers between us are full, and no mark came back.
    assert len(taken) < 200
    assert rig.us.talks[0].of("mark") == []
    assert rig.troubles(sid) == ["stream_stops_reading"]


def test_the_network_may_stop_sending_and_go_on_reading(rig: Any) -> None:
    async def talk_on(talk: Any) -> None:
        with pytest.raises(TimeoutError):
            await talk.until(lambda t: False, seconds=1.5)
        await talk.play(tone(300, 0.2))
        await talk.mark("heard by nobody")
        with pytest.raises(TimeoutError):
            await talk.until(lambda t: t.of("mark"), seconds=1)

    sid = start(rig, talk_on, stream_stops_sending=1)

    rig.until_over(sid)

    (talk,) = rig.us.talks
    assert 5 < len(talk.of("media")) < 40
    assert talk.of("mark") == talk.of("stop") == []
    assert [event.detail["name"] for event in rig.ledger.events(sid, "mark")] == ["heard by nobody"]
    # Our clean close is read all the same.
    assert len(rig.us.to("/after")) == 1


def test_a_message_may_be_dropped_with_a_warning(rig: Any) -> None:
    async def marks(talk: Any) -> None:
        await talk.until(lambda t: len(t.of("media")) > 25)
        await talk.mark("dropped")
        await talk.mark("kept")
        await talk.until(lambda t: t.of("mark"))

    sid = start(rig, marks, stream_drops_message=1)

    rig.until_over(sid)

    assert rig.codes(sid) == [31951]
    assert [message["mark"]["name"] for message in rig.us.talks[0].of("mark")] == ["kept"]


def test_frames_may_be_late_and_come_in_bursts_and_none_is_missing(rig: Any) -> None:
    arrived: list[float] = []

    async def time_them(talk: Any) -> None:
        loop = asyncio.get_running_loop()
        while len(arrived) < 150:
            heard = len(talk.of("media"))
            await talk.until(lambda t, n=heard: len(t.of("media")) > n)
            arrived.append(loop.time())

    sid = start(rig, time_them, frame_late_by=[0, 0.15])

    rig.until_over(sid)

    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    assert max(gaps) > 0.06
    assert sum(gap < 0.005 for gap in gaps) > 10
    # On the whole they keep the pace: lateness does not add up.
    assert arrived[-1] - arrived[0] == pytest.approx(3.0, abs=0.6)
    chunks = [int(message["media"]["chunk"]) for message in rig.us.talks[0].of("media")]
    assert chunks == list(range(1, len(chunks) + 1))
