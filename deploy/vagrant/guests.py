"""The multi-VM demonstration without Vagrant: the same machines and scripts, in guests of `tests.vm`.

    h1, h3 ── the internet ── nat ── h2        (with more hosts: odd numbers here, even numbers behind the NAT)

Every guest has a kernel and a systemd of its own. What Vagrant does itself (addresses, the file with the secret) is
done here; everything else is done by the scripts of this folder with the arguments that the Vagrantfile gives them.
Each step says what it found; the exit status is 0 only if all of it held.
Usage: `make demo-vm`, or `python deploy/vagrant/guests.py` as root; WEAVEMESH_HOSTS=3 (to 5).
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dpkt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.capture import frames_of, judge_frames
from deploy.demo.lab import LabError, wait_until
from deploy.demo.two_clouds import MARKER, PORT, Story
from tests.vm.guest import Command, Guest, GuestError
from tests.vm.kernel import GuestKernel, KernelMissing, make_kernel
from tests.vm.lan import Lans, mac, wire
from weavemesh.secret import ClusterSecret

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "deploy" / "vagrant"
WHEELS = PROJECT / "build" / "wheels"
INTERNET, CLOUD_B = 1, 2
FOUNDER, ROUTER, ROUTER_OF_B = "198.51.100.11", "198.51.100.2", "10.77.0.2"
FIRST_PINGS_S_MAX = 60.0
PROVISION_S = 300.0
PING = ("ping", "-n", "-p", MARKER.hex())


@dataclass(frozen=True)
class Plan:
    """One machine as the Vagrantfile has it."""

    name: str
    wires: tuple[tuple[int, str], ...]
    """Wire and address of each interface."""
    steps: tuple[tuple[str, ...], ...]
    """Scripts with their arguments."""


@dataclass
class Host:
    """A machine with weavemesh and one pod."""

    guest: Guest
    pod: str = ""
    """The pod's address."""

    def ipv6(self) -> str:
        """The pod's other address."""
        shown = self.guest.run(
            *self.in_pod("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global")
        ).stdout
        return shown.split()[3].partition("/")[0]

    def in_pod(self, *command: str) -> tuple[str, ...]:
        return (str(SCRIPTS / "pod.sh"), "exec", "pod1", *command)

    def ping(self, address: str) -> Command:
        """One ping out of the pod, on its way."""
        return self.guest.start(*self.in_pod(*PING, "-c1", "-W2", address))

    def reaches(self, address: str) -> bool:
        return self.ping(address).wait(check=False).returncode == 0


def plans(hosts: int) -> list[Plan]:
    """The router and the hosts; the same rule as in the Vagrantfile."""
    found = [Plan("nat", ((INTERNET, ROUTER), (CLOUD_B, ROUTER_OF_B)), (("network.sh", "nat"),))]
    for number in range(1, hosts + 1):
        behind_nat = number % 2 == 0
        address = f"10.77.0.{10 + number}" if behind_nat else f"198.51.100.{10 + number}"
        steps = (
            ("network.sh", "host", *([ROUTER_OF_B] if behind_nat else [])),
            ("install.sh", str(PROJECT), str(WHEELS)),
            ("start.sh", "/run/cluster-secret", "-" if behind_nat else address, *([FOUNDER] if number > 1 else [])),
            ("pod.sh", "add", "pod1"),
        )
        found.append(Plan(f"h{number}", ((CLOUD_B if behind_nat else INTERNET, address),), steps))
    return found


def build_wheels() -> None:
    """weavemesh and all it needs, for guests that have no way out."""
    shutil.rmtree(PROJECT / "build" / "lib", ignore_errors=True)  # or files that are gone would get into the wheel
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(WHEELS), str(PROJECT)], check=True)


def boot(stack: ExitStack, kernel: GuestKernel, lans: Lans, machines: list[Plan]) -> list[Guest]:
    """All at once."""
    guests = []
    for number, machine in enumerate(machines, start=1):
        interfaces = [wire(card, lan=lan, host=number) for card, (lan, _) in enumerate(machine.wires)]
        guests.append(
            Guest(kernel, name=machine.name, memory_mib=384, interfaces=interfaces, prefix=lans.prefix, systemd=True)
        )
    for guest in guests:
        stack.push(guest)
        guest.launch()
    for guest in guests:
        guest.wait_until_up()
    return guests


def provision(machine: Plan) -> list[str]:
    """The command that does everything on one machine, in Vagrant's order; the secret comes in by a pipe."""
    lines = ["set -e", "umask 077", "cat >/run/cluster-secret", "umask 022"]
    for card, (_, address) in enumerate(machine.wires):
        lines += [f"ip address add {address}/24 dev eth{card}", f"ip link set eth{card} up"]
    lines += [" ".join([str(SCRIPTS / step[0]), *step[1:]]) for step in machine.steps]
    return ["sh", "-c", "\n".join(lines)]


def bring_up(story: Story, guests: list[Guest], machines: list[Plan]) -> list[Host]:
    """Provision all at the same time; the hosts with their pods."""
    secret = ClusterSecret.generate().text()
    running = [guest.start(*provision(machine), stdin=secret) for guest, machine in zip(guests, machines, strict=True)]
    hosts = []
    for command in running:
        output = command.wait(timeout_s=PROVISION_S).stdout
        if command.guest.name != "nat":
            hosts.append(Host(command.guest, output.split()[-1]))
    for host in hosts:
        story.show(f"{host.guest.name}: pod1 has {host.pod}")
    return hosts


def ping_all(hosts: list[Host]) -> int:
    """How many pairs of pods answer."""
    pings = [host.ping(other.pod) for host in hosts for other in hosts]
    return sum(ping.wait(check=False).returncode == 0 for ping in pings)


def is_well(host: Host) -> bool:
    return host.guest.run("weavemesh", "status", check=False).returncode == 0


def show_status(story: Story, hosts: list[Host]) -> None:
    story.step("weavemesh status")
    wait_until(lambda: all(is_well(host) for host in hosts), seconds=20, what="all to be well")
    for part in ("", "peers"):
        words = ["weavemesh", "status", *([part] if part else [])]
        story.show(f"h1# {' '.join(words)}\n{hosts[0].guest.run(*words).stdout}")


def rotate(story: Story, hosts: list[Host]) -> None:
    story.step("A new WireGuard key for h2, behind the NAT, while pods ping 100 times a second")
    target = hosts[1]
    ping = hosts[0].guest.start(*hosts[0].in_pod(*PING, "-i0.01", "-w8", target.pod))
    time.sleep(2)
    story.show(f"h2# weavemesh rotate-key\n{target.guest.run('weavemesh', 'rotate-key').stdout}")
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", ping.wait(check=False).stdout)}
    lost = max(answered) - len(answered)
    story.check(lost == 0 and len(answered) > 200, f"{lost} of {max(answered)} pings lost")


def fail_closed(story: Story, hosts: list[Host]) -> None:
    story.step("kill -9 of the agent on h1, its device removed by hand, and default routes for packets in clear")
    guest, other = hosts[0].guest, hosts[2]
    guest.run("ip", "route", "replace", "default", "via", ROUTER)
    guest.run("ip", "neigh", "replace", "fe80::1", "lladdr", mac(INTERNET, 1), "dev", "eth0", "nud", "permanent")
    guest.run("ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0")
    addresses = (other.pod, other.ipv6())
    pings = [shlex.join(hosts[0].in_pod(*PING, "-c1", "-W1", address)) for address in addresses]
    # One script: systemd starts the agent again after a second.
    script = f"systemctl kill -s KILL weavemesh; ip link del wm0; {pings[0]} & {pings[1]}; wait"
    shown = guest.run("sh", "-c", script, check=False).stdout
    for address in addresses:
        told = re.search(rf"PING {re.escape(address)}.*?nreachable", shown, re.DOTALL)
        story.check(told is not None, f"its pod is told that {address} is unreachable")
    wait_until(lambda: hosts[0].reaches(other.pod), seconds=30, what="the service to come back by itself")
    wait_until(lambda: ping_all(hosts) == len(hosts) ** 2, seconds=30, what="all pods to answer again")
    story.check(True, "systemd started the agent again, and all pods answer")


def frames_inside(capture: Path) -> Iterator[bytes]:
    """Frames of the guests' wires; on the host each is the content of a UDP datagram."""
    for envelope in frames_of(capture):
        yield bytes(dpkt.ethernet.Ethernet(envelope).data.data.data)


def tell_verdict(story: Story, capture: Path) -> None:
    story.step("What went over the wires, from the first packet to the last")
    verdict = judge_frames(frames_inside(capture), port=PORT)
    markers = capture.read_bytes().count(MARKER)
    story.check(
        verdict.wireguard > 0 and verdict.tls > 0,
        f"{verdict.wireguard} WireGuard packets, {verdict.tls} of TLS, {verdict.knocks} knocks",
    )
    story.check(not verdict.plain, f"nothing else{': ' + str(dict(verdict.plain)) if verdict.plain else ''}")
    story.check(markers == 0, f"the sixteen bytes that every ping of a pod carries, in clear: {markers} times")


def tell(story: Story, kernel: GuestKernel, stack: ExitStack) -> None:
    machines = plans(int(os.environ.get("WEAVEMESH_HOSTS", "3")))
    began = time.monotonic()
    story.step("The wheel, as for a package index")
    build_wheels()
    story.step(f"{len(machines)} guests: {', '.join(machine.name for machine in machines)}")
    lans = stack.enter_context(Lans())
    guests = boot(stack, kernel, lans, machines)
    capture = guests[0].share / "wires.pcap"
    listening = lans.capture(capture)
    story.step("Provisioning: install the package, start the service, make a pod")
    hosts = bring_up(story, guests, machines)
    story.step("Every pod pings every pod, in both clouds")
    wait_until(lambda: ping_all(hosts) == len(hosts) ** 2, seconds=30, what="all pods to answer")
    took = time.monotonic() - began
    story.check(took <= FIRST_PINGS_S_MAX, f"{len(hosts) ** 2} pairs answer, {took:.0f} s after the beginning")
    show_status(story, hosts)
    rotate(story, hosts)
    fail_closed(story, hosts)
    listening.terminate()
    listening.communicate()
    tell_verdict(story, capture)


def main() -> int:
    kernel_story = "the guests' kernel cannot be had"
    try:
        kernel = make_kernel()
    except KernelMissing as error:
        print(f"{kernel_story}: {error}", file=sys.stderr)
        return 1
    story = Story()
    try:
        with ExitStack() as stack:
            tell(story, kernel, stack)
    except (GuestError, LabError) as error:
        story.check(False, str(error))
    if story.failures:
        print(f"\n{len(story.failures)} of the checks failed:", *story.failures, sep="\n  - ")
        return 1
    print("\nAll of it held.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
