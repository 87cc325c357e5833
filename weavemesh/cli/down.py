"""`weavemesh stop`, `down`, `down --leave` and `reset`: end the agent; remove what it made in the kernel; hand its
addresses to others; forget who it was.

All but `--leave` work when the agent was killed, hangs, or never ran: the process is found by its lock
(`weavemesh.process`), the kernel's state by name and mark (`weavemesh.kernel.removal`).
"""

import argparse
import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

from weavemesh.api import SOCKET_NAME, ApiClient
from weavemesh.cli.output import print_sentences, run_dir, state_dir
from weavemesh.error import UserError
from weavemesh.file import TEMPORARY_SUFFIX
from weavemesh.option import OPTIONS_FILE, environment_options, saved_options
from weavemesh.process import RunningAgent
from weavemesh.store import LOCK_FILE, StateFolder

SEALED_HEAD = b"weavemesh-state "
"""How every file of `weavemesh.store` begins."""

KEY_HEAD = b"weavemesh "
"""How the key files of `weavemesh.identity` begin."""

OWN_STATE_FOLDERS = ("cni",)
"""Folders in the state folder that are ours."""

RUN_FILES = ("agent.sock", "agent.sock.new", "agent.pid", "agent.log", "agent.log.1", "cni.sock", "cni.sock.new")
"""All that an agent makes in its run folder."""

_DEAD_SOCKETS = ("agent.sock", "agent.sock.new", "cni.sock", "cni.sock.new")


def stop(arguments: argparse.Namespace) -> int:
    """End the agent, as SIGTERM does; 0 also if none runs."""
    print_sentences([_end(run_dir(arguments))], as_json=arguments.json)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """End the agent and remove what it made in the kernel; identity and addresses stay, unless it is to leave."""
    if arguments.leave:
        return _leave(arguments)
    print_sentences(_down(arguments), as_json=arguments.json)
    return 0


def _leave(arguments: argparse.Namespace) -> int:
    """Others get the addresses first; then as reset. UserError before anything is touched if they cannot."""
    _refuse_foreign(state_dir(arguments))
    left = ApiClient(run_dir(arguments) / SOCKET_NAME).leave()
    print_sentences([*left.sentences, *forget(arguments)], as_json=arguments.json)
    return 0


def reset(arguments: argparse.Namespace) -> int:
    """As down, and remove the state folder and what is ours in the run folder. UserError before anything is touched
    if the state folder holds what is not ours."""
    _refuse_foreign(state_dir(arguments))
    print_sentences(forget(arguments), as_json=arguments.json)
    return 0


def _refuse_foreign(state: Path) -> None:
    if foreign := _foreign(state):
        raise UserError(
            f"the state folder {state} holds what weavemesh never wrote: {', '.join(foreign[:5])}",
            remedy="move that away, or name the right folder with --state-dir; nothing was removed",
        )


def forget(arguments: argparse.Namespace) -> list[str]:
    """Remove everything of weavemesh but its secret from this host; what was done, as sentences. UserError."""
    state, run = state_dir(arguments), run_dir(arguments)
    sentences = _down(arguments)
    if state.is_dir():
        with StateFolder.open(state):  # another agent may use it with another run folder
            removed = _empty(state)
        with suppress(OSError):  # a container's folder is a mount, which stays
            state.rmdir() if not state.is_symlink() else state.unlink()
        sentences.append(f"removed {state} with {removed} {'entry' if removed == 1 else 'entries'}")
    sentences += _remove_run_files(run)
    return sentences + _remove_tombstones()


def _end(run: Path) -> str:
    agent = RunningAgent.find(run)
    if agent is None:
        return "no agent was running"
    with agent:
        return agent.end()


def _down(arguments: argparse.Namespace) -> list[str]:
    from weavemesh.kernel.removal import remove_everything

    if os.geteuid() != 0:
        raise UserError("only root can remove tunnels", remedy="try: sudo weavemesh …")
    interface = _interface(arguments)
    sentences = [_end(run_dir(arguments))]
    removed = asyncio.run(remove_everything(interface))
    for name in _DEAD_SOCKETS:
        (run_dir(arguments) / name).unlink(missing_ok=True)
    return sentences + (removed or ["nothing of weavemesh was in the kernel"])


def _interface(arguments: argparse.Namespace) -> str:
    """The device as it was named at the last start; options that cannot be read must not stop a removal."""
    if arguments.interface:
        return str(arguments.interface)
    try:
        saved = saved_options(state_dir(arguments))
    except UserError:
        saved = None
    named = environment_options(os.environ).interface or (saved.interface if saved else None)
    return named or "wm0"


def _foreign(state: Path) -> list[str]:
    """Names in the state folder that are not ours, sorted."""
    if not state.is_dir():
        return []
    return sorted(entry.name for entry in state.iterdir() if not _is_ours(entry))


def _is_ours(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return entry.name in OWN_STATE_FOLDERS
    if entry.name in (LOCK_FILE, OPTIONS_FILE) or entry.name.endswith(TEMPORARY_SUFFIX):
        return True
    try:
        with entry.open("rb") as file:
            head = file.read(len(SEALED_HEAD))
    except OSError:
        return False
    return head.startswith((SEALED_HEAD, KEY_HEAD))


def _empty(folder: Path) -> int:
    entries = list(folder.iterdir())
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return len(entries)


def _remove_run_files(run: Path) -> list[str]:
    found = [run / name for name in RUN_FILES if (run / name).exists()]
    for path in found:
        path.unlink()
    if not run.is_dir():
        return []
    left = sorted(entry.name for entry in run.iterdir())
    if left:
        return [f"left {run}, which holds other files: {', '.join(left[:5])}"]
    with suppress(OSError):
        run.rmdir()
        return [f"removed {run}"]
    return []


def _remove_tombstones() -> list[str]:
    """What the CNI executable left for an agent that will not come."""
    from weavemesh.cni import tombstone

    if not tombstone.FOLDER.is_dir():
        return []
    shutil.rmtree(tombstone.FOLDER, ignore_errors=True)  # it may be a mount
    return [f"removed {tombstone.FOLDER}"]
