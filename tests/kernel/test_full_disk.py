"""On a full disk a write fails with one clear sentence, the old file stays whole and nothing is left over."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.secret import ClusterSecret
from weavemesh.store import StateFolder

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "wmsdisk", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                continue


def test_the_old_state_stays_whole(small_disk: Path) -> None:
    with StateFolder.open(small_disk) as folder:
        folder.write("ring", b"old")
        fill(small_disk)
        with pytest.raises(UserError, match=r"the disk that holds .* is full, ring was not written; free some space"):
            folder.write("ring", b"new" * 5000)
        assert folder.read("ring") == b"old"
        assert sorted(os.listdir(small_disk)) == ["filler", "lock", "ring"]
        (small_disk / "filler").unlink()
        folder.write("ring", b"new")
        assert folder.read("ring") == b"new"


def test_no_half_identity_and_no_half_secret_are_made(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(UserError, match="is full"):
        Identity.load_or_create(small_disk)
    with pytest.raises(UserError, match="is full"):
        ClusterSecret.generate().write(small_disk / "secret")
    assert os.listdir(small_disk) == ["filler"]


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UserError, match="read-only file system"):
        StateFolder.open(small_disk)
