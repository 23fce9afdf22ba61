"""Speech synthesis through Google's own SDK, against a local gRPC server."""

# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from xml.etree import ElementTree as ET

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ProviderError
from core.speech.google import wav as wav_file
from core.speech.google.access import PlainServer
from core.speech.google.pronunciation import Pronounced, parts, plain, ssml
from core.speech.google.synthesizer import GoogleSynthesizer
from tests.contract.google_servers import GoogleServer, VoiceBehaviour, a_google_server, one_loop, sound_of, until, wav

pytestmark = pytest.mark.anyio

CHIRP = "en-US-Chirp3-HD-Aoede"
NEURAL = "en-US-Neural2-F"
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
        await until(lambda: server.live == 0, "every request is over")


@pytest.fixture(params=[CHIRP, NEURAL])
async def voice(request: pytest.FixtureRequest, google: GoogleServer) -> AsyncIterator[GoogleSynthesizer]:
    made = GoogleSynthesizer(PlainServer(google.address), request.param)
    yield made
    await made.close()


@pytest.fixture
async def chirp(google: GoogleServer) -> AsyncIterator[GoogleSynthesizer]:
    made = GoogleSynthesizer(PlainServer(google.address), CHIRP, speaking_rate=1.1)
    yield made
    await made.close()


@pytest.fixture
async def neural(google: GoogleServer) -> AsyncIterator[GoogleSynthesizer]:
    made = GoogleSynthesizer(PlainServer(google.address), NEURAL)
    yield made
    await made.close()


async def spoken(voice: GoogleSynthesizer, text: str) -> list[bytes]:
    return [chunk async for chunk in voice.speak(text)]


async def test_a_sentence_comes_as_bare_mu_law(voice: GoogleSynthesizer) -> None:
    assert b"".join(await spoken(voice, "How are you today?")) == sound_of("How are you today?")


async def test_chirp_is_streamed(google: GoogleServer, chirp: GoogleSynthesizer) -> None:
    assert len(await spoken(chirp, "How are you today?")) == 4
    request = google.spoken[0]
    assert (request.streamed, request.voice, request.text) == (True, CHIRP, "How are you today?")
    assert (request.audio.audio_encoding.name, request.audio.sample_rate_hertz, request.audio.speaking_rate) == ("MULAW", 8000, 1.1)


async def test_other_voices_answer_at_one_go(google: GoogleServer, neural: GoogleSynthesizer) -> None:
    assert len(await spoken(neural, "How are you today?")) == 1
    request = google.spoken[0]
    assert (request.streamed, request.voice, request.text, request.ssml) == (False, NEURAL, "How are you today?", "")
    assert (request.audio.audio_encoding.name, request.audio.sample_rate_hertz) == ("MULAW", 8000)


async def test_sound_is_there_before_the_sentence_is_done(google: GoogleServer, chirp: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(mute=True, after_chunks=2)
    async with aclosing(chirp.speak("one two three")) as sound:  # type: ignore[type-var]
        assert await anext(sound) == sound_of("one")
        assert await anext(sound) == sound_of("two")


async def test_who_is_interrupted_stops_the_request(google: GoogleServer, voice: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(mute=True)
    speaking = asyncio.create_task(spoken(voice, "one two three"))
    await until(lambda: len(google.spoken) == 1, "it was asked for")
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    await until(lambda: google.live == 0, "the request is over")


async def test_an_iterator_that_is_closed_stops_the_request(google: GoogleServer, chirp: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(mute=True, after_chunks=1)
    async with aclosing(chirp.speak("one two three")) as sound:  # type: ignore[type-var]
        await anext(sound)
    await until(lambda: google.live == 0, "the request is over")


async def test_nothing_to_say_is_no_request(google: GoogleServer, voice: GoogleSynthesizer) -> None:
    for nothing in ("", "  \n", "\x00", "[[]]"):
        assert await spoken(voice, nothing) == []
    assert google.spoken == []


async def test_a_text_too_long_for_one_request_is_cut_at_a_word(google: GoogleServer, neural: GoogleSynthesizer) -> None:
    await spoken(neural, "größer " * 1000)
    assert len(google.spoken[0].text.encode()) <= 3500
    assert google.spoken[0].text.endswith("größer")


async def test_many_sentences_share_connections(google: GoogleServer) -> None:
    voice = GoogleSynthesizer(PlainServer(google.address), CHIRP, streams_a_connection=2)
    sounds = await asyncio.gather(*(spoken(voice, f"number{number}") for number in range(5)))
    assert all(b"".join(sound) == sound_of("number0") for sound in sounds)
    assert len(voice._clients._open) == 3
    await voice.close()


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "retryable", "advice"),
    [
        (CODES.RESOURCE_EXHAUSTED, True, "quota"),
        (CODES.UNAVAILABLE, True, ""),
        (CODES.DEADLINE_EXCEEDED, True, ""),
        (CODES.INTERNAL, True, ""),
        (CODES.CANCELLED, True, ""),
        (CODES.INVALID_ARGUMENT, False, "voice"),
        (CODES.PERMISSION_DENIED, False, "enable the API"),
        (CODES.UNAUTHENTICATED, False, "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
async def test_each_fault_is_one_line_and_one_request(
    google: GoogleServer, voice: GoogleSynthesizer, code: grpc.StatusCode, advice: str, *, retryable: bool
) -> None:
    google.voice = VoiceBehaviour(code=code, message="first\nsecond")
    with pytest.raises(ProviderError) as failed:
        await spoken(voice, "How are you?")
    assert (failed.value.provider, failed.value.code, failed.value.retryable) == ("google-tts", code.name, retryable)
    assert str(failed.value).startswith(f"Google speech synthesis failed ({code.name}): ")
    assert advice in str(failed.value)
    assert "\n" not in str(failed.value)
    assert len(google.spoken) == 1


async def test_a_stream_that_breaks_says_so_after_what_it_said(google: GoogleServer, chirp: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(code=CODES.UNAVAILABLE, after_chunks=2)
    sound = aiter(chirp.speak("one two three"))
    assert [await anext(sound), await anext(sound)] == [sound_of("one"), sound_of("two")]
    with pytest.raises(ProviderError, match="UNAVAILABLE"):
        await anext(sound)


@pytest.mark.parametrize(("name", "after"), [(CHIRP, None), (CHIRP, 1), (NEURAL, None)])
async def test_a_voice_that_never_answers_is_given_up_in_time(google: GoogleServer, name: str, after: int | None) -> None:
    google.voice = VoiceBehaviour(mute=True, after_chunks=after)
    voice = GoogleSynthesizer(PlainServer(google.address), name, sound_seconds=0.1)
    with pytest.raises(ProviderError, match="DEADLINE_EXCEEDED") as failed:
        await spoken(voice, "one two")
    assert failed.value.retryable
    await voice.close()


@pytest.mark.parametrize("name", [CHIRP, NEURAL])
async def test_nobody_there_at_all(name: str) -> None:
    voice = GoogleSynthesizer(PlainServer("127.0.0.1:1"), name)
    with pytest.raises(ProviderError, match="UNAVAILABLE"):
        await spoken(voice, "one two")
    with pytest.raises(ProviderError, match="UNAVAILABLE"):
        await asyncio.to_thread(voice.warm_up)
    await voice.close()


async def test_an_answer_without_sound_is_an_error(google: GoogleServer, neural: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(content=wav(b""))
    with pytest.raises(ProviderError, match="no sound came back") as failed:
        await spoken(neural, "one two")
    assert failed.value.retryable


async def test_sound_of_another_kind_is_an_error(google: GoogleServer, neural: GoogleSynthesizer) -> None:
    google.voice = VoiceBehaviour(content=wav(b"12", encoding=1, rate=24000))
    with pytest.raises(ProviderError, match="format 1, 1 channels, 24000 Hz") as failed:
        await spoken(neural, "one two")
    assert not failed.value.retryable


async def test_warming_up_finds_out_whether_google_takes_us(google: GoogleServer, voice: GoogleSynthesizer) -> None:
    await asyncio.to_thread(voice.warm_up)
    assert google.spoken[0].text == "Hello."
    google.voice = VoiceBehaviour(code=CODES.PERMISSION_DENIED)
    with pytest.raises(ProviderError, match="enable the API"):
        await asyncio.to_thread(voice.warm_up)


@pytest.mark.parametrize("name", ["", "Aoede", "en-US", "en-US-", "en_US-Neural2-F", "../en-US-Neural2-F"])
def test_what_is_no_voices_name_is_refused(name: str) -> None:
    with pytest.raises(ProviderError, match="no name of a Google voice, such as en-US-Chirp3-HD-Aoede"):
        GoogleSynthesizer(PlainServer("127.0.0.1:1"), name)


# --- names ------------------------------------------------------------------------------------------------------------

SAOIRSE = "Hello [[s'3:S@]], is <this> R&D?"


async def test_a_name_is_pronounced_by_a_streaming_voice(google: GoogleServer, chirp: GoogleSynthesizer) -> None:
    await spoken(chirp, SAOIRSE)
    assert google.spoken[0].text == "Hello Sersha, is <this> R&D?"
    assert google.spoken[0].pronunciations == {"Sersha": "ˈsɜːʃə"}


async def test_a_name_is_pronounced_by_ssml_elsewhere(google: GoogleServer, neural: GoogleSynthesizer) -> None:
    await spoken(neural, SAOIRSE)
    request = google.spoken[0]
    assert (request.text, request.pronunciations) == ("", {})
    assert request.ssml == '<speak>Hello <phoneme alphabet="ipa" ph="ˈsɜːʃə">Sersha</phoneme>, is &lt;this&gt; R&amp;D?</speak>'


async def test_a_voice_of_another_language_reads_the_written_word(google: GoogleServer) -> None:
    voice = GoogleSynthesizer(PlainServer(google.address), "de-DE-Chirp3-HD-Aoede")
    await spoken(voice, SAOIRSE)
    await voice.close()
    assert google.spoken[0].pronunciations == {}
    assert google.spoken[0].text.startswith("Hello Sersha,")


@pytest.mark.parametrize(
    ("phonemes", "word", "ipa"),
    [
        ("SI'vO:n", "Shivawn", "ʃɪˈvɔːn"),
        ("S'O:n", "Shawn", "ˈʃɔːn"),
        ("h@l'oU", "Haloh", "həˈloʊ"),
        ("kw'i:v@", "Kweeva", "ˈkwiːvə"),
        ("dZ'oU_sm'IT", "Joh Smith", "ˈdʒoʊ ˈsmɪθ"),
        ("tS'aI@", "Chire", "ˈtʃaɪə"),
        ("Ødd §names", "Ødd names", ""),
        ("'", "", ""),
    ],
)
def test_phonemes_become_ipa_and_something_to_read(phonemes: str, word: str, ipa: str) -> None:
    assert parts(f"[[{phonemes}]]") == [Pronounced(word, ipa)]


@given(st.text())
def test_any_text_becomes_ssml_that_says_the_same(text: str) -> None:
    pieces = parts(text)
    document = ET.fromstring(ssml(pieces))
    assert document.tag == "speak"
    assert {element.tag for element in document} <= {"phoneme"}
    # XML reads a carriage return as a line break.
    said = "".join(document.itertext())
    assert said.split() == plain(pieces).split()


# --- WAV --------------------------------------------------------------------------------------------------------------

ODD_CHUNK = struct.pack("<4sI", b"LIST", 3) + b"abc\0"


@pytest.mark.parametrize(
    "content",
    [
        wav(b"sound"),
        wav(b"sound", extra=ODD_CHUNK),
        wav(b"sound") + ODD_CHUNK,
        wav(b"sound", size=0),
        wav(b"sound", size=0xFFFFFFFF),
        wav(b"sound", size=6),
        b"sound",
    ],
)
def test_only_the_samples_are_played(content: bytes) -> None:
    assert wav_file.samples(content) == b"sound"


@pytest.mark.parametrize("content", [wav(b"")[:-8], wav(b"")[:20], wav(b"x", channels=2), wav(b"x", encoding=6)])
def test_a_file_without_our_kind_of_samples_is_refused(content: bytes) -> None:
    with pytest.raises(ProviderError, match="Google speech synthesis answered with"):
        wav_file.samples(content)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(junk: bytes) -> None:
    for content in (junk, b"RIFF\0\0\0\0WAVE" + junk):
        with suppress(ProviderError):
            assert wav_file.samples(content) in content
