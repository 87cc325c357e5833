"""`weavemesh kubernetes …`: what the pods of the DaemonSets run, their probes, and the removal from a node.

What they do is in `weavemesh.kube`; here are the folders, the CNI plugin's places and the process itself.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli import cni
from weavemesh.cli.output import print_sentences, remark, run_dir, state_dir
from weavemesh.error import UserError
from weavemesh.option import environment_options

PODS_LOOK_S = 2.0
"""Between two looks whether the last pod of a node has gone."""


def agent(arguments: argparse.Namespace) -> int:
    """Run the agent of this node until it is told to stop."""
    from weavemesh.daemon import run_agent
    from weavemesh.kube.agent import Folders, Installer, run_on_node
    from weavemesh.weavenet import translate

    variables, sentences = translate(os.environ)
    os.environ.update(variables)
    _tell(sentences)
    environment = dict(os.environ)  # a secret that is in it is taken out of the process's own
    folders = Folders(state_dir(arguments), run_dir(arguments))
    installer = Installer(
        executables=lambda: _tell(cni.install_executables(Path(arguments.bin_dir))),
        configuration=lambda: _install_configuration(arguments),
    )
    again = run_on_node(
        environment_options(os.environ),
        folders,
        environment=os.environ,
        installer=installer,
        run_agent=run_agent,
        say=lambda text: print(text, flush=True),
    )
    if again is not None:
        _begin_anew(arguments, environment, removed=again == "removed")
    return 0


def _install_configuration(arguments: argparse.Namespace) -> None:
    chain, missing = cni.companions(Path(arguments.bin_dir))
    _tell([*missing, *cni.install_configuration(Path(arguments.conf_dir), force=True, chain=chain)])


def _begin_anew(arguments: argparse.Namespace, environment: dict[str, str], *, removed: bool) -> NoReturn:
    """The same command with the same environment, as the kubelet started it."""
    if removed:
        from weavemesh.cli.down import forget

        _tell(["others have removed this peer: it begins as a new one", *forget(arguments)])
    os.execve(sys.executable, sys.orig_argv, environment)


def wireguard(arguments: argparse.Namespace) -> int:
    """Hold wireguard-go for the agent of this node where its kernel has no WireGuard."""
    from weavemesh.kube.holder import become_idle, become_wireguard, is_needed

    if not asyncio.run(is_needed()):
        _tell(["the kernel of this node has WireGuard: nothing is to be held"])
        become_idle()
    _tell(["the kernel of this node has no WireGuard: wireguard-go has its tunnels"])
    become_wireguard(arguments.interface)


def alive(arguments: argparse.Namespace) -> int:
    """0 if the agent of this node answers."""
    ApiClient(run_dir(arguments) / SOCKET_NAME).ready(known=0, wait_s=0.0)
    return 0


def ready(arguments: argparse.Namespace) -> int:
    """0 if it is in the mesh; 1, with what it waits for, if not."""
    readiness = ApiClient(run_dir(arguments) / SOCKET_NAME).ready(known=0, wait_s=0.0)
    if readiness.refusal is not None:
        raise UserError(readiness.refusal.sentence, remedy=readiness.refusal.remedy)
    print_sentences(readiness.steps[-1:], as_json=False)
    return 0 if readiness.ready else 1


def uninstall(arguments: argparse.Namespace) -> int:
    """Take weavemesh away from this node, in the order in which pods can still be deleted."""
    from weavemesh.cli.down import forget
    from weavemesh.kernel.removal import pods_left

    _tell(cni.retire_configuration(Path(arguments.conf_dir)))
    # A pod is deleted with the configuration and the executable; without them the kubelet would try for ever.
    while left := asyncio.run(pods_left()):
        remark(f"waiting for {left} {'pod' if left == 1 else 'pods'} of this node to be deleted")
        if not arguments.wait:
            break
        time.sleep(PODS_LOOK_S)
    _tell(cni.remove_configuration(Path(arguments.conf_dir), force=True))
    _tell(forget(arguments))
    if not left:
        _tell(cni.remove_executables(Path(arguments.bin_dir)))
        _tell(cni.remove_results(cni.RESULTS))
    _tell(["this node is clean"])
    if arguments.stay:
        from weavemesh.kube.holder import become_idle

        become_idle()
    return 0


def _tell(sentences: Sequence[str]) -> None:
    print_sentences(sentences, as_json=False)
