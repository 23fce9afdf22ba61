"""Sealed files: nothing of them can be changed unseen, and a crash costs the last chunk only."""

from __future__ import annotations

import resource
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.recordings.sealed_file import CHUNK_BYTES, SealedFileWriter, open_sealed
from core.recordings.vault import CannotOpenError, Keyring, Vault

CONTEXT = b"recording:a:1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@contextmanager
def disk_that_takes(size_bytes: int) -> Iterator[None]:
    """Writes beyond `size_bytes` of any file fail, as on a full disk: the last one in part, the next ones wholly."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(path: Path, vault: Vault, plain: bytes, chunk_bytes: int = CHUNK_BYTES, context: bytes = CONTEXT) -> None:
    writer = SealedFileWriter(path, vault, context, chunk_bytes=chunk_bytes)
    writer.write(plain)
    assert writer.close() == path.stat().st_size


def read(path: Path, vault: Vault, context: bytes = CONTEXT, *, finished: bool = False) -> tuple[bytes, bool]:
    with open_sealed(path, vault, context, finished=finished) as sealed:
        assert not sealed.complete
        return b"".join(sealed), sealed.complete


def split(data: bytes) -> tuple[bytes, list[bytes]]:
    """Header, and the chunks as they stand in the file."""
    (key_length,) = struct.unpack_from(">H", data, 5)
    at = 7 + key_length + 7
    header, chunks = data[:at], []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at + 1)
        chunks.append(data[at : at + 5 + length])
        at += 5 + length
    return header, chunks


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.binary(max_size=70), max_size=12), flush_after=st.integers(0, 12), chunk_bytes=st.integers(1, 64))
def test_what_was_written_is_read(vault: Vault, pieces: list[bytes], flush_after: int, chunk_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        writer = SealedFileWriter(path, vault, CONTEXT, chunk_bytes=chunk_bytes)
        for number, piece in enumerate(pieces):
            writer.write(piece)
            if number == flush_after:
                writer.flush()
        size = writer.close()
        assert size == writer.close() == path.stat().st_size
        with open_sealed(path, vault, CONTEXT, finished=True) as sealed:
            chunks = list(sealed)
            assert sealed.complete
        assert b"".join(chunks) == b"".join(pieces)
        assert all(len(chunk) <= chunk_bytes for chunk in chunks)


def test_nothing_of_the_plain_text_or_the_context_is_in_the_file(path: Path, vault: Vault) -> None:
    write(path, vault, b"call me tomorrow" * 4)
    assert b"tomorrow" not in path.read_bytes()
    assert CONTEXT not in path.read_bytes()


def test_only_the_owner_can_read_it(path: Path, vault: Vault) -> None:
    write(path, vault, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_two_files_share_a_key_or_a_prefix(tmp_path: Path, vault: Vault) -> None:
    write(tmp_path / "a", vault, b"same" * 8)
    write(tmp_path / "b", vault, b"same" * 8)
    (header_a, chunks_a), (header_b, chunks_b) = (split((tmp_path / name).read_bytes()) for name in "ab")
    assert header_a[-7:] != header_b[-7:]
    assert chunks_a != chunks_b


def test_a_whole_chunk_is_on_disk_at_once(path: Path, vault: Vault) -> None:
    writer = SealedFileWriter(path, vault, CONTEXT, chunk_bytes=10)
    writer.write(b"0123456789abc")
    assert read(path, vault) == (b"0123456789", False)
    writer.flush()
    assert read(path, vault) == (b"0123456789abc", False)
    writer.close()
    assert read(path, vault) == (b"0123456789abc", True)


def test_an_abandoned_file_is_read_as_after_a_crash(path: Path, vault: Vault) -> None:
    writer = SealedFileWriter(path, vault, CONTEXT, chunk_bytes=4)
    writer.write(b"abcdef")
    writer.abandon()
    assert read(path, vault) == (b"abcd", False)


@settings(max_examples=8, deadline=None)
@given(plain=st.binary(max_size=50))
def test_cut_anywhere_it_reads_up_to_the_last_whole_chunk(vault: Vault, plain: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, vault, plain, chunk_bytes=16)
        data = path.read_bytes()
        header, chunks = split(data)
        ends = [len(header) + sum(len(chunk) for chunk in chunks[:count]) for count in range(1, len(chunks) + 1)]
        for cut in range(len(data)):
            path.write_bytes(data[:cut])
            whole = sum(end <= cut for end in ends)
            assert read(path, vault) == (plain[: whole * 16], False)
            with pytest.raises(CannotOpenError):
                read(path, vault, finished=True)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_never_goes_unseen(vault: Vault, data: st.DataObject) -> None:
    plain = bytes(range(40))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, vault, plain, chunk_bytes=16)
        changed = bytearray(path.read_bytes())
        # The header and the chunks' lengths are few bytes, so they get every other example.
        header, chunks = split(bytes(changed))
        starts = [len(header) + sum(len(chunk) for chunk in chunks[:count]) for count in range(len(chunks))]
        frames = [start + offset for start in starts for offset in range(5)]
        place = data.draw(st.one_of(st.sampled_from(frames), st.integers(0, len(changed) - 1)))
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(changed)
        with pytest.raises(CannotOpenError):
            read(path, vault, finished=True)
        got = []
        try:
            with open_sealed(path, vault, CONTEXT) as sealed:
                got.extend(chunk for chunk in sealed)
                assert not sealed.complete
        except CannotOpenError:
            pass
        assert plain.startswith(b"".join(got))


@pytest.mark.parametrize(
    "order", [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3], [1, 2, 3], [3], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [0, 1, 2, 3, 0], [3, 0, 1, 2]]
)
def test_chunks_cannot_be_moved_left_out_or_repeated(path: Path, vault: Vault, order: list[int]) -> None:
    write(path, vault, b"a" * 10 + b"b" * 10 + b"c" * 10 + b"d" * 5, chunk_bytes=10)
    header, chunks = split(path.read_bytes())
    assert len(chunks) == 4
    path.write_bytes(header + b"".join(chunks[number] for number in order))
    with pytest.raises(CannotOpenError, match=r"changed|goes on after its end"):
        read(path, vault)


def test_chunks_of_another_file_do_not_open(tmp_path: Path, vault: Vault) -> None:
    for name in "ab":
        write(tmp_path / name, vault, name.encode() * 20, chunk_bytes=10)
    (header, chunks), (_, others) = (split((tmp_path / name).read_bytes()) for name in "ab")
    (tmp_path / "a").write_bytes(header + chunks[0] + others[1] + chunks[2])
    with pytest.raises(CannotOpenError):
        read(tmp_path / "a", vault)


def test_more_after_the_end_is_an_error(path: Path, vault: Vault) -> None:
    write(path, vault, b"abc")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CannotOpenError, match="goes on after its end"):
        read(path, vault)


def test_another_context_does_not_open_it(path: Path, vault: Vault) -> None:
    write(path, vault, b"abc")
    with pytest.raises(CannotOpenError, match=path.name):
        open_sealed(path, vault, b"recording:a:2")


def test_another_installations_keys_do_not_open_it(path: Path, vault: Vault, tmp_path: Path) -> None:
    write(path, vault, b"abc")
    with pytest.raises(CannotOpenError, match="not in"):
        open_sealed(path, Vault(Keyring.create(tmp_path / "other")), CONTEXT)


def test_files_from_before_a_rotation_still_open(path: Path, tmp_path: Path) -> None:
    before = Keyring.create(tmp_path / "keys")
    write(path, Vault(before), b"abc")
    before.rotate()
    assert read(path, Vault(Keyring.load(tmp_path / "keys"))) == (b"abc", True)


def test_a_chunk_of_absurd_length_is_not_read_into_memory(path: Path, vault: Vault) -> None:
    write(path, vault, b"abc")
    header, _ = split(path.read_bytes())
    path.write_bytes(header + struct.pack(">BI", 0, CHUNK_BYTES + 17))
    with pytest.raises(CannotOpenError, match="damaged"):
        read(path, vault)


def test_another_kind_of_file_is_refused(path: Path, vault: Vault) -> None:
    path.write_bytes(b"RIFF" + bytes(60))
    with pytest.raises(CannotOpenError, match="not a sealed file"):
        open_sealed(path, vault, CONTEXT)


def test_a_file_is_never_written_over(path: Path, vault: Vault) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        SealedFileWriter(path, vault, CONTEXT)
    assert path.read_bytes() == b"precious"


def test_a_full_disk_leaves_what_was_whole(path: Path, vault: Vault) -> None:
    writer = SealedFileWriter(path, vault, CONTEXT, chunk_bytes=1000)
    with disk_that_takes(2500), pytest.raises(OSError, match="File too large"):
        writer.write(bytes(5000))
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    assert read(path, vault) == (bytes(2000), False)
    assert path.stat().st_size == 2500


@pytest.mark.parametrize("chunk_bytes", [0, -1, CHUNK_BYTES + 1])
def test_chunks_no_reader_would_take_are_not_written(path: Path, vault: Vault, chunk_bytes: int) -> None:
    with pytest.raises(ValueError, match="chunk_bytes"):
        SealedFileWriter(path, vault, CONTEXT, chunk_bytes=chunk_bytes)
    assert not path.exists()
