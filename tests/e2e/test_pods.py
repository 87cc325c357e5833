"""Pods of real agents: their way to the outside, the exposed host, what is attached by hand, what is left by nobody."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.demo.lab import BIN, Lab, Machine, Pod, running, wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]

OUTSIDE = "198.51.100.9"
TELL_WHO_CALLS = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("listening", flush=True)
while True:
    connection, caller = listener.accept()
    connection.sendall(caller[0].encode())
    connection.close()
"""
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 7000), timeout=4).recv(99).decode())"


@contextmanager
def telling(place: Machine | Pod, address: str) -> Iterator[None]:
    """Whoever calls port 7000 there meanwhile is told which address the call came from."""
    with running(place.start(str(BIN / "python"), "-c", TELL_WHO_CALLS, address, stdout=-1)) as process:
        assert process.stdout is not None and process.stdout.readline() == "listening\n"
        try:
            yield
        finally:
            process.stdout.close()


def ask(place: Machine | Pod, address: str) -> str:
    """Under which address the caller was seen; "" if nobody answered."""
    return place.run(str(BIN / "python"), "-c", ASK, address, check=False).stdout.strip()


@pytest.fixture
def outside(lab: Lab, pair: tuple[Machine, Machine]) -> Machine:
    """A machine that knows nothing of the mesh, beside `one`: 198.51.100.9, with `one` as its router."""
    machine = lab.machine("outside")
    lab.wire(machine, f"eth0={OUTSIDE}/24", pair[0], "eth1=198.51.100.1/24")
    machine.ip("route", "add", "10.32.0.0/12", "via", "198.51.100.1")
    return machine


def table_of(machine: Machine) -> str:
    return machine.run("nft", "list", "table", "inet", "weavemesh-pods", check=False).stdout


def test_source_addresses_are_kept_in_the_mesh_and_hidden_outside(
    pair: tuple[Machine, Machine], outside: Machine
) -> None:
    one, other = pair
    one.weavemesh("up")
    other.weavemesh("up", "192.0.2.1")
    pod, near, far = one.add_pod("pod"), one.add_pod("near"), other.add_pod("far")
    for place, address in ((near, near.ipv4), (far, far.ipv4), (far, far.ipv6)):
        with telling(place, str(address)):
            assert ask(pod, str(address)) == str(pod.ipv4 if address.version == 4 else pod.ipv6)
    with telling(outside, OUTSIDE):
        assert ask(pod, OUTSIDE) == "198.51.100.1"
        before = table_of(one)
        one.run("nft", "flush", "ruleset")
        wait_until(lambda: table_of(one) == before, seconds=10, what="the table that was flushed")
        assert ask(near, OUTSIDE) == "198.51.100.1"
    with telling(one, "198.51.100.1"):
        assert ask(pod, "198.51.100.1") == str(pod.ipv4), "a pod is itself towards its own host"
    with telling(pod, str(pod.ipv4)):
        assert ask(pod, str(pod.ipv4)) == str(pod.ipv4)
        host = one.run("ip", "-4", "-o", "address", "show", "wm0").stdout.split()[3].partition("/")[0]
        assert ask(one, str(pod.ipv4)) in (host, "192.0.2.1", "198.51.100.1")
    one.weavemesh("down")
    assert table_of(one) == ""


def test_without_masquerading_the_outside_sees_the_pod(pair: tuple[Machine, Machine], outside: Machine) -> None:
    one, _ = pair
    one.weavemesh("up", "--no-masquerade")
    pod = one.add_pod("pod")
    with telling(outside, OUTSIDE):
        assert ask(pod, OUTSIDE) == str(pod.ipv4)
    assert "nat hook" not in table_of(one) and "maxseg size set rt mtu" in table_of(one)


def test_an_exposed_host_is_reached_and_lets_others_reach_pods(pair: tuple[Machine, Machine], outside: Machine) -> None:
    one, other = pair
    one.weavemesh("up")
    other.weavemesh("up", "192.0.2.1")
    far = other.add_pod("far")
    assert ask(outside, str(far.ipv4)) == "", "peers take nothing from outside the mesh"
    addresses = one.weavemesh("expose").stdout.split()
    assert one.weavemesh("expose").stdout.split() == addresses, "again it is the same"
    with telling(one, "0.0.0.0"):
        assert ask(far, addresses[0]) == str(far.ipv4)
    assert far.answers(addresses[1])
    with telling(far, str(far.ipv4)):
        assert ask(outside, str(far.ipv4)) == addresses[0]
        one.weavemesh("stop")
        one.weavemesh("up")
        wait_until(lambda: ask(outside, str(far.ipv4)) == addresses[0], seconds=15, what="the exposed host again")
    assert one.weavemesh("hide").stdout.startswith(f"this host has {addresses[0]}")
    assert not far.answers(addresses[0], seconds=1)
    assert one.weavemesh("hide").stdout == "this host was not exposed\n"
    named = one.weavemesh("expose", "10.32.0.77").stdout.split()
    assert named[0] == "10.32.0.77" and far.answers("10.32.0.77")
    one.weavemesh("down")
    assert "10.32.0.77" not in one.ip("route", "show", "table", "all")


def test_what_no_runtime_attaches_is_attached_by_hand(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    pod = one.add_pod("pod")
    one.ip("netns", "add", "byhand")
    one.run("ip", "-n", "byhand", "link", "add", "uplink", "type", "veth", "peer", "name", "up2")
    one.run("ip", "-n", "byhand", "link", "set", "uplink", "up")
    one.run("ip", "-n", "byhand", "route", "add", "default", "dev", "uplink")
    addresses = one.weavemesh("attach", "byhand", "--address", "10.32.0.55").stdout.split()
    assert addresses[0] == "10.32.0.55"
    assert all(pod.answers(address) for address in addresses)
    routes = one.run("ip", "-n", "byhand", "route").stdout
    assert "default dev uplink" in routes and "10.32.0.0/12 via 169.254.1.1 dev mesh0" in routes
    again = one.weavemesh("attach", "/run/netns/byhand", check=False)
    assert again.returncode == 1 and "already has an interface mesh0" in again.stderr
    listed = json.loads(one.weavemesh("ps", "--json").stdout)
    assert {entry["pod"] for entry in listed} == {"demo/pod", "byhand"}
    assert (
        "10.32.0.55" in one.weavemesh("ps", "byhand").stdout and "demo/pod" not in one.weavemesh("ps", "byhand").stdout
    )
    sleeper = one.start("nsenter", "--net=/run/netns/byhand", "sleep", "60")
    with running(sleeper):
        pid = wait_until(lambda: one.processes("^sleep 60"), seconds=5, what="the sleeper")[0]
        one.weavemesh("detach", str(pid))  # another name of the same namespace
    assert not pod.answers("10.32.0.55", seconds=1)
    assert one.weavemesh("detach", "byhand").returncode == 0
    refused = one.weavemesh("attach", "1", check=False)
    assert refused.returncode == 1 and "own network namespace" in refused.stderr


def test_a_pod_that_ends_without_a_del_gives_its_address_back(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    pod = one.add_pod("pod")
    assert str(pod.ipv4) in one.weavemesh("ps").stdout
    one.ip("netns", "del", "pod")
    wait_until(lambda: str(pod.ipv4) not in one.weavemesh("ps").stdout, seconds=30, what="the address given back")


def test_cni_is_installed_where_a_runtime_finds_it(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.run("sh", "-c", "rm -rf /etc/cni && mkdir -p /etc/cni")
    words = ("--bin-dir", "/run/bin", "--conf-dir", "/etc/cni/net.d")
    one.weavemesh("cni", "install", *words)
    conflist = json.loads(one.run("cat", "/etc/cni/net.d/10-weavemesh.conflist").stdout)
    assert conflist["plugins"][0]["type"] == "weavemesh"
    for name in ("weavemesh", "weavemesh-ipam"):
        told = one.run(f"/run/bin/{name}", env={"CNI_COMMAND": "VERSION"})
        assert "1.1.0" in json.loads(told.stdout)["supportedVersions"]
    one.weavemesh("cni", "uninstall", *words)
    assert one.run("ls", "/run/bin", "/etc/cni/net.d").stdout.split() == ["/etc/cni/net.d:", "/run/bin:"]
