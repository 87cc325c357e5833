"""A program: calls CNI plugins as a container runtime does, in the network namespace in which it is started.

    python -m tests.bench.cni_caller FOLDER < plan.json

The plan names plugins with their configurations, how many pods, and how many at once. Prints JSON: for each plugin the
milliseconds of every ADD and DEL, and those of the bursts. Pods are network namespaces, made before and removed after:
while the kernel removes one it holds the lock that everybody here needs. For the same reason there is a pause after
each pair of calls: what one plugin leaves to be done behind its answer is not to be paid by the next.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTLE_S = 0.05


@dataclass(frozen=True)
class Subject:
    """A plugin to be called."""

    name: str
    executable: str
    config: str


class Caller:
    """Starts plugins; every file is in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._null = os.open("/dev/null", os.O_RDWR)

    def start(self, subject: Subject, command: str, pod: str, stdin: Path) -> tuple[int, Path]:
        output = self._folder / f"{pod}.out"
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(Path(subject.executable).parent),
        }
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(stdin), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        return os.posix_spawn(subject.executable, [subject.executable], environment, file_actions=actions), output

    def call(self, subject: Subject, command: str, pod: str, stdin: Path) -> tuple[float, str]:
        """Milliseconds, and what was printed. RuntimeError if it failed."""
        started = time.perf_counter()
        pid, output = self.start(subject, command, pod, stdin)
        _, status = os.waitpid(pid, 0)
        elapsed_ms = (time.perf_counter() - started) * 1000
        if status:
            raise RuntimeError(f"{subject.name}: {command} {pod}: {output.read_text()}")
        return elapsed_ms, output.read_text()

    def write_config(self, subject: Subject, pod: str, result: str | None) -> Path:
        config = json.loads(subject.config)
        if result:
            config["prevResult"] = json.loads(result)
        path = self._folder / f"{pod}.conf"
        path.write_text(json.dumps(config))
        return path

    def measure(self, subject: Subject, pod: str) -> tuple[float, float]:
        """Milliseconds of one ADD and the DEL after it."""
        add_ms, result = self.call(subject, "ADD", pod, self.write_config(subject, pod, None))
        del_ms, _ = self.call(subject, "DEL", pod, self.write_config(subject, pod, result))
        return add_ms, del_ms

    def burst(self, subject: Subject, pods: list[str]) -> tuple[float, int]:
        """Milliseconds until all of so many ADDs at once have ended, and how many of them failed."""
        configs = [self.write_config(subject, pod, None) for pod in pods]
        started = time.perf_counter()
        pids = [self.start(subject, "ADD", pod, path)[0] for pod, path in zip(pods, configs, strict=True)]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        elapsed_ms = (time.perf_counter() - started) * 1000
        for pod, path in zip(pods, configs, strict=True):
            self.call(subject, "DEL", pod, path)
        return elapsed_ms, sum(status != 0 for status in statuses)


def _pods(prefix: str, count: int) -> list[str]:
    names = [f"{prefix}{number}" for number in range(count)]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    return names


def _remove(names: list[str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False)


def main(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    caller = Caller(folder)
    subjects = [Subject(**one) for one in plan["subjects"]]
    found: dict[str, Any] = {one.name: {"add": [], "del": [], "burst": []} for one in subjects}
    pods = _pods("wmb", len(subjects) * plan["pods"] + plan["at_once"])
    try:
        fresh = iter(pods)
        for _ in range(plan["pods"]):
            for subject in subjects:
                add_ms, del_ms = caller.measure(subject, next(fresh))
                found[subject.name]["add"].append(add_ms)
                found[subject.name]["del"].append(del_ms)
                time.sleep(SETTLE_S)
        many = list(fresh)
        for _ in range(plan["bursts"]):
            for subject in subjects:
                found[subject.name]["burst"].append(caller.burst(subject, many))
                time.sleep(SETTLE_S * 10)
    finally:
        _remove(pods)
    return found


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), json.load(sys.stdin)), sys.stdout)
