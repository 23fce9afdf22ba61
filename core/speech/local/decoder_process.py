"""A decoder process: `python -m core.speech.local.decoder_process FOLDER`, started by the recogniser.

It ends when its stdin does, that is with its parent, however that ended. FOLDER holds compiled language models, shared
with its siblings.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from core.speech.local import decoder_protocol as protocol
from core.speech.local import language_model
from core.speech.local.decoder import Decoder
from core.speech.local.listener import Listener


class DecoderProcess:
    def __init__(self, folder: Path) -> None:
        import orjson
        import webrtcvad

        self._decoder = Decoder(folder)
        self._vad = webrtcvad.Vad
        self._dumps = orjson.dumps
        self._listeners: dict[int, Listener] = {}

    def run(self) -> None:
        reader = protocol.MessageReader()
        while received := os.read(0, 1 << 16):
            for kind, session, payload in reader.feed(received):
                self._handle(kind, session, payload)

    def _handle(self, kind: int, session: int, payload: bytes) -> None:
        if kind == protocol.OPEN:
            self._open(session, payload.decode())
        elif session not in self._listeners:
            return
        elif kind == protocol.AUDIO:
            self._listeners[session].feed(payload)
        elif kind == protocol.FINISH:
            text, confidence = self._listeners[session].finish()
            request = protocol.read_request_number(payload)
            self._reply({"session": session, "request": request, "text": text, "confidence": confidence})
        elif kind == protocol.CLOSE:
            del self._listeners[session]

    def _open(self, session: int, joined: str) -> None:
        hints = tuple(joined.split("\n"))
        model = language_model.digest(hints)
        unknown = self._decoder.prepare(model, hints)
        self._listeners[session] = Listener(self._decoder, model, hints, self._vad(1))
        self._reply({"session": session, "opened": unknown})

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
