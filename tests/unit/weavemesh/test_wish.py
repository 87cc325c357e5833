"""What the kernel should hold is made of what the parts of an agent know."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

from ipam_crdt import Allocator, Electorate, Owner
from tests.unit.weavemesh.overlay.overlay_sample import ULA, peer, public_key
from weavemesh.config import check
from weavemesh.identity import Identity
from weavemesh.option import Options
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.plan import PlannedPeer
from weavemesh.wish import Wish

OURS = Identity.generate(nickname="ours")
UNIVERSE = IPv4Network("10.32.0.0/12")


def wish(*peers: PlannedPeer, owner: str = OURS.name, adopted: int | None = None) -> Wish:
    """Of a host that plans with these peers, in a ring that one has founded alone."""
    allocator = Allocator(
        owner=Owner(owner), universe=UNIVERSE, electorate=Electorate.addressed(0), snapshot=None, rng=Random(1), now=0.0
    )
    found = {} if adopted is None else {UNIVERSE: adopted}
    return Wish(
        check(Options(), state_dir=Path("/state"), run_dir=Path("/run"), environment={}),
        identity=OURS,
        mtus=PathMtus(most=1420, unproven=1420, adopted=found, rng=Random(1)),
        allocator=allocator,
        ula=lambda: ULA,
        peers=lambda: peers,
    )


def test_nothing_is_wished_before_there_is_an_address_but_by_who_was_removed() -> None:
    assert wish(peer(2)).plan(None, is_removed=False) is None
    removed = wish(peer(2)).plan(IPv4Address("10.32.0.1"), is_removed=True)
    assert removed is not None and (removed.peers, removed.addresses) == ((), ())


def test_ranges_addresses_and_mtus_are_joined() -> None:
    one = wish(peer(2), owner=peer(2).name, adopted=1232)
    assert one.owned(peer(2).name) == (UNIVERSE,)
    desired = one.plan(IPv4Address("10.32.0.1"), is_removed=False)
    assert desired is not None and one.findings == ()
    assert (desired.interface, desired.mtu, desired.listen_port) == ("wm0", 1420, 6783)
    assert [planned.public_key for planned in desired.peers] == [public_key(2)]
    assert {route.mtu for route in desired.routes if route.kind == "device"} == {1232}


def test_what_is_wrong_is_kept() -> None:
    one = wish(peer(2), peer(3, key=public_key(2)))
    assert one.plan(IPv4Address("10.32.0.1"), is_removed=False) is not None
    assert "same WireGuard key" in one.findings[0]
