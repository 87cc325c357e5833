"""What people ask of the address ring is answered, or refused with a sentence and a remedy before anything happens."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ipam_crdt import Electorate, Owner
from tests.unit.weavemesh.ring_pair import RingPeer, running, together, until
from weavemesh import pool as pool_module
from weavemesh import ring_operation
from weavemesh.api.ring import (
    AllocateRequest,
    ClaimRequest,
    ClearRequest,
    LeaveRequest,
    LookupRequest,
    ReleaseRequest,
    RemoveRequest,
)
from weavemesh.error import UserError
from weavemesh.status import HOST_IDENT
from weavemesh.transport.memory import MemoryNetwork

ALONE = Electorate.addressed(0)


Scenario = Callable[[RingPeer, RingPeer], Awaitable[None]]


def with_two(scenario: Scenario, *, nicknames: tuple[str, str] = ("", "")) -> None:
    """Run the scenario with two peers of one mesh."""

    async def run() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE, nickname=nicknames[0])
        two = RingPeer(network, "h2", "h1", electorate=None, nickname=nicknames[1])
        async with running(one, two):
            await together(one, two)
            await scenario(one, two)

    asyncio.run(run())


async def refused(asking: Awaitable[object]) -> UserError:
    with pytest.raises(UserError) as caught:
        await asking
    assert caught.value.remedy
    return caught.value


def test_who_cannot_be_removed_is_refused_with_a_reason() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        for word in ("h1", one.identity.name):
            assert "down --leave" in (await refused(one.operation.remove(RemoveRequest(peer=word)))).remedy
        unknown = await refused(one.operation.remove(RemoveRequest(peer="h9")))
        assert unknown.sentence == "no peer is called 'h9'"
        assert unknown.remedy == f"the others of this mesh are {two.identity.name}(h2)"
        reachable = await refused(one.operation.remove(RemoveRequest(peer="h2")))
        assert "can be reached" in reachable.sentence and "--force" in reachable.remedy
        assert not one.pool.allocator.roster.removed

    with_two(scenario)


def test_a_nickname_of_two_is_refused_with_both_names() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        error = await refused(one.operation.remove(RemoveRequest(peer="twin")))
        assert one.identity.name in error.sentence and two.identity.name in error.sentence

    with_two(scenario, nicknames=("twin", "twin"))


def test_a_removal_tells_who_has_the_addresses_and_again_changes_nothing() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        ranges = ", ".join(map(str, one.pool.allocator.owned(Owner(two.identity.name))))
        told = await one.operation.remove(RemoveRequest(peer="h2", force=True))
        name = f"{two.identity.name}(h2)"
        assert told.sentences[0] == f"{name} is removed"
        assert told.sentences[1].startswith(f"its {ranges} ")
        assert told.sentences[1].endswith(f" to {one.identity.name}(h1) now")
        again = await one.operation.remove(RemoveRequest(peer=two.identity.name))
        assert again.sentences == (f"{name} was removed before",)
        await two.until(lambda: two.is_told_removal)
        for asking in (
            two.operation.remove(RemoveRequest(peer="h1", force=True)),
            two.operation.allocate(AllocateRequest(ident="late")),
        ):
            assert "was removed from the mesh" in (await refused(asking)).sentence

    with_two(scenario)


def test_a_nickname_is_that_of_the_living_once_the_old_bearer_is_removed() -> None:
    async def run() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        old = RingPeer(network, "h2", "h1", electorate=None, nickname="web")
        async with running(one):
            async with running(old):
                await together(one, old)
            await one.until(lambda: one.reachable() == {one.identity.name})
            assert "is removed" in (await one.operation.remove(RemoveRequest(peer="web"))).sentences[0]
            new = RingPeer(network, "h2", "h1", electorate=None, nickname="web")
            async with running(new):
                await new.address()
                await one.until(lambda: new.identity.name in one.reachable())
                error = await refused(one.operation.remove(RemoveRequest(peer="web")))
                assert new.identity.name in error.sentence and "can be reached" in error.sentence

    asyncio.run(run())


def test_what_waits_for_another_peer_is_told_at_once() -> None:
    async def run() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        two, three = (RingPeer(network, host, "h1", electorate=None) for host in ("h2", "h3"))
        async with running(one):
            async with running(two, three):
                await together(one, two, three)
            await one.until(lambda: len(one.reachable()) == 1)
            told = await one.operation.remove(RemoveRequest(peer="h3"))
            assert "cannot be handed out yet" in told.sentences[1]
            assert f"{two.identity.name}(h2)" in told.sentences[1]
            await one.operation.remove(RemoveRequest(peer="h2"))
            await one.until(lambda: len(one.pool.allocator.owners()) == 1)

    asyncio.run(run())


def test_who_leaves_is_known_to_have_left_before_it_is_told_so() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        assert (await two.operation.leave(LeaveRequest())).sentences
        assert two.pool.allocator.is_removed
        assert one.pool.roster.removed == {Owner(two.identity.name)}
        assert one.pool.allocator.owners() == (Owner(one.identity.name),)

    with_two(scenario)


def test_who_is_alone_cannot_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        one = RingPeer(MemoryNetwork(), "h1", electorate=ALONE)
        async with running(one):
            await one.address()
            error = await refused(one.operation.leave(LeaveRequest()))
            assert "`weavemesh down`" in error.remedy and "rmpeer" in error.remedy
            assert not one.pool.allocator.is_removed
        none_yet = RingPeer(MemoryNetwork(), "h1", electorate=None)
        async with running(none_yet):
            assert "no mesh yet" in (await refused(none_yet.operation.leave(LeaveRequest()))).sentence
            no_ring = await refused(none_yet.operation.remove(RemoveRequest(peer="h2")))
            assert "no address ring yet" in no_ring.sentence

    monkeypatch.setattr(ring_operation, "LEAVE_S", 0.1)
    asyncio.run(run())


def test_who_left_and_was_restarted_before_anybody_confirmed_can_still_finish() -> None:
    async def run() -> None:
        network = MemoryNetwork()
        one = RingPeer(network, "h1", electorate=ALONE)
        two = RingPeer(network, "h2", "h1", electorate=None)
        async with running(one):
            async with running(two):
                await together(one, two)
                await two.operation.leave(LeaveRequest())
                await one.until(lambda: one.mesh.peer(two.identity.name) is None)
            again = RingPeer(network, "h2", "h1", electorate=None, identity=two.identity, snapshot=two.snapshot)
            async with running(again):
                await again.operation.leave(LeaveRequest())

    asyncio.run(run())


def test_addresses_are_handed_out_looked_up_and_given_back() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        held = await one.operation.allocate(AllocateRequest(ident="printer"))
        assert (held.ident, held.peer, held.nickname) == ("printer", one.identity.name, "h1")
        assert held.ipv6 is not None
        assert held == await one.operation.lookup(LookupRequest(subject="printer"))
        assert held == await one.operation.lookup(LookupRequest(subject=held.address))
        elsewhere = await two.operation.lookup(LookupRequest(subject=held.address))
        assert (elsewhere.ident, elsewhere.peer) == (None, one.identity.name)
        assert elsewhere.sentence == f"{held.address} is in a range of {one.identity.name}(h1)"
        nobody = await one.operation.lookup(LookupRequest(subject="192.0.2.1"))
        assert (nobody.peer, nobody.sentence) == (None, "192.0.2.1 belongs to nobody that this peer knows of")
        freed = await one.operation.release(ReleaseRequest(ident="printer"))
        assert freed.sentences == (f"{held.address} is free again",)
        assert (await one.operation.release(ReleaseRequest(ident="printer"))).sentences == ("printer has no address",)
        free = await one.operation.lookup(LookupRequest(subject=held.address))
        assert free.sentence == f"{held.address} is in this peer's own range and free"
        claimed = await two.operation.claim(ClaimRequest(ident="scanner", address=held.address))
        assert (claimed.address, claimed.peer) == (held.address, two.identity.name)

    with_two(scenario)


def test_wrong_words_and_what_is_in_use_are_refused() -> None:
    async def scenario(one: RingPeer, two: RingPeer) -> None:
        held = await one.operation.allocate(AllocateRequest(ident="printer"))
        one.attached.add("printer")
        taken = await refused(two.operation.claim(ClaimRequest(ident="thief", address=held.address)))
        assert f"is in use at {one.identity.name}(h1)" in taken.sentence
        outside = await refused(two.operation.claim(ClaimRequest(ident="far", address="192.0.2.1")))
        assert outside.sentence == "192.0.2.1 is not in 10.32.0.0/24"
        assert (await refused(two.operation.claim(ClaimRequest(ident="x", address="ten")))).exit_status == 2
        assert "no IPv4 address" in (await refused(one.operation.lookup(LookupRequest(subject="ten")))).sentence
        assert "no IPv4 range" in (await refused(one.operation.clear(ClearRequest(range="ten")))).sentence
        assert "uses its address" in (await refused(one.operation.release(ReleaseRequest(ident="printer")))).sentence
        assert "own address" in (await refused(one.operation.release(ReleaseRequest(ident=HOST_IDENT)))).sentence
        nothing = await one.operation.clear(ClearRequest(range="10.32.0.0/24"))
        assert nothing.sentences == ("nothing of 10.32.0.0/24 is isolated on this host",)

    with_two(scenario)


def test_what_is_not_on_disk_is_not_called_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CHANGE_DEADLINE_S", 0.1)
    monkeypatch.setattr(pool_module, "SAVE_RETRY_S", 0.02)

    async def scenario(one: RingPeer, two: RingPeer) -> None:
        await one.operation.allocate(AllocateRequest(ident="printer"))
        one.disk_error = UserError("the disk is full", remedy="make room")
        for asking in (
            one.operation.release(ReleaseRequest(ident="printer")),
            one.operation.remove(RemoveRequest(peer="h2", force=True)),
        ):
            assert "not on disk yet" in (await refused(asking)).sentence
        one.disk_error = None
        await until((two,), lambda peer: peer.is_told_removal)

    with_two(scenario)
