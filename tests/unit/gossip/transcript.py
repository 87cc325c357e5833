"""A conversation with one Mesh, written down: `>>` what went in, `<<` what came out, names and frames made readable.

The Mesh under test is always "me"; the others are FakeSigners with a nickname, and speak by frames that the test makes.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gossip import (
    CloseLink,
    ConnectTargets,
    Delivered,
    Dial,
    DialFailed,
    FencedBy,
    FencePeers,
    FrameReceived,
    Input,
    LinkClosed,
    LinkId,
    LinkOpened,
    Mesh,
    MeshOptions,
    Output,
    PeerChanged,
    PeerName,
    Persist,
    SendFrame,
    SendUnicast,
    Target,
    wire,
)
from gossip.record import Record, RecordBody, seal
from tests.unit.gossip.fake_signer import FakeSigner, fake_verify

NICKNAMES = ("me", "ann", "bob", "cat", "dan", "eve")
SIGNERS = {nickname: FakeSigner(nickname) for nickname in NICKNAMES}
NAMES = {nickname: signer.name for nickname, signer in SIGNERS.items()}


def record(origin: str, epoch: int, version: int, links: Iterable[str] = (), summary: bytes = b"") -> Record:
    """Return a record of `origin`, rightly signed, that names `links`."""
    body = RecordBody(summary, tuple(sorted(NAMES[nickname] for nickname in links)))
    return seal(SIGNERS[origin], epoch, version, body)


def address_in_summary(_: PeerName, summary: bytes) -> tuple[Target, ...]:
    """The `dial_addresses` of these tests: a summary is an address."""
    return (Target(summary.decode()),) if summary else ()


class FixedRandom(random.Random):
    """Jitter without jitter: the middle of each range, and the first of each choice."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def random(self) -> float:
        return 0.0

    def sample(self, population: Sequence[Any], k: int, *, counts: object = None) -> list[Any]:  # noqa: ARG002 - its face
        return list(population[:k])


class Words:
    """A channel whose state is one text."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = text

    def digest(self) -> bytes:
        return self.text[:8]

    def state(self) -> bytes:
        return self.text


class Conversation:
    """Talks to a Mesh and writes down what is said."""

    def __init__(self, *, snapshot: bytes | None = None, epoch: int = 1, discovery: bool = True) -> None:
        self.now = 100.0
        self.words = Words()
        self.mesh = Mesh(
            signer=SIGNERS["me"],
            verify=fake_verify,
            epoch=epoch,
            options=MeshOptions(dial_addresses=address_in_summary, discovery=discovery),
            rng=FixedRandom(1),
            snapshot=snapshot,
            now=self.now,
        )
        self.mesh.register("words", self.words)
        self._lines: list[str] = []
        self._answer()

    # -- inputs --------------------------------------------------------------------------------------------------------

    def feed(self, event: Input) -> None:
        """Hand over one input."""
        self._lines.append(f">> {_input_text(event)}")
        self.mesh.receive(event, self.now)
        self._answer()

    def tick(self) -> None:
        """Let time pass to the next deadline."""
        deadline = self.mesh.deadline()
        assert deadline is not None
        self.pass_time(deadline - self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, whatever the deadline."""
        self.now += seconds
        self._lines.append(f">> {self.now - 100:.2f} s")
        self.mesh.tick(self.now)
        self._answer()

    def connect(self, *targets: str, replace: bool = False) -> None:
        """Give targets."""
        self.feed(ConnectTargets(tuple(Target(target) for target in targets), replace=replace))

    def fail(self, target: str, reason: str = "refused") -> None:
        """Fail a dial."""
        self.feed(DialFailed(Target(target), reason))

    def fence(self, *peers: str) -> None:
        """Fence peers."""
        self.feed(FencePeers(tuple(NAMES[peer] for peer in peers)))

    def open(self, link: int, peer: str, *, target: str | None = None, outbound: bool = False) -> None:
        """Open a link, outbound if a target is given."""
        dialled = Target(target) if target is not None else None
        is_outbound = outbound or target is not None
        self.feed(LinkOpened(LinkId(link), NAMES[peer], "192.0.2.1:6783", outbound=is_outbound, target=dialled))

    def close(self, link: int, reason: str = "reset") -> None:
        """Close a link."""
        self.feed(LinkClosed(LinkId(link), reason))

    def say(self, link: int, frame: wire.Frame) -> None:
        """Let the other end of a link send a frame."""
        self.feed(FrameReceived(LinkId(link), wire.encode(frame)))

    def meet(self, link: int, peer: str, *records: Record, target: str | None = None, epoch: int = 1) -> None:
        """Open and establish a link over which `peer` then sends records; nothing of it is written down."""
        lines, self._lines = self._lines, []
        self.open(link, peer, target=target)
        self.say(link, wire.Hello(1, 1, epoch, 1))
        self.say(link, wire.Pong(1))
        if records:
            self.say(link, wire.Records(records))
        self._lines = lines

    # -- what was said -------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin a new page."""
        self._lines = []

    def page(self) -> str:
        """Return all that was said since the last page."""
        return "\n".join(self._lines)

    def reads(self, expected: str) -> None:
        """Compare all that was said since the last page with a text, and begin a new page."""
        said, self._lines = "\n".join(self._lines), []
        assert said == textwrap.dedent(expected).strip(), f"it was:\n{said}"

    def _answer(self) -> None:
        self._lines += [f"<< {_output_text(output)}" for output in self.mesh.outputs()]
        assert not self.mesh.check()


def nickname(name: str) -> str:
    """Return the nickname of a peer name."""
    return next((nick for nick, peer in NAMES.items() if peer == name), name)


def _input_text(event: Input) -> str:
    match event:
        case LinkOpened(link, peer, _, outbound, target):
            return f"link {link} opened to {nickname(peer)}" + (f", dialled {target}" if outbound else "")
        case LinkClosed(link, reason):
            return f"link {link} closed: {reason}"
        case DialFailed(target, reason):
            return f"dial {target} failed: {reason}"
        case FrameReceived(link, frame):
            return f"{link}: {frame_text(wire.decode(frame))}"
        case ConnectTargets(targets, replace):
            return f"connect {' '.join(targets)}" + (" only" if replace else "")
        case SendUnicast(channel, destination, payload):
            return f"unicast on {channel} to {nickname(destination)}: {payload.decode()}"
        case FencePeers(peers):
            return " ".join(("fence", *(nickname(peer) for peer in peers)))
        case _:
            return str(event)


def _output_text(output: Output) -> str:
    match output:
        case Dial(target):
            return f"dial {target}"
        case SendFrame(link, frame):
            return f"{link}: {frame_text(wire.decode(frame))}"
        case CloseLink(link, reason):
            return f"close {link}: {reason}"
        case PeerChanged(peer):
            return f"changed {nickname(peer)}"
        case Delivered(channel, source, payload, unicast):
            how = "unicast" if unicast else "news"
            return f"{how} on {channel} from {nickname(source)}: {payload.decode()}"
        case Persist():
            return "persist"
        case FencedBy(peer):
            return f"fenced by {nickname(peer)}"


def frame_text(frame: wire.Frame) -> str:
    """Return a frame as a short text."""
    match frame:
        case wire.Hello(oldest, newest, epoch, serial):
            return f"hello, wire {oldest} to {newest}, epoch {epoch}, serial {serial}"
        case wire.Bye(reason, code):
            others = f", others {' '.join(frame.others)}" if frame.others else ""
            return f"bye: {reason!r}" + (f", code {code}" if code else "") + others
        case wire.Ping(number, rtt_us):
            return f"ping {number}" + (f", {rtt_us} us" if rtt_us else "")
        case wire.Pong(number):
            return f"pong {number}"
        case wire.Glance(_, channels):
            return "glance" + "".join(f" {entry.channel}={entry.digest.decode()}" for entry in channels)
        case wire.Digest(entries):
            return " ".join(("digest", *(f"{nickname(e.origin)}@{e.epoch}.{e.version}" for e in entries)))
        case wire.Request(origins):
            return "request " + " ".join(nickname(origin) for origin in origins)
        case wire.Records(records):
            return "records " + " ".join(record_text(record) for record in records)
        case wire.State(channel, payload, answer):
            return f"state of {channel}: {payload.decode()}" + (", and yours?" if answer else "")
        case wire.News(channel, payload):
            return f"news on {channel}: {payload.decode()}"
        case wire.Unicast():
            way = f"{nickname(frame.source)} to {nickname(frame.destination)}"
            return f"unicast on {frame.channel} {way}, {frame.hops} hops left: {frame.payload.decode(errors='replace')}"


def record_text(it: Record) -> str:
    """Return a record as origin@epoch.version and its links."""
    try:
        body = msgspec.msgpack.decode(it.body)
    except msgspec.DecodeError:
        return f"{nickname(it.origin)}@{it.epoch}.{it.version} unreadable"
    links = ",".join(sorted(nickname(link) for link in body["links"]))
    return f"{nickname(it.origin)}@{it.epoch}.{it.version}[{links}]"
