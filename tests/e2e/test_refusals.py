"""What cannot be is refused with one clear sentence, a status that is not 0, and nothing half made."""

import pytest

from deploy.demo.lab import BIN, Machine, running, wait_until
from tests.e2e.conftest import SECRET_FILE, leftovers
from weavemesh.secret import ClusterSecret

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


def refused(machine: Machine, *arguments: str, says: str, leaves: bool = False) -> str:
    """`weavemesh …` fails with one line that contains `says`; nothing is left unless `leaves`."""
    result = machine.weavemesh(*arguments, check=False)
    assert result.returncode not in (0, 3), result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("weavemesh: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert says in lines[0], lines[0]
    assert ";" in lines[0], f"there is no remedy in: {lines[0]}"
    if not leaves:
        assert leftovers(machine) == []
    return lines[0]


def test_a_wrong_secret(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up")
    other.write_file(SECRET_FILE, ClusterSecret.generate().text())
    refused(other, "up", "192.0.2.1", says="another cluster secret")


def test_no_secret(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run("rm", SECRET_FILE)
    refused(one, "up", says="no cluster secret")


def test_a_secret_that_others_can_read(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run("chmod", "644", SECRET_FILE)
    line = refused(one, "up", says=SECRET_FILE)
    assert "chmod 600" in line


def test_a_weak_secret(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.write_file(SECRET_FILE, "password123")
    refused(one, "up", says="weak")


def test_a_taken_port(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    with running(
        one.start("python3", "-c", "import socket, time; s = socket.create_server(('', 6783)); time.sleep(60)")
    ):
        wait_until(lambda: ":6783" in one.run("ss", "-ltn").stdout, seconds=5, what="the port to be taken")
        refused(one, "up", says="6783")


def test_a_taken_udp_port(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    taker = (
        "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('', 6783)); time.sleep(60)"
    )
    with running(one.start("python3", "-c", taker)):
        wait_until(lambda: ":6783" in one.run("ss", "-lun").stdout, seconds=5, what="the port to be taken")
        refused(one, "up", says="6783")


def test_a_range_that_overlaps_a_route_of_the_host(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.ip("route", "add", "10.36.0.0/16", "dev", "eth0")
    line = refused(one, "up", says="10.36.0.0/16")
    assert "--ipalloc-range" in line


def test_no_wireguard_at_all(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    if one.run("ip", "link", "add", "wmtry", "type", "wireguard", check=False).returncode == 0:
        pytest.skip("this kernel has WireGuard, which cannot be hidden")
    one.environment["PATH"] = "/usr/sbin/nowhere:/bin:/sbin"
    one.run("sh", "-c", "mount -t tmpfs wm /usr/sbin/nowhere 2>/dev/null; true")
    one.run(
        "sh",
        "-c",
        'for p in /usr/bin/wireguard-go /bin/wireguard-go; do mount --bind /dev/null "$p" 2>/dev/null; done; true',
    )
    refused(one, "up", says="WireGuard")


def test_not_root(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    # A user namespace without a mapping: we are nobody there, and still may read the program's files.
    result = one.run("unshare", "--user", str(BIN / "weavemesh"), "up", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("weavemesh: ") and "root" in result.stderr and "sudo" in result.stderr
    assert leftovers(one) == []


def test_a_state_folder_on_a_full_disk(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run(
        "sh",
        "-c",
        "mkdir /run/full && mount -t tmpfs -o size=16k wm /run/full && head -c 99999 /dev/zero >/run/full/fill || true",
    )
    refused(one, "up", "--state-dir", "/run/full/state", says="full")


def test_a_second_agent_on_the_same_state_folder(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    refused(
        one, "up", "--run-dir", "/run/second", "--interface", "wm1", "--port", "7000", says="state folder", leaves=True
    )
    assert one.weavemesh("status").returncode == 0
    assert "wm1" not in one.ip("-o", "link")


def test_a_changed_range(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    one.weavemesh("down")
    line = refused(one, "up", "--ipalloc-range", "10.128.0.0/16", says="10.32.0.0/12")
    assert "weavemesh reset" in line


def test_a_torn_ring_file(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    one.weavemesh("down")
    one.run("truncate", "-s", "-20", "/var/lib/weavemesh/ring")
    line = refused(one, "up", says="/var/lib/weavemesh/ring is damaged")
    assert "weavemesh reset" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("up", "host:99999"), "99999"),
        (("up", "--ipalloc-range", "10.32.0.1/12"), "10.32.0.1/12"),
        (("up", "--interface", "eth7"), "eth7"),
        (("up", "--ipalloc-default-subnet", "10.64.0.0/16"), "not inside the range 10.32.0.0/12"),
        (("up", "--initial-peers", "none"), "--initial-peers"),
        (("up", "--mtu", "100"), "100"),
        (("up", "--advertise", "nowhere"), "nowhere"),
    ],
)
def test_bad_arguments(pair: tuple[Machine, Machine], arguments: tuple[str, ...], says: str) -> None:
    one, _ = pair
    refused(one, *arguments, says=says)
