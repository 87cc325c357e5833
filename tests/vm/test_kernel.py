"""Which kernel is taken: the one that the user names, else the one built before."""

import gzip
import stat
from pathlib import Path

import pytest

from tests.vm.kernel import CACHE_VARIABLE, KERNEL_VARIABLE, KernelMissing, cache_folder, find_kernel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(KERNEL_VARIABLE, raising=False)
    return tmp_path / "cache"


def test_without_any_there_is_none() -> None:
    assert find_kernel() is None


def test_one_that_is_named_and_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, "/nowhere")
    with pytest.raises(KernelMissing, match=f"{KERNEL_VARIABLE} names /nowhere"):
        find_kernel()


def test_a_packed_one_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "linux.gz"
    packed.write_bytes(gzip.compress(b"a program"))
    monkeypatch.setenv(KERNEL_VARIABLE, str(packed))
    first, again = find_kernel(), find_kernel()
    assert first == again and first is not None
    assert first.program.read_bytes() == b"a program"
    assert first.program.stat().st_mode & stat.S_IXUSR
    assert first.program.parent == cache_folder()


def test_the_shim_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "linux").write_text("")
    monkeypatch.setenv(KERNEL_VARIABLE, str(tmp_path / "linux"))
    first = find_kernel()
    assert first is not None and first.shim.exists()
    built_at = first.shim.stat().st_mtime_ns
    assert find_kernel() == first and first.shim.stat().st_mtime_ns == built_at
