"""The laws of probing, by transcripts: inputs in, outputs out, time as an argument."""

from ipaddress import IPv4Address
from itertools import pairwise
from random import Random

from weavemesh.overlay.probe import (
    ANSWER_TIMEOUT_S,
    BURST,
    IDLE_PROBES_PER_SECOND,
    LOSS_WINDOW,
    PROBES_PER_SECOND_MAX,
    SETTLE_S,
    SILENT_AFTER_S,
    ProbeAnswered,
    ProbeAtOnce,
    ProbeName,
    Prober,
    ProbeTargets,
    QuestionHeard,
    SendProbe,
    TunnelAlive,
    TunnelDead,
    TunnelsInUse,
)

A, B = ProbeName("a"), ProbeName("b")
ADDRESS_A, ADDRESS_B = IPv4Address("10.32.0.1"), IPv4Address("10.40.0.1")


def prober(**addresses: str) -> Prober:
    machine = Prober(rng=Random(1))
    machine.receive(ProbeTargets({ProbeName(name): IPv4Address(text) for name, text in addresses.items()}), 0.0)
    return machine


def next_probe(machine: Prober) -> tuple[SendProbe, float]:
    """Advance to the next probe that is sent."""
    for _ in range(100):
        now = machine.deadline()
        assert now is not None
        machine.tick(now)
        for output in machine.outputs():
            if isinstance(output, SendProbe):
                return output, now
    raise AssertionError("no probe was sent")


def test_nobody_to_ask_means_no_timer() -> None:
    assert Prober(rng=Random(1)).deadline() is None


def test_a_new_peer_is_asked_after_it_had_time_to_settle() -> None:
    machine = prober(a="10.32.0.1")
    assert machine.deadline() == SETTLE_S
    probe, _ = next_probe(machine)
    assert probe.address == ADDRESS_A


def test_after_an_answer_nobody_is_woken_before_the_next_question() -> None:
    machine = prober(a="10.32.0.1", b="10.40.0.1")
    for _ in range(10):
        probe, now = next_probe(machine)
        machine.receive(ProbeAnswered(probe.nonce, probe.address), now + 0.001)
    machine.outputs()
    for _ in range(10):
        due = machine.deadline()
        assert due is not None
        machine.tick(due)
        (output,) = machine.outputs()
        assert isinstance(output, SendProbe)
        machine.receive(ProbeAnswered(output.nonce, output.address), due + 0.001)
        machine.outputs()


def test_an_answer_gives_round_trip_time_and_is_told_once() -> None:
    machine = prober(a="10.32.0.1")
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now + 0.02)
    (alive,) = machine.outputs()
    assert isinstance(alive, TunnelAlive) and alive.is_first
    assert abs(alive.rtt_s - 0.02) < 1e-9
    health = machine.health(A)
    assert health is not None and health.rtt_s is not None
    assert abs(health.rtt_s - 0.02) < 1e-9
    assert health.is_alive(now + 0.02)
    assert health.loss == 0
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now + 0.02)
    (alive,) = machine.outputs()
    assert isinstance(alive, TunnelAlive) and not alive.is_first


def test_an_answer_through_anothers_tunnel_proves_nothing() -> None:
    machine = prober(a="10.32.0.1", b="10.40.0.1")
    probe, now = next_probe(machine)
    other = ADDRESS_B if probe.address == ADDRESS_A else ADDRESS_A
    machine.receive(ProbeAnswered(probe.nonce, other), now)
    assert not [output for output in machine.outputs() if isinstance(output, TunnelAlive)]


def test_a_made_up_or_doubled_answer_changes_nothing() -> None:
    machine = prober(a="10.32.0.1")
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce ^ 1, ADDRESS_A), now)
    assert machine.health(A) is not None and machine.outputs() == []
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now + 0.01)
    first = machine.health(A)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now + 5)
    assert machine.health(A) == first


def test_silence_is_loss_and_in_the_end_a_dead_tunnel_that_is_told_when_it_returns() -> None:
    machine = prober(a="10.32.0.1")
    probe, answered = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), answered)
    machine.outputs()
    now = answered
    while now < answered + SILENT_AFTER_S + ANSWER_TIMEOUT_S:
        probe, now = next_probe(machine)
    health = machine.health(A)
    assert health is not None and health.loss > 0.5
    assert not health.is_alive(now)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now)
    assert machine.outputs() == [TunnelAlive(A, 0.0, is_first=True)]


def test_who_comes_late_to_its_own_timer_blames_nobody() -> None:
    machine = prober(a="10.32.0.1")
    probe, answered = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), answered)
    machine.receive(TunnelsInUse(frozenset({A})), answered)
    machine.outputs()
    for _ in range(20):  # no answer was read meanwhile, as this host did nothing
        due = machine.deadline()
        assert due is not None
        machine.tick(due + 1.0)
        assert not [output for output in machine.outputs() if isinstance(output, TunnelDead)]
    health = machine.health(A)
    assert health is not None and not health.silent


def test_where_this_host_comes_late_an_answer_counts_for_longer_and_an_idle_tunnel_is_not_pressed() -> None:
    machine = prober(a="10.32.0.1")
    probe, answered = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), answered)
    asked: list[float] = []
    due = machine.deadline()
    assert due is not None
    machine.tick(due + 1.0)
    (question,) = [output for output in machine.outputs() if isinstance(output, SendProbe)]
    while (now := machine.deadline()) is not None and now < due + ANSWER_TIMEOUT_S + 2.0:
        machine.tick(now)
        asked += [now for output in machine.outputs() if isinstance(output, SendProbe)]
    assert len(asked) <= 3, asked
    machine.receive(ProbeAnswered(question.nonce, ADDRESS_A), due + ANSWER_TIMEOUT_S + 2.0)
    (alive,) = machine.outputs()
    assert isinstance(alive, TunnelAlive)


def test_loss_is_told_of_a_bounded_window() -> None:
    machine = prober(a="10.32.0.1")
    for _ in range(3 * LOSS_WINDOW):
        next_probe(machine)
    health = machine.health(A)
    assert health is not None and health.loss == 1.0


def test_a_peer_that_leaves_is_not_asked_and_one_that_moves_starts_afresh() -> None:
    machine = prober(a="10.32.0.1")
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now)
    machine.outputs()
    machine.receive(ProbeTargets({A: ADDRESS_B}), now)
    health = machine.health(A)
    assert health is not None and health.last_answer is None
    machine.receive(ProbeTargets({}), now)
    machine.tick(now + 60)
    assert machine.health(A) is None
    assert machine.outputs() == []
    assert machine.deadline() is None


def sent_until(machine: Prober, horizon_s: float) -> list[tuple[float, SendProbe]]:
    sent = []
    while (now := machine.deadline()) is not None and now < horizon_s:
        machine.tick(now)
        sent += [(now, output) for output in machine.outputs() if isinstance(output, SendProbe)]
    return sent


def test_the_cost_of_probing_does_not_grow_with_the_mesh() -> None:
    peers = {f"p{i:04}": str(IPv4Address(0x0A200000 + i)) for i in range(1000)}
    sent = sent_until(prober(**peers), 1500.0)
    first_round_s = len(peers) / PROBES_PER_SECOND_MAX
    assert len({probe.address for when, probe in sent if when <= first_round_s + 1}) == len(peers)
    later = [when for when, _ in sent if when > first_round_s + 1]
    assert len(later) <= IDLE_PROBES_PER_SECOND * 1.1 * (1500.0 - first_round_s)
    assert len(later) >= IDLE_PROBES_PER_SECOND * 0.8 * (1500.0 - first_round_s - len(peers) / IDLE_PROBES_PER_SECOND)


def test_many_fresh_peers_are_asked_one_by_one_after_the_first_few() -> None:
    sent = sent_until(prober(**{f"p{i:02}": f"10.32.0.{i}" for i in range(1, 51)}), 3.0)
    assert max(when for when, _ in sent[:BURST]) < SETTLE_S + 0.001
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(sent[BURST - 1 : 50])]
    assert min(gaps) > 0.99 / PROBES_PER_SECOND_MAX


def test_where_many_are_asked_in_turn_one_seldom_asked_is_alive_for_longer() -> None:
    machine = prober(**{f"p{i:02}": f"10.32.0.{i}" for i in range(1, 101)})
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, probe.address), now)
    (answered,) = [output.peer for output in machine.outputs() if isinstance(output, TunnelAlive)]
    health = machine.health(answered)
    assert health is not None
    turn_s = 100 / IDLE_PROBES_PER_SECOND
    assert health.is_alive(now + 2 * turn_s) and not health.is_alive(now + 3 * turn_s)


def answer_all(machine: Prober, *, until: float) -> int:
    """Answer every question at once until then; how many there were."""
    asked = 0
    while (now := machine.deadline()) is not None and now < until:
        machine.tick(now)
        for output in machine.outputs():
            if isinstance(output, SendProbe):
                asked += 1
                machine.receive(ProbeAnswered(output.nonce, output.address), now)
        machine.outputs()
    return asked


def test_of_two_hundred_peers_ten_in_use_are_asked_every_second_and_all_others_once_in_two_seconds_together() -> None:
    peers = {ProbeName(f"p{i:04}"): IPv4Address(0x0A200000 + i) for i in range(200)}
    machine = Prober(rng=Random(1))
    machine.receive(ProbeTargets(peers), 0.0)
    answer_all(machine, until=300.0)
    machine.receive(TunnelsInUse(frozenset(list(peers)[:10])), 300.0)
    answer_all(machine, until=400.0)
    asked = answer_all(machine, until=500.0)
    assert 1050 <= asked <= 1150  # 100 s with 10 / 0.94 + 0.5 a second


def test_peers_that_were_fresh_together_are_not_asked_together_for_ever() -> None:
    peers = {ProbeName(f"p{i:04}"): IPv4Address(0x0A200000 + i) for i in range(100)}
    machine = Prober(rng=Random(1))
    machine.receive(ProbeTargets(peers), 0.0)
    answer_all(machine, until=200.0)
    counts = [answer_all(machine, until=until) for until in range(220, 600, 20)]
    assert max(counts) <= 2 * 20 * IDLE_PROBES_PER_SECOND and min(counts) >= 3


def test_a_host_that_is_woken_for_one_idle_tunnel_asks_the_next_along_with_it() -> None:
    peers = {ProbeName(f"p{i:04}"): IPv4Address(0x0A200000 + i) for i in range(100)}
    machine = Prober(rng=Random(1))
    machine.receive(ProbeTargets(peers), 0.0)
    answer_all(machine, until=300.0)
    wakings = asked = 0
    while (now := machine.deadline()) is not None and now < 1300.0:
        wakings += 1
        asked += answer_all(machine, until=now + 0.001)
    assert asked >= 0.9 * 1000 * IDLE_PROBES_PER_SECOND
    assert wakings <= 0.6 * asked


def test_of_few_idle_tunnels_each_is_asked_when_it_is_due() -> None:
    machine = Prober(rng=Random(1))
    machine.receive(
        ProbeTargets({ProbeName("a"): IPv4Address("10.32.0.1"), ProbeName("b"): IPv4Address("10.36.0.1")}), 0.0
    )
    answer_all(machine, until=100.0)
    asked = answer_all(machine, until=200.0)
    assert 45 <= asked <= 55


def test_of_two_ends_of_an_idle_tunnel_only_one_asks_and_both_know() -> None:
    names = [ProbeName(f"p{i:02}") for i in range(20)]
    addresses = {name: IPv4Address(0x0A200000 + i) for i, name in enumerate(names)}
    machines = {name: Prober(rng=Random(str(name))) for name in names}
    for name, machine in machines.items():
        machine.receive(ProbeTargets({other: address for other, address in addresses.items() if other != name}), 0.0)
    asked, now, horizon_s = 0, 0.0, 600.0
    while now < horizon_s:
        due = {name: machine.deadline() or horizon_s for name, machine in machines.items()}
        name = min(names, key=lambda one: due[one])
        now = due[name]
        machines[name].tick(now)
        for output in machines[name].outputs():
            if isinstance(output, SendProbe):
                asked += now >= horizon_s / 2
                if output.rtt_s is not None:
                    machines[output.peer].receive(QuestionHeard(name, output.rtt_s), now + 0.001)
                machines[name].receive(ProbeAnswered(output.nonce, output.address), now + 0.002)
    assert asked <= 1.1 * len(names) * IDLE_PROBES_PER_SECOND * horizon_s / 2 / 2
    turn_s = (len(names) - 1) / IDLE_PROBES_PER_SECOND
    for name, machine in machines.items():
        for other in set(names) - {name}:
            health = machine.health(other)
            assert health is not None and health.last_answer is not None and health.rtt_s is not None
            assert health.last_answer >= horizon_s - 1.2 * turn_s and abs(health.rtt_s - 0.002) < 0.001


def test_a_question_that_is_heard_tells_nothing_where_there_is_something_to_find_out() -> None:
    machine = prober(a="10.32.0.1")
    heard = QuestionHeard(A, 0.005)
    machine.receive(heard, 0.5)
    assert machine.outputs() == [] and machine.deadline() == SETTLE_S  # whether we are answered is not known yet
    probe, now = next_probe(machine)
    machine.receive(ProbeAnswered(probe.nonce, ADDRESS_A), now)
    machine.outputs()
    machine.receive(QuestionHeard(B, 0.005), now + 0.1)
    assert machine.outputs() == []  # from nobody that is watched
    machine.receive(heard, now + 0.1)
    assert machine.outputs() == [TunnelAlive(A, 0.005, is_first=False)]
    put_off_to = machine.deadline()
    assert put_off_to is not None and put_off_to > now + 1.8
    probe, now = next_probe(machine)
    assert (now, probe.rtt_s) == (put_off_to, 0.005)
    due = machine.deadline()
    machine.receive(heard, now + 0.1)
    assert machine.outputs() == [] and machine.deadline() == due  # our own question has no answer yet
    again, now = next_probe(machine)
    assert again.rtt_s is None  # and until it has, others are told nothing
    machine.receive(ProbeAnswered(again.nonce, ADDRESS_A), now)
    machine.receive(TunnelsInUse(frozenset({A})), now)
    machine.outputs()
    due = machine.deadline()
    machine.receive(heard, now + 0.01)
    assert machine.outputs() == [] and machine.deadline() == due  # in use: asked each second by both


def test_silence_of_a_used_tunnel_is_told_within_two_seconds_and_once() -> None:
    machine = prober(a="10.32.0.1")
    machine.receive(TunnelsInUse(frozenset({A})), 0.0)
    answer_all(machine, until=10.0)
    dead_at: list[float] = []
    while (now := machine.deadline()) is not None and now < 30.0:
        machine.tick(now)
        dead_at += [now for output in machine.outputs() if isinstance(output, TunnelDead)]
    assert len(dead_at) == 1 and dead_at[0] - 10.0 <= 2.3


def test_a_silence_that_goes_on_over_another_path_is_told_again() -> None:
    machine = prober(a="10.32.0.1")
    machine.receive(TunnelsInUse(frozenset({A})), 0.0)
    answer_all(machine, until=10.0)
    dead_at: list[float] = []
    is_changed = False
    while (now := machine.deadline()) is not None and now < 40.0:
        if now > 20.0 and not is_changed:
            machine.receive(ProbeAtOnce(A), now)
            is_changed = True
        machine.tick(now)
        dead_at += [now for output in machine.outputs() if isinstance(output, TunnelDead)]
    assert len(dead_at) == 2 and 20.0 < dead_at[1] < 26.0


def test_one_lost_question_makes_no_silence() -> None:
    machine = prober(a="10.32.0.1")
    machine.receive(TunnelsInUse(frozenset({A})), 0.0)
    answer_all(machine, until=10.0)
    next_probe(machine)
    now = machine.deadline()
    assert now is not None
    machine.tick(now)
    (again,) = machine.outputs()
    assert isinstance(again, SendProbe)
    machine.receive(ProbeAnswered(again.nonce, ADDRESS_A), now)
    assert not [output for output in machine.outputs() if isinstance(output, TunnelDead)]


def test_a_peer_whose_path_changed_is_asked_at_once() -> None:
    machine = prober(a="10.32.0.1")
    answer_all(machine, until=10.0)
    machine.receive(ProbeAtOnce(A), 10.1)
    assert machine.deadline() == 10.1
