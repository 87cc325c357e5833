"""Paths that are slow, unsteady and lossy: the quicker relay is taken, and nobody changes ways for a few lost packets.

Needs netem, which the kernel of the guests has (`make test-kernel`).
"""

import time

import pytest

from deploy.demo.lab import Lab, Machine, wait_until
from tests.e2e.nat_lab import NatLab, path_of

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

WATCHED_S = 20


def disturb(machine: Machine, *how: str) -> None:
    """What it sends to the internet is delayed or lost from now on. Skips without netem."""
    done = machine.run("tc", "qdisc", "replace", "dev", "wan", "root", "netem", *how, check=False)
    if done.returncode != 0:
        pytest.skip("needs netem")


def ways_seen(one: Machine, other: Machine) -> set[tuple[str | None, str]]:
    """The ways that are shown while they are watched."""
    seen, ends_at = set(), time.monotonic() + WATCHED_S
    while time.monotonic() < ends_at:
        seen |= {path_of(one, other), path_of(other, one)}
    return seen


def test_the_quicker_of_two_relays_is_taken_and_kept(lab: Lab) -> None:
    nats = NatLab(lab)
    near = nats.equip(nats.internet.public("near"))
    one, other = (nats.equip(nats.internet.public(name)) for name in ("one", "other"))
    addresses = nats.internet.address(one), nats.internet.address(other)
    nats.internet.block(*addresses)
    nats.internet.block(*reversed(addresses))
    disturb(nats.hub, "delay", "100ms", "10ms")
    disturb(near, "delay", "10ms", "3ms", "loss", "2%")
    for machine in (nats.hub, near, one, other):
        nats.up(machine)
    wait_until(
        lambda: path_of(one, other) == path_of(other, one) == ("near", "live"), seconds=60, what="the near relay's turn"
    )
    assert ways_seen(one, other) == {("near", "live")}


def test_a_direct_path_that_loses_packets_stays(lab: Lab) -> None:
    nats = NatLab(lab)
    one, other = (nats.equip(nats.internet.public(name)) for name in ("one", "other"))
    disturb(one, "delay", "40ms", "15ms", "loss", "5%")
    for machine in (nats.hub, one, other):
        nats.up(machine)
    wait_until(
        lambda: path_of(one, other) == path_of(other, one) == ("direct", "live"), seconds=60, what="a direct path"
    )
    assert ways_seen(one, other) == {("direct", "live")}
