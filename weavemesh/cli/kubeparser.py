"""The words of `weavemesh kubernetes`; what they do is in `weavemesh.cli.kubernetes`."""

import argparse

from weavemesh.cli.podparser import Add, Commands


def add_kubernetes(commands: Commands, add: Add) -> None:
    """The command with its parts."""
    kubernetes = add(
        commands,
        "kubernetes",
        "kubernetes:agent",
        "what the pods of the DaemonSets run (see `weavemesh manifest`)",
        example="weavemesh kubernetes ready",
        more="Options of `weavemesh up` are given as variables. The other nodes are found through the API server.",
    )
    parts = kubernetes.add_subparsers(title="parts", metavar="PART", required=True)
    agent = _part(parts, "agent", "the agent of this node")
    _places(agent)
    holder = _part(parts, "wireguard", "hold wireguard-go for the agent where the kernel has no WireGuard")
    holder.add_argument("--interface", default="wm0", help="name of the device (wm0)")
    _part(parts, "alive", "probe: does the agent of this node answer?")
    _part(parts, "ready", "probe: is it in the mesh?")
    uninstall = _part(parts, "uninstall", "take weavemesh away from this node, once its pods are deleted")
    _places(uninstall)
    uninstall.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait for the pods")
    uninstall.add_argument("--stay", action="store_true", help="then wait to be ended, as pods of a DaemonSet do")


def _part(parts: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    part = parts.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False)
    part.add_argument("--run-dir", metavar="DIR", help="sockets of the agent (/run/weavemesh)")
    part.set_defaults(run=f"kubernetes:{name}", example=f"weavemesh kubernetes {name}", interface=None, json=False)
    return part


def _places(part: argparse.ArgumentParser) -> None:
    part.add_argument("--state-dir", metavar="DIR", help="identity and addresses (/var/lib/weavemesh)")
    part.add_argument("--bin-dir", default="/opt/cni/bin", metavar="DIR", help="for CNI executables (/opt/cni/bin)")
    part.add_argument("--conf-dir", default="/etc/cni/net.d", metavar="DIR", help="for CNI configurations")
