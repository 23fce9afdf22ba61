"""Which provider stands behind each seam, by the settings: a set-up that cannot work says why, and stops no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import bootstrap
from core.errors import ProviderError, SettingsError
from core.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Settings as these variables make them."""
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))

    def made(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return made


@pytest.mark.parametrize("content", [None, "", "[]", "not JSON", '{"type": "authorized_user"}'])
async def test_google_without_a_usable_key_says_so_at_each_use(settings, tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    recognizer, synthesizer = bootstrap.speech(settings(ORCH_SPEECH="google", GOOGLE_APPLICATION_CREDENTIALS=str(key)))
    with pytest.raises(ProviderError, match="GOOGLE_APPLICATION_CREDENTIALS") as of_ears:
        await recognizer.warm_up([])
    with pytest.raises(ProviderError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await recognizer.open(["yes"])
    with pytest.raises(ProviderError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        synthesizer.warm_up()
    with pytest.raises(ProviderError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await anext(synthesizer.speak("hello"))
    assert not of_ears.value.retryable
    await recognizer.close()
    await synthesizer.close()


def test_gemini_needs_its_key_and_falls_back_to_the_rules(settings) -> None:
    assert bootstrap.judge(settings()).name == "rules"
    with pytest.raises(SettingsError, match="GEMINI_API_KEY"):
        settings(ORCH_JUDGE="gemini")
    judge = bootstrap.judge(settings(ORCH_JUDGE="gemini", GEMINI_API_KEY="k"))
    assert judge.name == "gemini, else rules"
    assert judge.trouble is None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio
