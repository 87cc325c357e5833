import pytest

from gossip.name import is_peer_name
from tests.unit.gossip.fake_signer import FakeSigner


def test_a_name_made_from_a_key_is_a_peer_name() -> None:
    assert is_peer_name(FakeSigner("bob").name)


@pytest.mark.parametrize("text", ["", "host1", "A" * 16, "a" * 15, "a" * 17, "a" * 16 + "\n", "a" * 15 + "1", "é" * 16])
def test_nothing_else_is_a_peer_name(text: str) -> None:
    assert not is_peer_name(text)
