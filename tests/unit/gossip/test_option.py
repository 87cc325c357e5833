from gossip import MeshOptions
from tests.unit.gossip.transcript import address_in_summary


def test_peers_are_discovered_unless_that_is_switched_off() -> None:
    assert MeshOptions(dial_addresses=address_in_summary).discovery
