"""What is known to have broken address rings of this kind, one scenario each, and how it ends here."""

from collections.abc import Sequence
from ipaddress import IPv4Network

from ipam_crdt import Allocate, Claim, Clear, Electorate, Remove
from tests.simulation.ipam_world import Host, World

PATIENCE_S = 8.0


def mesh(host_count: int, *, universe: str = "10.32.0.0/24", pods: int = 1) -> World:
    """Hosts that have all met and have some pods each."""
    world = World(seed=1, host_count=host_count, universe=universe, loss=0.0, delay_s=(0.001, 0.01))
    for host in world.hosts:
        world.start(host)
        world.run(world.now + PATIENCE_S)
        for number in range(pods):
            world.feed(host, Allocate(f"pod{number}", world.now + PATIENCE_S))
        world.run(world.now + PATIENCE_S)
        assert len(host.told) == pods
    return world


def part(world: World, some: Sequence[Host], others: Sequence[Host]) -> None:
    for one in some:
        for other in others:
            world.cut(one, other)
            world.cut(other, one)


def findings(host: Host) -> tuple[str, ...]:
    assert host.allocator is not None
    return host.allocator.status().findings


def owned(host: Host, owner: Host) -> tuple[IPv4Network, ...]:
    assert host.allocator is not None
    return host.allocator.owned(owner.name)


def test_two_survivors_that_remove_one_dead_peer_at_once_do_not_both_get_its_addresses() -> None:
    world = mesh(3)
    one, other, dead = world.hosts
    with world.reporting():
        world.crash(dead)
        part(world, [one], [other])
        for survivor in (one, other):
            world.feed(survivor, Remove(dead.name))
        world.run(world.now + 2)
        world.heal()
        world.run(world.now + 5)
        assert owned(one, dead) == owned(other, dead) == ()
        assert sum(network.num_addresses for host in (one, other) for network in owned(one, host)) == 256
        assert findings(one) == findings(other) == ()
        world.settle()
        world.exhaust()


def test_an_estate_is_handed_out_within_a_second_when_all_others_are_there() -> None:
    world = mesh(5)
    dead = world.hosts[2]
    with world.reporting():
        world.crash(dead)
        world.feed(world.hosts[4], Remove(dead.name))
        world.run(world.now + 1)
        assert sum(network.num_addresses for host in world.hosts for network in owned(world.hosts[0], host)) == 256


def test_a_peer_that_was_removed_while_cut_off_is_fenced_when_it_returns_and_harms_nobody() -> None:
    for pods in (0, 3):
        world = mesh(3, pods=pods)
        one, other, lost = world.hosts
        with world.reporting():
            part(world, [lost], [one, other])
            world.run(world.now + 2)
            world.feed(one, Remove(lost.name))
            world.run(world.now + 5)
            assert owned(one, lost) == ()
            world.heal()
            world.run(world.now + 10)
            assert lost.allocator is not None
            assert lost.allocator.is_removed
            world.feed(lost, Allocate("late", world.now + PATIENCE_S))
            assert "late" not in lost.told
            for host in (one, other):
                world.feed(host, Allocate("late", world.now + PATIENCE_S))
                world.run(world.now + PATIENCE_S)
                assert "late" in host.told
            assert findings(one) == findings(other) == ()


def test_an_estate_waits_for_a_peer_that_is_away_and_says_so() -> None:
    world = mesh(4)
    one, other, away, dead = world.hosts
    with world.reporting():
        world.crash(dead)
        world.crash(away)
        world.feed(other, Remove(dead.name))
        world.run(world.now + 10)
        assert one.allocator is not None
        assert other.allocator is not None
        (reason,) = one.allocator.status().unsettled
        assert away.name in reason
        assert "unreachable" in reason
        assert one.name in other.allocator.status().unsettled[0]
        world.feed(one, Allocate("meanwhile", world.now + PATIENCE_S))
        assert "meanwhile" in one.told, "all else goes on"
        world.start(away)
        world.run(world.now + 5)
        assert one.allocator.status().unsettled == ()


def test_without_a_quorum_a_request_is_refused_by_its_deadline_with_the_reason() -> None:
    world = World(seed=1, host_count=3, universe="10.32.0.0/24", loss=0.0, delay_s=(0.001, 0.01))
    for host in world.hosts:
        host.electorate = Electorate.counted(3)
    alone = world.hosts[0]
    with world.reporting():
        world.start(alone)
        world.feed(alone, Allocate("pod", world.now + PATIENCE_S))
        world.run(world.now + PATIENCE_S + 1)
        world.assert_answered()
        assert alone.told == {}
        world.start(world.hosts[1])
        world.feed(alone, Allocate("pod", world.now + PATIENCE_S))
        world.run(world.now + PATIENCE_S)
        assert "pod" in alone.told, "two of three are a majority"
        world.start(world.hosts[2])
        world.settle()


def test_initial_peers_have_shares_at_once() -> None:
    world = World(seed=2, host_count=4, universe="10.32.0.0/20", loss=0.0, delay_s=(0.001, 0.01))
    for host in world.hosts:
        host.electorate = Electorate.counted(4)
        world.start(host)
    with world.reporting():
        world.run(10.0)
        assert [owned(world.hosts[0], host)[0].prefixlen for host in world.hosts] == [22, 22, 22, 22]


def test_a_state_folder_from_a_backup_is_recognised_and_what_is_in_doubt_is_not_handed_out() -> None:
    """It gives away again what it had given. Both may have used it; who loses it is told, and the other waits."""
    world = World(seed=1, host_count=3, universe="10.32.0.0/28", loss=0.0, delay_s=(0.001, 0.01))
    old, early, late = world.hosts
    world.start(old)
    world.run(world.now + 2)
    backup = old.disk
    world.start(early)
    world.run(world.now + 2)
    world.feed(early, Allocate("early", world.now + PATIENCE_S))
    world.run(world.now + 2)
    world.crash(old)
    part(world, [early], [old, late])
    old.disk, old.told = backup, {}
    world.is_law_suspended = True
    world.start(old)
    world.start(late)
    world.run(world.now + 4)
    world.feed(late, Allocate("late", world.now + PATIENCE_S))
    world.run(world.now + 3)
    assert owned(early, early) == owned(late, late), "given twice"
    world.heal()
    world.run(world.now + 20)
    winner = next(host for host in (early, late) if owned(old, host))
    loser = late if winner is early else early
    assert winner.allocator is not None
    (doubtful,) = winner.allocator.status().quarantined
    assert doubtful == owned(winner, winner)[0]
    assert any(str(doubtful) in finding and "weavemesh ipam clear" in finding for finding in findings(winner))
    assert any("older than what it promised" in finding for finding in findings(loser))
    world.feed(winner, Allocate("another", world.now + PATIENCE_S))
    world.run(world.now + 4)
    assert winner.told["another"] not in doubtful
    world.feed(winner, Clear(doubtful))
    assert winner.allocator.status().quarantined == ()
    world.feed(winner, Claim("cleared", doubtful[-2], world.now + PATIENCE_S))
    assert winner.told["cleared"] in doubtful


def test_two_meshes_founded_apart_refuse_each_other_and_go_on() -> None:
    world = World(seed=3, host_count=2, universe="10.32.0.0/24", loss=0.0, delay_s=(0.001, 0.01))
    one, other = world.hosts
    other.electorate = Electorate.addressed(0)
    world.is_law_suspended = True
    world.start(one)
    world.start(other)
    world.run(10.0)
    for host in (one, other):
        (finding,) = findings(host)
        assert "founded apart" in finding
        assert "weavemesh reset" in finding
        world.feed(host, Allocate("pod", world.now + PATIENCE_S))
        assert host.allocator is not None
        assert "pod" in host.allocator.allocations()
