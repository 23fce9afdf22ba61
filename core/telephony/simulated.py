"""The account at the phone simulator: what the carrier adapter and the simulator must agree on."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput

# Twilio's magic number for tests: the one From that its test credentials accept, and nobody's telephone.
FROM_NUMBER = "+15005550006"
ACCOUNT_SID = "AC00000000000000000000000000000510"
_FILE_NAME = "simulator_token"


@dataclass(frozen=True, slots=True)
class SimulatedAccount:
    account_sid: str
    auth_token: str
    from_number: str


def token_file(keys: Path) -> Path:
    return keys / _FILE_NAME


def simulated_account(keys: Path) -> SimulatedAccount:
    """The simulator's account, whose auth token is made on first use and kept in the folder `keys`.

    Any process may be the first. A token in the source would let anything on this machine sign webhooks.
    Raises InvalidInput when the file is not what this function wrote.
    """
    path = token_file(keys)
    if not path.exists():
        keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = keys / f".{_FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
        # A link fails where a rename would replace the token another process has just made.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{32}", token):
        raise InvalidInput(f"{path} does not hold the simulator's token; delete it and restart orch to have a new one made")
    return SimulatedAccount(ACCOUNT_SID, token, FROM_NUMBER)
