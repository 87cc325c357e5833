"""Too many links: which goes, and when."""

from collections.abc import Mapping

import pytest

from gossip import FrameReceived, LinkId, LinkOpened, PeerName, Target, TargetPhase, wire
from gossip.record import Record, RecordBody, seal
from gossip.trimmer import PATIENCE_S, SPARE, TRIM_INTERVAL_S, YOUNG_S
from tests.unit.gossip.fake_signer import FakeSigner
from tests.unit.gossip.transcript import Conversation

PEERS = sorted((FakeSigner(f"peer {number}") for number in range(15)), key=lambda signer: signer.name)
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
    gone = live(talk, YOUNG_S + 1.0)
    assert len(talk.mesh.links()) == 3 + SPARE
    assert len(gone) == 2
    assert "bye: 'there are links enough', code 3" in talk.page()
    assert live(talk, 3.0) == []


def test_young_links_are_kept() -> None:
    talk = Conversation()
    linked(talk, FULL)
    assert live(talk, YOUNG_S - 0.25) == []


def test_the_most_linked_neighbours_go_first() -> None:
    talk = Conversation()
    linked(talk, FULL | {0: everybody(0)[:4], 3: (*everybody(3), PEERS[9].name)})
    live(talk, YOUNG_S - 0.25)
    gone = live(talk, TRIM_INTERVAL_S)
    assert PEERS[3].name in gone and PEERS[0].name not in gone
    assert len(gone) == 2


def test_a_neighbour_that_only_we_join_to_the_rest_is_kept() -> None:
    talk = Conversation()
    far = tuple(PEERS[number].name for number in (8, 9, 10, 11))
    linked(talk, FULL | {0: far})
    gone = live(talk, YOUNG_S + 5.0)
    assert PEERS[0].name not in gone
    assert len(gone) == 2


def test_neighbours_with_few_links_are_kept() -> None:
    talk = Conversation()
    few = {number: (PEERS[(number + 1) % 7].name, PEERS[(number - 1) % 7].name) for number in range(7)}
    linked(talk, few)
    assert live(talk, YOUNG_S + 5.0) == []


def test_neighbours_that_will_look_for_another_link_go_one_by_one_and_later() -> None:
    talk = Conversation()
    ring = {number: tuple(PEERS[(number + step) % 7].name for step in (1, -1, 2)) for number in range(7)}
    linked(talk, ring)
    others = tuple(said(signer) for signer in PEERS[7:])
    talk.say(1, wire.Records(others))  # with them we are sixteen, who want four links each
    assert live(talk, PATIENCE_S - 0.25) == []
    gone = live(talk, 1.5)
    assert len(gone) == 1


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


def test_a_link_too_many_to_a_peer_that_is_reached_anyway_is_given_up_before_anybody_is_told() -> None:
    talk = Conversation()
    five = {number: (*everybody(number)[:3], PEERS[8].name) for number in range(5)}
    linked(talk, five)
    live(talk, 1.0)
    talk.say(1, wire.Records((said(PEERS[8], *(PEERS[number].name for number in range(5))),)))
    version = talk.mesh.peers()[0].version
    talk.connect("h:9")
    ident = LinkId(9)
    talk.mesh.receive(LinkOpened(ident, PEERS[8].name, "h:9", outbound=True, target=Target("h:9")), talk.now)
    talk.mesh.receive(FrameReceived(ident, wire.encode(wire.Hello(1, 1, 1, 0))), talk.now)
    assert [view.phase for view in talk.mesh.targets()] == [TargetPhase.REACHED]
    talk.mesh.outputs()
    live(talk, 2.0)
    assert talk.mesh.peers()[0].version == version
    stranger = LinkOpened(LinkId(10), PEERS[9].name, "h:10", outbound=False, target=None)
    talk.mesh.receive(stranger, talk.now)
    talk.mesh.receive(FrameReceived(LinkId(10), wire.encode(wire.Hello(1, 1, 1, 1))), talk.now)
    assert PEERS[9].name in [link.peer for link in talk.mesh.links()], "who is reached by nobody else is let in"
