"""The way to Google's servers: who we are, and connections that are shared by calls.

A connection carries about 100 streams at once and lets further ones wait without a word, so there are as many as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]
from google.oauth2 import service_account

from core.errors import ProviderError

STREAMS_A_CONNECTION = 80
# A connection of its own for each channel, and one that notices when its other end has vanished.
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
]


class Access(Protocol):
    """Makes an SDK's client; `kind` is the client's class."""

    def open(self, kind: Any) -> Any:
        """An asynchronous client with a connection of its own. Call it on the event loop that will use it."""
        ...

    def open_blocking(self, kind: Any) -> Any: ...


class GoogleCloud:
    """Google itself, as the service account whose key `credentials_file` holds. Raises ProviderError when it cannot be used.

    `host` is a regional server, such as eu-speech.googleapis.com; by default the client's own.
    """

    def __init__(self, credentials_file: Path, host: str | None = None, root_certificates: bytes | None = None) -> None:
        try:
            self._credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
                str(credentials_file)
            )
        except (OSError, ValueError) as error:
            # The error's own text may quote the file.
            raise ProviderError(
                f"the key in {credentials_file} cannot be used ({type(error).__name__}); run `orch doctor`",
                provider="google",
                retryable=False,
                code="UNAUTHENTICATED",
            ) from None
        self._host = host
        self._roots = root_certificates

    def open(self, kind: Any) -> Any:
        return self._client(kind, "grpc_asyncio")

    def open_blocking(self, kind: Any) -> Any:
        return self._client(kind, "grpc")

    def _client(self, kind: Any, transport: str) -> Any:
        chosen = kind.get_transport_class(transport)
        roots = None if self._roots is None else grpc.ssl_channel_credentials(root_certificates=self._roots)

        def connect(host: str, **arguments: Any) -> Any:
            return chosen.create_channel(host, **{**arguments, "options": _OPTIONS, "ssl_credentials": roots})

        where = {} if self._host is None else {"host": self._host}
        # The key signs a token itself: no server of tokens to be asked first.
        made = chosen(credentials=self._credentials, channel=connect, always_use_jwt_access=True, **where)
        return kind(transport=made)


class PlainServer:
    """A server that speaks Google's methods in clear text, at host:port: for tests, and for an orch without an account."""

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, kind: Any) -> Any:
        channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        return kind(transport=kind.get_transport_class("grpc_asyncio")(channel=channel))

    def open_blocking(self, kind: Any) -> Any:
        channel = grpc.insecure_channel(self._address, options=_OPTIONS)
        return kind(transport=kind.get_transport_class("grpc")(channel=channel))


class _Shared:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.streams = 0


class Clients:
    """Clients of one kind, each with its own connection and no more streams than that can carry."""

    def __init__(self, access: Access, kind: Any, streams: int = STREAMS_A_CONNECTION) -> None:
        self._access = access
        self._kind = kind
        self._most = streams
        self._open: list[_Shared] = []

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """A client, for one stream or request."""
        shared = next((shared for shared in self._open if shared.streams < self._most), None)
        if shared is None:
            shared = _Shared(self._access.open(self._kind))
            self._open.append(shared)
        shared.streams += 1
        try:
            yield shared.client
        finally:
            shared.streams -= 1

    async def close(self) -> None:
        """Ends whatever is still under way."""
        closing, self._open = self._open, []
        await asyncio.gather(*(shared.client.transport.close() for shared in closing))
