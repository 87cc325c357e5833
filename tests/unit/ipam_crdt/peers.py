"""A few allocators for tests that look at single steps."""

import random
from ipaddress import IPv4Address, IPv4Network

from ipam_crdt import Allocator, Founding, Input, Output, Owner

A, B = Owner("a"), Owner("b")
UNIVERSE = IPv4Network("10.32.0.0/24")


def peer(owner: Owner, founding: Founding = Founding.JOIN) -> Allocator:
    """An allocator with a seed made of its name."""
    rng = random.Random(owner)
    return Allocator(owner=owner, universe=UNIVERSE, founding=founding, snapshot=None, rng=rng, now=0.0)


def address(last: int) -> IPv4Address:
    return UNIVERSE[last]


def feed(allocator: Allocator, event: Input, now: float = 0.0) -> list[Output]:
    allocator.receive(event, now)
    return allocator.outputs()
