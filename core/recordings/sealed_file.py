"""A file encrypted while it grows: what is whole on disk can be read, whatever happened to its writer.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015) over AES-256-GCM. A file has a random key of its own, which the vault seals.

    header  "OREC" | version 1 | length of sealed key 2 | sealed key | nonce prefix 7
    chunk   is last 1 | length 4 | ciphertext+tag        nonce = prefix 7 | counter 4 | is last 1

Numbers are big-endian. The header is every chunk's associated data. A chunk's place is in its nonce, so one that was
moved, repeated or left out does not open. A finished file ends with its last chunk, and any other end is a crash's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.recordings.vault import CannotOpenError, Vault

MAGIC = b"OREC"
VERSION = 1
CHUNK_BYTES = 64 * 1024  # the longest chunk a reader accepts, which is what bounds its memory
PREFIX_BYTES = 7
TAG_BYTES = 16
_START = struct.Struct(">4sBH")
_FRAME = struct.Struct(">BI")


class SealedFileWriter:
    """Writes one sealed file from its beginning. For one thread.

    After any error the file is closed and stays as it is: what was whole on disk can be read.
    """

    def __init__(self, path: Path, vault: Vault, context: bytes, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Raises OSError, FileExistsError too: a sealed file is never written over."""
        if not 0 < chunk_bytes <= CHUNK_BYTES:
            raise ValueError(f"chunk_bytes must be 1 to {CHUNK_BYTES}, not {chunk_bytes}")
        key, prefix = AESGCM.generate_key(256), os.urandom(PREFIX_BYTES)
        sealed_key = vault.seal(key, context)
        self._header = _START.pack(MAGIC, VERSION, len(sealed_key)) + sealed_key + prefix
        self._prefix = prefix
        self._cipher = AESGCM(key)
        self._chunk_bytes = chunk_bytes
        self._pending = bytearray()
        self._counter = 0
        self._size = 0
        # Unbuffered: a chunk that was written is the kernel's, and outlives this process.
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0)
        self._append(self._header)

    @property
    def size_bytes(self) -> int:
        """On disk so far."""
        return self._size

    def write(self, plain: bytes) -> None:
        """Whole chunks go to disk at once, the rest waits. Raises OSError; ValueError after close."""
        if self._file.closed:
            raise ValueError("the sealed file is closed")
        self._pending += plain
        while len(self._pending) >= self._chunk_bytes:
            self._seal(self._chunk_bytes, last=False)

    def flush(self) -> None:
        """Put what waits on disk, as a shorter chunk. Raises OSError."""
        if self._pending:
            self._seal(len(self._pending), last=False)

    def close(self) -> int:
        """Finish the file, on disk when this returns. Returns its size in bytes. Raises OSError."""
        if not self._file.closed:
            self._seal(len(self._pending), last=True)
            try:
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
        return self._size

    def abandon(self) -> None:
        """Close the file without finishing it, as a crash would."""
        self._pending.clear()
        self._file.close()

    def _seal(self, count: int, *, last: bool) -> None:
        # Packing fails rather than lets a nonce come again after 2**32 chunks.
        nonce = self._prefix + struct.pack(">IB", self._counter, last)
        sealed = self._cipher.encrypt(nonce, bytes(self._pending[:count]), self._header)
        self._append(_FRAME.pack(last, len(sealed)) + sealed)
        self._counter += 1
        del self._pending[:count]

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.abandon()
            raise
        self._size += len(data)


class SealedFile:
    """The chunks of a sealed file, in order, once.

    Iterating stops where a crash cut the file; it raises CannotOpenError where the file was changed.
    """

    def __init__(self, file: BinaryIO, path: Path, vault: Vault, context: bytes, *, finished: bool) -> None:
        self._file = file
        self._path = path
        self._finished = finished
        self._complete = False
        self._cipher: AESGCM | None = None
        start = file.read(_START.size)
        if len(start) == _START.size:
            magic, version, key_length = _START.unpack(start)
            if magic != MAGIC or version != VERSION:
                raise CannotOpenError(f"{path} is not a sealed file of this orch")
            rest = file.read(key_length + PREFIX_BYTES)
            if len(rest) == key_length + PREFIX_BYTES:
                try:
                    self._cipher = AESGCM(vault.open(rest[:key_length], context))
                except CannotOpenError as error:
                    raise CannotOpenError(f"{path}: {error}") from None
                self._header = start + rest
                self._prefix = rest[key_length:]

    @property
    def complete(self) -> bool:
        """Whether the file's last chunk was read. False while there are chunks to come."""
        return self._complete

    def __iter__(self) -> Iterator[bytes]:
        counter = 0
        while self._cipher is not None and not self._complete:
            frame = self._file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                break
            last, length = _FRAME.unpack(frame)
            if last not in (0, 1) or not TAG_BYTES <= length <= CHUNK_BYTES + TAG_BYTES:
                raise CannotOpenError(f"{self._path} is damaged at chunk {counter}")
            sealed = self._file.read(length)
            if len(sealed) < length:
                break
            try:
                plain = self._cipher.decrypt(self._prefix + struct.pack(">IB", counter, last), sealed, self._header)
            except InvalidTag:
                raise CannotOpenError(f"{self._path} was changed, or is damaged, at chunk {counter}") from None
            if last and self._file.read(1):
                raise CannotOpenError(f"{self._path} goes on after its end")
            self._complete = bool(last)
            counter += 1
            yield plain
        if self._finished and not self._complete:
            raise CannotOpenError(f"{self._path} was cut off after it was finished; restore it from a backup")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_sealed(path: Path, vault: Vault, context: bytes, *, finished: bool = False) -> SealedFile:
    """Read a sealed file chunk by chunk.

    A file alone cannot say whether a crash or a person cut its end off, only that it is not `complete`. Who knows from
    elsewhere that it was closed properly says `finished`, and a missing end is an error then.
    Raises OSError, and CannotOpenError for another context, a key that is not here, and a changed header.
    """
    file = path.open("rb")
    try:
        return SealedFile(file, path, vault, context, finished=finished)
    except BaseException:
        file.close()
        raise
