"""Streaming recognition through Google's own SDK, against a local gRPC server that speaks v1 and v2."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from core.errors import ProviderError
from core.settings import CHECKOUT
from core.speech.base import Transcript
from core.speech.google.access import GoogleCloud, PlainServer
from core.speech.google.credentials import check_credentials
from core.speech.google.recognizer import GoogleRecognition, GoogleRecognizer
from core.speech.google.utterance import Limits, Restarts
from tests.contract.google_servers import QUIET, Behaviour, GoogleServer, a_google_server, one_loop, until

pytestmark = pytest.mark.anyio

HINTS = ("stop calling me", "yes", "not yet")
# Pauses between restarts cost only time here, nothing may be sent that a test did not say, and a busy machine is no fault of ours.
FAST = Limits(restart_pause_seconds=0.0, idle_seconds=60.0, answer_seconds=30.0)
V2 = "projects/p/locations/eu/recognizers/_"
CODES = grpc.StatusCode


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def loop_of_all_tests() -> AsyncIterator[None]:
    async with one_loop():
        yield


@pytest.fixture
async def google() -> AsyncIterator[GoogleServer]:
    async with a_google_server() as server:
        yield server


class Call:
    """A contact, and the recogniser's ear."""

    def __init__(self, google: GoogleServer, recognition: GoogleRecognition) -> None:
        self.google = google
        self.ear = recognition

    def say(self, phrase: str) -> None:
        for frame in self.google.lexicon.sound(phrase):
            self.ear.feed(frame)

    def pause(self, ms: int = 700) -> None:
        for _ in range(ms // 20):
            self.ear.feed(QUIET)

    async def heard(self) -> Transcript:
        """At the end of a turn: the patience has passed."""
        self.pause()
        return await self.ear.finish_utterance()


class Line:
    def __init__(self, google: GoogleServer) -> None:
        self.google = google
        self.recognizers: list[GoogleRecognizer] = []

    async def call(self, limits: Limits = FAST, **options: Any) -> Call:
        recognizer = GoogleRecognizer(PlainServer(self.google.address), limits=limits, **options)
        self.recognizers.append(recognizer)
        streams = len(self.google.streams)
        call = Call(self.google, await recognizer.open(HINTS))
        # Behaviours are in the order of the streams: the next turn's must not overtake this one's.
        await until(lambda: len(self.google.streams) > streams, "the first stream is open")
        return call


@pytest.fixture
async def line(google: GoogleServer) -> AsyncIterator[Line]:
    before = asyncio.all_tasks()
    made = Line(google)
    yield made
    for recognizer in made.recognizers:
        await recognizer.close()
    # Closing leaves nothing behind: no stream at the other end, and no task at ours.
    await until(lambda: google.live == 0, "all streams are over")
    await until(lambda: not _ours(asyncio.all_tasks() - before), "no task of the adapter is left")


def _ours(tasks: set[asyncio.Task[Any]]) -> list[str]:
    return [str(task) for task in tasks if "core/speech" in str(task.get_coro())]


# --- a conversation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recognizer", [None, V2])
async def test_turn_by_turn_each_has_its_own_words(line: Line, recognizer: str | None) -> None:
    call = await line.call(recognizer=recognizer)
    call.pause(500)
    call.say("yes i did")
    assert await call.heard() == Transcript("yes i did", True, pytest.approx(0.9))
    call.pause(2000)
    call.say("not")
    call.pause(1000)
    call.say("yet")
    assert (await call.heard()).text == "not yet"
    assert (await call.heard()).text == ""


async def test_v1_is_asked_for_mu_law_interims_events_and_hints(line: Line) -> None:
    call = await line.call(language="en-GB")
    await call.heard()
    config = line.google.streams[0].config
    asked = config.config
    assert asked.encoding.name == "MULAW"
    assert (asked.sample_rate_hertz, asked.audio_channel_count) == (8000, 1)
    assert (asked.language_code, asked.model, asked.use_enhanced) == ("en-GB", "telephony", False)
    assert (config.interim_results, config.enable_voice_activity_events, config.single_utterance) == (True, True, False)
    assert line.google.streams[0].hints == list(HINTS)


async def test_v2_is_asked_for_the_same(line: Line) -> None:
    call = await line.call(recognizer=V2, model="chirp_2")
    await call.heard()
    opening = line.google.streams[0].config
    assert opening.recognizer == V2
    asked = opening.streaming_config.config
    assert asked.explicit_decoding_config.encoding.name == "MULAW"
    assert asked.explicit_decoding_config.sample_rate_hertz == 8000
    assert (list(asked.language_codes), asked.model) == (["en-US"], "chirp_2")
    features = opening.streaming_config.streaming_features
    assert (features.interim_results, features.enable_voice_activity_events) == (True, True)
    assert line.google.streams[0].hints == list(HINTS)


async def test_the_enhanced_telephone_model_can_be_chosen(line: Line) -> None:
    call = await line.call(model="phone_call")
    await call.heard()
    assert line.google.streams[0].config.config.use_enhanced


async def test_hints_that_google_would_refuse_are_left_out(google: GoogleServer) -> None:
    recognizer = GoogleRecognizer(PlainServer(google.address), limits=FAST)
    await recognizer.warm_up([["a", "", "x" * 101], ["a", "b"], ["y" * 100 + str(n) for n in range(3)], [f"{n:095}" for n in range(2000)]])
    await recognizer.close()
    hints = google.streams[0].hints
    assert hints[:2] == ["a", "b"]
    assert sum(map(len, hints)) <= 100_000
    assert len(hints) > 1000


async def test_audio_goes_out_as_it_came_in_blocks_of_100_ms(line: Line) -> None:
    call = await line.call()
    for _ in range(4):
        call.pause(100)
        await until(lambda: bool(line.google.streams) and not len(line.google.streams[0].audio) % 800, "a block came")
    call.say("yes")
    call.pause(20)
    await call.ear.finish_utterance()
    stream = line.google.streams[0]
    assert bytes(stream.audio) == QUIET * 20 + b"".join(line.google.lexicon.sound("yes")) + QUIET
    assert max(stream.requests) <= 6400


async def test_what_is_said_while_words_are_awaited_belongs_to_the_next_turn(line: Line) -> None:
    call = await line.call()
    call.say("yes")
    asking = asyncio.create_task(call.heard())
    await asyncio.sleep(0)
    call.say("wait no")
    assert (await asking).text == "yes"
    assert (await call.heard()).text == "wait no"


async def test_words_that_are_final_do_not_wait_for_the_streams_end(line: Line) -> None:
    line.google.otherwise = Behaviour(lingers=True)
    call = await line.call(Limits(restart_pause_seconds=0, idle_seconds=60, answer_seconds=30, tail_seconds=0.01))
    call.say("yes")
    call.ear.feed(QUIET)
    assert await call.ear.finish_utterance() == Transcript("yes", True, pytest.approx(0.9))


async def test_words_that_are_late_to_become_final_are_taken_as_they_are(line: Line) -> None:
    line.google.otherwise = Behaviour(only_interims=True)
    call = await line.call(Limits(idle_seconds=60, answer_seconds=0.1))
    call.say("yes i did")
    await until(lambda: line.google.transcripts == ["yes i did"], "it was sent")
    assert await call.heard() == Transcript("yes i did", False, None)


async def test_silence_flows_when_the_carrier_sends_nothing(line: Line) -> None:
    call = await line.call(Limits(idle_seconds=0.02, answer_seconds=30))
    call.say("yes")
    await until(lambda: bool(line.google.streams) and len(line.google.streams[0].audio) > 1600 + 3 * 160, "silence was sent")
    assert (await call.heard()).text == "yes"
    assert set(line.google.streams[0].audio[1600:]) == {0xFF}


async def test_many_calls_share_connections_and_no_connection_has_too_many(google: GoogleServer, line: Line) -> None:
    recognizer = GoogleRecognizer(PlainServer(google.address), limits=FAST, streams_a_connection=3)
    line.recognizers.append(recognizer)
    calls = [Call(google, await recognizer.open(HINTS)) for _ in range(7)]
    for number, call in enumerate(calls):
        call.say(f"word{number}")
    await until(lambda: len(google.streams) == 7, "all streams are open")
    peers = [stream.peer for stream in google.streams]
    assert sorted(peers.count(peer) for peer in set(peers)) == [1, 3, 3]
    heard = await asyncio.gather(*(call.heard() for call in calls))
    assert [transcript.text for transcript in heard] == [f"word{number}" for number in range(7)]


# --- longer than a stream may last ------------------------------------------------------------------------------------

# Here audio comes at once, not in real time: more of it has had no answer yet than would ever be so in a call.
LONG = Limits(
    change_seconds=4, latest_change_seconds=12, kept_quiet_seconds=60, restart_pause_seconds=0, idle_seconds=60, answer_seconds=30
)


async def test_a_stream_is_changed_while_nobody_speaks(line: Line) -> None:
    call = await line.call(LONG)
    call.say("it was")
    call.pause(3000)
    call.say("a good day")
    call.pause(3000)
    await until(lambda: len(line.google.streams) >= 2, "the stream was changed")
    call.say("and yours")
    assert (await call.heard()).text == "it was a good day and yours"
    assert not line.google.streams[0].half_closed
    assert max(len(stream.audio) for stream in line.google.streams) <= 12 * 8000 + 6400


async def test_who_talks_on_and_on_is_heard_across_a_change(line: Line) -> None:
    """In the middle of a word, even: what was not final is heard again, from its beginning."""
    call = await line.call(LONG)
    call.say("well you see")
    call.pause(400)
    story = " ".join(f"w{number}" for number in range(60))
    for frame in line.google.lexicon.sound(story):
        call.ear.feed(frame)
        await asyncio.sleep(0)
    await until(lambda: len(line.google.streams) >= 2, "the stream was changed")
    heard = await call.heard()
    assert heard.text == f"well you see {story}"
    assert "~" not in heard.text
    assert line.google.transcripts[0].startswith("well you see")


@pytest.mark.parametrize(
    ("recognizer", "code", "message"),
    [(None, CODES.OUT_OF_RANGE, "Exceeded maximum allowed stream duration of 305 seconds."), (V2, CODES.ABORTED, "Max duration reached.")],
)
async def test_google_ends_the_stream_itself(line: Line, recognizer: str | None, code: grpc.StatusCode, message: str) -> None:
    line.google.behaviours.append(Behaviour(after=5 * 1600, code=code, message=message))
    call = await line.call(recognizer=recognizer)
    call.say("one two")
    call.pause(400)
    call.say("three four five")
    heard = await call.heard()
    assert heard == Transcript("one two three four five", True, pytest.approx(0.9))
    assert 2 <= len(line.google.streams) <= 3  # with the next turn's


# --- streams that break -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        CODES.OUT_OF_RANGE,
        CODES.RESOURCE_EXHAUSTED,
        CODES.UNAVAILABLE,
        CODES.DEADLINE_EXCEEDED,
        CODES.INTERNAL,
        CODES.ABORTED,
        CODES.CANCELLED,
        None,
    ],
)
@pytest.mark.parametrize("after", [0, 800, 2400, 6400])
async def test_a_broken_stream_costs_no_word(line: Line, code: grpc.StatusCode | None, after: int) -> None:
    """Before the first word, in the middle of one, behind one; with a status, and (None) without a word."""
    line.google.behaviours.append(Behaviour(after=after, code=code, message="it broke"))
    call = await line.call()
    call.say("yes i took it")
    call.pause(400)
    call.say("this morning")
    assert await call.heard() == Transcript("yes i took it this morning", True, pytest.approx(0.9))


async def test_only_what_is_not_final_is_said_again(line: Line) -> None:
    line.google.behaviours.append(Behaviour(after=8000, code=CODES.UNAVAILABLE))
    call = await line.call()
    call.say("yes")
    call.pause(500)
    call.say("i did")
    call.pause(500)
    await until(lambda: len(line.google.streams) >= 2, "the stream was restarted")
    assert (await call.heard()).text == "yes i did"
    assert line.google.transcripts[1] == "i did"


async def test_results_that_do_not_say_where_they_end_are_not_heard_twice(line: Line) -> None:
    line.google.behaviours.append(Behaviour(after=9600, code=CODES.UNAVAILABLE, times=False))
    call = await line.call()
    call.say("yes")
    call.pause(500)
    await until(lambda: bool(line.google.streams) and len(line.google.streams[0].audio) >= 5600, "it was sent")
    await asyncio.sleep(0.02)
    call.say("i did")
    assert (await call.heard()).text == "yes i did"


async def test_an_error_inside_a_response_is_one(line: Line) -> None:
    line.google.behaviours.append(Behaviour(in_band=(11, "Audio Timeout Error: Long duration elapsed without audio.")))
    call = await line.call()
    call.say("yes")
    assert (await call.heard()).text == "yes"
    line.google.otherwise = Behaviour(in_band=(7, "Permission denied."))
    call = await line.call()
    call.say("yes")
    with pytest.raises(ProviderError, match="PERMISSION_DENIED") as failed:
        await call.heard()
    assert not failed.value.retryable


@pytest.mark.parametrize(
    ("code", "retryable", "advice"),
    [
        (CODES.PERMISSION_DENIED, False, "enable the API"),
        (CODES.UNAUTHENTICATED, False, "GOOGLE_APPLICATION_CREDENTIALS"),
        (CODES.INVALID_ARGUMENT, False, "model"),
        (CODES.NOT_FOUND, False, "recognizer"),
        (CODES.FAILED_PRECONDITION, False, "billing"),
        (CODES.UNIMPLEMENTED, False, "recognizer"),
        (CODES.RESOURCE_EXHAUSTED, True, "quota"),
        (CODES.UNAVAILABLE, True, ""),
        (CODES.OUT_OF_RANGE, True, ""),
        (CODES.DEADLINE_EXCEEDED, True, ""),
    ],
)
async def test_what_cannot_be_mended_surfaces_as_one_line(line: Line, code: grpc.StatusCode, retryable: bool, advice: str) -> None:
    line.google.otherwise = Behaviour(after=0, code=code, message="first\nsecond " + "x" * 500)
    call = await line.call()
    call.say("yes")
    with pytest.raises(ProviderError) as failed:
        await call.heard()
    assert (failed.value.provider, failed.value.code, failed.value.retryable) == ("google-speech", code.name, retryable)
    text = str(failed.value)
    assert text.startswith(f"Google speech recognition failed ({code.name}): first second xxx")
    assert advice in text
    assert "\n" not in text
    assert len(text) < 350


async def test_what_is_refused_is_not_tried_again(line: Line) -> None:
    line.google.otherwise = Behaviour(after=0, code=CODES.PERMISSION_DENIED)
    call = await line.call()
    call.say("yes")
    await until(lambda: call.ear._hearing.error is not None, "it was refused")
    opened: list[int] = []
    for _ in range(3):
        with pytest.raises(ProviderError, match="PERMISSION_DENIED"):
            await call.heard()
        opened.append(len(line.google.streams))
    assert opened[0] == opened[1] == opened[2]


async def test_a_stream_that_breaks_too_often_is_given_up(line: Line) -> None:
    line.google.otherwise = Behaviour(after=0, code=CODES.UNAVAILABLE)
    call = await line.call(Limits(restarts=2, restart_pause_seconds=0, idle_seconds=60, answer_seconds=30))
    call.say("yes")
    with pytest.raises(ProviderError, match="UNAVAILABLE") as failed:
        await call.heard()
    assert failed.value.retryable
    assert call.ear.unheard.startswith(b"".join(line.google.lexicon.sound("yes")))
    assert 3 <= len(line.google.streams) <= 4  # with the next turn's
    opened = len(line.google.streams)
    call.say("hello")
    with pytest.raises(ProviderError):
        await call.heard()
    assert len(line.google.streams) == opened


def test_restarts_are_counted_within_a_span() -> None:
    restarts = Restarts(Limits(restarts=3, restart_span_seconds=30, restart_pause_seconds=0.25))
    assert [restarts.take(now) for now in (0.0, 1.0, 2.0, 29.9, 30.0, 30.5)] == [0.0, 0.25, 0.5, None, 0.5, None]


async def test_words_that_came_before_the_end_are_not_thrown_away(line: Line) -> None:
    line.google.behaviours.append(Behaviour(after=6400, code=CODES.PERMISSION_DENIED))
    call = await line.call()
    call.say("yes i did")
    call.pause(400)
    await until(lambda: bool(line.google.streams) and line.google.live == 0, "the stream ended")
    heard = await call.heard()
    assert heard.text.startswith("yes i")
    call.say("once more")
    assert (await call.heard()).text == "once more"


async def test_a_stream_that_never_answers_is_given_up_in_time(line: Line) -> None:
    line.google.otherwise = Behaviour(mute=True)
    call = await line.call(Limits(idle_seconds=60, answer_seconds=0.1))
    call.say("yes")
    began = asyncio.get_running_loop().time()
    with pytest.raises(ProviderError, match=r"DEADLINE_EXCEEDED.*no transcript within 0.1 s") as failed:
        await call.heard()
    assert failed.value.retryable
    assert asyncio.get_running_loop().time() - began < 2


async def test_a_stream_that_takes_no_audio_is_replaced() -> None:
    async with a_google_server(small_window=True) as google:
        google.behaviours.append(Behaviour(deaf=True))
        patient = Limits(write_seconds=0.1, answer_seconds=20, kept_quiet_seconds=120, restart_pause_seconds=0, idle_seconds=60)
        recognizer = GoogleRecognizer(PlainServer(google.address), limits=patient)
        call = Call(google, await recognizer.open(HINTS))
        await until(lambda: len(google.streams) == 1, "the first stream is open")
        call.say(" ".join(f"w{number}" for number in range(60)))
        call.pause(10_000)
        call.say("still here")
        assert (await call.heard()).text.endswith("w58 w59 still here")
        assert google.streams[0].over
        await recognizer.close()


async def test_nobody_there_at_all() -> None:
    recognizer = GoogleRecognizer(PlainServer("127.0.0.1:1"), limits=Limits(restarts=1, restart_pause_seconds=0))
    with pytest.raises(ProviderError, match="UNAVAILABLE") as failed:
        await recognizer.warm_up([HINTS])
    assert failed.value.retryable
    recognition = await recognizer.open(HINTS)
    recognition.feed(QUIET)
    with pytest.raises(ProviderError, match="UNAVAILABLE"):
        await recognition.finish_utterance()
    await recognizer.close()


async def test_what_is_kept_is_bounded(line: Line) -> None:
    line.google.otherwise = Behaviour(mute=True)
    call = await line.call(Limits(idle_seconds=60, kept_quiet_seconds=2, answer_seconds=0.05))
    call.pause(60_000)
    call.say("yes")
    await until(lambda: bool(line.google.streams) and line.google.transcripts[-1] == "yes", "the newest audio was sent")
    assert len(call.ear._hearing.audio) <= 2 * 8000
    with pytest.raises(ProviderError):
        await call.heard()


# --- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(mute=True), Behaviour(deaf=True)])
async def test_closing_is_quick_whatever_the_server_does(line: Line, behaviour: Behaviour) -> None:
    line.google.otherwise = behaviour
    call = await line.call()
    call.say("yes")
    await until(lambda: len(line.google.streams) == 1, "the stream is open")
    asking = asyncio.create_task(call.heard())
    await until(lambda: len(line.google.streams) == 2 or asking.done(), "the next turn is listened to")
    began = asyncio.get_running_loop().time()
    await call.ear.close()
    assert asyncio.get_running_loop().time() - began < 1
    await asyncio.gather(asking, return_exceptions=True)
    call.pause(100)
    await call.ear.close()


async def test_a_turn_that_is_cancelled_leaves_nothing_open(line: Line) -> None:
    line.google.behaviours.append(Behaviour(mute=True))
    call = await line.call()
    call.say("yes")
    asking = asyncio.create_task(call.heard())
    await until(lambda: bool(line.google.streams) and line.google.streams[0].half_closed, "the words are awaited")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: line.google.streams[0].over, "the stream is over")
    call.say("hello")
    assert (await call.heard()).text == "hello"


ALONE = """
import asyncio, gc, threading, time
from core.errors import ProviderError
from core.speech.google.access import PlainServer
from core.speech.google.recognizer import GoogleRecognizer
from core.speech.google.synthesizer import GoogleSynthesizer
from tests.contract.google_servers import QUIET, Behaviour, a_google_server
import grpc

async def calls():
    async with a_google_server() as google:
        access = PlainServer(google.address)
        recognizer, voice = GoogleRecognizer(access), GoogleSynthesizer(access)
        await asyncio.to_thread(voice.warm_up)
        await recognizer.warm_up([["yes"]])
        for behaviour in (Behaviour(), Behaviour(after=800, code=grpc.StatusCode.UNAVAILABLE), Behaviour(mute=True)):
            google.behaviours.append(behaviour)
            ear = await recognizer.open(["yes"])
            for frame in (*google.lexicon.sound("yes"), *[QUIET] * 20):
                ear.feed(frame)
            async for _ in voice.speak("How are you?"):
                pass
            if not behaviour.mute:
                assert (await ear.finish_utterance()).text == "yes"
                await ear.close()
        await recognizer.close()
        await voice.close()
    left = [str(task) for task in asyncio.all_tasks() if "core/speech" in str(task.get_coro())]
    assert not left, left

asyncio.run(calls())
latest = time.monotonic() + 10
while len(threading.enumerate()) > 1:
    gc.collect()
    assert time.monotonic() < latest, threading.enumerate()
"""


def test_no_thread_or_task_outlives_the_last_connection() -> None:
    """In a process of its own, since gRPC's thread serves all that is open in one."""
    ran = subprocess.run([sys.executable, "-c", ALONE], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


# --- who we are -------------------------------------------------------------------------------------------------------


async def test_warming_up_finds_out_whether_google_takes_us(google: GoogleServer) -> None:
    recognizer = GoogleRecognizer(PlainServer(google.address))
    await recognizer.warm_up([HINTS, ("hello", "yes")])
    assert google.streams[0].hints == [*HINTS, "hello"]
    for behaviour in (Behaviour(after=0, code=CODES.UNAUTHENTICATED), Behaviour(in_band=(16, "no"))):
        google.otherwise = behaviour
        with pytest.raises(ProviderError, match="check GOOGLE_APPLICATION_CREDENTIALS") as failed:
            await recognizer.warm_up([HINTS])
        assert not failed.value.retryable
    await recognizer.close()


@pytest.fixture(scope="module")
def service_account() -> dict[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "client_email": "orch@p.iam.example",
        "token_uri": "https://oauth2.example/token",
        "private_key": _pem(key),
    }


def _pem(key: Any) -> str:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return str(private.decode())


async def test_the_key_signs_each_request_itself(service_account: dict[str, str], tmp_path: Path) -> None:
    """Over TLS, as it is with Google; no token is fetched from anywhere."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(service_account))
    assert check_credentials(file) is None
    certificate, key = _certificate()
    async with a_google_server(grpc.ssl_server_credentials([(key, certificate)])) as google:
        access = GoogleCloud(file, host=google.address.replace("127.0.0.1", "localhost"), root_certificates=certificate)
        recognizer = GoogleRecognizer(access, limits=FAST)
        await recognizer.warm_up([HINTS])
        google.otherwise = Behaviour(after=0, code=CODES.UNAUTHENTICATED, message="Request had invalid authentication credentials.")
        with pytest.raises(ProviderError, match="the key may have been deleted"):
            await recognizer.warm_up([HINTS])
        await recognizer.close()
    assert len(google.authorization) >= 2
    assert all(value.startswith("Bearer ey") for value in google.authorization)


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), _pem(key).encode()


def test_a_key_that_the_sdk_cannot_use_is_one_line(tmp_path: Path) -> None:
    for content in (None, "{}", "secret stuff"):
        file = tmp_path / "key.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(ProviderError, match="cannot be used") as failed:
            GoogleCloud(file)
        assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "authorized_user"}, "a person's own credentials"),
        ({"type": "external_account"}, "a workload identity federation file"),
        ({"type": "something"}, "not a key file of Google Cloud"),
        ({"type": None}, "not a key file of Google Cloud"),
        ({"type": None, "installed": {}}, "an OAuth client's file"),
        ({"private_key": None}, "lacks private_key"),
        ({"client_email": " ", "project_id": 5}, "lacks client_email, project_id"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nshortened\n"}, "damaged"),
        ({"private_key": "EC"}, "not RSA"),
    ],
)
def test_each_wrong_key_file_is_one_clear_line(service_account: dict[str, str], tmp_path: Path, change: dict[str, Any], says: str) -> None:
    content = {**service_account, **change}
    if content["private_key"] == "EC":
        content["private_key"] = _pem(ec.generate_private_key(ec.SECP256R1()))
    file = tmp_path / "key.json"
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    told = check_credentials(file)
    assert told is not None
    assert told.startswith(f"GOOGLE_APPLICATION_CREDENTIALS: {file} ")
    assert says in told
    assert "\n" not in told
    assert "PRIVATE" not in told
    assert "shortened" not in told


def test_each_file_that_is_no_key_file_is_one_clear_line(tmp_path: Path) -> None:
    assert "is not set" in str(check_credentials(None))
    assert "there is no file" in str(check_credentials(tmp_path / "nowhere.json"))
    assert "is a folder" in str(check_credentials(tmp_path))
    file = tmp_path / "key.json"
    for content in (b"", b"AIzaNotJson", b"[]", b'"text"', b"\xff\xfe{}", b" " * 70_000):
        file.write_bytes(content)
        assert "is not a JSON object" in str(check_credentials(file))
    assert "cannot be read" in str(check_credentials(file / "below"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text("{}")
    file.chmod(0)
    assert "cannot be read: Permission denied" in str(check_credentials(file))
