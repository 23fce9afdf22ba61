"""Is that file a service account's key? Looked at without the SDK and without the internet, for start-up and `orch doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SETTING = "GOOGLE_APPLICATION_CREDENTIALS"
_LARGEST = 64 * 1024
_NEEDED = ("client_email", "private_key", "token_uri", "project_id")
_OTHER_TYPES = {
    "authorized_user": "a person's own credentials",
    "external_account": "a workload identity federation file",
    "external_account_authorized_user": "a workforce identity file",
    "impersonated_service_account": "an impersonation file",
}
_WANTED = "a service account's key is needed (Cloud console: IAM, Service accounts, Keys, JSON)"


def check_credentials(path: Path | None) -> str | None:
    """What is wrong with the key file, in one line that holds nothing of its content; None when it can be used.

    Whether Google still accepts the key, and for what, only Google knows: see `GoogleRecognizer.warm_up`.
    """
    if path is None or not str(path):
        return f"{SETTING} is not set; it names the service account's key file (JSON)"
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return f"{SETTING}: there is no file {path}"
    except IsADirectoryError:
        return f"{SETTING}: {path} is a folder, not a key file"
    except OSError as error:
        return f"{SETTING}: {path} cannot be read: {error.strerror}"
    try:
        content = json.loads(raw) if len(raw) <= _LARGEST else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return f"{SETTING}: {path} is not a JSON object; {_WANTED}"
    wrong = _wrong_with(content)
    return None if wrong is None else f"{SETTING}: {path} {wrong}"


def _wrong_with(content: dict[str, Any]) -> str | None:
    kind = content.get("type")
    if kind != "service_account":
        if "installed" in content or "web" in content:
            return f"is an OAuth client's file; {_WANTED}"
        return f"is {_OTHER_TYPES.get(str(kind), 'not a key file of Google Cloud')}; {_WANTED}"
    missing = [name for name in _NEEDED if not isinstance(content.get(name), str) or not content[name].strip()]
    if missing:
        return f"lacks {', '.join(missing)}; download the key again"
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content["private_key"].encode(), password=None)
    except (TypeError, ValueError):
        return "holds a private key that is damaged; download the key again"
    return None if isinstance(key, RSAPrivateKey) else "holds a private key that is not RSA; download the key again"
