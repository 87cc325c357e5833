"""Does what a page of the documentation says: runs its commands, word by word, as an administrator would."""

import re
import shlex
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path

from deploy.demo.lab import BIN, LabError, Machine
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.folder import PROJECT

_BLOCK = re.compile(r"^( *)```\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SCRIPT = "#!/bin/sh\n{}\n"


def blocks(page: Path, heading: str) -> list[str]:
    """The commands in the section with this heading: one text for each block of them, in order."""
    section = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    (text,) = [one for one in section if one.startswith(f"{heading}\n")]
    found = [textwrap.dedent(match[2]) for match in _BLOCK.finditer(text)]
    if not found:
        raise LabError(f"{page.name} has no commands under {heading}")
    return found


class Administrator:
    """A shell with kubectl, ssh to the nodes and the project's command line, in a folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir(parents=True)
        control = cluster.control
        self._put("kubectl", ["nsenter", "-t", str(control.machine.init_pid), "-n", "--", *control.kubectl_command()])
        hosts = "\n".join(_host(name, node.machine) for name, node in cluster.nodes.items())
        # Like ssh, it hands its words to a shell over there.
        script = f'host=$1; shift\ncase "$host" in\n{hosts}\n*) echo "no host $host" >&2; exit 255;; esac'
        self._write("ssh", script)
        (folder / "deploy").symlink_to(PROJECT / "deploy")

    def run(self, commands: str, *, timeout_s: float = 400) -> str:
        """What they print. LabError if one fails."""
        done = subprocess.run(
            ["sh", "-e", "-c", commands],
            cwd=self._folder,
            env={"PATH": f"{self._programs}:{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{commands}→ {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _put(self, name: str, command: Sequence[str]) -> None:
        self._write(name, f'exec {shlex.join(command)} "$@"')

    def _write(self, name: str, script: str) -> None:
        (self._programs / name).write_text(_SCRIPT.format(script))
        (self._programs / name).chmod(0o755)


def _host(name: str, machine: Machine) -> str:
    return f'root@{name}) exec {shlex.join(machine.command("sh", "-c"))} "$*";;'
