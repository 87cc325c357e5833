"""What the mesh tells the ring of peers, and the ring the mesh: founding together, removal, and being told of it."""

import asyncio

import pytest

from gossip import PeerName
from ipam_crdt import Electorate, Owner, Remove
from tests.unit.weavemesh.ring_pair import RingPeer, running, together, until
from weavemesh import pool as pool_module
from weavemesh.error import UserError
from weavemesh.transport.memory import MemoryNetwork

PAIR = Electorate.addressed(1)
ALONE = Electorate.addressed(0)


def test_peers_that_were_given_each_others_addresses_found_one_ring() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", "h2", electorate=PAIR)
        two = RingPeer(network, "h2", "h1", electorate=PAIR)
        async with running(one, two):
            await together(one, two)
            assert one.pool.allocator.ring_id == two.pool.allocator.ring_id
            assert one.membership.nicknames() == {one.identity.name: "h1", two.identity.name: "h2"}

    asyncio.run(scenario())


def test_who_comes_later_by_another_target_is_no_initial_peer() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", "h2", electorate=PAIR)
        late = RingPeer(network, "h3", "h1", electorate=PAIR)
        async with running(one, late):
            one.connect("h3")
            await until((one, late), lambda peer: len(peer.reachable()) == 2)
            refusal = one.pool.allocator.status()
            assert refusal.ring_id is None
            two = RingPeer(network, "h2", "h1", electorate=PAIR)
            async with running(two):
                await together(one, late, two)

    asyncio.run(scenario())


def test_a_removed_peer_is_fenced_by_all_and_told_when_it_comes_back() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        two = RingPeer(network, "h2", "h1", electorate=None)
        three = RingPeer(network, "h3", "h1", electorate=None)
        async with running(one, two):
            async with running(three):
                await together(one, two, three)
            name = three.identity.name
            await until((one, two), lambda peer: name not in peer.reachable())
            await one.pool.change(Remove(Owner(name)))
            await until((one, two), lambda peer: peer.mesh.peer(name) is None)
            assert one.membership.nicknames()[name] == "h3"
            assert not one.membership.is_removed
            returned = RingPeer(network, "h3", "h1", electorate=ALONE, identity=three.identity, snapshot=three.snapshot)
            async with running(returned):
                await returned.until(lambda: returned.is_told_removal)
                assert returned.membership.is_removed
                await asyncio.gather(one.address("later"), two.address("later"))
            assert one.reachable() == two.reachable() == {one.identity.name, two.identity.name}
            assert not (one.is_told_removal or two.is_told_removal)

    asyncio.run(scenario())


def test_nobody_is_fenced_before_the_removal_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        two = RingPeer(network, "h2", "h1", electorate=None)
        async with running(one, two):
            await together(one, two)
            one.disk_error = UserError("the disk is full", remedy="make room")
            async with asyncio.TaskGroup() as group:
                group.create_task(one.pool.change(Remove(Owner(two.identity.name))))
                await one.pool.until(lambda: bool(one.pool.allocator.roster.removed), deadline_s=5)
                one.membership.news()
                assert one.mesh.peer(PeerName(two.identity.name)) is not None
                one.disk_error = None
            await one.until(lambda: one.mesh.peer(two.identity.name) is None)

    asyncio.run(scenario())


def test_a_peer_that_starts_fences_whom_it_knew_to_be_removed() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        two = RingPeer(network, "h2", "h1", electorate=None)
        async with running(one, two):
            await together(one, two)
            await one.pool.change(Remove(Owner(two.identity.name)))
        again = RingPeer(network, "h1", electorate=ALONE, identity=one.identity, snapshot=one.snapshot)
        old = RingPeer(network, "h2", "h1", electorate=None, identity=two.identity, snapshot=None)
        async with running(again, old):
            await old.until(lambda: any(view.attempts for view in old.mesh.targets()))
            assert again.reachable() == {again.identity.name}

    asyncio.run(scenario())
