"""Our own ear for answering machines, beside the carrier's detection, which may come late or not at all.

A person who hears a voice stops to listen; a machine talks on over our whole first sentence, which is never
interrupted. So: sound without a pause from the start, for longer than anybody talks against a voice; the beep; or the
words that only machines say.
"""

from __future__ import annotations

import re

from core.domain.utterance import words
from core.speech.base import FRAME_MS

# Somebody who picks up says a word or two; the greeting of a machine begins at once.
BEGINS_WITHIN_MS = 3000
TALKS_ON_MS = 5500
# Longer greetings exist, but by then a person has answered a question.
WATCHES_MS = 40_000

_MACHINE_WORDS = re.compile(
    r"\b(?:leave (?:a|your|me a) (?:short |brief )?(?:message|name)|after the (?:tone|beep)|at the (?:tone|beep)|voice ?mail|mail ?box"
    r"|(?:is|are|am) not available|can not (?:come to|take) (?:the|your|my) (?:phone|call)|person you (?:are|have)|not in service)\b"
)


class MachineGuard:
    """Fed with every frame until the first answer was taken. Answers in Twilio's AnsweredBy terms."""

    def __init__(self) -> None:
        self._frames = 0
        self._began: int | None = None

    def feed(self, *, in_speech: bool, beep: bool) -> str | None:
        """`in_speech`: an utterance is going on, short pauses included. Returns machine_start or machine_end_beep once sure."""
        self._frames += 1
        if self._frames * FRAME_MS > WATCHES_MS:
            return None
        if beep:
            return "machine_end_beep"
        if not in_speech:
            self._began = None
        elif self._began is None:
            self._began = self._frames
        elif self._began * FRAME_MS <= BEGINS_WITHIN_MS and (self._frames - self._began) * FRAME_MS >= TALKS_ON_MS:
            return "machine_start"
        return None

    def words(self, text: str) -> str | None:
        return "machine_start" if _MACHINE_WORDS.search(" ".join(words(text))) else None
