"""The real shell of the control links on a virtual clock: `Driver`, `ControlLinks`, the gossip core, links in memory.

Peers start, stop, are cancelled between any two of their steps, and are cut off; whatever happens, all who are left
agree in the end, nothing is left open, and no task dies of anything but its cancellation.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

import gossip
from tests.simulation.simloop import SimLoop, run
from tests.unit.weavemesh.mesh_pair import PORT, LinkedPeer
from weavemesh.transport.memory import MemoryNetwork

AGREE_S = 60.0


class Agent:
    """One host on which peers live one after the other."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self.host = host
        self._network = network
        self.peer: LinkedPeer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_started(self) -> bool:
        return self._task is not None

    def start(self, group: asyncio.TaskGroup, *targets: str) -> None:
        self._task = group.create_task(self._live(targets))

    async def stop(self) -> None:
        """Cancel it wherever it is."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.peer = None

    async def _live(self, targets: tuple[str, ...]) -> None:
        peer = self.peer = LinkedPeer(self._network, self.host)
        listener = await peer.transport.listen(PORT)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(peer.links.run(listener))
                group.create_task(peer.driver.run())
                # Its address is its host's name: `dial_addresses` finds none in it, so targets alone are dialled.
                peer.driver.feed(gossip.PublishSummary(self.host.encode()))
                peer.connect(*targets)
        finally:
            listener.close()


def agree(agents: list[Agent]) -> bool:
    peers = [agent.peer for agent in agents if agent.peer is not None]
    if len(peers) < sum(agent.is_started for agent in agents):
        return False
    names = {peer.identity.name for peer in peers}
    return all({*peer.mesh.reachable(), peer.identity.name} == names for peer in peers)


async def until_agreed(agents: list[Agent]) -> None:
    async with asyncio.timeout(AGREE_S):
        while not agree(agents):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)


@asynccontextmanager
async def hosts(count: int, seed: int) -> AsyncIterator[tuple[asyncio.TaskGroup, MemoryNetwork, list[Agent]]]:
    rng = random.Random(seed)
    network = MemoryNetwork(delay=lambda _source, _destination: rng.uniform(0.001, 0.2))
    agents = [Agent(network, f"host{number}") for number in range(count)]
    async with asyncio.TaskGroup() as group:
        yield group, network, agents
        for agent in agents:
            await agent.stop()
    assert network.is_quiet(), "a listener was left open"


@pytest.mark.parametrize("seed", range(20))
def test_all_who_are_left_agree_whatever_happened_to_the_others(seed: int) -> None:
    async def scenario() -> None:
        rng = random.Random(seed)
        async with hosts(5, seed) as (group, network, agents):
            for agent in agents:
                agent.start(group, agents[0].host, rng.choice(agents).host)
            for _ in range(15):
                await asyncio.sleep(rng.uniform(0, 3))
                agent, other = rng.sample(agents, 2)
                match rng.randrange(4):
                    case 0:
                        await agent.stop()
                    case 1 if not agent.is_started:
                        agent.start(group, agents[0].host, other.host)
                    case 2:
                        network.cut(agent.host, other.host)
                    case _:
                        for one in agents:
                            for two in agents:
                                network.heal(one.host, two.host)
            for one in agents:
                for two in agents:
                    network.heal(one.host, two.host)
                if not one.is_started:
                    one.start(group, agents[0].host)
            await until_agreed(agents)

    run(seed, scenario())


def test_a_peer_can_be_cancelled_between_any_two_steps() -> None:
    """The second of three is cancelled in the 1st, 2nd, 3rd … round of the loop after its start, and starts again."""

    async def scenario(rounds: int) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with hosts(3, rounds) as (group, _, agents):
            first, second, third = agents
            first.start(group)
            third.start(group, first.host)
            await until_agreed(agents)
            begin = loop.rounds
            second.start(group, first.host, third.host)
            while loop.rounds < begin + rounds:  # noqa: ASYNC110 - the rounds are what is counted
                await asyncio.sleep(0)
            was_settled = second.peer is not None and agree(agents)
            await second.stop()
            await until_agreed(agents)
            second.start(group, first.host)
            await until_agreed(agents)
            return was_settled

    settled = [run(rounds, scenario(rounds)) for rounds in range(150)]
    assert not settled[0]


def test_a_slow_reader_is_told_everything_in_the_end_and_costs_little() -> None:
    """Over a link that is cut both ways for a while, news of a channel becomes one state, not a queue."""

    class Words:
        def __init__(self) -> None:
            self.text = b""

        def digest(self) -> bytes:
            return self.text[:16]

        def state(self) -> bytes:
            return self.text

    async def scenario() -> None:
        async with hosts(2, 1) as (group, network, agents):
            one, other = agents
            words = Words()
            one.start(group)
            await asyncio.sleep(0.1)
            assert one.peer is not None
            one.peer.mesh.register("words", words)
            other.start(group, one.host)
            await asyncio.sleep(5)
            network.cut(one.host, other.host)
            for number in range(100):
                words.text = b"%d" % number + bytes(100_000)
                one.peer.driver.feed(gossip.GossipNews("words", words.text))
                await asyncio.sleep(0.01)
            (connection,) = one.peer.links.connections()
            assert connection.queued_bytes < 600_000, "of ten million"
            network.heal(one.host, other.host)
            await until_agreed(agents)

    run(1, scenario())
