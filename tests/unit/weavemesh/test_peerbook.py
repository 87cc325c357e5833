"""The peer book follows what the mesh says of each peer, and hands out the very same things while nothing changes."""

import asyncio
from ipaddress import IPv4Address, IPv4Network

import gossip
from gossip import PeerName
from tests.unit.weavemesh.mesh_pair import LinkedPeer, running
from weavemesh.overlay.probe import ProbeName
from weavemesh.overlay.state import PublicKey
from weavemesh.peerbook import PeerBook
from weavemesh.secret import ClusterSecret
from weavemesh.summary import Summary
from weavemesh.transport.memory import MemoryNetwork
from weavemesh.trust import Secrets

SECRETS = Secrets(ClusterSecret.generate())


def said(peer: LinkedPeer, *, address: str | None) -> gossip.PublishSummary:
    summary = Summary(
        nickname=peer.identity.nickname,
        version="0.1.0",
        wireguard_public_key=bytes(peer.identity.wireguard_public_key),
        port=6783,
        advertised=("203.0.113.9:7000",),
        endpoints=(),
        overlay_ipv4=address,
        datapath="kernel",
        mtu=1420,
        started_at=1_700_000_000.0,
    )
    return gossip.PublishSummary(summary.encode())


def everything(_: PeerName) -> tuple[IPv4Network, ...]:
    return (IPv4Network("0.0.0.0/0"),)


def test_a_peer_is_translated_once_for_each_change_of_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        ours, theirs = LinkedPeer(network, "192.0.2.1"), LinkedPeer(network, "192.0.2.2")
        keys = [ours.identity.wireguard_public_key]
        book = PeerBook(ours.mesh, own_key=lambda: keys[-1], secrets=SECRETS, chosen=lambda _: None)
        assert (book.planned(), book.probe_addresses(everything)) == ((), {})
        async with running(ours, theirs):
            theirs.driver.feed(said(theirs, address=None))
            ours.connect("192.0.2.2")
            name = theirs.identity.name
            await ours.until(lambda: (view := ours.mesh.peer(name)) is not None and bool(view.summary))
            book.changed(name)
            (planned,) = book.planned()
            assert planned.public_key == theirs.identity.wireguard_public_key
            assert planned.endpoints[0].text() == "203.0.113.9:7000"
            assert book.planned()[0] is planned and book.planned() is book.planned()
            assert book.probe_addresses(everything) == {}
            assert book.path_peers() == {}, "it has no tunnels yet, and answers nobody"

            told = said(theirs, address="10.40.0.1")
            theirs.driver.feed(told)
            await ours.until(lambda: (view := ours.mesh.peer(name)) is not None and view.summary == told.summary)
            assert book.probe_addresses(everything) == {}, "nobody has told of the change yet"
            book.changed(name)
            assert book.probe_addresses(everything) == {ProbeName(name): IPv4Address("10.40.0.1")}
            elsewhere = (IPv4Network("10.32.0.0/13"),)
            assert book.probe_addresses(lambda _: elsewhere) == {}, "that address may be ours"

            later = gossip.PublishSummary(b"\xc1what a later release says")
            theirs.driver.feed(later)
            await ours.until(lambda: (view := ours.mesh.peer(name)) is not None and view.summary == later.summary)
            book.changed(name)
            assert book.planned() == (planned,), "its pods go on talking"
            theirs.driver.feed(restarted := said(theirs, address=None))
            await ours.until(lambda: (view := ours.mesh.peer(name)) is not None and view.summary == restarted.summary)
            book.changed(name)
            assert (book.probe_addresses(everything), list(book.path_peers())) == ({}, [name]), "its tunnels are kept"

            keys.append(PublicKey(bytes(32)))
            (rekeyed,) = book.planned()
            assert rekeyed.preshared_key != planned.preshared_key

    asyncio.run(scenario())


def test_ourselves_and_peers_that_say_nothing_sensible_are_not_in_it() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        ours, theirs = LinkedPeer(network, "192.0.2.1"), LinkedPeer(network, "192.0.2.2")
        ours.driver.feed(said(ours, address="10.32.0.1"))
        theirs.driver.feed(gossip.PublishSummary(b"\xc1garbage"))
        async with running(ours, theirs):
            ours.connect("192.0.2.2")
            await ours.until(lambda: len(ours.mesh.peers()) == 2)
            book = PeerBook(
                ours.mesh, own_key=lambda: ours.identity.wireguard_public_key, secrets=SECRETS, chosen=lambda _: None
            )
            assert (book.planned(), book.probe_addresses(everything)) == ((), {})

    asyncio.run(scenario())
