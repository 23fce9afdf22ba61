"""How the CLI talks to the supervisor: a unix socket, one JSON line there, one JSON line back.

Requests are `{"do": "status"}`, `{"do": "stop-all", "now": false, "timeout": null}`, `{"do": "await-end"}` and
`{"do": "start" | "stop" | "restart" | "drain", "worker": NAME}` (stop and restart take `"now": true`) and `{"do": "reload"}`. An
answer with `"error"` was refused. `await-end` is answered when the last worker is gone, with the names of those that had to be
killed. Jobs are triggered through the database, not here: a trigger is a row with its outcome, whoever asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import Conflict, NotRunning, OrchError

SOCKET_NAME = "orch.sock"
# sun_path of unix(7) holds 108 bytes with the closing zero.
_PATH_LIMIT = 107
_REQUEST_LIMIT = 64 * 1024
_CLIENT_LIMIT = 32

Answer = dict[str, Any]
# None: the answer comes later, through `ControlServer.answer_waiting`.
Handler = Callable[[Mapping[str, Any]], Answer | None]


@contextmanager
def _address(run_folder: Path) -> Iterator[str]:
    """The socket's path, short enough for the kernel: a deep folder is reached through a descriptor of it."""
    path = str(run_folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield path
        return
    folder = os.open(run_folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


class Request:
    """A request that was sent, and its answer when it comes. A context manager."""

    def __init__(self, run_folder: Path, request: Mapping[str, object], *, timeout: float = 5.0) -> None:
        """Raises NotRunning when nobody listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(run_folder) as address:
                self._socket.settimeout(timeout)
                self._connect(address, timeout)
                self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            self._socket.close()
            raise NotRunning("orch is not running; start it with `orch start-all`") from None

    def _connect(self, address: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(address)
                return
            except BlockingIOError:
                # unix(7): with a timeout set, a full queue of a supervisor that is busy is EAGAIN rather than a wait.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answered(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds`: the answer, or the end of the supervisor."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def answer(self) -> Answer:
        """Raises NotRunning when none comes in time, Conflict when the request was refused."""
        try:
            with self._socket.makefile("rb") as reply:
                line = reply.readline()
        except TimeoutError:
            raise NotRunning("the supervisor does not answer; see `orch logs --worker supervisor`") from None
        except OSError:
            line = b""
        if not line:
            raise NotRunning("the supervisor went away while it was asked; see `orch logs --worker supervisor`")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise Conflict(str(answer["error"]))
        return answer


def ask(run_folder: Path, request: Mapping[str, object], *, timeout: float = 5.0) -> Answer:
    """Send one request to the supervisor of this folder and wait for its answer.

    Raises NotRunning when nobody listens or answers within `timeout` seconds, Conflict when the request is refused.
    """
    with Request(run_folder, request, timeout=timeout) as sent:
        return sent.answer()


class ControlServer:
    """The supervisor's side, driven by its selector: registered keys carry a callable without arguments."""

    def __init__(self, run_folder: Path, selector: selectors.BaseSelector, handle: Handler) -> None:
        self._path = run_folder / SOCKET_NAME
        self._selector = selector
        self._handle = handle
        self._clients: dict[socket.socket, bytearray] = {}
        self._waiting: set[socket.socket] = set()
        # Only the holder of the daemon's lock gets here, so a socket that is there is a dead one's.
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode is set by the mask, not after the bind: there is no moment in which others may connect.
        mask = os.umask(0o177)
        try:
            with _address(run_folder) as address:
                self._listener.bind(address)
        finally:
            os.umask(mask)
        self._listener.listen(128)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= _CLIENT_LIMIT:
            # Whoever has been silent longest makes room: a stuck client must not lock people out.
            self._drop(next(iter(self._clients)))
        client.setblocking(False)
        self._clients[client] = bytearray()
        self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received = self._clients.get(client)
        if received is None:
            return  # dropped to make room, in this very round of the selector
        received += data
        if data and b"\n" not in received and len(received) < _REQUEST_LIMIT:
            return
        if client in self._waiting:
            self._drop(client)  # it hung up, or it talks on while it should listen
            return
        if b"\n" in received:
            answer = self._answer(bytes(received.split(b"\n", 1)[0]))
            if answer is None:
                self._waiting.add(client)
                return
            self._send(client, answer)
        self._drop(client)

    def answer_waiting(self, answer: Answer) -> None:
        """Answer everybody whose request was put off."""
        for client in list(self._waiting):
            self._send(client, answer)
            self._drop(client)

    def _send(self, client: socket.socket, answer: Answer) -> None:
        # The answer fits the socket's buffer in all but absurd cases; a client that does not read gets a part.
        client.settimeout(1.0)
        with contextlib.suppress(OSError):
            client.sendall(json.dumps(answer, default=str).encode() + b"\n")

    def _answer(self, line: bytes) -> Answer | None:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            return {"error": "a request is one JSON object on one line"}
        try:
            return self._handle(request)
        except OrchError as error:
            return {"error": str(error)}
        except (ValueError, TypeError) as error:
            # Of a value that is not what it should be. A request must not end the daemon.
            return {"error": f"a request that makes no sense: {error}"}

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client]
        self._waiting.discard(client)
        self._selector.unregister(client)
        client.close()
