"""A real Kubernetes on this machine, for people.

    python -m tests.kubernetes build [PROGRAM ...]         build Kubernetes' programs that are not in the cache
    python -m tests.kubernetes up [N] [--two-clouds]       a cluster of N nodes (3), NotReady until a network comes
    python -m tests.kubernetes kubectl WORD ...            kubectl, as the administrator
    python -m tests.kubernetes enter MACHINE [WORD ...]    a command, or a shell, on a node (n1 …) or on `control`
    python -m tests.kubernetes manifest                    the project's manifest with a secret and the image in dist/
    python -m tests.kubernetes down                        end it, and leave nothing behind

`up --bridge` gives the nodes a plain bridge as their network: the control, without the project. `up --emulated` adds a
node with a kernel of its own, Debian's, which registers a minute later; it has no name for `enter`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from deploy.demo.lab import LabError, Machine, wait_until
from tests.kubernetes.binary import BuildFailed, build
from tests.kubernetes.bridge import install_bridge
from tests.kubernetes.cluster import Cluster, sweep
from tests.kubernetes.emulated import emulated_node
from tests.kubernetes.folder import PROJECT, clusters_folder
from tests.kubernetes.image import ImageMissing, project_image
from tests.kubernetes.node import is_running
from tests.kubernetes.product import manifest_with_secret
from tests.lab.nat import NatKind

NAME = "wmkube"
UP_S = 180.0
_VERBATIM = ("kubectl", "enter")
"""Verbs whose words are another program's."""


class State(msgspec.Struct, frozen=True):
    """What other processes need to know of the cluster that is up."""

    keeper: int
    machines: dict[str, int]
    kubectl: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kubernetes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("build").add_argument("programs", nargs="*")
    for verb in ("up", "keep"):
        one = verbs.add_parser(verb)
        one.add_argument("nodes", nargs="?", type=int, default=3)
        one.add_argument("--two-clouds", action="store_true")
        one.add_argument("--bridge", action="store_true")
        one.add_argument("--emulated", action="store_true")
        one.add_argument("--iptables", choices=("nft", "legacy"), default="nft")
    for verb in _VERBATIM:
        verbs.add_parser(verb, add_help=False)
    verbs.add_parser("manifest")
    verbs.add_parser("down")
    words = sys.argv[1:]
    verbatim = words[1:] if words[:1] and words[0] in _VERBATIM else []
    options = parser.parse_args(words[:1] if verbatim else words)
    options.words = verbatim
    try:
        return _run(options)
    except (LabError, ImageMissing, BuildFailed) as error:
        print(f"tests.kubernetes: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    match options.verb:
        case "build":
            build(options.programs)
        case "up":
            return _up(options)
        case "keep":
            _keep(options)
        case "kubectl":
            state = _state()
            command = [*state.kubectl, *options.words]
            _become(Machine("control", state.machines["control"]).command(*command))
        case "enter":
            machines = _state().machines
            name, *command = options.words or [""]
            if name not in machines:
                raise LabError(f"there is no machine {name}, but {', '.join(machines)}")
            _become(Machine(name, machines[name]).command(*(command or [os.environ.get("SHELL", "sh")])))
        case "manifest":
            print(manifest_with_secret())
        case _:
            _down()
    return 0


def _up(options: argparse.Namespace) -> int:
    """Start the process that keeps the cluster, and wait for it."""
    began = time.monotonic()
    if _keeper() is not None:
        raise LabError("a cluster is up; `down` ends it")
    _state_file().unlink(missing_ok=True)
    log = clusters_folder() / f"{NAME}.log"
    flags = [f"--{name.replace('_', '-')}" for name in ("two_clouds", "bridge", "emulated") if getattr(options, name)]
    with log.open("w") as stream:
        command = [sys.executable, "-m", "tests.kubernetes", "keep", str(options.nodes), "--iptables", options.iptables]
        process = subprocess.Popen(
            [*command, *flags],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    shown = 0

    def is_up() -> bool:
        nonlocal shown
        text = log.read_text()
        print(text[shown:], end="", flush=True)
        shown = len(text)
        if process.poll() is not None:
            raise LabError("the cluster did not come up")
        return _state_file().exists()

    wait_until(is_up, seconds=UP_S, what="the cluster")
    print(f"up after {time.monotonic() - began:.1f} s; `python -m tests.kubernetes down` ends it")
    return 0


def _keep(options: argparse.Namespace) -> None:
    """Be the process with which the cluster ends."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        images = [project_image()]
    except ImageMissing as error:
        say(f"without the project's image: {error}")
        images = []
    clouds: tuple[NatKind, NatKind] | None = ("port-restricted", "symmetric") if options.two_clouds else None
    cluster = Cluster(options.nodes, name=NAME, images=images, clouds=clouds, iptables=options.iptables, say=say)
    with cluster, ExitStack() as stack:
        if options.bridge:
            install_bridge(cluster)
        if options.emulated:
            node = stack.enter_context(emulated_node(cluster, f"n{options.nodes + 1}"))
            say(f"{node.name} is switched on; its console is {node.console}")
        machines = {"control": cluster.control.machine, **{node.name: node.machine for node in cluster.nodes.values()}}
        machines |= {site.router.name: site.router for site in cluster.sites}
        state = State(
            keeper=os.getpid(),
            machines={name: machine.init_pid for name, machine in machines.items()},
            kubectl=cluster.control.kubectl_command(),
        )
        new = _state_file().with_suffix(".new")
        new.write_bytes(msgspec.json.encode(state))
        new.rename(_state_file())
        try:
            while True:
                signal.pause()
        finally:
            _state_file().unlink(missing_ok=True)


def _down() -> None:
    keeper = _keeper()
    if keeper is not None:
        os.kill(keeper, signal.SIGTERM)
        wait_until(lambda: not is_running(keeper), seconds=60, what="the cluster to end")
    _state_file().unlink(missing_ok=True)
    sweep(NAME)


def _keeper() -> int | None:
    """The process that keeps the cluster."""
    try:
        pid = msgspec.json.decode(_state_file().read_bytes(), type=State).keeper
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if b"tests.kubernetes" in words and is_running(pid) else None


def _state() -> State:
    """LabError if no cluster is up."""
    if _keeper() is None:
        raise LabError("no cluster is up: `python -m tests.kubernetes up`")
    return msgspec.json.decode(_state_file().read_bytes(), type=State)


def _state_file() -> Path:
    return clusters_folder() / f"{NAME}.json"


def _become(command: list[str]) -> None:
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
