"""The specification's rules, one after the other, by a library that keeps them: real agents, Debian's plugins."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

import pytest

from deploy.demo.lab import Machine, wait_until
from tests.e2e.libcni import KNOWN, CniFailed, Libcni
from tests.e2e.runtime import missing_programs, prepare_plugins

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

WEAVEMESH = {"type": "weavemesh", "capabilities": {"ips": True, "mac": True, "dns": True, "unheardOf": True}}
BRIDGE = {"type": "bridge", "bridge": "wmbr0", "isGateway": True}
HOST_LOCAL = {"type": "host-local", "subnet": "10.99.0.0/24"}
OURS = {"type": "weavemesh-ipam"}


@dataclass
class Node:
    """A host with an agent and the plugins."""

    machine: Machine

    def netns(self, name: str) -> str:
        """The path of a fresh network namespace."""
        self.machine.ip("netns", "add", name)
        return f"/run/netns/{name}"

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        return self.machine.run("nsenter", f"--net=/run/netns/{name}", "--", *command, check=check).stdout

    def pings(self, name: str, address: str) -> bool:
        return "1 received" in self.inside(name, "ping", "-n", "-c1", "-W3", address, check=False)

    def attached(self) -> set[str]:
        return {entry["ident"] for entry in json.loads(self.machine.weavemesh("ps", "--json").stdout)}

    def assert_nothing_left(self) -> None:
        assert self.attached() == set()
        wait_until(lambda: "wmv" not in self.machine.ip("link"), seconds=10, what="the links to go")


@pytest.fixture
def nodes(pair: tuple[Machine, Machine]) -> Iterator[tuple[Node, Node]]:
    if reason := missing_programs():
        pytest.skip(reason)
    for machine, *targets in ((pair[0],), (pair[1], "192.0.2.1")):
        prepare_plugins(machine)
        machine.weavemesh("up", *map(str, targets))
        machine.weavemesh("cni", "install")
    yield Node(pair[0]), Node(pair[1])


def addresses(result: dict[str, Any]) -> list[str]:
    return [str(ip_interface(entry["address"]).ip) for entry in result["ips"]]


def add_check_delete(node: Node, _: Node) -> None:
    """ADD, CHECK and DEL of an attachment; a DEL again, without the cache, and of what never was."""
    cni = Libcni(node.machine, [WEAVEMESH])
    cni.add("c1", node.netns("a"))
    cni.check("c1")
    cni.delete("c1")
    for container, netns in (("c1", "/run/netns/a"), ("c1", ""), ("never", "/run/netns/gone")):
        cni.delete(container, netns=netns)


def add_twice(node: Node, _: Node) -> None:
    """An ADD of what is there fails; the runtime's DEL after the failure frees all."""
    cni = Libcni(node.machine, [WEAVEMESH])
    netns = node.netns("a")
    cni.add("c1", netns)
    with pytest.raises(CniFailed) as caught:
        cni.add("c1", netns)
    assert caught.value.code == 101


def all_versions(node: Node, _: Node) -> None:
    """The result of each version in the shape of that version, and a DEL in it."""
    netns = node.netns("a")
    for version in KNOWN:
        cni = Libcni(node.machine, [WEAVEMESH], version=version)
        result = cni.add("c1", netns)
        assert ("ip4" in result) is (version < "0.3.0")
        if version >= "0.4.0":
            cni.check("c1")
        cni.delete("c1")
    variables = {"CNI_CONTAINERID": "c1", "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
    nothing = {"variables": variables, "capabilities": {}, "result": None}
    for version, command in (("0.3.1", Libcni.check), ("1.0.0", lambda cni, _: cni.status()), ("2.0.0", Libcni.check)):
        cni = Libcni(node.machine, [WEAVEMESH], version=version, cache={("c1", "eth0"): nothing})
        with pytest.raises(CniFailed) as caught:
            command(cni, "c1")
        assert caught.value.code == 1, "a command of a later version, or a version that nobody knows"


def two_interfaces(node: Node, _: Node) -> None:
    """A container may have two; each is its own attachment."""
    cni = Libcni(node.machine, [WEAVEMESH])
    netns = node.netns("a")
    first = cni.add("c1", netns)
    second = cni.add("c1", netns, ifname="net1")
    assert set(addresses(first)).isdisjoint(addresses(second))
    cni.delete("c1", ifname="net1")
    cni.check("c1")
    cni.delete("c1")


def chain_with_portmap_and_bandwidth(node: Node, _: Node) -> None:
    """We are first of three, as Kubernetes has it; the others find in our result what they need."""
    shaped = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    mapped = {"type": "portmap", "capabilities": {"portMappings": True}}
    cni = Libcni(node.machine, [WEAVEMESH, mapped, shaped])
    wishes = {
        "portMappings": [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 8_000_000},
    }
    result = cni.add("c1", node.netns("a"), capabilities=wishes)
    host_end = result["interfaces"][0]["name"]
    assert "tbf" in node.machine.run("tc", "qdisc", "show", "dev", host_end).stdout
    assert "8088" in node.machine.run("iptables", "-t", "nat", "-S").stdout
    # Ours alone: the CHECK of portmap 1.1.1 looks for the IPv4 rule among those of IPv6.
    Libcni(node.machine, [WEAVEMESH], cache=cni.cache).check("c1")
    cni.delete("c1")
    assert "8088" not in node.machine.run("iptables", "-t", "nat", "-S").stdout


def a_later_plugin_fails(node: Node, _: Node) -> None:
    """What we made is undone by the DEL that must follow."""
    broken = {"type": "tuning", "sysctl": {"net.ipv4.never.was": "1"}}
    cni = Libcni(node.machine, [WEAVEMESH, broken])
    with pytest.raises(CniFailed, match="tuning ADD"):
        cni.add("c1", node.netns("a"))
    assert cni.cache == {}


def later_in_a_chain(node: Node, far: Node) -> None:
    """After a plugin that makes the interface, ours is a second one, for the mesh alone."""
    cni = Libcni(node.machine, [{**BRIDGE, "isDefaultGateway": True, "ipam": HOST_LOCAL}, WEAVEMESH])
    result = cni.add("c1", node.netns("a"))
    assert [one["name"] for one in result["interfaces"]][2:] == ["eth0", result["interfaces"][3]["name"], "mesh0"]
    assert {entry["interface"] for entry in result["ips"]} == {2, 4}
    assert "default via 10.99.0.1 dev eth0" in node.inside("a", "ip", "route")
    other = Libcni(far.machine, [WEAVEMESH])
    there = other.add("c2", far.netns("b"))
    assert node.pings("a", addresses(there)[0])
    # Ours alone: the CHECK of bridge 1.1.1 takes every address of the result for its own.
    Libcni(node.machine, [WEAVEMESH], cache=cni.cache).check("c1")
    cni.delete("c1")
    other.delete("c2")


def wishes(node: Node, _: Node) -> None:
    """Address, MAC and name service as asked for, by capability and by CNI_ARGS; what is unknown is tolerated."""
    cni = Libcni(node.machine, [WEAVEMESH])
    asked = {
        "ips": ["10.32.0.123/12"],
        "mac": "02:11:22:33:44:55",
        "dns": {"servers": ["10.0.0.10"]},
        "unheardOf": {"a": [1]},
    }
    result = cni.add("c1", node.netns("a"), capabilities=asked)
    assert addresses(result)[0] == "10.32.0.123"
    assert result["interfaces"][1]["mac"] == "02:11:22:33:44:55"
    assert "02:11:22:33:44:55" in node.inside("a", "ip", "link", "show", "eth0")
    assert result["dns"] == {"nameservers": ["10.0.0.10"]}
    with pytest.raises(CniFailed) as caught:
        cni.add("c2", node.netns("b"), arguments="IgnoreUnknown=1;IP=10.32.0.123")
    assert caught.value.code == 11, "it is in use"
    second = cni.add("c2", "/run/netns/b", arguments="IgnoreUnknown=1;IP=10.32.0.124;FOO=bar")
    assert addresses(second)[0] == "10.32.0.124"
    for container in ("c1", "c2"):
        cni.delete(container)


def collecting(node: Node, _: Node) -> None:
    """GC frees what is not valid, also what the library has forgotten; of this network alone."""
    cni = Libcni(node.machine, [WEAVEMESH], version="1.1.0")
    other = Libcni(node.machine, [WEAVEMESH], name="othernet", version="1.1.0")
    for name in ("a", "b", "c"):
        cni.add(f"c-{name}", node.netns(name))
    other.add("c-d", node.netns("d"))
    cni.cache.clear()
    cni.collect([("c-a", "eth0")])
    assert node.attached() == {"testnet/c-a/eth0", "othernet/c-d/eth0"}
    cni.collect([])
    other.delete("c-d")


def readiness(node: Node, _: Node) -> None:
    """STATUS is silent while we are ready, and 50 while there is no agent."""
    cni = Libcni(node.machine, [WEAVEMESH], version="1.1.0")
    cni.status()
    node.machine.weavemesh("stop")
    with pytest.raises(CniFailed) as caught:
        cni.status()
    assert caught.value.code == 50
    node.machine.weavemesh("up")
    cni.status()


def ipam_of(main: dict[str, Any]) -> Callable[[Node, Node], None]:
    def reach_over_the_mesh(node: Node, far: Node) -> None:
        """Our IPAM plugin under another that makes the interface: its pods are reached over the mesh all the same."""
        cni = Libcni(node.machine, [{**main, "ipam": OURS}])
        result = cni.add("c1", node.netns("a"))
        other = Libcni(far.machine, [WEAVEMESH])
        there = other.add("c2", far.netns("b"))
        assert node.attached() == {"ipam:testnet/c1/eth0"}
        if main["type"] != "macvlan":  # whose pods are where the host's network is, and not behind the host
            for address in addresses(there):
                assert node.pings("a", address)
            assert all(far.pings("b", address) for address in addresses(result))
        cni.check("c1")
        cni.delete("c1")
        cni.delete("c1")
        other.delete("c2")

    return reach_over_the_mesh


RULES: dict[str, Callable[[Node, Node], None]] = {
    function.__name__: function
    for function in (
        add_check_delete,
        add_twice,
        all_versions,
        two_interfaces,
        chain_with_portmap_and_bandwidth,
        a_later_plugin_fails,
        later_in_a_chain,
        wishes,
        collecting,
        readiness,
    )
}
RULES |= {
    "ipam_under_bridge": ipam_of({**BRIDGE, "bridge": "wmbr1"}),
    "ipam_under_ptp": ipam_of({"type": "ptp"}),
    "ipam_under_macvlan": ipam_of({"type": "macvlan", "master": "eth0"}),
}


def test_every_rule_holds_and_nothing_is_left(nodes: tuple[Node, Node]) -> None:
    """One pair of hosts for all rules: starting agents takes longer than any of them."""
    for name, rule in RULES.items():
        try:
            rule(*nodes)
            for node in nodes:
                node.assert_nothing_left()
        except Exception as error:
            raise AssertionError(f"the rule {name} is broken: {error}") from error
        for node in nodes:
            for line in node.machine.ip("netns").splitlines():
                node.machine.ip("netns", "del", line.split()[0])
