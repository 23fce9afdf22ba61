"""Keys and sealed values."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from core.recordings.vault import CannotOpenError, Keyring, Vault


@given(plain=st.binary(max_size=300), context=st.binary(max_size=40))
@settings(deadline=None)
def test_what_was_sealed_opens(vault: Vault, plain: bytes, context: bytes) -> None:
    sealed = vault.seal(plain, context)
    assert vault.open(sealed, context) == plain
    assert vault.seal(plain, context) != sealed


@given(plain=st.binary(max_size=40), data=st.data())
@settings(deadline=None)
def test_a_flipped_bit_is_seen_anywhere(vault: Vault, plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(vault.seal(plain, b"here"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CannotOpenError):
        vault.open(bytes(sealed), b"here")


def test_cut_anywhere_it_does_not_open(vault: Vault) -> None:
    sealed = vault.seal(b"some words", b"here")
    for cut in range(len(sealed)):
        with pytest.raises(CannotOpenError):
            vault.open(sealed[:cut], b"here")


@given(context=st.binary(max_size=20), other=st.binary(max_size=20))
@settings(deadline=None)
def test_a_value_opens_in_its_own_place_only(vault: Vault, context: bytes, other: bytes) -> None:
    sealed = vault.seal(b"words", context)
    if context != other:
        with pytest.raises(CannotOpenError, match="another place"):
            vault.open(sealed, other)


def test_another_installations_keys_do_not_open_it(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(CannotOpenError, match="restore your backup"):
        Vault(Keyring.create(tmp_path)).open(vault.seal(b"words", b""), b"")


def test_the_right_id_with_the_wrong_key_does_not_open_it(tmp_path: Path) -> None:
    ring = Keyring.create(tmp_path)
    impostor = Keyring(ring.folder, ring.root, ring.primary, {ring.primary: bytes(32)})
    with pytest.raises(CannotOpenError, match="changed"):
        Vault(impostor).open(Vault(ring).seal(b"words", b""), b"")


def test_rotation_seals_with_a_new_key_and_opens_with_the_old_ones(tmp_path: Path) -> None:
    first = Keyring.create(tmp_path)
    old = Vault(first).seal(b"old", b"")
    second = first.rotate()
    new = Vault(second).seal(b"new", b"")
    assert second.primary != first.primary
    rotated = Vault(Keyring.load(tmp_path).rotate())
    assert rotated.open(old, b"") == b"old"
    assert rotated.open(new, b"") == b"new"
    with pytest.raises(CannotOpenError):
        Vault(first).open(new, b"")


def test_derived_secrets_survive_a_rotation_and_differ_by_label(tmp_path: Path) -> None:
    ring = Keyring.create(tmp_path)
    secret = Vault(ring).derive(b"tokens")
    ring.rotate()
    assert Vault(Keyring.load(tmp_path)).derive(b"tokens") == secret
    assert Vault(ring).derive(b"other") != secret
    assert len(secret) == 32


def test_only_the_owner_can_read_the_keys_after_a_rotation_too(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ring = Keyring.create(folder)
    path = folder / Keyring.FILE_NAME
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ring.rotate()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [Keyring.FILE_NAME]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_keys_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    Keyring.create(tmp_path)
    (tmp_path / Keyring.FILE_NAME).chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        Keyring.load(tmp_path)


def test_existing_keys_are_never_replaced(tmp_path: Path) -> None:
    first = Keyring.create(tmp_path)
    assert Keyring.create(tmp_path) == first


def test_processes_that_start_together_share_one_keyring(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        rings = list(threads.map(lambda _: Keyring.create(tmp_path), range(8)))
    assert all(ring == rings[0] for ring in rings)
    assert [file.name for file in tmp_path.iterdir()] == [Keyring.FILE_NAME]


def test_missing_keys_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="orch init"):
        Keyring.load(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stored: "not json",
        lambda stored: json.dumps([]),
        lambda stored: json.dumps({**stored, "primary": "00000000"}),
        lambda stored: json.dumps({**stored, "root": "AAAA"}),
        lambda stored: json.dumps({**stored, "keys": [{**stored["keys"][0], "key": "AAAA"}]}),
        lambda stored: json.dumps({**stored, "keys": []}),
        lambda stored: json.dumps({name: value for name, value in stored.items() if name != "root"}),
    ],
)
def test_a_damaged_keyring_is_refused_in_one_line(tmp_path: Path, spoil) -> None:
    Keyring.create(tmp_path)
    path = tmp_path / Keyring.FILE_NAME
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(SettingsError, match="restore your backup") as raised:
        Keyring.load(tmp_path)
    assert "\n" not in str(raised.value)
