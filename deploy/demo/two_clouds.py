"""The demonstration: two clouds, four hosts, eight pods, everything encrypted between the clouds.

    c1h1 ─┐                                     ┌─ c2h1
          ├─ router c1 ── the internet ── router c2 ─┤
    c1h2 ─┘                                     └─ c2h2

Every host runs the agent, started with the commands of the README; pods are attached through the CNI executable as
a container runtime does it. Each step says what it found; the exit status is 0 only if all of it held.
Usage: `make demo`, or `python deploy/demo/two_clouds.py` as root in the project's environment.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.capture import Capture, Verdict
from deploy.demo.lab import CNI_PLUGIN, Lab, LabError, Machine, Pod, interrupt, resident_mib, running, wait_until

PORT = 6783
MARKER = b"weavemesh-secret"
"""Sixteen bytes that every ping of a pod carries: they must not be seen in the internet."""
MEMORY_MIB_MAX = 64
FIRST_PING_S_MAX = 3.0
PINGS_PER_SECOND = 100


class Story:
    """Prints the steps and remembers what did not hold."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.failures: list[str] = []

    def step(self, title: str) -> None:
        print(f"\n[{time.monotonic() - self._began:5.1f} s] {title}", flush=True)

    def check(self, held: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence: check(x, "…")
        print(f"    {'ok  ' if held else 'FAIL'} {what}", flush=True)
        if not held:
            self.failures.append(what)

    def show(self, text: str) -> None:
        print("\n".join(f"    | {line}" for line in text.rstrip().splitlines()), flush=True)


def build_internet(lab: Lab) -> tuple[Machine, list[Machine]]:
    """Two clouds of one router and two hosts each, joined by a machine that is the internet."""
    internet = lab.machine("internet", forwarding=True)
    hosts = []
    for cloud, network in ((1, "198.51.100"), (2, "203.0.113")):
        router = lab.machine(f"c{cloud}", forwarding=True)
        lab.wire(internet, f"cloud{cloud}=192.0.2.{cloud * 4 + 1}/30", router, f"uplink=192.0.2.{cloud * 4 + 2}/30")
        router.ip("route", "add", "default", "via", f"192.0.2.{cloud * 4 + 1}")
        internet.ip("route", "add", f"{network}.0/24", "via", f"192.0.2.{cloud * 4 + 2}")
        for number in (1, 2):
            host = lab.machine(f"c{cloud}h{number}")
            gateway = f"{network}.{number * 16 + 1}"
            lab.wire(router, f"host{number}={gateway}/28", host, f"eth0={network}.{number * 16 + 2}/28")
            host.ip("route", "add", "default", "via", gateway)
            hosts.append(host)
    return internet, hosts


def address_of(host: Machine) -> str:
    found = json.loads(host.ip("-j", "-4", "address", "show", "dev", "eth0"))
    return str(found[0]["addr_info"][0]["local"])


def start_agents(story: Story, hosts: list[Machine]) -> list[Pod]:
    """`weavemesh up` everywhere; the first two with a stopwatch from the second `up` to the first ping of pods."""
    first, second, *others = hosts[0], hosts[2], hosts[1], hosts[3]
    story.step("A cluster secret, made on the first host and copied to the others")
    first.weavemesh("secret", "--write")
    secret = first.run("cat", "/etc/weavemesh/secret").stdout
    for host in hosts[1:]:
        host.write_file("/etc/weavemesh/secret", secret)

    story.step("weavemesh up, on the first host without arguments, on the others with the first host's address")
    seed = address_of(first)
    story.show(f"{first.name}# weavemesh up\n" + first.weavemesh("up").stdout)
    story.show(f"{second.name}# weavemesh up {seed}\n" + second.weavemesh("up", seed).stdout)
    up_returned = time.monotonic()
    pods = [first.add_pod("pod1"), second.add_pod("pod1")]
    wait_until(
        lambda: pods[0].answers(str(pods[1].ipv4), seconds=0.2), seconds=20, what="the first ping between clouds"
    )
    took = time.monotonic() - up_returned
    story.check(
        took <= FIRST_PING_S_MAX,
        f"first encrypted ping between pods {took:.2f} s after the second `up` (≤ {FIRST_PING_S_MAX:g} s)",
    )
    for host in others:
        story.show(f"{host.name}# weavemesh up {seed}\n" + host.weavemesh("up", seed).stdout)
        pods.append(host.add_pod("pod1"))
    pods += [host.add_pod("pod2") for host in hosts]
    return pods


def is_all_well(host: Machine) -> bool:
    return host.weavemesh("status", check=False).returncode == 0


def show_status(story: Story, host: Machine, peers: int) -> None:
    story.step(f"weavemesh status on {host.name}")
    wait_until(lambda: is_all_well(host), seconds=20, what=f"`weavemesh status` on {host.name} to exit with 0")
    for arguments in ((), ("peers",), ("connections",), ("ipam",)):
        shown = host.weavemesh("status", *arguments, check=False)
        story.show(f"{host.name}# weavemesh status {' '.join(arguments)}\n{shown.stdout}")
    story.check(len(host.status()["peers"]) == peers, f"{peers} peers in the mesh")


def ping_all_pairs(story: Story, pods: list[Pod], family: int) -> None:
    story.step(f"Every pod pings every pod, IPv{family}")
    addresses = [str(pod.ipv4 if family == 4 else pod.ipv6) for pod in pods]
    script = 'for a in "$@"; do ping -n -q -c1 -W2 -p ' + MARKER.hex() + ' "$a" >/dev/null && echo "$a"; done; true'
    answered = 0
    with_output = [pod.start("sh", "-c", script, "sh", *addresses, stdout=-1) for pod in pods]
    for process in with_output:
        answered += len(process.communicate(timeout=60)[0].split())
    story.check(answered == len(pods) ** 2, f"{answered} of {len(pods) ** 2} pairs answer in IPv{family}")


def measure_throughput(story: Story, source: Pod, destination: Pod) -> None:
    story.step(f"iperf3 from {source.machine.name} to {destination.machine.name}, pod to pod, between the clouds")
    with running(destination.start("iperf3", "-s", "-1")):
        wait_until(
            lambda: ":5201" in destination.run("ss", "-ltn").stdout, seconds=5, what="the iperf3 server to listen"
        )
        shown = source.run("iperf3", "-c", str(destination.ipv4), "-t", "3", "-J", timeout_s=30)
    mbit = json.loads(shown.stdout)["end"]["sum_received"]["bits_per_second"] / 1e6
    story.check(mbit > 1, f"{mbit:.0f} Mbit/s")


def kill_agent(story: Story, host: Machine, pods: list[Pod]) -> None:
    """kill -9 under a running ping, then start again under it: not one packet may be lost."""
    mine = next(pod for pod in pods if pod.machine is host)
    other = next(pod for pod in pods if pod.machine is not host)
    story.step(f"kill -9 of the agent on {host.name}, while pods ping {PINGS_PER_SECOND} times a second")
    pid = int(host.status()["agent"]["pid"])
    ping = other.start("ping", "-n", "-q", "-i", f"{1 / PINGS_PER_SECOND}", "-W", "2", str(mine.ipv4), stdout=-1)
    time.sleep(1)
    host.run("kill", "-9", str(pid))
    wait_until(lambda: host.run("kill", "-0", str(pid), check=False).returncode != 0, seconds=5, what="its end")
    story.check(host.weavemesh("status", check=False).returncode == 3, "`weavemesh status` says that no agent runs")
    time.sleep(2)
    story.check(mine.answers(str(other.ipv4)) and mine.answers(str(other.ipv6)), "pods still talk without the agent")
    story.show(f"{host.name}# weavemesh up\n" + host.weavemesh("up").stdout)
    wait_until(lambda: is_all_well(host), seconds=20, what="all to be well again")
    time.sleep(1)
    interrupt(ping)
    summary = next(line for line in ping.communicate(timeout=20)[0].splitlines() if "transmitted" in line)
    sent, received = (int(word) for word in summary.split() if word.isdigit())
    story.check(
        sent == received and sent > 3 * PINGS_PER_SECOND,
        f"{sent - received} of {sent} pings lost over kill and restart",
    )
    story.check(mine.cni("CHECK", config={"prevResult": mine.result}).returncode == 0, "CNI CHECK of its pod passes")


def check_memory(story: Story, hosts: list[Machine]) -> None:
    story.step("Resident memory of the agents")
    for host in hosts:
        mib = resident_mib(host, [int(host.status()["agent"]["pid"])])
        story.check(mib <= MEMORY_MIB_MAX, f"{host.name}: {mib:.1f} MiB (≤ {MEMORY_MIB_MAX})")


def clean_up(story: Story, hosts: list[Machine], pods: list[Pod]) -> None:
    story.step("Cleaning up: CNI DEL for the pods, weavemesh reset on the hosts")
    for pod in pods:
        pod.cni("DEL")
    for host in hosts:
        shown = host.weavemesh("reset")
        left = [link["ifname"] for link in json.loads(host.ip("-j", "link")) if link["ifname"].startswith("wm")]
        routes = host.ip("route", "show", "table", "all", "proto", "87") + host.ip("-6", "route", "show", "proto", "87")
        processes = host.processes("wireguard-go|weavemesh")
        story.check(
            not left and not routes and not processes,
            f"{host.name}: nothing left ({len(shown.stdout.splitlines())} things removed)",
        )


def tell_verdict(story: Story, verdict: Verdict, inside: int) -> None:
    story.step("What the internet saw")
    story.check(
        verdict.wireguard > 0 and verdict.tls > 0,
        f"{verdict.wireguard} WireGuard packets, {verdict.tls} TCP packets of TLS streams, {verdict.knocks} knocks",
    )
    story.check(not verdict.plain, f"nothing else{': ' + str(dict(verdict.plain)) if verdict.plain else ''}")
    story.check(inside > 0, f"the marker that pods sent, seen inside the tunnel: {inside} times")
    story.check(verdict.marker == 0, f"the same marker, seen in the internet: {verdict.marker} times")


def tell(story: Story, lab: Lab, folder: Path) -> None:
    story.step("Two clouds with two hosts each, and the internet between them")
    internet, hosts = build_internet(lab)
    seen = Verdict()
    with Capture(internet, "cloud1", folder) as capture:
        pods = start_agents(story, hosts)
        show_status(story, hosts[0], len(hosts))
        with Capture(hosts[0], "wm0", folder) as tunnel:
            for family in (4, 6):
                ping_all_pairs(story, pods, family)
        kill_agent(story, hosts[2], pods)
    seen.add(capture.judge(port=PORT, marker=MARKER))
    measure_throughput(story, pods[0], pods[1])
    check_memory(story, hosts)
    tell_verdict(story, seen, tunnel.markers(MARKER))
    clean_up(story, hosts, pods)


def main() -> int:
    story = Story()
    try:
        if not CNI_PLUGIN.exists():
            raise LabError(f"{CNI_PLUGIN} is not built; run `make setup`")
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="wm-demo-") as folder:
            tell(story, lab, Path(folder))
    except LabError as error:
        story.check(False, str(error))
    if story.failures:
        print(f"\n{len(story.failures)} of the checks failed:", *story.failures, sep="\n  - ")
        return 1
    print("\nAll of it held.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
