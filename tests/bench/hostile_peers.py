"""Hostile peers against a real agent, as root: python tests/bench/hostile_peers.py [CONNECTIONS].

Three agents on machines of their own (see tests/bench/many_agents.py), and a fourth machine that attacks the first:
with connections that never finish their handshake, with garbage, and as a member that has the secret and sends
oversized frames, a flood, or mutated frames. Printed after each: the agent's memory; it fails if the mesh lost a
member.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.lab import PROJECT, Lab
from gossip import wire
from tests.bench.many_agents import Scene, Site, sees
from weavemesh.certificate import LeafIssuer, MembershipAuthority
from weavemesh.identity import Identity
from weavemesh.secret import DEFAULT_FILE, ClusterSecret
from weavemesh.transport.connection import StreamConnection
from weavemesh.transport.failure import LinkFailed
from weavemesh.transport.frame import FRAME_BYTES_MAX
from weavemesh.transport.stream import StreamTransport

PORT = 6783
FLOOD_S = 20.0
ATTACKS = ("silent connections", "garbage", "oversized frames", "flood", "mutated frames")


async def silent_connections(address: str, count: int) -> None:
    """Open connections and say nothing, as many at once as descriptors allow; each is held until it is closed."""
    at_once = asyncio.Semaphore(900)

    async def one() -> None:
        async with at_once:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(20):
                    reader, writer = await asyncio.open_connection(address, PORT)
                    await reader.read()
                    writer.close()

    await asyncio.gather(*(one() for _ in range(count)))


async def garbage(address: str, count: int) -> None:
    """Say something that is no TLS, or the beginning of it and then nonsense."""
    rng = random.Random(1)
    for _ in range(count // 10):
        head = rng.choice([b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"])
        with suppress(OSError), socket.create_connection((address, PORT), timeout=5) as connection:
            connection.sendall(head + rng.randbytes(rng.randrange(2000)))


async def member(address: str) -> StreamConnection:
    """A link of somebody who has the secret."""
    secret = ClusterSecret.load(DEFAULT_FILE)
    authority = MembershipAuthority.from_seed(secret.authority_seed())
    issuer = LeafIssuer(identity=Identity.generate(nickname="hostile"), authority=authority)
    return await StreamTransport(issuer).dial(address, PORT)


async def oversized_frames(address: str, count: int) -> None:
    for _ in range(count // 100):
        with suppress(LinkFailed):
            connection = await member(address)
            connection._write((FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(100_000))  # what `send` would refuse
            await connection.wait_closed()


async def flood(address: str, _: int) -> None:
    """Say as much as goes out, in tiny and in large frames."""
    end = time.monotonic() + FLOOD_S
    frames = [wire.encode(wire.Ping(1)), wire.encode(wire.News("flood", bytes(500_000)))]
    while time.monotonic() < end:
        with suppress(LinkFailed):
            connection = await member(address)
            connection.send(wire.encode(wire.Hello(1, 1, 1, 1)))
            while connection.ending is None and time.monotonic() < end:
                if connection.queued_bytes < 2_000_000:
                    for frame in (*frames[:1] * 1000, *frames[1:]):
                        connection.send(frame)
                await asyncio.sleep(0)
            connection.close("enough")


async def mutated_frames(address: str, count: int) -> None:
    """Say frames with flipped bytes, after a proper hello."""
    rng = random.Random(2)
    hello = wire.encode(wire.Hello(1, 1, 1, 1))
    seeds = [
        hello,
        wire.encode(wire.Ping(7)),
        wire.encode(wire.Glance(bytes(16), (wire.ChannelDigest("ipam", bytes(32)),))),
        wire.encode(wire.Digest(())),
        wire.encode(wire.State("ipam", rng.randbytes(200), answer=True)),
        wire.encode(wire.News("ipam", rng.randbytes(200))),
        wire.encode(wire.bye("no", wire.ByeCode.BUSY)),
    ]
    for _ in range(count // 100):
        with suppress(LinkFailed):
            connection = await member(address)
            connection.send(hello)
            for _ in range(5):
                frame = bytearray(rng.choice(seeds))
                frame[rng.randrange(len(frame))] ^= rng.randrange(256)
                connection.send(bytes(frame))
            connection.close("done")
            await connection.wait_closed()


def attack(site: Site, name: str, count: int) -> float:
    """Run one attack on another machine; return how long it took."""
    begin = time.monotonic()
    site.machine.run(sys.executable, __file__, "attack", name, "10.201.0.1", str(count), timeout_s=600)
    return time.monotonic() - begin


def main() -> None:
    if sys.argv[1:2] == ["attack"]:
        name, address, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
        asyncio.run(globals()[name.replace(" ", "_")](address, count))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="wmg-hostile-") as logs:
        scene = Scene(lab, 4, Path(logs))
        *members, hostile = scene.sites
        for site in members:
            site.start(*([] if site is members[0] else [members[0].address]))
        scene.wait_for_all(members, at_most_s=60, holds=sees(3))
        victim = members[0]
        victim.find_pid()
        time.sleep(10)
        before = victim.memory_mib()
        print(f"3 agents; the first has {before:.1f} MiB; {count} connections", flush=True)
        for name in ATTACKS:
            took = attack(hostile, name, count)
            for site in members:
                site.read_log()
            given_up = sum(site.links_given_up for site in members)
            scene.wait_for_all(
                members, at_most_s=10, holds=lambda report: sum(peer.reachable for peer in report.peers) >= 3
            )
            grown = victim.memory_mib() - before
            print(f"  {name:20} {took:5.1f} s   memory {grown:+.1f} MiB   links given up {given_up}", flush=True)
        broken = [site.number for site in members if "Traceback" in site.log.read_text(errors="replace")]
        print(f"  agents with a traceback in the log: {broken or 'none'}")


if __name__ == "__main__":
    assert PROJECT and os.geteuid() == 0, "namespaces need root"
    main()
