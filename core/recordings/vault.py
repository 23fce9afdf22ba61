"""Encryption at rest: named keys outside data/, one of them primary, and values bound to the place they stand in.

AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D). A sealed value is `version | key id | nonce | ciphertext+tag`,
so that values sealed before a rotation still open.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import OrchError, SettingsError

VERSION = 1
KEY_BYTES = 32
ID_BYTES = 4
NONCE_BYTES = 12
_HEADER_BYTES = 1 + ID_BYTES + NONCE_BYTES


class CannotOpenError(OrchError):
    """Sealed data was changed, belongs elsewhere, or its key is not here."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one installation. `root` never changes: secrets that must survive a rotation are derived from it."""

    folder: Path
    root: bytes
    primary: bytes
    keys: Mapping[bytes, bytes]

    FILE_NAME = "vault.json"

    @classmethod
    def create(cls, folder: Path) -> Keyring:
        """The keyring of `folder`, made if there is none. An existing one is never touched."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / cls.FILE_NAME).exists():
            key_id = secrets.token_bytes(ID_BYTES)
            made = cls(folder, secrets.token_bytes(KEY_BYTES), key_id, {key_id: secrets.token_bytes(KEY_BYTES)})
            # A link fails where a rename would replace the keys another process has just made.
            draft = made._write_draft()
            try:
                os.link(draft, folder / cls.FILE_NAME)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Keyring:
        """Raises SettingsError when the file is missing, readable by others, or not a keyring."""
        path = folder / cls.FILE_NAME
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="ascii")
        except OSError as error:
            raise SettingsError(
                f"no encryption keys at {path} ({error.strerror}); run `orch init`, or restore your backup of the keys"
            ) from None
        if mode & 0o077:
            raise SettingsError(f"{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")
        try:
            stored = json.loads(text)
            keys = {bytes.fromhex(entry["id"]): base64.b64decode(entry["key"]) for entry in stored["keys"]}
            ring = cls(folder, base64.b64decode(stored["root"]), bytes.fromhex(stored["primary"]), keys)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path} is not a keyring of orch; restore your backup of the keys") from error
        sizes = {len(key) for key in (*keys.values(), ring.root)}
        if ring.primary not in keys or sizes != {KEY_BYTES} or {len(key_id) for key_id in keys} != {ID_BYTES}:
            raise SettingsError(f"{path} is damaged; restore your backup of the keys")
        return ring

    def rotate(self) -> Keyring:
        """A new primary key. What was sealed before still opens with the old ones."""
        key_id = secrets.token_bytes(ID_BYTES)
        while key_id in self.keys:
            key_id = secrets.token_bytes(ID_BYTES)
        rotated = Keyring(self.folder, self.root, key_id, {**self.keys, key_id: secrets.token_bytes(KEY_BYTES)})
        rotated._write_draft().replace(self.folder / self.FILE_NAME)
        return rotated

    def _write_draft(self) -> Path:
        draft = self.folder / f".{self.FILE_NAME}.{secrets.token_hex(4)}"
        stored = {
            "root": base64.b64encode(self.root).decode(),
            "primary": self.primary.hex(),
            "keys": [{"id": key_id.hex(), "key": base64.b64encode(key).decode()} for key_id, key in self.keys.items()],
        }
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(stored, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        return draft


class Vault:
    """Seals and opens values. Safe to share between threads."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keyring.keys.items()}

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """`context` names the place the value stands in; it is not stored, and must be given again to open it."""
        nonce = os.urandom(NONCE_BYTES)
        header = bytes([VERSION]) + self._keyring.primary + nonce
        return header + self._ciphers[self._keyring.primary].encrypt(nonce, plain, header + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises CannotOpenError."""
        header = sealed[:_HEADER_BYTES]
        if len(header) < _HEADER_BYTES or header[0] != VERSION:
            raise CannotOpenError("sealed data is damaged, or was written by a newer orch")
        cipher = self._ciphers.get(header[1 : 1 + ID_BYTES])
        if cipher is None:
            raise CannotOpenError(f"key {header[1 : 1 + ID_BYTES].hex()} is not in {self._keyring.folder}; restore your backup of the keys")
        try:
            return cipher.decrypt(header[1 + ID_BYTES :], sealed[_HEADER_BYTES:], header + context)
        except InvalidTag:
            raise CannotOpenError("sealed data was changed, or belongs to another place") from None

    def derive(self, label: bytes) -> bytes:
        """A 32-byte secret for another purpose, the same after any rotation (HKDF-SHA256, RFC 5869)."""
        return HKDF(SHA256(), KEY_BYTES, None, b"orch:" + label).derive(self._keyring.root)
