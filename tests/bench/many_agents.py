"""Many real agents on this machine, as root: python tests/bench/many_agents.py [AGENTS [STEADY_S [BUSY_S [HARM_S]]]].

Each agent has a machine of its own (namespaces, see deploy/demo/lab.py) on a wire of its own to a router, not on a
bridge: neighbour tables are shared by all namespaces of a kernel. All are started at once and told to join the first.
Printed: how long until all know each other, memory and processor time, how soon a silent death is seen by all, false
alarms while all cores are saturated, and whether all agree after HARM_S seconds of kills, cuts and restarts at random.

When somebody knew something is read from the agents' logs: to ask them all the time would cost them more than to know.
The reference is in docs/benchmarks.md: Weave Net's routers, measured in the same way on a machine of two cores.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.demo.lab import PROJECT, Lab, Machine
from weavemesh.api.client import ApiClient
from weavemesh.error import UserError
from weavemesh.secret import ClusterSecret
from weavemesh.status import StatusReport

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
FORM_S_MAX = 300.0
READY_S_MAX = 900.0
"""On two cores a hundred agents take turns of seconds."""
AGREE_S_MAX = 180.0
CALM_S = 120.0
"""After a start of all at once, until all searches for paths have ended, and each end has found out what passes through
each tunnel: that is spread over the interval at which idle ones are asked, 98 s with 50 agents.
"""


class Site:
    """One machine and the agent on it."""

    def __init__(self, number: int, machine: Machine, logs: Path) -> None:
        self.number = number
        self.machine = machine
        self.address = f"10.201.{number // 100}.{number % 100 * 2 + 1}"
        self.log = logs / f"agent{number}.log"
        self.name = ""
        self.started_at = 0.0
        """When it last began to listen, Unix time."""
        self.reachable: dict[str, float] = {}
        """Whom it reaches, and since when."""
        self.lost: list[tuple[str, float]] = []
        """Whom it ceased to reach, and when."""
        self.is_ready = False
        """It has an address."""
        self.links_given_up = 0
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0
        self.client = ApiClient(Path(f"/proc/{machine.init_pid}/root/run/weavemesh/agent.sock"))
        self._read_bytes = 0

    def start(self, *targets: str) -> None:
        with self.log.open("a") as log:
            self.process = self.machine.start(
                *(sys.executable, "-m", "weavemesh", "up", "--foreground", *targets),
                stdout=log.fileno(),
                stderr=log.fileno(),
            )

    def kill(self) -> None:
        if self.process is not None:
            self.find_pid()
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def status(self) -> StatusReport | None:
        try:
            return self.client.status()
        except (UserError, OSError):
            return None

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_mib(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20

    def find_pid(self) -> None:
        """The agent itself: the only child of nsenter, seen from outside."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else self.process.pid

    def read_log(self) -> None:
        """Take in what the agent has logged since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            text, _, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(text) + bool(text)
        for line in text.decode(errors="replace").splitlines():
            self.is_ready = self.is_ready or line.startswith("ready: ")
            self._take_in(dict(word.partition("=")[::2] for word in line.split(" ")))

    def _take_in(self, fields: dict[str, str]) -> None:
        match fields.get("event"):
            case "agent-started":
                self.name, self.started_at, self.reachable = fields["peer"], moment(fields), {}
                self.is_ready = False
            case "peer-reachable":
                self.reachable[fields["peer"]] = moment(fields)
            case "peer-unreachable":
                self.reachable.pop(fields["peer"], None)
                self.lost.append((fields["peer"], moment(fields)))
            case "link-closed" if fields.get("reason") == '"nothing':
                self.links_given_up += 1


def moment(fields: dict[str, str]) -> float:
    """Unix time of a line of the log."""
    return datetime.fromisoformat(fields["time"]).timestamp()


class Scene:
    """All sites and the router between them."""

    def __init__(self, lab: Lab, count: int, logs: Path) -> None:
        secret = ClusterSecret.generate().text()
        self.router = lab.machine("router", forwarding=True)
        self.sites: list[Site] = []
        for number in range(count):
            machine = lab.machine(f"host{number}")
            machine.environment = {"PYTHONPATH": str(PROJECT)}
            site = Site(number, machine, logs)
            block = f"10.201.{number // 100}.{number % 100 * 2}"
            lab.wire(self.router, f"wmg{number}={block}/31", machine, f"eth0={site.address}/31")
            machine.ip("route", "add", "default", "via", block)
            machine.write_file("/etc/weavemesh/secret", secret)
            self.sites.append(site)

    def cut(self, site: Site, *, is_cut: bool) -> None:
        self.router.ip("link", "set", f"wmg{site.number}", "down" if is_cut else "up")

    def wait_until(self, holds: Callable[[], bool], *, at_most_s: float, what: str) -> None:
        """Read the logs until it holds."""
        end = time.monotonic() + at_most_s
        while True:
            for site in self.sites:
                site.read_log()
            if holds():
                return
            if time.monotonic() > end:
                behind = {f"host{site.number}": len(site.reachable) for site in self.sites}
                raise SystemExit(f"FAILED: after {at_most_s:.0f} s it is not so that {what}; they reach {behind}")
            time.sleep(0.2)

    def know_each_other(self) -> bool:
        """Whether each reaches all others."""
        names = {site.name for site in self.sites}
        return "" not in names and all(site.reachable.keys() == names - {site.name} for site in self.sites)

    def wait_for_all(self, sites: list[Site], *, at_most_s: float, holds: Callable[[StatusReport], bool]) -> float:
        """Ask one after the other until it has held at each of them once; return how long that took."""
        begin = time.monotonic()
        for site in sites:
            while (report := site.status()) is None or not holds(report):
                if time.monotonic() - begin > at_most_s:
                    raise SystemExit(f"FAILED: after {at_most_s:.0f} s it does not hold at host{site.number}")
                time.sleep(0.2)
        return time.monotonic() - begin


def sees(count: int) -> Callable[[StatusReport], bool]:
    """Whether all are known and reachable."""
    return lambda report: sum(peer.reachable for peer in report.peers) == count


def form(scene: Scene) -> None:
    first = scene.sites[0]
    begin = time.time()
    for site in scene.sites:
        site.start(*([] if site is first else [first.address]))
    scene.wait_until(scene.know_each_other, at_most_s=FORM_S_MAX, what="all know each other")
    listening = max(site.started_at for site in scene.sites)
    known = max(max(site.reachable.values()) for site in scene.sites)
    print(f"  the last one listens after the first command      {listening - begin:.1f} s", flush=True)
    print(f"  all know each other after the first command       {known - begin:.1f} s", flush=True)
    print(f"  all know each other after the last one listens    {known - listening:.1f} s", flush=True)
    scene.wait_until(lambda: all(site.is_ready for site in scene.sites), at_most_s=READY_S_MAX, what="all are ready")
    print(f"  all have an address and are ready within          {time.time() - begin:.1f} s", flush=True)
    for site in scene.sites:
        site.find_pid()
    print(
        f"  processor time per agent until then               {mean(s.cpu_s() for s in scene.sites):.2f} s", flush=True
    )


def measure_steady(scene: Scene, steady_s: float) -> None:
    time.sleep(min(CALM_S, 2 * steady_s))
    before = [site.cpu_s() for site in scene.sites]
    time.sleep(steady_s)
    spent = [site.cpu_s() - cpu for site, cpu in zip(scene.sites, before, strict=True)]
    memory = [site.memory_mib() for site in scene.sites]
    links = [
        len([c for c in report.router.connections if c.state == "established"])
        for site in scene.sites
        if (report := site.status()) is not None
    ]
    print(
        f"  steady, of a core per agent                       {100 * mean(spent) / steady_s:.2f} % mean, "
        f"{100 * max(spent) / steady_s:.2f} % at worst",
        flush=True,
    )
    print(
        f"  resident memory per agent                         {mean(memory):.1f} MiB mean, {max(memory):.1f} at worst"
    )
    print(f"  control links per agent                           {min(links)} to {max(links)}", flush=True)


def measure_death(scene: Scene) -> None:
    took = []
    for victim in random.Random(1).sample(scene.sites[1:], 3):
        others = [site for site in scene.sites if site is not victim]
        begin = time.time()
        scene.cut(victim, is_cut=True)
        scene.wait_until(
            lambda: all(victim.name not in site.reachable for site in others),  # noqa: B023 - called in this turn only
            at_most_s=60,
            what="a dead one is missed",
        )
        seen = [max(when for name, when in site.lost if name == victim.name) for site in others]
        took.append(max(seen) - begin)
        scene.cut(victim, is_cut=False)
        restore_route(victim)
        scene.wait_until(scene.know_each_other, at_most_s=120, what="one that returns is known")
        time.sleep(10.0)
    print(
        f"  a silent death is seen by all after               {median(took):.1f} s median, {max(took):.1f} s at worst",
        flush=True,
    )


def measure_alarms(scene: Scene, busy_s: float) -> None:
    lost_before = sum(len(site.lost) for site in scene.sites)
    links_before = sum(site.links_given_up for site in scene.sites)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 2))]
    try:
        time.sleep(busy_s)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    for site in scene.sites:
        site.read_log()
    lost = sum(len(site.lost) for site in scene.sites) - lost_before
    links = sum(site.links_given_up for site in scene.sites) - links_before
    print(
        f"  {busy_s:.0f} s with all cores saturated: false alarms       {lost} peers, {links} links given up",
        flush=True,
    )


def harm(scene: Scene, harm_s: float) -> None:
    rng, end = random.Random(7), time.monotonic() + harm_s
    down: dict[int, str] = {}
    acts = 0
    while time.monotonic() < end:
        site = rng.choice(scene.sites[1:])
        acts += 1
        if site.number in down:
            mend(scene, site, down.pop(site.number))
        elif len(down) < len(scene.sites) // 4:
            down[site.number] = how = rng.choice(["killed", "cut"])
            if how == "killed":
                site.kill()
            else:
                scene.cut(site, is_cut=True)
        time.sleep(rng.uniform(0.5, 3.0))
    for number, how in down.items():
        mend(scene, scene.sites[number], how)
    begin = time.time()
    scene.wait_until(scene.know_each_other, at_most_s=AGREE_S_MAX, what="all know each other after the harm")
    took = max(max(site.reachable.values()) for site in scene.sites) - begin
    print(
        f"  {acts} kills, cuts and restarts in {harm_s:.0f} s, then all agree after  {max(took, 0):.1f} s", flush=True
    )


def mend(scene: Scene, site: Site, how: str) -> None:
    """Take back what was done to a site."""
    if how == "killed":
        site.start()
    else:
        scene.cut(site, is_cut=False)
        restore_route(site)


def restore_route(site: Site) -> None:
    """A wire that was down has lost the route over it."""
    head, _, last = site.address.rpartition(".")
    site.machine.ip("route", "replace", "default", "via", f"{head}.{int(last) - 1}")


def main() -> None:
    given = [float(text) for text in sys.argv[1:]]
    count = int(given[0]) if given else 50
    steady_s, busy_s, harm_s = [*given[1:], *(60.0, 300.0, 180.0)[len(given[1:]) :]]
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="wmg-agents-") as logs:
        scene = Scene(lab, count, Path(logs))
        print(f"{count} agents", flush=True)
        form(scene)
        measure_steady(scene, steady_s)
        measure_death(scene)
        if busy_s:
            measure_alarms(scene, busy_s)
        if harm_s:
            harm(scene, harm_s)
        tracebacks = [site.number for site in scene.sites if "Traceback" in site.log.read_text(errors="replace")]
        print(f"  agents with a traceback in the log                {json.dumps(tracebacks)}")


if __name__ == "__main__":
    main()
