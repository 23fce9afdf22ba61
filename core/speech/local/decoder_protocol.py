"""What the recogniser and its decoder processes say to each other, over the child's stdin and stdout.

To the child: `kind | session | length` and a payload. From the child: one JSON object a line, with the session it
concerns. One process serves several calls, told apart by the session number, which is never used again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

OPEN = 1  # payload: the hints, joined by newlines; answered by {"session", "opened": [words without a pronunciation]}
AUDIO = 2  # payload: mu-law, whole 20 ms frames; not answered
FINISH = 3  # payload: a request number (4 bytes); answered by {"session", "request", "text", "confidence"}
CLOSE = 4  # not answered

_HEADER = struct.Struct("<BII")
_REQUEST = struct.Struct("<I")


def message(kind: int, session: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(kind, session, len(payload)) + payload


def request_number(number: int) -> bytes:
    return _REQUEST.pack(number)


def read_request_number(payload: bytes) -> int:
    number: int = _REQUEST.unpack(payload)[0]
    return number


class MessageReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[tuple[int, int, bytes]]:
        self._buffer += received
        while len(self._buffer) >= _HEADER.size:
            kind, session, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield kind, session, payload
