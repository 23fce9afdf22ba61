"""A decoder process: `python -m core.speech.local.decoder_process FOLDER`, started by the recogniser.

It ends when its stdin does, that is with its parent, however that ended. FOLDER holds compiled language models, shared
with its siblings.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from core.speech.local import decoder_protocol as protocol
from core.speech.local import language_model
from core.speech.local.listener import Listener

# Idle decoders kept for each set of hints, 5 to 10 MB each.
IDLE_DECODERS = 4
KEPT_MODELS = 16


class DecoderProcess:
    def __init__(self, folder: Path) -> None:
        import orjson
        import pocketsphinx
        import webrtcvad

        self._folder = folder
        self._pocketsphinx = pocketsphinx
        self._vad = webrtcvad.Vad
        self._dumps = orjson.dumps
        self._listeners: dict[int, tuple[str, Listener]] = {}
        self._idle: defaultdict[str, list[Any]] = defaultdict(list)

    def run(self) -> None:
        reader = protocol.MessageReader()
        while received := os.read(0, 1 << 16):
            for kind, session, payload in reader.feed(received):
                self._handle(kind, session, payload)

    def _handle(self, kind: int, session: int, payload: bytes) -> None:
        if kind == protocol.OPEN:
            self._open(session, payload.decode())
            return
        if session not in self._listeners:
            return
        model, listener = self._listeners[session]
        if kind == protocol.AUDIO:
            listener.feed(payload)
        elif kind == protocol.FINISH:
            text, confidence = listener.finish()
            request = protocol.read_request_number(payload)
            self._reply({"session": session, "request": request, "text": text, "confidence": confidence})
        elif kind == protocol.CLOSE:
            del self._listeners[session]
            decoder = listener.close()
            if len(self._idle[model]) < IDLE_DECODERS:
                self._idle[model].append(decoder)

    def _open(self, session: int, joined: str) -> None:
        hints = tuple(joined.split("\n"))
        model = language_model.digest(hints)
        unknown = self._compile(model, hints)
        decoder = self._idle[model].pop() if self._idle[model] else self._build(model)
        self._listeners[session] = (model, Listener(decoder, self._vad(1), hints))
        while len(self._idle) > KEPT_MODELS:
            del self._idle[next(iter(self._idle))]
        self._reply({"session": session, "opened": unknown})

    def _compile(self, model: str, hints: tuple[str, ...]) -> list[str]:
        """Makes the model's files where they are missing. Returns hint words that have no pronunciation, when it made them."""
        if (self._folder / f"{model}.dict").exists():
            return []
        words = frozenset(word for sentence in language_model.sentences(hints) for word in sentence.split())
        pronunciations = language_model.read_pronunciations(self._model_path("en-us/cmudict-en-us.dict"), words)
        usable = [sentence for sentence in language_model.sentences(hints) if all(word in pronunciations for word in sentence.split())]
        self._write(f"{model}.arpa", language_model.arpa(usable))
        self._write(f"{model}.fillers", "\n".join(language_model.filler_lines()) + "\n")
        # Last: its presence says that the others are there.
        self._write(f"{model}.dict", "\n".join(language_model.dictionary_lines(pronunciations)) + "\n")
        return sorted(words - pronunciations.keys())

    def _write(self, name: str, text: str) -> None:
        draft = self._folder / f".{name}.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._folder / name)

    def _build(self, model: str) -> Any:
        config = self._pocketsphinx.Config(
            samprate=16000,
            loglevel="FATAL",
            hmm=str(self._model_path("en-us/en-us")),
            lm=str(self._folder / f"{model}.arpa"),
            dict=str(self._folder / f"{model}.dict"),
            fdict=str(self._folder / f"{model}.fillers"),
            fillprob=language_model.FILLER_PROBABILITY,
        )
        return self._pocketsphinx.Decoder(config)

    def _model_path(self, name: str) -> Path:
        return Path(self._pocketsphinx.get_model_path(name))

    def _reply(self, answer: dict[str, Any]) -> None:
        line = self._dumps(answer) + b"\n"
        while line:
            line = line[os.write(1, line) :]


def main() -> None:
    # A terminal's Ctrl-C, or a stop of the whole process group, reaches us, too; the parent still needs us to drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        DecoderProcess(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
