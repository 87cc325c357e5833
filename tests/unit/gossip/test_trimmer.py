"""Too many links: which goes, and when."""

from collections.abc import Mapping

import pytest

from gossip import FrameReceived, LinkId, LinkOpened, PeerName, Target, TargetPhase, wire
from gossip.record import Record, RecordBody, seal
from gossip.trimmer import SPARE, TRIM_INTERVAL_S, YOUNG_S
from tests.unit.gossip.fake_signer import FakeSigner
from tests.unit.gossip.transcript import Conversation

PEERS = sorted((FakeSigner(f"peer {number}") for number in range(12)), key=lambda signer: signer.name)
ME = FakeSigner("me").name


def said(signer: FakeSigner, *links: PeerName) -> Record:
    return seal(signer, 1, 1, RecordBody(b"", tuple(sorted(links))))


def linked(talk: Conversation, links: Mapping[int, tuple[PeerName, ...]], *, target: int | None = None) -> None:
    """Link with peers, each of which names these links."""
    for number, names in links.items():
        ident, signer = LinkId(number + 1), PEERS[number]
        dialled = Target("h:1") if number == target else None
        if dialled is not None:
            talk.connect("h:1")
        talk.mesh.receive(LinkOpened(ident, signer.name, "h:1", outbound=dialled is not None, target=dialled), talk.now)
        frames = (wire.Hello(1, 1, 1, 1), wire.Pong(1), wire.Records((said(signer, ME, *names),)))
        for frame in frames:
            talk.mesh.receive(FrameReceived(ident, wire.encode(frame)), talk.now)
    talk.mesh.outputs()
    talk.forget()


def live(talk: Conversation, seconds: float) -> list[str]:
    """Let time pass in which all are heard; return the peers to whom links were given up."""
    before = {link.peer for link in talk.mesh.links()}
    for _ in range(round(seconds / 0.25)):
        talk.pass_time(0.25)
        for link in talk.mesh.links():
            talk.mesh.receive(FrameReceived(link.link, wire.encode(wire.Pong(99))), talk.now)
        talk.mesh.outputs()
    return sorted(before - {link.peer for link in talk.mesh.links()})


def everybody(but: int) -> tuple[PeerName, ...]:
    return tuple(signer.name for number, signer in enumerate(PEERS[:7]) if number != but)


FULL = {number: everybody(number) for number in range(7)}
"""Seven peers, all linked with each other and with us: a mesh of eight, in which three links are wanted."""


def test_what_is_above_the_wanted_links_and_the_spare_ones_goes() -> None:
    talk = Conversation()
    linked(talk, FULL)
    gone = live(talk, YOUNG_S + 3.0)
    assert len(talk.mesh.links()) == 3 + SPARE
    assert len(gone) == 2
    assert "bye: 'there are links enough', code 3" in talk.page()
    assert live(talk, 3.0) == []


def test_young_links_are_kept() -> None:
    talk = Conversation()
    linked(talk, FULL)
    assert live(talk, YOUNG_S - 0.25) == []


def test_one_at_a_time_and_the_most_linked_neighbour_first() -> None:
    talk = Conversation()
    linked(talk, FULL | {0: everybody(0)[:4], 3: (*everybody(3), PEERS[9].name)})
    live(talk, YOUNG_S - 0.25)
    assert live(talk, 0.25) == [PEERS[3].name]
    assert TRIM_INTERVAL_S == 0.25


def test_a_neighbour_that_only_we_join_to_the_rest_is_kept() -> None:
    talk = Conversation()
    far = tuple(PEERS[number].name for number in (8, 9, 10, 11))
    linked(talk, FULL | {0: far})
    gone = live(talk, YOUNG_S + 5.0)
    assert PEERS[0].name not in gone
    assert len(gone) == 2


def test_neighbours_without_links_to_spare_are_kept() -> None:
    talk = Conversation()
    few = {number: (PEERS[(number + 1) % 7].name, PEERS[(number - 1) % 7].name) for number in range(7)}
    linked(talk, few)
    assert live(talk, YOUNG_S + 5.0) == []


def test_targets_of_our_user_go_last_and_rest_while_reached() -> None:
    talk = Conversation()
    linked(talk, FULL | {6: (*everybody(6), PEERS[9].name)}, target=6)
    assert PEERS[6].name not in live(talk, YOUNG_S + 5.0)
    talk.say(7, wire.bye("there are links enough", wire.ByeCode.SURPLUS))
    (target,) = talk.mesh.targets()
    assert target.phase is TargetPhase.REACHED
    talk.forget()
    for link in talk.mesh.links():
        talk.close(link.link)
    live(talk, 0.5)
    assert "dial h:1" in talk.page(), "it can no longer be reached over others"


@pytest.mark.parametrize("discovery", [False])
def test_without_discovery_the_links_are_the_users_design(*, discovery: bool) -> None:
    talk = Conversation(discovery=discovery)
    linked(talk, FULL)
    assert live(talk, YOUNG_S + 5.0) == []
