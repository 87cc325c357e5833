"""The machine for MTUs, step by step; what it does in whole meshes is in tests/simulation/test_mtu.py."""

from ipaddress import IPv4Address, IPv4Network
from random import Random

from weavemesh.overlay.mtu import (
    DEAF_ROUNDS,
    OVERDUE_USED_S,
    RAISE_INTERVAL_S,
    SHORT_BETWEEN,
    MtuChanged,
    PathChanged,
    PathMtus,
    QuestionSent,
    SendSized,
)
from weavemesh.overlay.probe import ProbeAnswered, ProbeName, ProbeTargets, QuestionHeard, TunnelsInUse

PEER, THERE, NETWORK = ProbeName("peer"), IPv4Address("10.33.0.1"), IPv4Network("10.33.0.0/24")


def machine(*, most: int = 1420, adopted: int | None = None, used: bool = True) -> PathMtus:
    found = {} if adopted is None else {NETWORK: adopted}
    mtus = PathMtus(most=most, unproven=min(most, 1408 if most > 1420 else 1420), adopted=found, rng=Random(1))
    mtus.receive(ProbeTargets({PEER: THERE}), 0.0)
    mtus.receive(TunnelsInUse(frozenset({PEER} if used else ())), 0.0)
    return mtus


def question(mtus: PathMtus, nonce: int, now: float, *, short: bool = False) -> int:
    """The prober asks; how long the question is."""
    octets = 0 if short else mtus.question_octets(PEER)
    mtus.receive(QuestionSent(PEER, nonce, octets), now)
    return octets


def answer(mtus: PathMtus, nonce: int, now: float, *, source: IPv4Address = THERE) -> None:
    mtus.receive(ProbeAnswered(nonce, source), now)


def asked(mtus: PathMtus) -> dict[int, int]:
    """Nonces of what is asked for, by size, and that nothing else is put out."""
    outputs = mtus.outputs()
    assert all(isinstance(output, SendSized) and output.address == THERE for output in outputs)
    return {output.octets: output.nonce for output in outputs if isinstance(output, SendSized)}


def advance(mtus: PathMtus) -> float:
    """To the next deadline."""
    now = mtus.deadline()
    assert now is not None
    mtus.tick(now)
    return now


def narrowed(mtus: PathMtus, *, passes: int) -> list[int]:
    """A question at 1.0 is lost; what passes of the rounds that follow is answered. The sizes in the order asked."""
    question(mtus, 1, 1.0)
    sizes = []
    while (deadline := mtus.deadline()) is not None and deadline < 60.0:
        mtus.tick(deadline)
        for output in mtus.outputs():
            if isinstance(output, SendSized):
                sizes.append(output.octets)
                if output.octets <= passes:
                    answer(mtus, output.nonce, deadline + 0.01)
    return sizes


def test_a_question_that_is_answered_proves_its_size_and_costs_nothing() -> None:
    mtus = machine()
    assert (mtus.mtu(PEER), mtus.proven(PEER)) == (1420, None)
    assert question(mtus, 1, 1.0) == 1420
    answer(mtus, 1, 1.01)
    assert (mtus.proven(PEER), mtus.deadline(), mtus.outputs()) == (1420, None, [])


def test_one_that_is_overdue_brings_all_smaller_sizes_at_once_and_the_largest_that_passes_holds() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    assert advance(mtus) == 1.0 + OVERDUE_USED_S
    sizes = asked(mtus)
    assert list(sizes) == [1420, 1408, 1392, 1376, 1328, 1280, 1232, 1200, 1024, 512]
    for octets in (1232, 1200, 1024, 512):
        answer(mtus, sizes[octets], 1.2)
    now = advance(mtus)
    assert now < 1.3
    changed, *rest = mtus.outputs()
    assert changed == MtuChanged(PEER, 1232) and mtus.mtu(PEER) == 1232
    assert [one.octets for one in rest if isinstance(one, SendSized)] == [1280, 1264, 1248, 1232]


def test_the_search_ends_with_what_passes_and_is_taken_up_again_after_the_raise_interval() -> None:
    mtus = machine()
    assert len(narrowed(mtus, passes=1239)) <= 22
    assert (mtus.mtu(PEER), mtus.proven(PEER)) == (1232, 1232)
    deadline = mtus.deadline()
    assert deadline is not None and 0.9 * RAISE_INTERVAL_S <= deadline <= 1.1 * RAISE_INTERVAL_S + 10.0
    mtus.tick(deadline)
    assert list(asked(mtus)) == [1248, 1232], "one step more, and what passes"


def test_false_alarms_do_not_put_off_the_search_for_more() -> None:
    mtus = machine()
    narrowed(mtus, passes=1239)
    raise_at = mtus.deadline()
    for number in range(20):
        question(mtus, 100 + number, 60.0 + 20 * number)
        now = advance(mtus)
        answer(mtus, asked(mtus)[1232], now + 0.01)
        advance(mtus)
        assert (mtus.outputs(), mtus.deadline()) == ([], raise_at)


def test_a_false_alarm_changes_nothing() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    now = advance(mtus)
    answer(mtus, asked(mtus)[1420], now + 0.01)
    advance(mtus)
    assert (mtus.outputs(), mtus.mtu(PEER), mtus.proven(PEER), mtus.deadline()) == ([], 1420, 1420, None)


def test_a_round_without_any_answer_waits_for_one() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    advance(mtus)
    assert asked(mtus)
    advance(mtus)
    assert (mtus.outputs(), mtus.deadline(), mtus.mtu(PEER)) == ([], None, 1420)
    question(mtus, 2, 3.0)
    advance(mtus)
    assert mtus.outputs() == [], "nothing has come since"
    question(mtus, 3, 4.0, short=True)
    answer(mtus, 3, 4.01)
    advance(mtus)
    assert len(asked(mtus)) == 10


def test_a_round_that_was_lost_as_a_whole_is_begun_again_as_soon_as_something_sent_later_is_answered() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    began = advance(mtus)
    assert asked(mtus)
    question(mtus, 2, began + 0.1, short=True)
    answer(mtus, 2, began + 0.11)
    assert advance(mtus) == began + 0.11
    assert asked(mtus)


def test_who_answers_short_questions_alone_is_asked_short_ones() -> None:
    mtus = machine()
    now = 1.0
    for number in range(DEAF_ROUNDS):
        question(mtus, 100 + number, now, short=number > 0)
        if number:
            answer(mtus, 100 + number, now)
        advance(mtus)
        assert asked(mtus)
        now = advance(mtus) + 1.0
    assert mtus.question_octets(PEER) == 0
    assert (mtus.mtu(PEER), mtus.proven(PEER)) == (1420, None)
    deadline = mtus.deadline()
    assert deadline is not None and deadline > 0.9 * RAISE_INTERVAL_S
    mtus.receive(PathChanged(PEER), now)
    assert mtus.question_octets(PEER) == 1420


def test_a_larger_size_is_looked_for_when_the_path_has_changed() -> None:
    mtus = machine()
    narrowed(mtus, passes=1239)
    mtus.receive(PathChanged(PEER), 20.0)
    assert mtus.proven(PEER) is None
    assert question(mtus, 1, 20.0) == 1232
    answer(mtus, 1, 20.01)
    now = advance(mtus)
    sizes = asked(mtus)
    assert list(sizes) == [1420, 1408, 1392, 1376, 1328, 1280, 1232]
    answer(mtus, sizes[1420], now + 0.01)
    advance(mtus)
    assert mtus.outputs() == [MtuChanged(PEER, 1420)] and mtus.deadline() is None


def test_what_a_former_life_found_holds_until_something_else_is_found() -> None:
    mtus = machine(adopted=1232)
    assert mtus.mtu(PEER) == 1232
    assert mtus.mtu(ProbeName("unknown"), (NETWORK,)) == 1232
    assert mtus.mtu(ProbeName("unknown"), (IPv4Network("10.34.0.0/24"),)) == 1420
    assert machine(most=1200, adopted=1232).mtu(PEER) == 1200, "the device takes no more"


def test_answers_of_others_or_to_nothing_prove_nothing() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    answer(mtus, 1, 1.01, source=IPv4Address("10.34.0.1"))
    answer(mtus, 2, 1.01)
    assert mtus.proven(PEER) is None
    assert mtus.question_octets(ProbeName("unknown")) == 0
    mtus.receive(QuestionSent(ProbeName("unknown"), 3, 0), 1.0)
    mtus.receive(PathChanged(ProbeName("unknown")), 1.0)
    assert mtus.mtu(ProbeName("unknown")) == 1420


def test_a_host_that_is_late_reads_what_waits_before_it_goes_on() -> None:
    mtus = machine()
    question(mtus, 1, 1.0)
    mtus.tick(3.0)
    assert mtus.outputs() == []
    answer(mtus, 1, 3.0)
    assert mtus.deadline() is None


def test_an_idle_tunnel_waits_for_the_purse_and_one_in_use_does_not() -> None:
    peers = {ProbeName(f"p{number:03}"): IPv4Address(f"10.33.{number}.1") for number in range(200)}
    mtus = PathMtus(most=8921, unproven=1408, adopted={}, rng=Random(1))
    mtus.receive(ProbeTargets(peers), 0.0)
    for number, (name, address) in enumerate(peers.items()):
        mtus.receive(QuestionSent(name, number, 0), 1.0)
        mtus.receive(ProbeAnswered(number, address), 1.0)
    mtus.tick(1.0)
    assert len(mtus.outputs()) <= 64
    last = list(peers)[-1]
    mtus.receive(TunnelsInUse(frozenset({last})), 2.0)
    assert {output.address for output in mtus.outputs() if isinstance(output, SendSized)} == {peers[last]}
    sent = 0
    while (deadline := mtus.deadline()) is not None and deadline < 1000.0:
        mtus.tick(deadline)
        sent += len(mtus.outputs())
    assert 500 <= sent <= 1100, "one a second"


def test_peers_that_go_or_move_are_forgotten() -> None:
    mtus = machine()
    narrowed(mtus, passes=1239)
    mtus.receive(ProbeTargets({PEER: THERE}), 30.0)
    assert mtus.mtu(PEER) == 1232
    mtus.receive(ProbeTargets({PEER: IPv4Address("10.34.0.1")}), 31.0)
    assert mtus.mtu(PEER) == 1420
    mtus.receive(ProbeTargets({}), 32.0)
    assert mtus.question_octets(PEER) == 0
    mtus.tick(1000.0)
    assert mtus.outputs() == []


def test_through_a_tunnel_that_nobody_uses_most_questions_are_short() -> None:
    mtus = machine(used=False)
    lengths = []
    for nonce in range(2 * (SHORT_BETWEEN + 1)):
        lengths.append(question(mtus, nonce, float(nonce)))
        answer(mtus, nonce, nonce + 0.01)
    assert lengths == [1420, *[0] * SHORT_BETWEEN] * 2
    mtus.receive(TunnelsInUse(frozenset({PEER})), 20.0)
    assert mtus.question_octets(PEER) == 1420


def test_also_where_the_other_end_alone_asks_a_long_question_comes_in_its_turn() -> None:
    mtus = machine(used=False)
    assert question(mtus, 0, 0.0) == 1420
    answer(mtus, 0, 0.01)
    for nonce in range(SHORT_BETWEEN):
        assert mtus.question_octets(PEER) == 0
        mtus.receive(QuestionHeard(PEER, 0.01), 1.0 + nonce)
    assert question(mtus, 1, 10.0) == 1420
    answer(mtus, 1, 10.01)
    assert mtus.question_octets(PEER) == 0
    mtus.receive(QuestionHeard(ProbeName("gone"), 0.01), 11.0)
    assert mtus.deadline() is None and mtus.outputs() == []
