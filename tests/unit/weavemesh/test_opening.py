"""A state that cannot be gone on from ends the start with one sentence and the way out."""

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import pytest

import ipam_crdt
from gossip import Target, TargetPhase, TargetView
from ipam_crdt import Allocator, Electorate, Owner
from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.opening import open_allocator, open_mesh, refuse_overlap, refuse_wrong_secret
from weavemesh.option import Options
from weavemesh.transport.failure import Failure, LinkFailed

ALONE = Electorate.addressed(0)
IDENTITY = Identity.generate(nickname="one")


def config(options: Options | None = None) -> AgentConfig:
    return check(options or Options(), state_dir=Path("/state"), run_dir=Path("/run"), environment={})


def snapshot(name: str = IDENTITY.name, universe: str = "10.32.0.0/12") -> bytes:
    """What a peer that founded a ring alone keeps."""
    allocator = Allocator(
        owner=Owner(name), universe=IPv4Network(universe), electorate=ALONE, snapshot=None, rng=Random(1), now=0.0
    )
    return next(output.snapshot for output in allocator.outputs() if isinstance(output, ipam_crdt.Persist))


def test_a_ring_is_gone_on_with_whatever_the_flags_say_of_founding() -> None:
    ring_id = open_allocator(config(), IDENTITY, None, snapshot(), 0.0).ring_id
    for electorate in (None, ALONE, Electorate.counted(3)):
        assert open_allocator(config(), IDENTITY, electorate, snapshot(), 0.0).ring_id == ring_id is not None


def test_addresses_come_from_the_default_subnet() -> None:
    allocator = open_allocator(config(Options(ipalloc_default_subnet="10.40.1.0/24")), IDENTITY, ALONE, None, 0.0)
    allocator.receive(ipam_crdt.Allocate("pod", 5.0), 0.0)
    (address,) = allocator.allocations().values()
    assert address in IPv4Network("10.40.1.0/24")


@pytest.mark.parametrize(
    ("damage", "sentence", "remedy"),
    [
        (lambda content: content[:-3], "cut short", "weavemesh reset"),
        (lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:], "checksum", "from a backup"),
        (lambda content: content + b"x", "1 bytes follow its end", "weavemesh reset"),
        (lambda _: b"", "does not begin", "weavemesh reset"),
        (lambda _: snapshot("z" * 16), f"is of another peer, {'z' * 16}, and this one is {IDENTITY.name}", "together"),
        (lambda _: snapshot(universe="10.64.0.0/12"), "divides 10.64.0.0/12", "--ipalloc-range 10.64.0.0/12"),
    ],
)
def test_a_ring_file_that_cannot_be_used_is_told_with_the_way_out(
    damage: Callable[[bytes], bytes], sentence: str, remedy: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_allocator(config(), IDENTITY, ALONE, damage(snapshot()), 0.0)
    assert sentence in caught.value.sentence
    assert remedy in caught.value.remedy


def test_a_mesh_file_that_cannot_be_used_may_be_removed() -> None:
    assert open_mesh(config(), IDENTITY, 1, None, 0.0).peers()[0].name == IDENTITY.name
    with pytest.raises(UserError, match="remove /state/mesh"):
        open_mesh(config(), IDENTITY, 1, b"garbage", 0.0)


def test_a_range_that_the_host_uses_is_refused() -> None:
    refuse_overlap((), IPv4Network("10.32.0.0/12"))
    with pytest.raises(UserError, match=r"overlaps this host's route 10.36.0.0/16 dev eth0"):
        refuse_overlap(("10.36.0.0/16 dev eth0",), IPv4Network("10.32.0.0/12"))


def target(text: str) -> TargetView:
    return TargetView(
        target=Target(text), phase=TargetPhase.WAITING, peer=None, attempts=1, reason=None, next_dial_at=1.0
    )


def test_only_where_all_have_another_secret_ours_is_the_wrong_one() -> None:
    one, two = target("h1:1"), target("h2:1")
    wrong = LinkFailed("another secret", Failure.WRONG_SECRET)
    silent = LinkFailed("no answer", Failure.TIMEOUT)
    refuse_wrong_secret((), {}, "abc")
    refuse_wrong_secret((one,), {}, "abc")
    refuse_wrong_secret((one, two), {one.target: wrong, two.target: silent}, "abc")
    with pytest.raises(UserError, match=r"h1:1, h2:1 has another cluster secret than this host \(fingerprint abc\)"):
        refuse_wrong_secret((one, two), {one.target: wrong, two.target: wrong}, "abc")
