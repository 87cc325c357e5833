"""`weavemesh expose`, `hide`, `attach`, `detach` and `ps`: the mesh for this host, and for what no runtime attaches.

A namespace is attached through the same socket and by the same words as a container runtime uses; so what is attached
by hand is checked, collected and shown like any pod. Its name is the namespace's number, whoever names it and how.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabulate import tabulate

from weavemesh.api import SOCKET_NAME, AgentNotRunning, ApiClient
from weavemesh.api.pod import ExposeRequest
from weavemesh.cli.output import print_json, print_sentences, run_dir
from weavemesh.cni.frame import Answer, FrameError, decode_answer, encode_request
from weavemesh.error import UserError
from weavemesh.status import PodStatus

CNI_SOCKET = "cni.sock"
NETWORK = "attached"
"""The network's name of what is attached by hand."""
CALL_S = 60.0
INSPECT_S = 20.0
NETNS_FOLDER = Path("/run/netns")
ENGINES: dict[str, Callable[[str], list[str]]] = {
    "docker": lambda name: ["docker", "inspect", "--type=container", "-f", "{{.State.Pid}}", name],
    "podman": lambda name: ["podman", "inspect", "--type=container", "-f", "{{.State.Pid}}", name],
    "nerdctl": lambda name: ["nerdctl", "inspect", "-f", "{{.State.Pid}}", name],
    "crictl": lambda name: ["crictl", "inspect", "-o", "go-template", "--template", "{{.info.pid}}", name],
}
"""Programs that know the first process of a container, by its name or id."""

_RECEIVE_BYTES = 65536


def expose(arguments: argparse.Namespace) -> int:
    """Give this host an address in the mesh and print it; the same again if it has one."""
    answer = ApiClient(run_dir(arguments) / SOCKET_NAME).expose(ExposeRequest(address=arguments.address))
    print_json(answer) if arguments.json else print("\n".join(answer.addresses))
    return 0


def hide(arguments: argparse.Namespace) -> int:
    """Take it back; nothing if there is none."""
    changed = ApiClient(run_dir(arguments) / SOCKET_NAME).hide()
    print_sentences(changed.sentences or ("this host was not exposed",), as_json=arguments.json)
    return 0


def attach(arguments: argparse.Namespace) -> int:
    """Give a namespace an interface in the mesh and print its addresses."""
    config: dict[str, object] = {"defaultRoute": arguments.default_route}
    if arguments.address:
        config["runtimeConfig"] = {"ips": [arguments.address]}
    with _opened(arguments.netns) as netns:
        answer = _call(arguments, netns, "ADD", config)
    result = json.loads(answer.stdout)
    addresses = [entry["address"].partition("/")[0] for entry in result["ips"]]
    print_json({"addresses": addresses}) if arguments.json else print("\n".join(addresses))
    return 0


def detach(arguments: argparse.Namespace) -> int:
    """Take the interface away; nothing if there is none."""
    with _opened(arguments.netns) as netns:
        _call(arguments, netns, "DEL", {})
    print_sentences([f"{arguments.netns} is not attached now"], as_json=arguments.json)
    return 0


def ps(arguments: argparse.Namespace) -> int:
    """What is attached on this host; with words, only what they are part of."""
    pods = ApiClient(run_dir(arguments) / SOCKET_NAME).status().pods
    shown = [pod for pod in pods if not arguments.words or any(_is_meant(pod, word) for word in arguments.words)]
    if arguments.json:
        print_json(shown)
        return 0
    rows = [[_container(pod), pod.pod or "-", *pod.addresses[:2]] for pod in shown]
    if rows:
        print(tabulate(rows, headers=["CONTAINER", "POD", "IPV4", "IPV6"], tablefmt="plain"))
    return 0


def _is_meant(pod: PodStatus, word: str) -> bool:
    return word in pod.ident or word in (pod.pod or "") or word in pod.addresses


def _container(pod: PodStatus) -> str:
    _, _, rest = pod.ident.partition("/")
    return rest.rpartition("/")[0] or pod.ident


@contextmanager
def _opened(word: str) -> Iterator[int]:
    """The namespace that a path, a name in /run/netns, a process id or a container's name or id stands for."""
    path = _path_of(word)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened ({error.strerror})",
            remedy="run it as root; name a namespace, a process id or a container that is there",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _path_of(word: str) -> Path:
    if "/" in word:
        return Path(word)
    if (NETNS_FOLDER / word).exists():
        return NETNS_FOLDER / word
    if re.fullmatch(r"[1-9][0-9]{0,9}", word):
        return Path(f"/proc/{word}/ns/net")
    return Path(f"/proc/{_process_of(word)}/ns/net")


def _process_of(container: str) -> int:
    """The first process of a container, as one of the engines on this host knows it."""
    installed = [name for name in ENGINES if shutil.which(name)]
    if container.startswith("-"):
        installed = []
    for engine in installed:
        try:
            told = subprocess.run(
                ENGINES[engine](container), capture_output=True, text=True, timeout=INSPECT_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if told.returncode == 0 and re.fullmatch(r"[1-9][0-9]*", told.stdout.strip()):
            return int(told.stdout)
    asked = f"and {', '.join(installed)} know no running container of that name" if installed else ""
    raise UserError(
        f"{container!r} is no namespace and no process id {asked}".strip(),
        remedy="name one of these: a path, a name of `ip netns`, a process id, a container",
    )


def _call(arguments: argparse.Namespace, netns: int, command: str, config: dict[str, object]) -> Answer:
    """The agent's answer to a call as a runtime makes it. UserError if it refuses."""
    path = run_dir(arguments) / CNI_SOCKET
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": f"netns-{os.fstat(netns).st_ino}",
        "CNI_NETNS": f"/proc/{os.getpid()}/fd/{netns}",
        "CNI_IFNAME": arguments.ifname,
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAME={arguments.netns}",
    }
    stdin = {"cniVersion": "1.0.0", "name": NETWORK, "type": "weavemesh", **config}
    request = encode_request(environment, json.dumps(stdin).encode())
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CALL_S)
            connection.connect(os.fspath(path))
            socket.send_fds(connection, [request], [netns])
            frame = b""
            while (answer := decode_answer(frame)) is None:
                chunk = connection.recv(_RECEIVE_BYTES)
                if not chunk:
                    raise FrameError("the agent ended before it answered")
                frame += chunk
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise AgentNotRunning(path) from error
    except (OSError, FrameError) as error:
        raise UserError(f"the agent cannot be asked: {error}", remedy="see `weavemesh status`") from error
    if answer.status != 0:
        told = json.loads(answer.stdout)
        raise UserError(told["msg"], remedy=told.get("details") or "see the agent's log")
    return answer
