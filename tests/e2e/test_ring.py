"""The address ring as its users have it: founded together, passed on, and never one address twice."""

import json
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from deploy.demo.lab import BIN, Machine, wait_until
from tests.e2e.conftest import leftovers
from tests.e2e.test_mesh import bring_up, is_all_well, kill_agent

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

ALL = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
RANGE = "10.32.0.0/26"


def up_together(*starts: tuple[Machine, Sequence[str]]) -> None:
    """`weavemesh up` on all of them at once; each succeeds."""
    started = [(machine, machine.start(str(BIN / "weavemesh"), "up", *words, stderr=-1)) for machine, words in starts]
    for machine, process in started:
        error = process.communicate(timeout=60)[1]
        assert process.returncode == 0, f"{machine.name}: {error}"


def ipam(machine: Machine) -> Any:
    return machine.status()["ipam"]


def owners(machine: Machine) -> dict[str, tuple[str, ...]]:
    """Who owns what, by nickname."""
    return {entry["nickname"]: tuple(entry["ranges"]) for entry in ipam(machine)["entries"]}


def fails(machine: Machine, *words: str, says: str) -> str:
    """`weavemesh …` is refused with one sentence that has these words in it."""
    result = machine.weavemesh(*words, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert says in result.stderr, result.stderr
    return result.stderr


def join(trio: tuple[Machine, Machine, Machine]) -> tuple[Machine, Machine, Machine]:
    """All three in one mesh, which the first has founded."""
    one, two, three = trio
    one.weavemesh("up", "--ipalloc-range", RANGE)
    for machine in (two, three):
        machine.weavemesh("up", "--ipalloc-range", RANGE, "192.0.2.1")
    return one, two, three


def test_hosts_that_name_each_other_found_one_mesh(trio: tuple[Machine, Machine, Machine]) -> None:
    one, two, three = trio
    up_together((one, ALL), (two, ("192.0.2.1", "192.0.2.3")), (three, ALL))
    assert len({ipam(machine)["ring_id"] for machine in trio}) == 1
    wait_until(lambda: all(map(is_all_well, trio)), seconds=15, what="all to be well")
    assert all(owners(one).keys() == {"one", "two", "three"} for _ in trio)
    near, far = one.add_pod("pod1"), three.add_pod("pod1")
    assert near.answers(str(far.ipv4)) and far.answers(str(near.ipv6))
    ring = ipam(two)["ring_id"]
    two.weavemesh("stop")
    two.weavemesh("up", "--observer", "192.0.2.1")
    assert ipam(two)["ring_id"] == ring


def test_a_majority_of_the_initial_peers_is_enough_and_less_is_not(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    waiting = fails(one, "up", "--initial-peers", "3", "192.0.2.2", "--wait", "4", says="1 more of 3 initial peers")
    assert "(one)" in waiting
    one.weavemesh("stop")
    up_together((one, ("--initial-peers", "3", "192.0.2.2")), (other, ("--initial-peers", "3", "192.0.2.1")))
    assert ipam(one)["ring_id"] == ipam(other)["ring_id"]
    assert owners(one).keys() == {"one", "other"}


def test_a_dead_peer_is_removed_by_two_at_once_and_comes_back_to_be_told(
    trio: tuple[Machine, Machine, Machine],
) -> None:
    one, two, three = join(trio)
    near, far, lost = one.add_pod("pod1"), two.add_pod("pod1"), three.add_pod("pod1")
    assert near.answers(str(lost.ipv4))
    assert "is up and can be reached" in fails(one, "rmpeer", "three", says="--force")
    kill_agent(three)
    wait_until(
        lambda: all("(three) is unreachable" in host.weavemesh("status", check=False).stdout for host in (one, two)),
        seconds=10,
        what="its end to be noticed",
    )

    removals = [machine.start(str(BIN / "weavemesh"), "rmpeer", "three", stdout=-1) for machine in (one, two)]
    told = [process.communicate(timeout=30)[0] for process in removals]
    assert [process.returncode for process in removals] == [0, 0]
    assert all("three" in text and "removed" in text for text in told), told

    def shared() -> bool:
        return owners(one) == owners(two) and owners(one).keys() == {"one", "two"}

    wait_until(shared, seconds=10, what="the survivors to agree on its addresses")
    assert sum(IPv4Network(block).num_addresses for blocks in owners(one).values() for block in blocks) == 64
    first = one.weavemesh("ipam", "claim", "first", str(lost.ipv4)).stdout.strip()
    assert first == str(lost.ipv4)

    refusal = three.weavemesh("up", check=False)
    assert refusal.returncode == 1 and "was removed from the mesh" in refusal.stderr, refusal
    assert "weavemesh reset" in refusal.stderr
    status = three.weavemesh("status", check=False)
    assert status.returncode == 1 and "was removed" in status.stdout
    wait_until(lambda: "dev wm0" not in three.ip("route"), seconds=5, what="its routes to be taken down")
    assert not lost.answers(str(near.ipv4), seconds=1)
    three.ip("netns", "add", "late")
    late = lost.__class__(three, "late").cni("ADD", check=False)
    assert late.returncode == 1 and "was removed from the mesh" in json.loads(late.stdout)["msg"]
    assert near.answers(str(far.ipv4)) and far.answers(str(near.ipv4))
    wait_until(lambda: is_all_well(one) and is_all_well(two), seconds=10, what="the others to be undisturbed")
    assert "removed: " in one.weavemesh("status", "ipam").stdout

    assert "has ended" in three.weavemesh("stop").stdout  # and needs not be killed
    three.weavemesh("reset")
    three.weavemesh("up", "--ipalloc-range", RANGE, "192.0.2.1")
    again = three.add_pod("pod2")
    assert again.ipv4 not in (lost.ipv4, IPv4Address(first))
    assert again.answers(str(far.ipv4))


def test_two_that_remove_a_peer_while_they_cannot_talk_never_both_own_its_addresses(
    trio: tuple[Machine, Machine, Machine],
) -> None:
    one, two, three = join(trio)
    one.add_pod("pod1"), two.add_pod("pod1")
    lost = three.add_pod("pod1")
    wait_until(lambda: all(is_all_well(machine) for machine in trio), seconds=15, what="all to be well")
    one.run("nft", "add table inet wmcut; add chain inet wmcut in { type filter hook prerouting priority raw; }")
    one.run("nft", "add rule inet wmcut in ip saddr 192.0.2.2 tcp dport 6783 drop")
    one.run("nft", "add rule inet wmcut in ip saddr 192.0.2.2 tcp sport 6783 drop")
    kill_agent(three)

    def alone(machine: Machine, *others: str) -> bool:
        told = machine.weavemesh("status", check=False).stdout
        return all(f"({other}) is unreachable" in told for other in others)

    wait_until(lambda: alone(one, "two", "three") and alone(two, "one", "three"), seconds=30, what="gossip to be cut")
    removals = [machine.start(str(BIN / "weavemesh"), "rmpeer", "three", stdout=-1) for machine in (one, two)]
    told = [process.communicate(timeout=30)[0] for process in removals]
    assert [process.returncode for process in removals] == [0, 0], told

    owned = {machine.name: map(IPv4Network, owners(machine)[machine.name]) for machine in (one, two)}
    addresses = [{address for block in blocks for address in block} for blocks in owned.values()]
    assert addresses[0].isdisjoint(addresses[1])
    assert all(lost.ipv4 not in mine for mine in addresses)  # each waits for the other

    one.run("nft", "delete table inet wmcut")

    def settled() -> bool:
        shared = owners(one) if owners(one) == owners(two) else {}
        return (
            shared.keys() == {"one", "two"}
            and sum(IPv4Network(block).num_addresses for blocks in shared.values() for block in blocks) == 64
        )

    wait_until(settled, seconds=30, what="one of them to own its addresses")


def test_a_peer_that_is_removed_while_it_runs_takes_its_overlay_down_and_says_why(
    pair: tuple[Machine, Machine],
) -> None:
    one, other = pair
    _, theirs = bring_up(one, other)
    removed = one.weavemesh("rmpeer", "other", "--force").stdout
    assert "(other) is removed\nits 10." in removed and "(one) now" in removed
    assert "was removed before" in one.weavemesh("rmpeer", ipam(one)["removed"][0]["peer"]).stdout
    wait_until(lambda: "was removed" in other.weavemesh("status", check=False).stdout, seconds=5, what="it to be told")
    wait_until(lambda: "dev wm0" not in other.ip("route"), seconds=5, what="its routes to be taken down")
    fails(other, "up", says="was removed from the mesh")
    fails(other, "ipam", "allocate", "late", says="was removed from the mesh")
    assert theirs.cni("DEL").returncode == 0
    assert "Traceback" not in other.run("cat", "/run/weavemesh/agent.log").stdout
    assert is_all_well(one)


def test_a_peer_that_leaves_hands_over_and_comes_back_as_another(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    bring_up(one, other)
    name = other.status()["agent"]["name"]
    left = other.weavemesh("down", "--leave").stdout
    assert "has left the mesh" in left
    assert leftovers(other) == []
    assert other.run("ls", "/var/lib/weavemesh", check=False).stdout == ""
    assert owners(one) == {"one": ("10.32.0.0/12",)}
    assert [removed["peer"] for removed in ipam(one)["removed"]] == [name]
    fails(one, "down", "--leave", says="no other member of the mesh can be reached")
    assert is_all_well(one)
    other.weavemesh("up", "192.0.2.1")
    assert other.status()["agent"]["name"] != name
    assert one.add_pod("pod2").answers(str(other.add_pod("pod2").ipv4))


def test_addresses_are_asked_for_claimed_looked_up_and_given_back(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up", "--ipalloc-default-subnet", "10.40.0.0/16")
    other.weavemesh("up", "192.0.2.1")
    first = one.weavemesh("ipam", "allocate", "gateway").stdout.strip()
    assert IPv4Address(first) in IPv4Network("10.40.0.0/16")
    assert one.weavemesh("ipam", "lookup", "gateway").stdout.strip() == first
    assert "gateway" in one.weavemesh("ipam", "lookup", first).stdout
    assert "(one)" in other.weavemesh("ipam", "lookup", first).stdout
    fails(other, "ipam", "claim", "thief", first, says="is in use at")
    theirs = str(IPv4Network(owners(one)["other"][0]).broadcast_address - 1)
    answer = json.loads(one.weavemesh("ipam", "claim", "printer", theirs, "--json").stdout)
    assert (answer["address"], answer["ident"], answer["nickname"]) == (theirs, "printer", "one")
    fails(one, "ipam", "claim", "printer", first, says="already has")
    fails(one, "ipam", "claim", "far", "10.200.0.1", says="is not in 10.32.0.0/12")
    assert "is free again" in one.weavemesh("ipam", "release", "printer").stdout
    kill_agent(one)
    one.weavemesh("up")
    assert one.weavemesh("ipam", "claim", "after", theirs).stdout.strip() == theirs
    assert one.weavemesh("ipam", "lookup", "gateway").stdout.strip() == first
