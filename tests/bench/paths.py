"""Paths between peers, measured: how fast they are found, lost, replaced, and what a relay costs.

Run as root: `.venv/bin/python tests/bench/paths.py [part …]` with the parts first, cut, relay, move, throughput, mtu,
probes. The last one is a simulation (`probe_count.py`). All others happen in namespaces on this machine, with
wireguard-go unless its kernel has WireGuard (`python -m tests.vm run -m 768 -- .venv/bin/python tests/bench/paths.py
mtu`); the reference of the relay is the direct tunnel of the same pair of hosts in the same run.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.demo.lab import Lab, Machine, running, wait_until
from tests.bench.probe_count import PEERS, USED, knocks_per_second, questions_per_second
from tests.e2e.nat_lab import NatLab, Pings, mtu_of, path_of, pings
from tests.e2e.transfer import Transfer
from tests.lab.nat import KINDS, NatKind, is_direct_possible

Rows = list[tuple[str, str, str]]
"""What, measured, the bar."""


@contextmanager
def scene() -> Iterator[NatLab]:
    with Lab() as lab:
        yield NatLab(lab)


def join(nats: NatLab, *machines: Machine) -> None:
    nats.up(nats.hub)
    for machine in machines:
        nats.up(nats.equip(machine))


def settled(one: Machine, other: Machine, via: str) -> None:
    wait_until(lambda: path_of(one, other) == path_of(other, one) == (via, "live"), seconds=30, what=f"a path {via}")


def first_packet(kind: NatKind, other_kind: NatKind) -> tuple[float, float | None]:
    """Seconds from when `up` says ready to the first answer, and from the agent's start to the direct path."""
    with scene() as nats:
        one, other = nats.internet.behind("one", kind), nats.internet.behind("other", other_kind)
        join(nats, one)
        address = nats.overlay_address(one)
        nats.equip(other)
        nats.up(other)
        began = time.monotonic()
        wait_until(lambda: pings(other, address, seconds=0.2), seconds=20, what="an answer")
        first = time.monotonic() - began
        if not is_direct_possible(kind, other_kind):
            settled(one, other, "hub")
            return first, None
        settled(one, other, "direct")
        return first, direct_after_s(other, one)


def direct_after_s(machine: Machine, other: Machine) -> float:
    """From the start of its agent to the last time that the path to the other became direct, by its log."""
    status = machine.status()
    (name,) = [peer["name"] for peer in status["peers"] if peer["nickname"] == other.name]
    log = [
        dict(word.partition("=")[::2] for word in line.split()) for line in machine.run("cat", LOG).stdout.splitlines()
    ]
    (start,) = [line["time"] for line in log if line.get("event") == "agent-started"]
    direct = [line["time"] for line in log if line.get("peer") == name and line.get("via") == "direct"]
    return seconds_of(direct[-1]) - seconds_of(start)


LOG = "/run/weavemesh/agent.log"


def seconds_of(text: str) -> float:
    hours, minutes, seconds = text[11:-1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def measure_first() -> Rows:
    rows: Rows = []
    for index, kind in enumerate(KINDS):
        for other_kind in KINDS[index:]:
            first, direct = first_packet(kind, other_kind)
            found = "relayed" if direct is None else f"direct {direct:.1f} s after the agent's start"
            rows.append(
                (f"{kind} + {other_kind}", f"first answer {first:.2f} s after up; {found}", "≤ 1 s; direct ≤ 5 s")
            )
    return rows


def measure_cut() -> Rows:
    with scene() as nats:
        one, other = nats.internet.public("one"), nats.internet.public("other")
        join(nats, one, other)
        settled(one, other, "direct")
        ends = nats.internet.address(one), nats.internet.address(other)
        address = nats.overlay_address(other)
        time.sleep(3)
        with Pings(one, address) as run:
            time.sleep(3)
            for source, destination in (ends, ends[::-1]):
                nats.internet.block(source, destination)
            settled(one, other, "hub")
            time.sleep(3)
        gap = run.longest_gap_s()
        with Pings(one, address) as run:
            time.sleep(1)
            run.mark()
            for source, destination in (ends, ends[::-1]):
                nats.internet.unblock(source, destination)
            healed = time.monotonic()
            wait_until(lambda: path_of(one, other)[0] == "direct", seconds=90, what="the direct path")
            healed = time.monotonic() - healed
            time.sleep(3)
        return [
            ("direct path cut under 100 pings a second: longest gap", f"{gap:.2f} s", "≤ 3 s"),
            ("healed: direct again after", f"{healed:.1f} s", "≤ 60 s"),
            ("pings lost from the healing on", f"{run.lost_since_mark()}", "0"),
        ]


def kill_relay(how: str) -> tuple[str, str, str]:
    with scene() as nats:
        one, other = nats.internet.behind("one", "symmetric"), nats.internet.behind("other", "symmetric")
        second = nats.internet.public("second")
        join(nats, second, one, other)
        wait_until(lambda: path_of(one, other)[1] == "live", seconds=30, what="the tunnel")
        address = nats.overlay_address(other)
        time.sleep(5)
        relay = {"hub": nats.hub, "second": second}[str(path_of(one, other)[0])]
        with Pings(one, address) as run:
            time.sleep(3)
            if how == "agent only":
                relay.run("kill", "-9", str(relay.status()["agent"]["pid"]))
                time.sleep(25)
            else:
                relay.ip("link", "set", "wan", "down")
                time.sleep(10)
        via = path_of(one, other)[0]
        what = f"relay {relay.name} in use killed ({how}): longest gap"
        return what, f"{run.longest_gap_s():.2f} s, then over {via}", "≤ 3 s"


def measure_relay() -> Rows:
    return [kill_relay(how) for how in ("agent and machine", "agent only")]


def measure_move() -> Rows:
    with scene() as nats:
        one, other = nats.internet.public("one"), nats.internet.public("other")
        join(nats, one, other)
        settled(one, other, "direct")
        with Pings(other, nats.overlay_address(one)) as run:
            time.sleep(3)
            nats.internet.renumber(one)
            time.sleep(8)
        return [("a peer gets another address: longest gap", f"{run.longest_gap_s():.2f} s", "≤ 3 s")]


def iperf(one: Machine, other: Machine, address: str) -> float:
    """Mbit/s of TCP from one to the other."""
    with running(other.start("iperf3", "-s", "-1", "-B", address)):
        wait_until(lambda: "5201" in other.run("ss", "-ltn").stdout, seconds=10, what="iperf3 to listen")
        result = json.loads(one.run("iperf3", "-c", address, "-t", "5", "-J").stdout)
    return float(result["end"]["sum_received"]["bits_per_second"]) / 1e6


def cpu_s(machine: Machine) -> float:
    """Seconds of CPU that its agent has used."""
    pid = machine.status()["agent"]["pid"]
    fields = machine.run("cat", f"/proc/{pid}/stat").stdout.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure_throughput() -> Rows:
    with scene() as nats:
        one, other = nats.internet.public("one"), nats.internet.public("other")
        join(nats, one, other)
        settled(one, other, "direct")
        address = nats.overlay_address(other)
        ends = nats.internet.address(one), nats.internet.address(other)
        figures: dict[str, list[float]] = {"direct": [], "hub": []}
        spent: dict[str, list[float]] = {"direct": [], "hub": []}
        for _ in range(2):
            for via in ("direct", "hub"):
                change: Callable[[str, str], None] = nats.internet.unblock if via == "direct" else nats.internet.block
                if path_of(one, other)[0] != via:
                    for source, destination in (ends, ends[::-1]):
                        change(source, destination)
                    settled(one, other, via) if via == "hub" else wait_until(
                        lambda: path_of(one, other)[0] == "direct", seconds=90, what="the direct path"
                    )
                    time.sleep(2)
                before = cpu_s(nats.hub)
                figures[via].append(iperf(one, other, address))
                spent[via].append(cpu_s(nats.hub) - before)
        direct, relayed = max(figures["direct"]), max(figures["hub"])
        return [
            ("TCP over the direct tunnel", f"{direct:.0f} Mbit/s", "reference"),
            ("TCP over a relay", f"{relayed:.0f} Mbit/s = {relayed / direct:.2f} of it", "≥ 0.70"),
            (
                "CPU of the hub's agent while it forwards / does not",
                f"{min(spent['hub']):.2f} s / {min(spent['direct']):.2f} s",
                "equal",
            ),
        ]


TRANSFER_OCTETS = 100_000_000
MTU_ROUNDS = 5
NARROW_OCTETS = 1300


def known_mtu(one: Machine, other: Machine, octets: int) -> None:
    wait_until(
        lambda: mtu_of(one, other) == mtu_of(other, one) == (octets, True), seconds=40, what=f"packets of {octets}"
    )


def fall(nats: NatLab, one: Machine, other: Machine, number: int) -> tuple[float, int]:
    """The longest stall of a transfer between new pods whose path becomes narrow, and the MTU afterwards."""
    known_mtu(one, other, 1420)
    a, b = one.add_pod(f"a{number}"), other.add_pod(f"b{number}")
    with Transfer(a, b, str(b.ipv4), octets=TRANSFER_OCTETS) as transfer:
        transfer.wait_for(TRANSFER_OCTETS * 3 // 10, seconds=60)
        time.sleep(0.19 * number)  # at another moment between two questions
        for machine in (one, other):
            nats.internet.narrow(machine, NARROW_OCTETS)
        stall_s, _ = transfer.finish(seconds=120)
    wait_until(lambda: mtu_of(one, other)[1], seconds=10, what="an MTU that is proven")
    found = mtu_of(one, other)[0]
    for machine in (one, other):
        nats.internet.widen(machine)
        machine.weavemesh("stop")
    for machine in (one, other):
        machine.weavemesh("up")
    return stall_s, found


def measure_mtu() -> Rows:
    rows: Rows = []
    for has_fragments in (True, False):
        with scene() as nats:
            one, other = nats.internet.public("one"), nats.internet.public("other")
            join(nats, one, other)
            settled(one, other, "direct")
            if not has_fragments:
                for machine in (one, other):
                    nats.internet.lose_fragments(machine)
            falls = [fall(nats, one, other, number) for number in range(MTU_ROUNDS)]
            datapath = one.status()["encryption"]["datapath"]
        how = "fragments arrive" if has_fragments else "fragments are lost"
        stalls = ", ".join(f"{stall_s:.2f}" for stall_s, _ in falls)
        sizes = ", ".join(sorted({str(found) for _, found in falls}))
        what = f"100 MB, {datapath}, path to {NARROW_OCTETS} octets without ICMP, {how}: longest stalls"
        rows.append((what, f"{stalls} s; MTU then {sizes}", "≤ 3 s each"))
    return rows


def measure_probes() -> Rows:
    busy, idle = questions_per_second()
    known = f"{PEERS} peers, {USED} of them in use"
    open_knocks, translated_knocks = knocks_per_second("none"), knocks_per_second("port-restricted")
    return [
        (f"questions and answers through tunnels, {known}, sent", f"{busy:.1f} a second", "≤ 30"),
        ("the same of a host that uses none", f"{idle:.1f} a second", "none set"),
        ("with knocks and their answers, without NATs", f"{busy + open_knocks:.1f} a second", "≤ 30"),
        (
            "with those of a host behind a NAT, which keep it open",
            f"{busy + translated_knocks:.1f} a second",
            "none set",
        ),
    ]


PARTS: dict[str, Callable[[], Rows]] = {
    "first": measure_first,
    "cut": measure_cut,
    "relay": measure_relay,
    "move": measure_move,
    "throughput": measure_throughput,
    "mtu": measure_mtu,
    "probes": measure_probes,
}


def main(names: list[str]) -> None:
    for name in names or list(PARTS):
        rows = PARTS[name]()
        print(f"\n{name}")
        width = max(len(row[0]) for row in rows)
        for what, measured, bar in rows:
            print(f"  {what:<{width}}  {measured}  (bar: {bar})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
