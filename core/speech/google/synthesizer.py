"""Speech out, by Google Cloud Text-to-Speech, as mu-law: streamed from voices that can, at one go from the others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.cloud import texttospeech_v1 as tts

from core.errors import ProviderError
from core.speech.base import SAMPLE_RATE
from core.speech.google.access import STREAMS_A_CONNECTION, Access, Clients
from core.speech.google.errors import VOICE, failure, not_by_us, provider_error
from core.speech.google.pronunciation import Pronounced, parts, plain, ssml
from core.speech.google.wav import samples

DEFAULT_VOICE = "en-US-Chirp3-HD-Aoede"
# Until the first sound, and between two pieces of it. The playback's own limit is a second longer.
SOUND_SECONDS = 3.0
WARM_UP_SECONDS = 8.0
# A request takes 5000 bytes, and escaping makes them more.
MOST_BYTES = 3500

_VOICE_NAME = re.compile(r"([a-z]{2,3}-[A-Z]{2})-[A-Za-z0-9-]+")


class GoogleSynthesizer:
    """`voice` by Google's name, such as en-US-Chirp3-HD-Aoede or en-US-Neural2-F. Raises ProviderError for what is no such name.

    [[...]] in a text are phonemes, as for the local voice. Streams come from Chirp 3 HD voices, which take no SSML.
    """

    def __init__(
        self,
        access: Access,
        voice: str = DEFAULT_VOICE,
        *,
        speaking_rate: float = 1.0,
        sound_seconds: float = SOUND_SECONDS,
        streams_a_connection: int = STREAMS_A_CONNECTION,
    ) -> None:
        named = _VOICE_NAME.fullmatch(voice)
        if named is None:
            raise ProviderError(f"{voice!r} is no name of a Google voice, such as {DEFAULT_VOICE}", provider=VOICE, retryable=False)
        self._voice = tts.VoiceSelectionParams(language_code=named[1], name=voice)
        self._english = voice.startswith("en-")
        self._chirp = "Chirp3-HD" in voice
        self._rate = speaking_rate
        self._sound_seconds = sound_seconds
        self._access = access
        self._clients = Clients(access, tts.TextToSpeechAsyncClient, streams_a_connection)

    def warm_up(self) -> None:
        """Have one word spoken: the key, the project and the voice are found right or wrong by that. Blocks; raises ProviderError."""
        client = self._access.open_blocking(tts.TextToSpeechClient)
        try:
            response = client.synthesize_speech(self._request(["Hello."]), retry=None, timeout=WARM_UP_SECONDS)
        except Exception as error:
            raise provider_error(error, VOICE) from error
        finally:
            client.transport.close()
        samples(response.audio_content)

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        """See Synthesizer. Closing the iterator cancels the request."""
        pieces = parts(_clipped(text))
        if not plain(pieces).strip():
            return
        silent = True
        try:
            with self._clients.lend() as client:
                speaking = self._streamed(client, pieces) if self._chirp else self._at_once(client, pieces)
                async with aclosing(speaking):
                    async for chunk in speaking:
                        silent = False
                        yield chunk
        except asyncio.CancelledError:
            raise not_by_us(VOICE) from None
        except Exception as error:
            raise provider_error(error, VOICE) from error
        if silent:
            raise failure(VOICE, "UNAVAILABLE", "no sound came back")

    async def close(self) -> None:
        await self._clients.close()

    async def _at_once(self, client: Any, pieces: list[str | Pronounced]) -> AsyncGenerator[bytes]:
        response = await client.synthesize_speech(self._request(pieces), retry=None, timeout=self._sound_seconds)
        if sound := samples(response.audio_content):
            yield sound

    async def _streamed(self, client: Any, pieces: list[str | Pronounced]) -> AsyncGenerator[bytes]:
        config = tts.StreamingSynthesizeConfig(
            voice=self._voice,
            streaming_audio_config={
                "audio_encoding": tts.AudioEncoding.MULAW,
                "sample_rate_hertz": SAMPLE_RATE,
                "speaking_rate": self._rate,
            },
            custom_pronunciations=self._pronunciations(pieces),
        )
        async with asyncio.timeout(self._sound_seconds):
            call = await client.streaming_synthesize(requests=None, retry=None, timeout=None)
        try:
            async with asyncio.timeout(self._sound_seconds):
                await call.write(tts.StreamingSynthesizeRequest(streaming_config=config))
                await call.write(tts.StreamingSynthesizeRequest(input={"text": plain(pieces)}))
                await call.done_writing()
                response = await call.read()
            while response is not grpc.aio.EOF:
                if response.audio_content:
                    yield response.audio_content
                async with asyncio.timeout(self._sound_seconds):
                    response = await call.read()
        finally:
            call.cancel()

    def _request(self, pieces: list[str | Pronounced] | list[str]) -> tts.SynthesizeSpeechRequest:
        said = list(pieces)
        pronounced = any(isinstance(piece, Pronounced) for piece in said)
        if pronounced and not self._chirp:
            text = tts.SynthesisInput(ssml=ssml(said))
        else:
            text = tts.SynthesisInput(text=plain(said), custom_pronunciations=self._pronunciations(said))
        return tts.SynthesizeSpeechRequest(
            input=text,
            voice=self._voice,
            audio_config={
                "audio_encoding": tts.AudioEncoding.MULAW,
                "sample_rate_hertz": SAMPLE_RATE,
                "speaking_rate": self._rate,
            },
        )

    def _pronunciations(self, pieces: list[str | Pronounced]) -> tts.CustomPronunciations | None:
        # English is what Google has them for; the written word is a fair reading for the others.
        known = {piece.word: piece.ipa for piece in pieces if isinstance(piece, Pronounced) and piece.ipa} if self._english else {}
        if not known:
            return None
        ipa = tts.CustomPronunciationParams.PhoneticEncoding.PHONETIC_ENCODING_IPA
        return tts.CustomPronunciations(
            pronunciations=[{"phrase": word, "phonetic_encoding": ipa, "pronunciation": sound} for word, sound in known.items()]
        )


def _clipped(text: str) -> str:
    """At most what one request takes, whole words. A sentence of a plan is far shorter."""
    raw = text.encode()
    if len(raw) <= MOST_BYTES:
        return text
    return raw[:MOST_BYTES].decode(errors="ignore").rpartition(" ")[0]
