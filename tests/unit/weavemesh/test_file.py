"""Private files are believed only if nobody else could read or write them, and are never half written."""

import os
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.file import TEMPORARY_SUFFIX, make_folder, read_private, sweep, write_private


def read(path: Path) -> bytes | None:
    return read_private(path, what="the thing", bytes_max=100)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    assert read(path) is None
    write_private(path, b"one", overwrite=False)
    assert read(path) == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    write_private(path, b"two", overwrite=True)
    assert read(path) == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_the_mode_is_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "thing", b"one", overwrite=True)
    finally:
        os.umask(before)
    assert (tmp_path / "thing").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_kept_unless_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    write_private(path, b"one", overwrite=False)
    with pytest.raises(FileExistsError):
        write_private(path, b"two", overwrite=False)
    assert read(path) == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_nothing_is_written_through_what_stands_in_the_way_of_the_temporary_file(tmp_path: Path) -> None:
    path, foreign = tmp_path / "thing", tmp_path / "foreign"
    foreign.write_bytes(b"theirs")
    (tmp_path / f".thing.{os.getpid()}{TEMPORARY_SUFFIX}").symlink_to(foreign)
    write_private(path, b"one", overwrite=True)
    assert (read(path), foreign.read_bytes()) == (b"one", b"theirs")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["foreign", "thing"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_open_to_others_is_refused_with_its_name_mode_and_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "thing"
    path.write_bytes(b"one")
    path.chmod(mode)
    with pytest.raises(UserError) as failure:
        read(path)
    assert str(path) in failure.value.sentence
    assert f"{mode:04o}" in failure.value.sentence
    assert failure.value.remedy == f"chmod 600 {path}"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    path.mkdir(0o700) if kind == "folder" else os.mkfifo(path, 0o600)
    with pytest.raises(UserError, match="folder" if kind == "folder" else "not a regular file"):
        read(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_strangers_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    write_private(path, b"one", overwrite=True)
    os.chown(path, 12345, 12345)
    with pytest.raises(UserError, match="belongs to user 12345"):
        read(path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    write_private(path, b"x" * 101, overwrite=True)
    with pytest.raises(UserError, match="larger than 100 bytes"):
        read(path)


def test_leftovers_of_an_interrupted_write_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".thing.abcdef.wm-tmp").write_bytes(b"half")
    (tmp_path / "thing").write_bytes(b"whole")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_a_folder_in_whose_place_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "thing").write_bytes(b"")
    with pytest.raises(UserError, match="is not a folder"):
        make_folder(tmp_path / "thing", mode=0o700)
    with pytest.raises(UserError, match="cannot write"):
        make_folder(tmp_path / "thing" / "inside", mode=0o700)
