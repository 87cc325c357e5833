"""The data paths as users have them: new keys without a lost packet, exchanged by a restart, mixed in one mesh."""

import re
import time
from collections.abc import Callable
from functools import partial

import pytest

from deploy.demo.lab import Machine, Pod, interrupt, wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PATHS = ("kernel", "userspace")


def has_kernel_wireguard(machine: Machine) -> bool:
    found = machine.run("ip", "link", "add", "wmtry", "type", "wireguard", check=False).returncode == 0
    if found:
        machine.ip("link", "del", "wmtry")
    return found


def up(machine: Machine, path: str, *hosts: str) -> str:
    """Start its agent on this data path; what it says besides. Skips where the kernel has no WireGuard."""
    if path == "kernel" and not has_kernel_wireguard(machine):
        pytest.skip("needs a kernel with WireGuard")
    return machine.weavemesh("up", *hosts, "--datapath", path).stderr


def bring_up(pair: tuple[Machine, Machine], paths: tuple[str, str]) -> tuple[Pod, Pod]:
    one, other = pair
    up(one, paths[0])
    up(other, paths[1], "192.0.2.1")
    mine, theirs = one.add_pod("pod1"), other.add_pod("pod1")
    wait_until(lambda: mine.answers(str(theirs.ipv4)), seconds=15, what="the first answer")
    return mine, theirs


def lost(source: Pod, address: str, during: Callable[[], None], *, per_second: int) -> tuple[int, int]:
    """Pings sent and lost while `during()` runs; the last ones, on their way when it is stopped, are not counted."""
    ping = source.start("ping", "-n", f"-i{1 / per_second}", address, stdout=-1)
    time.sleep(0.5)
    during()
    time.sleep(1)
    interrupt(ping)
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", ping.communicate(timeout=20)[0])}
    return max(answered), max(answered) - len(answered)


def public_key(machine: Machine) -> str:
    return machine.run("wg", "show", "wm0", "public-key").stdout.strip()


def has_shaken_hands(machine: Machine, key: str) -> bool:
    lines = machine.run("wg", "show", "wm0", "latest-handshakes").stdout.splitlines()
    return any(line.split()[0] == key and line.split()[1] != "0" for line in lines)


@pytest.mark.parametrize("paths", [("kernel", "kernel"), ("kernel", "userspace"), ("userspace", "userspace")])
def test_a_new_key_loses_no_packet(pair: tuple[Machine, Machine], paths: tuple[str, str]) -> None:
    one, other = pair
    mine, theirs = bring_up(pair, paths)
    keys = [public_key(other)]

    def rotate() -> None:
        for machine, peer in ((other, one), (one, other), (other, one)):
            machine.weavemesh("rotate-key")
            keys.append(public_key(machine))
            wait_until(partial(has_shaken_hands, peer, keys[-1]), seconds=5, what="a handshake with the new key")

    sent, gone = lost(mine, str(theirs.ipv4), rotate, per_second=200)
    assert len(set(keys)) == 4
    assert sent > 200 and gone == 0
    for machine, peer in ((one, other), (other, one)):
        assert machine.run("wg", "show", "wm0", "peers").stdout.split() == [public_key(peer)]


def test_the_data_path_is_exchanged_by_a_restart_and_said_beforehand(pair: tuple[Machine, Machine]) -> None:
    _, other = pair
    mine, theirs = bring_up(pair, ("kernel", "userspace"))
    for path in ("kernel", "userspace"):
        said: list[str] = []

        def restart(path: str = path, said: list[str] = said) -> None:
            other.weavemesh("stop")
            said.append(up(other, path))

        _, gone = lost(mine, str(theirs.ipv4), restart, per_second=20)
        assert f"to the {path} data path" in said[0]
        assert gone <= 3 * 20
        assert mine.answers(str(theirs.ipv4))
        assert other.status()["encryption"]["datapath"].startswith(path)


def test_kernel_and_userspace_peers_make_one_mesh(pair: tuple[Machine, Machine]) -> None:
    mine, theirs = bring_up(pair, ("kernel", "userspace"))
    assert theirs.answers(str(mine.ipv4)) and mine.answers(str(theirs.ipv6))
