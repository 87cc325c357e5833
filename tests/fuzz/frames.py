"""Fuzzes, guided by coverage, what can be sent to an agent: python -m tests.fuzz.frames [TARGET [SECONDS]].

    mesh       frames of a member to a Mesh with two links and a channel: nothing raises, all its laws hold afterwards,
               and what it keeps and answers stays bounded
    ring       messages of a member to an allocator that has a ring: the same
    handshake  bytes of a stranger to the accepting end of a link: the one error that is meant for it, or silence

The input is a list of pieces, each a mutation of what the protocol itself would say. A crash is written to a file by
libFuzzer and can be run again by naming it. Hypothesis tests the same codecs without coverage in every `make test`
(tests/property); a running agent is attacked over its port by tests/bench/hostile_peers.py.
"""

import random
import sys
from collections.abc import Callable
from ipaddress import IPv4Network

import atheris

with atheris.instrument_imports(include=["gossip", "ipam_crdt", "weavemesh.transport", "weavemesh.certificate"]):
    import gossip
    from gossip import FrameReceived, LinkId, LinkOpened, Mesh, MeshOptions, PublishSummary, wire
    from gossip.record import RecordBody, seal
    from ipam_crdt import Allocate, Allocator, Electorate, MessageReceived, Owner, PeersReachable, RingReceived
    from tests.unit.gossip.fake_signer import FakeSigner, fake_verify
    from weavemesh.certificate import LeafIssuer, MembershipAuthority
    from weavemesh.identity import Identity
    from weavemesh.transport.failure import LinkFailed
    from weavemesh.transport.tls import TlsChannel

PIECES_MAX = 64
ANSWER_BYTES_PER_PIECE_MAX = 64 * 1024
"""A piece of a few bytes must not bring about more than what a mesh of three has to say."""
UNIVERSE = IPv4Network("10.32.0.0/24")


class State:
    """A channel that keeps nothing."""

    def digest(self) -> bytes:
        return b"digest"

    def state(self) -> bytes:
        return b"state"


def pieces(data: bytes, seeds: list[bytes]) -> list[bytes]:
    """Cut the input: a byte says how long a piece is and whether it is one of the seeds with bytes changed."""
    found: list[bytes] = []
    while data and len(found) < PIECES_MAX:
        head, data = data[0], data[1:]
        length = head & 0x1F
        given, data = data[:length], data[length:]
        if head & 0x80 and given:
            piece = bytearray(seeds[given[0] % len(seeds)])
            for at, value in zip(given[1::2], given[2::2], strict=False):
                if piece:
                    piece[at % len(piece)] ^= value
            found.append(bytes(piece))
        else:
            found.append(given)
    return found


def mesh_target() -> Callable[[bytes], None]:
    me, ann, bob = FakeSigner("me"), FakeSigner("ann"), FakeSigner("bob")
    records = tuple(
        seal(signer, epoch, version, RecordBody(b"summary", (other.name,)))
        for signer, other, epoch, version in ((ann, me, 1, 1), (ann, bob, 1, 2), (bob, ann, 2, 1), (me, ann, 9, 1))
    )
    seeds = [
        wire.encode(frame)
        for frame in (
            wire.Hello(1, 1, 1, 1),
            wire.bye("no", wire.ByeCode.BUSY, (gossip.Target("192.0.2.9:6783"),)),
            wire.Ping(1),
            wire.Pong(1),
            wire.Glance(bytes(16), (wire.ChannelDigest("ipam", b"other"),)),
            wire.Digest((wire.DigestEntry(ann.name, 1, 1, bytes(8)), wire.DigestEntry(bob.name, 9, 9, bytes(8)))),
            wire.Request((ann.name, me.name)),
            wire.Records(records),
            wire.State("ipam", b"state", answer=True),
            wire.News("ipam", b"news"),
            wire.News("another", b"news"),
            wire.Unicast("ipam", ann.name, me.name, 8, 1, 1, ann.public_key, b"payload", bytes(32)),
        )
    ]

    def run(data: bytes) -> None:
        mesh = Mesh(
            signer=me,
            verify=fake_verify,
            epoch=1,
            options=MeshOptions(dial_addresses=lambda _, said: (gossip.Target("192.0.2.7:6783"),) if said else ()),
            rng=random.Random(1),
            snapshot=None,
            now=0.0,
        )
        mesh.register("ipam", State())
        mesh.receive(PublishSummary(b"mine"), 0.0)
        for number, signer in ((1, ann), (2, bob)):
            mesh.receive(LinkOpened(LinkId(number), signer.name, "192.0.2.1:1", outbound=False, target=None), 0.0)
            mesh.receive(FrameReceived(LinkId(number), seeds[0]), 0.0)
        mesh.outputs()
        now, said = 0.0, pieces(data, seeds)
        for number, piece in enumerate(said):
            now += 0.1 * (number % 7 == 0)
            mesh.receive(FrameReceived(LinkId(1 + number % 2), piece), now)
            mesh.tick(now)
        answered = sum(len(output.frame) for output in mesh.outputs() if isinstance(output, gossip.SendFrame))
        assert answered <= ANSWER_BYTES_PER_PIECE_MAX * (1 + len(said)), "an answer out of proportion"
        assert mesh.check() == [], mesh.check()
        Mesh(
            signer=me,
            verify=fake_verify,
            epoch=2,
            options=MeshOptions(dial_addresses=lambda *_: ()),
            rng=random.Random(1),
            snapshot=mesh.snapshot(),
            now=now,
        )

    return run


def ring_target() -> Callable[[bytes], None]:
    def allocator(name: str, electorate: Electorate | None) -> Allocator:
        return Allocator(
            owner=Owner(name),
            universe=UNIVERSE,
            electorate=electorate,
            snapshot=None,
            rng=random.Random(1),
            now=0.0,
        )

    founder = allocator("ann", Electorate.addressed(0))
    founder.receive(Allocate("pod", 10.0), 0.0)
    state = founder.state()
    joiner = allocator("bob", None)
    joiner.receive(RingReceived(Owner("ann"), state), 0.0)
    joiner.receive(PeersReachable((Owner("ann"),)), 0.0)
    joiner.receive(Allocate("pod", 10.0), 0.0)
    asked = [output.payload for output in joiner.outputs() if hasattr(output, "payload")]
    seeds = [state, joiner.state(), *asked]

    def run(data: bytes) -> None:
        me = allocator("ann", Electorate.addressed(0))
        me.receive(PeersReachable((Owner("bob"),)), 0.0)
        me.receive(Allocate("pod", 10.0), 0.0)
        for number, piece in enumerate(pieces(data, seeds)):
            event = MessageReceived if number % 2 else RingReceived
            me.receive(event(Owner("bob"), piece), 0.1 * number)
            me.outputs()
        assert me.check() == [], me.check()

    return run


def handshake_target() -> Callable[[bytes], None]:
    issuer = LeafIssuer(identity=Identity.generate(nickname="me"), authority=MembershipAuthority.from_seed(bytes(32)))
    dialler = TlsChannel(issuer.contexts().dial, outbound=True)
    dialler.start()
    seeds = [dialler.outgoing(), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"]

    def run(data: bytes) -> None:
        channel = TlsChannel(issuer.contexts().accept, outbound=False)
        try:
            for piece in pieces(data, seeds):
                channel.receive(piece)
        except LinkFailed:
            pass
        assert channel.peer is None, "a stranger was let in"

    return run


TARGETS = {"mesh": mesh_target, "ring": ring_target, "handshake": handshake_target}


def main() -> None:
    name, seconds = [*sys.argv[1:3], *("mesh", "60")[len(sys.argv[1:3]) :]]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=2048", "-timeout=10"], TARGETS[name]())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
