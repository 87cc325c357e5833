"""A silent neighbour: doubted, asked about, vouched for or given up."""

import msgspec

from gossip import wire
from gossip.suspicion import ASKERS_MAX, DOUBT_S, SILENCE_MAX_S, SILENCE_VOUCHED_S, Ask, Vouch
from gossip.unicast import write_unicast
from gossip.wire import MESH_CHANNEL
from tests.unit.gossip.transcript import NAMES, SIGNERS, Conversation, record


def own(source: str, message: Ask | Vouch, *, sequence: int = 1, destination: str = "me") -> wire.Unicast:
    payload = msgspec.msgpack.encode(message)
    return write_unicast(SIGNERS[source], MESH_CHANNEL, NAMES[destination], payload, epoch=1, sequence=sequence)


def scene() -> Conversation:
    """We are linked with ann and bob, who are linked with each other and with cat."""
    talk = Conversation(discovery=False)
    talk.meet(1, "ann", record("ann", 1, 1, ["me", "bob", "cat"]))
    talk.meet(2, "bob", record("bob", 1, 1, ["me", "ann", "cat"]), record("cat", 1, 1, ["ann", "bob"]))
    for _ in range(2):
        talk.pass_time(0.2)
        for link in (1, 2):
            talk.say(link, wire.Ping(1))
    talk.forget()
    return talk


def silence(talk: Conversation, seconds: float) -> None:
    """Let time pass in which only bob is heard."""
    end = talk.now + seconds
    while talk.now < end - 1e-9:
        talk.pass_time(min(0.1, end - talk.now))
        talk.say(2, wire.Pong(99))


def asked(talk: Conversation) -> list[str]:
    """Return to whom an Ask went out."""
    lines = [line for line in talk.page().splitlines() if line.startswith("<<") and "unicast on mesh" in line]
    return [line.split(" to ")[1].split(",")[0] for line in lines]


def test_others_are_asked_about_a_silent_neighbour_over_other_ways() -> None:
    talk = scene()
    silence(talk, DOUBT_S - 0.15)
    assert asked(talk) == []
    silence(talk, 0.3)
    assert sorted(asked(talk)) == ["bob", "cat"]
    assert all("<< 2: unicast" in line for line in talk.page().splitlines() if "<<" in line and "on mesh" in line)
    assert [link.in_doubt for link in talk.mesh.links()] == [True, False]
    ann = talk.mesh.peer(NAMES["ann"])
    assert ann is not None
    assert (ann.reachable, ann.next_hop) == (True, NAMES["bob"]), "packets to it avoid the silent link"


def test_one_frame_refutes() -> None:
    talk = scene()
    silence(talk, DOUBT_S + 0.2)
    talk.say(1, wire.Pong(1))
    assert not any(link.in_doubt for link in talk.mesh.links())
    silence(talk, 0.2)
    ann = talk.mesh.peer(NAMES["ann"])
    assert ann is not None and ann.next_hop == NAMES["ann"]


def test_whom_nobody_hears_is_given_up_soon() -> None:
    talk = scene()
    silence(talk, SILENCE_MAX_S - 0.1)
    assert len(talk.mesh.links()) == 2
    silence(talk, 0.2)
    assert [link.peer for link in talk.mesh.links()] == [NAMES["bob"]]
    assert "close 1: nothing heard for 3." in talk.page() and "broken" not in talk.page()


def test_whom_somebody_hears_is_given_more_time_and_then_the_way_is_blamed() -> None:
    talk = scene()
    silence(talk, DOUBT_S + 0.2)
    talk.say(2, own("cat", Vouch(NAMES["ann"], 1)))
    silence(talk, SILENCE_VOUCHED_S - DOUBT_S - 0.4)
    assert len(talk.mesh.links()) == 2
    silence(talk, 0.4)
    assert [link.peer for link in talk.mesh.links()] == [NAMES["bob"]]
    assert f"though {NAMES['cat']} hears it: the way between us is broken" in talk.page()


def test_a_vouch_for_an_old_doubt_or_by_the_subject_itself_or_forged_counts_nothing() -> None:
    talk = scene()
    silence(talk, DOUBT_S + 0.2)
    talk.say(2, own("cat", Vouch(NAMES["ann"], 7)))
    talk.say(2, own("ann", Vouch(NAMES["ann"], 1)))
    talk.say(2, msgspec.structs.replace(own("cat", Vouch(NAMES["ann"], 1), sequence=2), signature=b"x"))
    talk.say(2, own("cat", Vouch(NAMES["eve"], 1), sequence=3))
    silence(talk, SILENCE_MAX_S - DOUBT_S)
    assert [link.peer for link in talk.mesh.links()] == [NAMES["bob"]]


def test_who_just_heard_the_subject_vouches_at_once() -> None:
    talk = scene()
    talk.say(1, wire.Pong(1))
    talk.forget()
    talk.say(2, own("cat", Ask(NAMES["ann"], 5)))
    assert asked(talk) == ["cat"]
    assert "<< 1: ping" not in talk.page()


def test_who_has_not_pings_the_subject_and_vouches_when_it_answers() -> None:
    talk = scene()
    silence(talk, 1.0)
    talk.forget()
    talk.say(2, own("cat", Ask(NAMES["ann"], 5)))
    talk.say(2, own("bob", Ask(NAMES["ann"], 9)))
    assert asked(talk) == []
    assert talk.page().count("<< 1: ping") == 2
    talk.say(1, wire.Pong(2))
    assert asked(talk) == ["cat", "bob"]
    talk.forget()
    talk.say(1, wire.Pong(3))
    assert asked(talk) == [], "once"


def test_nothing_is_answered_about_strangers_and_nonsense_is_ignored() -> None:
    talk = scene()
    talk.say(2, own("cat", Ask(NAMES["eve"], 5)))
    for sequence, payload in ((2, b""), (3, b"\xc1"), (4, msgspec.msgpack.encode([7, "later"]))):
        unicast = write_unicast(SIGNERS["cat"], MESH_CHANNEL, NAMES["me"], payload, epoch=1, sequence=sequence)
        talk.say(2, unicast)
    assert "<<" not in talk.page()
    assert len(talk.mesh.links()) == 2


def test_askers_are_bounded() -> None:
    talk = scene()
    silence(talk, 1.0)
    for number in range(3 * ASKERS_MAX):
        talk.say(2, own("cat", Ask(NAMES["ann"], number), sequence=number + 1))
    talk.forget()
    talk.say(1, wire.Pong(2))
    assert asked(talk) == ["cat"], "one answer each, for its latest doubt"


def test_a_neighbour_without_other_neighbours_is_given_up_without_asking() -> None:
    talk = Conversation(discovery=False)
    talk.meet(1, "ann", record("ann", 1, 1, ["me"]))
    for _ in range(40):
        talk.pass_time(0.1)
    assert talk.mesh.links() == ()
    assert "unicast" not in talk.page()


def test_a_starved_process_gives_others_more_time() -> None:
    talk = scene()
    for _ in range(9):
        talk.pass_time(7.0)
        talk.say(1, wire.Pong(1))
        talk.say(2, wire.Pong(1))
    silence(talk, SILENCE_MAX_S + 1.0)
    assert len(talk.mesh.links()) == 2, "called late again and again: patience is stretched"
