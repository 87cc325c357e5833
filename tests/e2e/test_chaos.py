"""ADDs and DELs at random, with agents and plugins killed, namespaces cut off and a full disk in between: no leak.

WEAVEMESH_CHAOS=500 WEAVEMESH_SEED=7 pytest tests/e2e/test_chaos.py     a longer run, or one again
"""

import json
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from deploy.demo.lab import CNI_CONFIG, CNI_PLUGIN, Machine, wait_until

CALLS = int(os.environ.get("WEAVEMESH_CHAOS", "60"))
STATE = "/var/lib/weavemesh"
TOMBSTONES = "/var/lib/cni/weavemesh-tombstones"
LATER = 11
"""The code of "try again later"."""

pytestmark = [pytest.mark.root, pytest.mark.timeout(120 + 3 * CALLS)]


@dataclass
class Chaos:
    """One host, and what its runtime believes to be there."""

    machine: Machine
    rng: random.Random
    count: int = 0
    attached: dict[str, str] = field(default_factory=dict)
    """Containers by id, with the addresses that their ADDs told."""
    doubtful: set[str] = field(default_factory=set)
    """Containers whose ADD failed, and whose DEL is due."""
    told: list[str] = field(default_factory=list)

    def call(self, command: str, container: str) -> subprocess.CompletedProcess[str]:
        return self.machine.run(
            str(CNI_PLUGIN), stdin=json.dumps(CNI_CONFIG), env=self.environment(command, container), check=False
        )

    def environment(self, command: str, container: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": f"/run/netns/{container}",
            "CNI_IFNAME": "eth0", "CNI_PATH": str(CNI_PLUGIN.parent),
        }  # fmt: skip

    def new_container(self) -> str:
        self.count += 1
        self.machine.ip("netns", "add", f"c{self.count}")
        return f"c{self.count}"

    def add(self) -> None:
        container = self.new_container()
        self.note(container, self.call("ADD", container))

    def note(self, container: str, answer: subprocess.CompletedProcess[str]) -> None:
        """An address that is told is nobody else's."""
        if answer.returncode != 0:
            assert json.loads(answer.stdout)["code"] == LATER, answer.stdout
            self.doubtful.add(container)
            return
        address = json.loads(answer.stdout)["ips"][0]["address"]
        assert address not in self.attached.values(), f"{address} was given to two"
        self.attached[container] = address

    def add_and_kill_plugin(self) -> None:
        container = self.new_container()
        script = (
            '"$0" <<E & pid=$!; sleep "$1"; kill -9 $pid 2>/dev/null; wait $pid\n' + json.dumps(CNI_CONFIG) + "\nE\n"
        )
        delay = f"{self.rng.choice((0, 0.002, 0.005, 0.01, 0.03))}"
        self.machine.run(
            "sh", "-c", script, str(CNI_PLUGIN), delay, env=self.environment("ADD", container), check=False
        )
        self.doubtful.add(container)  # whatever it did, a runtime that killed it knows of no success

    def delete(self) -> None:
        for container in self.rng.sample(sorted(self.attached), min(2, len(self.attached))):
            self.forget(container)
        for container in sorted(self.doubtful)[:2]:
            self.forget(container)

    def forget(self, container: str) -> bool:
        """The DEL of a container, then its end. False: it is to be tried again."""
        answer = self.call("DEL", container)
        if answer.returncode != 0:
            assert json.loads(answer.stdout)["code"] == LATER, answer.stdout
            return False
        self.attached.pop(container, None)
        self.doubtful.discard(container)
        self.machine.run("ip", "netns", "del", container, check=False)
        return True

    def cut_off(self) -> None:
        """A namespace that ends without any DEL."""
        if self.attached:
            container = self.rng.choice(sorted(self.attached))
            del self.attached[container]
            self.machine.ip("netns", "del", container)

    def kill_agent(self) -> None:
        self.machine.run("sh", "-c", "kill -9 $(cat /run/weavemesh/agent.pid)", check=False)

    def start_agent(self) -> None:
        self.machine.weavemesh("up")

    def kill_agent_while_adding(self) -> None:
        container = self.new_container()
        plugin = self.machine.start(
            "env", *(f"{name}={value}" for name, value in self.environment("ADD", container).items()),
            "sh", "-c", f"echo '{json.dumps(CNI_CONFIG)}' | {CNI_PLUGIN}", stdout=subprocess.PIPE,
        )  # fmt: skip
        self.kill_agent()
        stdout, _ = plugin.communicate(timeout=60)
        self.start_agent()
        self.note(container, subprocess.CompletedProcess([], plugin.returncode, stdout, ""))

    def kill_and_delete_without_agent(self) -> None:
        self.kill_agent()
        self.delete()
        self.start_agent()

    def fill_disk(self) -> None:
        self.machine.run("sh", "-c", f"cat /dev/zero >{STATE}/filler", check=False)
        if self.attached:
            self.forget(self.rng.choice(sorted(self.attached)))
        self.machine.run("rm", f"{STATE}/filler")
        self.add()

    def step(self) -> None:
        deeds: list[tuple[int, Callable[[], None]]] = [
            (40, self.add), (40, self.delete), (8, self.add_and_kill_plugin), (5, self.cut_off),
            (3, self.kill_agent_while_adding), (2, self.kill_and_delete_without_agent), (2, self.fill_disk),
        ]  # fmt: skip
        (deed,) = self.rng.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
        self.told.append(deed.__name__)
        deed()

    def leftovers(self) -> list[str]:
        """What there is on the host that no pod of it needs."""
        pods = json.loads(self.machine.weavemesh("ps", "--json", check=False).stdout or '[{"ident": "no agent"}]')
        left = [entry["ident"] for entry in pods]
        left += [line for line in self.machine.ip("-o", "link").splitlines() if "wmv" in line]
        for family in ("-4", "-6"):
            routes = self.machine.ip(family, "route", "show", "table", "all", "proto", "87").splitlines()
            left += [line for line in routes if "wmv" in line]
        left += [line for line in self.machine.ip("neigh", "show", "nud", "permanent").splitlines() if "wmv" in line]
        files = f"ls {TOMBSTONES} 2>/dev/null; ls -A {STATE} | grep tmp"
        left += self.machine.run("sh", "-c", files, check=False).stdout.split()
        return left


def test_nothing_leaks_and_no_address_is_given_twice(pair: tuple[Machine, Machine]) -> None:
    machine = pair[0]
    machine.run("sh", "-c", f"mkdir -p {STATE} && mount -t tmpfs -o size=512k,mode=700 wm {STATE}")
    seed = int(os.environ.get("WEAVEMESH_SEED", str(random.randrange(1_000_000))))
    chaos = Chaos(machine, random.Random(seed))
    chaos.start_agent()
    try:
        for _ in range(CALLS):
            chaos.step()
        for container in sorted(chaos.attached | dict.fromkeys(chaos.doubtful, "")):
            wait_until(lambda: chaos.forget(container), seconds=20, what=f"the DEL of {container}")  # noqa: B023
        wait_until(lambda: not chaos.leftovers(), seconds=45, what="the host to be as before")
    except Exception as error:
        raise AssertionError(
            f"seed {seed}, after {len(chaos.told)} steps ({chaos.told[-10:]}): {error}; left: {chaos.leftovers()}"
        ) from error
