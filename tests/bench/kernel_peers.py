"""A thousand peers on a kernel WireGuard device: set-up, one more, adoption by the next life of the agent.

Usage: python -m tests.vm run -- .venv/bin/python tests/bench/kernel_peers.py [PEERS]
       (or as root, without a guest, on a machine whose kernel has WireGuard)

Everything happens in a network namespace of its own, which `ip netns exec` gives its own /sys: there the agent
switches on a thread for each peer. The reference is `wg setconf` with the same peers, in this run.
Requests that change the device are counted where they leave for the kernel; `ip monitor` is the witness that adoption
changed no link, address or route.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gossip import PeerName
from tests.kernel.tunnel_lab import Host, Wire
from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.wireguard import KernelWireGuard
from weavemesh.overlay.diff import SetPeer
from weavemesh.overlay.plan import PlanInput, PlannedPeer, plan, ula_prefix
from weavemesh.overlay.state import DesiredState, Endpoint, PresharedKey, PublicKey

PEERS = 1000
ROUNDS = 20


def wish(host: Host, peers: int) -> DesiredState:
    """Tunnels to that many peers, each with one range of its own in both families."""
    names = [PeerName(f"peer{number:012d}") for number in range(peers)]
    ranges = {
        name: (IPv4Network((int(IPv4Address("10.33.0.0")) + number * 64, 26)),) for number, name in enumerate(names)
    }
    return plan(
        PlanInput(
            interface=host.interface,
            mtu=1420,
            listen_port=6783,
            name=PeerName("ourselves0000000"),
            private_key=host.private_key,
            public_key=host.public_key,
            address=IPv4Address("10.32.0.1"),
            universe=IPv4Network("10.32.0.0/12"),
            ula_prefix=ula_prefix(b"bench"),
            ranges=ranges,
            peers=tuple(
                PlannedPeer(
                    name,
                    PublicKey(number.to_bytes(32, "big")),
                    PresharedKey(bytes([7] * 32)),
                    (Endpoint(IPv4Address("192.0.2.9"), 1024 + number),),
                )
                for number, name in enumerate(names, start=1)
            ),
        )
    )


async def measure(host: Host, peers: int) -> list[list[str]]:
    """Set up, one more, adopt; a row each."""
    desired = wish(host, peers)
    kernel = await Kernel.open(interface=host.interface, datapath="kernel")
    began = time.perf_counter()
    report = await kernel.apply(desired)
    rows = [[f"set up {peers:,} peers, device and {2 * peers:,} routes", f"{time.perf_counter() - began:.2f} s", "2 s"]]
    assert not report.failures, report.failures
    took = []
    for number in range(1, ROUNDS + 1):
        desired = wish(host, peers + number)
        began = time.perf_counter()
        report = await kernel.apply(desired)
        took.append((time.perf_counter() - began) * 1e3)
        assert not report.failures and len(report.actions) == 3, report
    rows.append([f"one peer more, the whole `apply`, median of {ROUNDS}", spread(took), ""])
    took = []
    for number in range(ROUNDS):
        key = PublicKey((1 << 200 | number).to_bytes(32, "big"))
        network = IPv4Network((int(IPv4Address("10.46.0.0")) + 256 * number, 24))
        change = SetPeer(key, False, PresharedKey(bytes([7] * 32)), Endpoint(IPv4Address("192.0.2.9"), 9), (network,))
        began = time.perf_counter()
        await kernel.device.set_peers([change])
        took.append((time.perf_counter() - began) * 1e3)
        await kernel.device.remove_peer(key)
    rows.append([f"of that the request that adds it, median of {ROUNDS}", spread(took), "5 ms"])
    await kernel.close()
    rows.append(await adopt(host, desired))
    return rows


def spread(milliseconds: list[float]) -> str:
    return f"{median(milliseconds):.1f} ms (most {max(milliseconds):.1f} ms)"


async def adopt(host: Host, desired: DesiredState) -> list[str]:
    """The next life of the agent finds everything as it should be."""
    monitor = host.start("ip", "monitor", "link", "address", "route")
    began = time.perf_counter()
    kernel = await Kernel.open(interface=host.interface, datapath="kernel")
    report = await kernel.apply(desired)
    took = time.perf_counter() - began
    device = kernel.device
    assert isinstance(device, KernelWireGuard) and report.actions == () and not report.failures, report
    await kernel.close()
    monitor.terminate()
    notifications = len(monitor.communicate()[0].splitlines())
    text = f"{took:.2f} s, {device.requests} requests that change it, {notifications} notifications"
    return [f"adopt {len(desired.peers):,} peers", text, "no change"]


def by_hand(host: Host, peers: int) -> list[str]:
    """`wg setconf` and `ip -batch` with the same peers and routes."""
    desired = wish(host, peers)
    lines = ["[Interface]", f"PrivateKey={host.private_key.text()}", "ListenPort=6783"]
    for peer in desired.peers:
        assert peer.endpoint is not None and peer.preshared_key is not None
        lines += ["[Peer]", f"PublicKey={peer.public_key.text()}", f"PresharedKey={peer.preshared_key.text()}"]
        lines += [f"Endpoint={peer.endpoint.text()}", f"AllowedIPs={', '.join(map(str, peer.allowed_ips))}"]
    routes = [f"route add {route.destination} dev wmhand" for route in desired.routes if route.kind == "device"]
    with tempfile.TemporaryDirectory(prefix="wmbench") as folder:
        (Path(folder) / "conf").write_text("\n".join(lines) + "\n")
        (Path(folder) / "routes").write_text("\n".join(routes) + "\n")
        began = time.perf_counter()
        host.run("ip", "link", "add", "wmhand", "type", "wireguard")
        host.run("wg", "setconf", "wmhand", f"{folder}/conf")
        host.run("ip", "link", "set", "wmhand", "up")
        host.run("ip", "-batch", f"{folder}/routes")
        took = time.perf_counter() - began
    host.run("ip", "link", "del", "wmhand")
    return ["reference: the same by `wg setconf` and `ip -batch`", f"{took:.2f} s", ""]


def main() -> None:
    """Print the table: measured by this program once more, inside the namespace."""
    if len(sys.argv) > 2:
        namespace, peers = sys.argv[1], int(sys.argv[2])
        host = Host(1, namespace, os.open("/proc/self/ns/net", os.O_RDONLY), "kernel")
        rows = [by_hand(host, peers), *asyncio.run(measure(host, peers))]
        print(tabulate(rows, headers=["what", "took", "bar"], disable_numparse=True))
        return
    peers = int(sys.argv[1]) if len(sys.argv) > 1 else PEERS
    with Wire(1, "kernel") as wire:
        command = ["ip", "netns", "exec", wire.hosts[0].namespace, sys.executable, __file__]
        subprocess.run([*command, wire.hosts[0].namespace, str(peers)], check=True)


if __name__ == "__main__":
    main()
