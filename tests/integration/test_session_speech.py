"""A call with real sound both ways: eSpeak NG speaks for both sides, PocketSphinx hears, WebRTC's detector ends turns."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.recordings.vault import Vault
from core.settings import CHECKOUT
from tests.integration.media_doubles import Phone, World, a_world, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SHIPPED = CHECKOUT / "plans"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    missing = [name for name in ("pocketsphinx", "webrtcvad", "espeakng_loader") if find_spec(name) is None]
    if missing:
        reason = f"local speech is not installed ({', '.join(missing)}): install the extra local-speech"
        if request.config.getoption("--require-all"):
            pytest.fail(reason)
        pytest.skip(reason)
    from core.speech.local import EspeakSynthesizer, SphinxRecognizer

    plan = (SHIPPED / f"{request.param}.yaml").read_text().replace(f"name: {request.param}", "name: talk")
    async with a_world(tmp_path, vault, plan=plan, recognizer=SphinxRecognizer(processes=1), synthesizer=EspeakSynthesizer()) as made:
        yield made


class Callee:
    """Answers each question, half a second after it was asked, in a voice of its own."""

    def __init__(self) -> None:
        from core.speech.local import EspeakSynthesizer

        self._voice = EspeakSynthesizer("en-us+f2", 150)

    async def answer(self, phone: Phone, words: str, sentences: int) -> None:
        """Wait until `sentences` sentences of the call were played, then speak."""
        await until(lambda: len(phone.finished) >= sentences, f"sentence {sentences}", lambda: str(len(phone.finished)), seconds=40)
        phone.play(b"\xff" * 4000 + self._voice.synthesize(words))


@pytest.mark.parametrize("world", ["demo-check-in"], indirect=True)
async def test_the_demo_plan_is_talked_through(world: World) -> None:
    callee = Callee()
    began = time.monotonic()
    async with world.call() as phone:
        await callee.answer(phone, "i feel good today", 2)
        await callee.answer(phone, "yes of course", 4)
        await until(phone.closed.is_set, "the call is over", seconds=30)
        assert len(phone.finished) == 6
        assert phone.clears == 0
    await world.until_over()
    assert time.monotonic() - began < 40
    assert world.conversation().ended_by == "complete"
    assert world.answers() == ["i feel good today", "yes"]


@pytest.mark.parametrize("world", ["medication-check-in"], indirect=True)
async def test_an_opt_out_is_heard(world: World) -> None:
    async with world.call() as phone:
        await Callee().answer(phone, "stop calling me", 3)
        await until(world.suppressed, "the number is suppressed", seconds=30)
        await until(phone.closed.is_set, "the call is over", seconds=30)
    await world.until_over()
    assert world.conversation().ended_by == "opted_out"
