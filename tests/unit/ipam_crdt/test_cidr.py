from ipaddress import IPv4Network

import pytest

from ipam_crdt.cidr import Block, carve


def block(text: str) -> Block:
    return Block.of(IPv4Network(text))


@pytest.mark.parametrize("text", ["0.0.0.0/0", "10.32.0.0/12", "10.32.0.7/32", "255.255.255.255/32"])
def test_a_block_and_its_network_are_one(text: str) -> None:
    assert str(block(text)) == text
    assert block(text).network() == IPv4Network(text)
    assert block(text).size == IPv4Network(text).num_addresses


def test_halves_are_buddies_and_make_their_parent() -> None:
    lower, upper = block("10.0.0.0/24").halves()
    assert (str(lower), str(upper)) == ("10.0.0.0/25", "10.0.0.128/25")
    assert lower.is_buddy_of(upper)
    assert upper.is_buddy_of(lower)
    assert lower.parent() == upper.parent() == block("10.0.0.0/24")


@pytest.mark.parametrize(
    ("one", "other"),
    [("10.0.0.128/25", "10.0.1.0/25"), ("10.0.0.0/25", "10.0.0.128/26"), ("10.0.0.0/24", "10.0.0.0/24")],
)
def test_neighbours_that_are_not_halves_of_one_block_are_no_buddies(one: str, other: str) -> None:
    assert not block(one).is_buddy_of(block(other))


def test_a_block_covers_itself_and_its_parts_alone() -> None:
    whole = block("10.0.0.0/24")
    assert whole.covers(whole)
    assert whole.covers(block("10.0.0.255/32"))
    assert not whole.covers(block("10.0.1.0/32"))
    assert not whole.covers(block("10.0.0.0/23"))
    assert whole.holds(whole.end - 1)
    assert not whole.holds(whole.end)


@pytest.mark.parametrize("inner", ["10.0.0.0/24", "10.0.0.0/32", "10.0.0.255/32", "10.0.0.96/27"])
def test_carving_gives_the_fewest_blocks_in_order(inner: str) -> None:
    outer = block("10.0.0.0/24")
    parts = carve(outer, block(inner))
    assert block(inner) in parts
    assert parts == sorted(parts)
    assert sum(part.size for part in parts) == outer.size
    assert len(parts) == 1 + block(inner).length - outer.length


@pytest.mark.parametrize("bad", [Block(1, 31), Block(0, 33), Block(0, -1), Block(-2, 31)])
def test_numbers_that_are_no_range_are_not_aligned(bad: Block) -> None:
    assert not bad.is_aligned
