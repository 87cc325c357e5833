"""A host with pods, as network namespaces, and the real CNI executable as a container runtime calls it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).parents[2]
NETWORK = "testnet"


def run(*command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Like subprocess.run, with text and a deadline."""
    return subprocess.run(
        [str(word) for word in command], check=check, text=True, capture_output=True, timeout=90, **options
    )


def build_shim(folder: Path) -> Path:
    """The executable, compiled for this test run."""
    run(PROJECT / "deploy" / "cni" / "build.sh", folder)
    return folder / "weavemesh"


@dataclass
class Pod:
    """A network namespace; its container's id is its name."""

    host: "Host"
    name: str

    @property
    def netns(self) -> Path:
        return Path("/run/netns") / self.name

    def call(self, command: str, *, check: bool = False, **changes: str) -> subprocess.CompletedProcess[str]:
        """Calls the executable for this pod; changes are variables, or `stdin`."""
        return self.host.call(command, check=check, **{**self.variables(), **changes})

    def variables(self) -> dict[str, str]:
        return {"CNI_CONTAINERID": self.name, "CNI_NETNS": str(self.netns), "CNI_IFNAME": "eth0"}

    def add(self) -> Any:
        """ADD that succeeds; the result."""
        return json.loads(self.call("ADD", check=True).stdout)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.name, *command, check=check)

    def pings(self, address: str) -> bool:
        """Whether the very first packet is answered."""
        return self.run("ping", "-c1", "-W2", address, check=False).returncode == 0


@dataclass
class Host:
    """A network namespace with the CNI side of an agent; with everything in it gone when it is left."""

    folder: Path
    shim: Path
    name: str = field(default_factory=lambda: f"wmc{secrets.token_hex(3)}")
    agent: subprocess.Popen[str] | None = None
    pods: list[Pod] = field(default_factory=list)

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_agent()
        for pod in self.pods:
            run("ip", "netns", "del", pod.name, check=False)
        run("ip", "netns", "del", self.name, check=False)

    @property
    def socket(self) -> Path:
        return self.folder / "cni.sock"

    @property
    def tombstones(self) -> Path:
        return self.folder / "tombstones"

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def start_agent(self, *, gated: bool = False) -> None:
        arguments = [self.socket, self.tombstones, self.folder / "journal", *([self.gate] if gated else [])]
        self.agent = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "tests.kernel.cni_agent", *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        assert self.agent.stdout is not None
        assert self.agent.stdout.readline() == "serving\n"

    def kill_agent(self) -> None:
        """`kill -9`; nothing if there is none."""
        if self.agent is not None:
            assert self.agent.stdout is not None
            self.agent.kill()
            self.agent.wait()
            self.agent.stdout.close()
            self.agent = None

    def add_pod(self) -> Pod:
        pod = Pod(self, f"{self.name}-{len(self.pods)}")
        run("ip", "netns", "add", pod.name)
        self.pods.append(pod)
        return pod

    def environment(self, command: str, variables: Mapping[str, str]) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_PATH": str(self.shim.parent),
            "WEAVEMESH_CNI_SOCKET": str(self.socket),
            "WEAVEMESH_CNI_TOMBSTONES": str(self.tombstones),
            **variables,
        }

    def command(self) -> Sequence[str]:
        """What a runtime of this host starts."""
        # Not `ip netns exec`: it would make a mount namespace of its own, in which /run/netns is the same all the same.
        return ["nsenter", f"--net=/run/netns/{self.name}", str(self.shim)]

    def call(self, command: str, *, check: bool = False, **changes: str) -> subprocess.CompletedProcess[str]:
        stdin = changes.pop("stdin", None) or config()
        environment = {"PATH": os.environ["PATH"], **self.environment(command, changes)}
        return run(*self.command(), check=check, input=stdin, env=environment)

    def journal(self) -> dict[str, int]:
        """Which attachments have an address."""
        path = self.folder / "journal"
        held: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return held

    def leftovers(self) -> dict[str, object]:
        """All that an attachment could have left on the host; falsy values are what is wanted."""
        show = ("ip", "-n", self.name, "-json")
        return {
            "links": [link["ifname"] for link in _json(*show, "link") if link["ifname"].startswith("wmv")],
            "routes": _json(*show, "route", "show", "table", "all", "proto", "87"),
            "routes6": _json(*show, "-6", "route", "show", "table", "all", "proto", "87"),
            "neighbours": _json(*show, "neigh", "show", "nud", "permanent"),
            "journal": self.journal(),
            "tombstones": sorted(os.listdir(self.tombstones)) if self.tombstones.exists() else [],
        }


def config(**changes: object) -> str:
    """A network configuration as it comes on stdin."""
    return json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "type": "weavemesh", **changes})


def _json(*command: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(*command).stdout or "[]")
    return found
