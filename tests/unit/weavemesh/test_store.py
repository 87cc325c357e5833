"""The state folder: whole files or none, damage is recognised, one agent at a time. (A full disk: tests/kernel.)"""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.store import EPOCH_FILE, SealBroken, SealTooNew, StateFolder, seal, unseal


def test_what_was_sealed_is_unsealed() -> None:
    for content in (b"", b"\n", b"x" * 100_000, bytes(range(256))):
        assert unseal(seal(content)) == content


def test_every_damage_to_a_sealed_file_is_recognised() -> None:
    sealed = seal(b"the ring")
    for at in range(len(sealed)):
        with pytest.raises(SealBroken):
            unseal(sealed[:at])
        with pytest.raises((SealBroken, SealTooNew)):
            unseal(sealed[:at] + bytes([sealed[at] ^ 0x55]) + sealed[at + 1 :])
    with pytest.raises(SealBroken):
        unseal(sealed + b"x")
    with pytest.raises(SealTooNew):
        unseal(sealed.replace(b" 1 ", b" 2 ", 1))


def test_what_was_written_is_read_by_the_next_agent(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path / "state") as folder:
        assert folder.read("ring") is None
        folder.write("ring", b"one")
        folder.write("ring", b"two")
        folder.remove("nothing")
    with StateFolder.open(tmp_path / "state") as folder:
        assert folder.read("ring") == b"two"
        folder.remove("ring")
        assert folder.read("ring") is None


def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path) as folder:
        folder.write("ring", b"one")
        whole = (tmp_path / "ring").read_bytes()
        (tmp_path / "ring").write_bytes(whole[:-1])
        with pytest.raises(UserError, match=r"ring is damaged: it is cut off.*weavemesh reset"):
            folder.read("ring")
        (tmp_path / "ring").write_bytes(whole.replace(b" 1 ", b" 9 ", 1))
        with pytest.raises(UserError, match=r"newer weavemesh .*upgrade"):
            folder.read("ring")


def test_the_folder_is_closed_to_others(tmp_path: Path) -> None:
    new, old = tmp_path / "new" / "state", tmp_path / "old"
    old.mkdir(0o755)
    for path in (new, old):
        with StateFolder.open(path):
            assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_strangers_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(UserError, match="belongs to user 12345"):
        StateFolder.open(tmp_path)


def hold(path: Path, tell: Connection) -> None:
    with StateFolder.open(path):
        tell.send(os.getpid())
        signal.pause()


def test_a_second_agent_is_told_who_has_the_folder_and_gets_it_after_kill_9(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    try:
        pid = ours.recv()
        with pytest.raises(UserError, match=rf"another weavemesh agent uses .*\(process {pid}\)"):
            StateFolder.open(tmp_path)
    finally:
        holder.kill()
        holder.join()
        ours.close()
        theirs.close()
    StateFolder.open(tmp_path).close()


def test_two_locks_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path)
    with pytest.raises(UserError, match="another weavemesh agent"):
        StateFolder.open(tmp_path)
    folder.close()
    folder.close()
    StateFolder.open(tmp_path).close()


def test_the_epoch_is_the_time_and_always_grows(tmp_path: Path) -> None:
    for unix_now, epoch in ((1000.7, 1000), (1000.9, 1001), (500.0, 1002), (2000.0, 2000)):
        with StateFolder.open(tmp_path) as folder:
            assert folder.next_epoch(unix_now) == epoch


def test_a_restored_backup_outranks_what_was_said_after_it_was_made(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path) as folder:
        folder.next_epoch(1000.0)
        backup = (tmp_path / EPOCH_FILE).read_bytes()
        last = max(folder.next_epoch(1000.0 + hour) for hour in range(50))
    (tmp_path / EPOCH_FILE).write_bytes(backup)
    with StateFolder.open(tmp_path) as folder:
        assert folder.next_epoch(5000.0) > last


def test_an_epoch_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path) as folder:
        folder.write(EPOCH_FILE, b"many")
        with pytest.raises(UserError, match="holds no number"):
            folder.next_epoch(0.0)


def test_leftovers_of_an_interrupted_write_are_swept_at_the_start(tmp_path: Path) -> None:
    (tmp_path / ".ring.abc.wm-tmp").write_bytes(b"half")
    with StateFolder.open(tmp_path):
        assert not list(tmp_path.glob("*.wm-tmp"))
