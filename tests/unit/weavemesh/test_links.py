"""Links carry what the gossip cores say, tell them of every end, and know why a dial failed."""

import asyncio

from gossip import Target
from tests.unit.weavemesh.mesh_pair import LinkedPeer, running
from weavemesh.transport.failure import Failure
from weavemesh.transport.memory import MemoryNetwork


def test_two_peers_find_each_other_over_a_link() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = LinkedPeer(network, "one"), LinkedPeer(network, "other")
        both = {one.identity.name, other.identity.name}
        async with running(one, other):
            one.connect("other")
            await one.until(lambda: one.reachable() == both)
            await other.until(lambda: other.reachable() == both)
            assert one.links.failures == {}

    asyncio.run(scenario())


def test_a_third_peer_is_heard_of_through_the_second() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        peers = [LinkedPeer(network, host) for host in ("one", "two", "three")]
        names = {peer.identity.name for peer in peers}
        async with running(*peers):
            peers[0].connect("two")
            peers[2].connect("two")
            for peer in peers:
                await peer.until(lambda peer=peer: peer.reachable() == names)  # type: ignore[misc]  # binds the loop's value

    asyncio.run(scenario())


def test_a_failed_dial_is_known_by_its_reason_and_forgotten_after_success() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = LinkedPeer(network, "one"), LinkedPeer(network, "other")
        target = Target("other:6783")
        async with running(one):
            one.connect("other")
            await one.until(lambda: target in one.links.failures)
            assert one.links.failures[target].code is Failure.REFUSED
            async with running(other):
                one.connect("other")
                await one.until(lambda: one.reachable() == {one.identity.name, other.identity.name})
                assert one.links.failures == {}

    asyncio.run(scenario())


def test_another_secret_is_told_as_such() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = LinkedPeer(network, "one"), LinkedPeer(network, "other", secret="another secret")
        async with running(one, other):
            one.connect("other")
            await one.until(lambda: bool(one.links.failures))
            assert [failure.code for failure in one.links.failures.values()] == [Failure.WRONG_SECRET]
            assert one.reachable() == {one.identity.name}

    asyncio.run(scenario())


def test_a_peer_that_stops_says_goodbye() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one, other = LinkedPeer(network, "one"), LinkedPeer(network, "other")
        async with running(one):
            async with running(other):
                one.connect("other")
                await one.until(lambda: len(one.reachable()) == 2)
            await one.until(lambda: one.reachable() == {one.identity.name})

    asyncio.run(scenario())
