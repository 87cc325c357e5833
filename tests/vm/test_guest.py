"""A guest does what is asked, says what came of it, and leaves nothing behind."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.vm.guest import Guest, GuestError, GuestStill
from tests.vm.kernel import GuestKernel

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def guest(kernel: GuestKernel) -> Iterator[Guest]:
    with Guest(kernel, name="tried", memory_mib=192) as booted:
        yield booted


def processes_of(guest: Guest) -> list[str]:
    """Processes of the host that belong to a guest: its folder is in their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(guest.share).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue  # ended meanwhile
    return found


def test_output_errors_and_status_come_back(guest: Guest) -> None:
    result = guest.run("sh", "-c", "cat; echo wrong >&2; exit 7", stdin="right\n", check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("right\n", "wrong\n", 7)


def test_a_failure_is_an_error_with_what_was_printed(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"tried: sh -c .* → 3\nbecause"):
        guest.run("sh", "-c", "echo because; exit 3")


def test_words_and_environment_arrive_unchanged(guest: Guest) -> None:
    awkward = "a b'c\"d$e\\f\n*"
    assert guest.run("printf", "%s", awkward).stdout == awkward
    assert guest.run("sh", "-c", 'printf %s "$AWKWARD"', env={"AWKWARD": awkward}).stdout == awkward
    assert guest.run("pwd").stdout.strip() == os.getcwd()


def test_commands_run_beside_each_other(guest: Guest) -> None:
    pipe = "/run/meeting"
    guest.run("mkfifo", pipe)
    reader = guest.start("cat", pipe)
    assert reader.status is None
    guest.run("sh", "-c", f"echo met >{pipe}")
    assert reader.wait().stdout == "met\n"


def test_its_kernel_is_its_own_and_has_wireguard(guest: Guest) -> None:
    assert guest.run("cat", "/proc/version").stdout != Path("/proc/version").read_text()
    guest.run("ip", "link", "add", "wm9", "type", "wireguard")
    assert guest.run("wg", "show", "interfaces").stdout == "wm9\n"
    guest.run("ip", "link", "del", "wm9")
    assert not Path("/sys/class/net/wm9").exists()


def test_the_files_of_the_host_are_there_and_stay_as_they_are(guest: Guest, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine\n")
    assert guest.run("sh", "-c", 'cat "$1"; echo theirs >"$1"; cat "$1"', "sh", str(file)).stdout == "mine\ntheirs\n"
    assert file.read_text() == "mine\n"


def test_a_command_that_does_not_end_is_given_up(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"waited 0\.2 s in vain for the end of sleep"):
        guest.run("sleep", "infinity", timeout_s=0.2)
    assert guest.run("echo", "still here").stdout == "still here\n"


def test_a_guest_that_stands_still_is_not_waited_for(kernel: GuestKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.vm.guest.STILL_S", 12.0)
    with Guest(kernel, name="frozen", memory_mib=128) as guest:
        guest.run("sleep", "15")  # quiet, but alive
        for process in processes_of(guest):
            with suppress(ProcessLookupError):  # those of the guest's own programs end as these do
                os.kill(int(process), signal.SIGSTOP)
        with pytest.raises(GuestStill, match="frozen has stood still for 12 s, before the end of true"):
            guest.run("true", timeout_s=60)


def test_nothing_is_left_of_a_guest(kernel: GuestKernel) -> None:
    with Guest(kernel, memory_mib=128) as guest:
        guest.start("sleep", "infinity")
        assert processes_of(guest)
    assert not guest.share.exists()
    assert not processes_of(guest)


def test_the_death_of_a_guest_is_told(kernel: GuestKernel) -> None:
    with Guest(kernel, name="mortal", memory_mib=128) as guest:
        waiting = guest.start("sleep", "infinity")
        guest.cut()
        with pytest.raises(GuestError, match="the guest mortal has died"):
            waiting.wait()


def test_a_guest_that_cannot_boot_says_what_its_console_said(kernel: GuestKernel) -> None:
    with pytest.raises(GuestError, match="has died"), Guest(kernel, memory_mib=4):
        pass
