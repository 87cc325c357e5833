"""Whatever frame is said is heard the same; whatever garbage comes raises RemoteViolation and nothing else."""

import random

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip import (
    FrameReceived,
    LinkId,
    LinkOpened,
    Mesh,
    MeshOptions,
    PeerName,
    RemoteViolation,
    SnapshotCorrupt,
    Target,
    wire,
)
from gossip.record import COUNT_MAX, Record, RecordBody, is_authentic, open_body, seal
from gossip.snapshot import decode_snapshot, encode_snapshot
from tests.unit.gossip.fake_signer import FakeSigner, fake_verify

names = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16).map(PeerName)
counts = st.integers(0, COUNT_MAX)
payloads = st.binary(max_size=300)
channels = st.text(min_size=1, max_size=32).filter(lambda text: text.isprintable())
digests = st.binary(max_size=64)
records = st.builds(Record, names, counts, counts, st.binary(max_size=64), payloads, st.binary(max_size=128))
frames: st.SearchStrategy[wire.Frame] = st.one_of(
    st.builds(wire.Hello, counts, counts, counts, counts),
    st.builds(wire.Bye, st.text(st.characters(exclude_categories=["Cs"]), max_size=wire.REASON_CHARACTERS_MAX), counts),
    st.builds(wire.Ping, counts),
    st.builds(wire.Pong, counts),
    st.builds(
        wire.Glance,
        digests,
        st.lists(st.builds(wire.ChannelDigest, channels, digests), max_size=4).map(tuple),
    ),
    st.builds(
        wire.Digest,
        st.lists(st.builds(wire.DigestEntry, names, counts, counts, st.binary(max_size=8)), max_size=8).map(tuple),
    ),
    st.builds(wire.Request, st.lists(names, max_size=8).map(tuple)),
    st.builds(wire.Records, st.lists(records, max_size=4).map(tuple)),
    st.builds(wire.State, channels, payloads, st.booleans()),
    st.builds(wire.News, channels, payloads),
    st.builds(
        wire.Unicast,
        channels,
        names,
        names,
        st.integers(0, wire.HOPS_MAX),
        counts,
        counts,
        st.binary(max_size=64),
        payloads,
        st.binary(max_size=128),
    ),
)
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.binary(), st.text(max_size=20)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=20,
)


def decode_or_none(encoded: bytes) -> wire.Frame | None:
    """Return the frame that `encoded` is, None if it is none; all other errors pass through."""
    try:
        return wire.decode(encoded)
    except RemoteViolation:
        return None


@given(frame=frames)
def test_a_frame_is_heard_as_it_was_said(frame: wire.Frame) -> None:
    assert wire.decode(wire.encode(frame)) == frame


@given(encoded=st.binary(max_size=400))
@example(encoded=b"\x91" * 100_000)
@example(encoded=b"\x92\x01\xa1\xff")
@example(encoded=b"\x92\x02\xd6\xff\x00\x00\x00\x00")
def test_random_bytes_are_a_frame_or_a_violation(encoded: bytes) -> None:
    decode_or_none(encoded)


@given(kind=st.integers(-1, 12), rest=st.lists(anything, max_size=9))
def test_well_formed_nonsense_is_a_frame_or_a_violation(kind: int, rest: list[object]) -> None:
    frame = decode_or_none(msgspec.msgpack.encode([kind, *rest]))
    # What was let in keeps all bounds: it can be said again, and means the same.
    assert frame is None or wire.decode(wire.encode(frame)) == frame


@given(frame=frames, at=st.integers(0, 2000), flip=st.integers(1, 255))
def test_a_damaged_frame_is_a_frame_or_a_violation(frame: wire.Frame, at: int, flip: int) -> None:
    damaged = bytearray(wire.encode(frame))
    damaged[at % len(damaged)] ^= flip
    heard = decode_or_none(bytes(damaged))
    assert heard is None or wire.decode(wire.encode(heard)) == heard


@given(frame=frames, appended=st.lists(anything, min_size=1, max_size=3))
def test_appended_elements_are_skipped(frame: wire.Frame, appended: list[object]) -> None:
    elements = msgspec.msgpack.decode(wire.encode(frame))
    assert wire.decode(msgspec.msgpack.encode([*elements, *appended])) == frame


@given(
    epoch=counts,
    version=counts,
    summary=st.binary(max_size=300),
    links=st.lists(names, max_size=8).map(tuple),
)
def test_a_sealed_record_stays_authentic_over_the_wire(
    epoch: int, version: int, summary: bytes, links: tuple[PeerName, ...]
) -> None:
    body = RecordBody(summary, links)
    heard = wire.decode(wire.encode(wire.Records((seal(FakeSigner("ann"), epoch, version, body),))))
    assert isinstance(heard, wire.Records)
    (record,) = heard.records
    assert is_authentic(record, fake_verify)
    assert open_body(record) == body


@given(body=st.one_of(st.binary(max_size=300), anything.map(msgspec.msgpack.encode)))
def test_any_body_opens_or_is_a_violation(body: bytes) -> None:
    record = Record(FakeSigner("ann").name, 1, 1, b"", body, b"")
    try:
        open_body(record)
    except RemoteViolation as violation:
        assert violation.rule == "unreadable record body"


@given(kept=st.lists(records, max_size=4).map(tuple), targets=st.lists(channels.map(Target), max_size=4).map(tuple))
def test_a_snapshot_gives_back_what_was_put_in(kept: tuple[Record, ...], targets: tuple[Target, ...]) -> None:
    snapshot = decode_snapshot(encode_snapshot(kept, targets))
    assert (snapshot.records, snapshot.targets) == (kept, targets)


@given(encoded=st.one_of(st.binary(max_size=300), anything.map(msgspec.msgpack.encode)))
def test_any_snapshot_is_read_or_corrupt(encoded: bytes) -> None:
    try:
        decode_snapshot(encoded)
    except SnapshotCorrupt as error:
        assert "gossip snapshot" in str(error)


@settings(deadline=None)
@given(said=st.lists(st.one_of(frames.map(wire.encode), st.binary(max_size=100)), max_size=20))
def test_a_mesh_survives_whatever_a_peer_says_and_believes_nothing_unsigned(said: list[bytes]) -> None:
    mesh = Mesh(
        signer=FakeSigner("me"),
        verify=fake_verify,
        epoch=1,
        options=MeshOptions(dial_addresses=lambda _peer, _summary: (Target("h:1"),)),
        rng=random.Random(1),
        snapshot=None,
        now=0.0,
    )
    for number, encoded in enumerate(said):
        link, now = LinkId(number), float(number)
        mesh.receive(LinkOpened(link, FakeSigner("bob").name, "192.0.2.1:1", outbound=False, target=None), now)
        mesh.receive(FrameReceived(link, wire.encode(wire.Hello(1, 1, 1, number))), now)
        mesh.receive(FrameReceived(link, encoded), now)
        mesh.tick(now + 0.5)
        mesh.outputs()
        assert not mesh.check()
    assert [view.name for view in mesh.peers() if view.summary is not None] == [FakeSigner("me").name]
