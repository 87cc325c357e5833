import os
from pathlib import Path

from tests.unit.weavemesh.cni.fake_doors import config, encode_call, environment
from weavemesh.cni.tombstone import SUFFIX, TOMBSTONES_MAX, UNFINISHED_AGE_S, read_tombstones


def leave(folder: Path, name: str, content: bytes, *, age_s: float = 0) -> Path:
    path = folder / name
    path.write_bytes(content)
    modified = path.stat().st_mtime - age_s
    os.utime(path, (modified, modified))
    return path


def frame(container: str) -> bytes:
    return encode_call(environment("DEL", CNI_CONTAINERID=container), config())


def test_no_folder_is_no_tombstone(tmp_path: Path) -> None:
    assert read_tombstones(tmp_path / "never-was") == []
    (tmp_path / "file").touch()
    assert read_tombstones(tmp_path / "file") == []


def test_they_come_in_the_order_of_time(tmp_path: Path) -> None:
    for age, container in enumerate(("new", "older", "oldest")):
        leave(tmp_path, f"{container}{SUFFIX}", frame(container), age_s=age * 10)
    calls = [tombstone.call for tombstone in read_tombstones(tmp_path)]
    assert [call and call.environment["CNI_CONTAINERID"] for call in calls] == ["oldest", "older", "new"]


def test_one_is_gone_when_it_is_removed_and_removing_it_again_is_nothing(tmp_path: Path) -> None:
    leave(tmp_path, f"a{SUFFIX}", frame("a"))
    (tombstone,) = read_tombstones(tmp_path)
    tombstone.remove()
    tombstone.remove()
    assert read_tombstones(tmp_path) == []


def test_garbage_is_told_from_a_call(tmp_path: Path) -> None:
    leave(tmp_path, f"a{SUFFIX}", b"garbage")
    leave(tmp_path, f"b{SUFFIX}", frame("b")[:-1])
    leave(tmp_path, f"c{SUFFIX}", b"")
    assert [tombstone.call for tombstone in read_tombstones(tmp_path)] == [None, None, None]


def test_what_is_being_written_is_left_alone_and_swept_when_it_is_old(tmp_path: Path) -> None:
    young = leave(tmp_path, ".young.1", b"WM")
    old = leave(tmp_path, ".old.2", b"WM", age_s=UNFINISHED_AGE_S + 60)
    assert read_tombstones(tmp_path) == []
    assert (young.exists(), old.exists()) == (True, False)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = leave(tmp_path, "secret", frame("x"))
    folder = tmp_path / "tombstones"
    folder.mkdir()
    (folder / f"a{SUFFIX}").symlink_to(secret)
    os.mkfifo(folder / f"b{SUFFIX}")
    assert [tombstone.call for tombstone in read_tombstones(folder)] in ([], [None])


def test_their_number_is_bounded(tmp_path: Path) -> None:
    for number in range(TOMBSTONES_MAX + 10):
        (tmp_path / f"{number}{SUFFIX}").touch()
    assert len(read_tombstones(tmp_path)) == TOMBSTONES_MAX
