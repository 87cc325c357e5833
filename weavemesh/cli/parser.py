"""The words of the command line, with help and an example for each command. What they do is in the other modules."""

import argparse
from textwrap import indent
from typing import TypeAlias

from weavemesh import __version__
from weavemesh.cli.kubeparser import add_kubernetes
from weavemesh.cli.manifestparser import add_manifest
from weavemesh.cli.podparser import add_pod_commands

EXIT_STATUSES = {
    0: "all is well",
    1: "something is not right",
    2: "the command was used wrongly",
    3: "no agent runs here",
}
FIRST_HOSTS = """\
host1# weavemesh secret --write                       # makes /etc/weavemesh/secret; copy it to host2
host1# weavemesh up
host2# weavemesh up host1
"""
_STATUSES = "".join(f"\n  {number}  {what}" for number, what in EXIT_STATUSES.items())
_EPILOG = f"exit status:{_STATUSES}\n\nthe first two hosts of a mesh:\n{indent(FIRST_HOSTS, '  ')}"

_STATUSES_IN_A_LINE = ", ".join(f"{number} {what}" for number, what in EXIT_STATUSES.items())

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class _Formatter(argparse.HelpFormatter):
    """Wraps sentences, and leaves text that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def parser() -> argparse.ArgumentParser:
    """The whole command line. `run` in its result is "module:function" of `weavemesh.cli`."""
    top = argparse.ArgumentParser(
        prog="weavemesh",
        description="An encrypted mesh network between hosts and their pods.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"weavemesh {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_status(commands)
    _add_explain(commands)
    _add_connect(commands)
    _add_ring(commands)
    _add_stop(commands)
    _add_rotate_key(commands)
    add_pod_commands(commands, _add, _json)
    add_manifest(commands, _add)
    add_kubernetes(commands, _add)
    _add_report(commands)
    _add_secret(commands)
    version = _add(commands, "version", "version:version", "print the release", example="weavemesh version --json")
    _json(version)
    return top


def _add_up(commands: Commands) -> None:
    up = _add(
        commands,
        "up",
        "up:up",
        "join the mesh: start the agent, or tell a running one of more hosts",
        example="weavemesh up host1 host2:7000 --nickname web3",
        more="Without hosts and options it resumes what was given last time. With neither now nor then, it founds "
        "a new mesh; hosts that name each other found one together. Each option can also be given as a variable, "
        "--ipalloc-range as WEAVEMESH_IPALLOC_RANGE.",
    )
    up.add_argument("targets", nargs="*", metavar="HOST[:PORT]", help="a peer of the mesh; the others are discovered")
    up.add_argument("--foreground", action="store_true", help="run the agent in this process (systemd: Type=notify)")
    up.add_argument("--no-resume", action="store_true", help="forget what was given last time")
    up.add_argument(
        "--wait",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="wait this long until it is ready (30; 0: do not)",
    )
    _json(up)
    _state_dir(up)
    _add_network_options(up)


def _add_network_options(up: argparse.ArgumentParser) -> None:
    network = up.add_argument_group("network")
    network.add_argument(
        "--ipalloc-range", metavar="CIDR", help="addresses for pods, equal on all peers (10.32.0.0/12)"
    )
    network.add_argument(
        "--ipalloc-default-subnet", metavar="CIDR", help="the part of that range that pods' addresses are taken from"
    )
    network.add_argument("--port", help="TCP for control links and UDP for WireGuard (6783)")
    network.add_argument(
        "--advertise", action="append", metavar="ADDRESS[:PORT]", help="where others reach this host, as behind a NAT"
    )
    network.add_argument("--no-relay", action="store_true", default=None, help="forward nothing for other peers")
    network.add_argument("--no-discovery", action="store_true", default=None, help="dial only the hosts given")
    network.add_argument(
        "--no-masquerade",
        action="store_true",
        default=None,
        help="leave packets from pods to the outside as they are: somebody else masquerades them, or nobody",
    )
    network.add_argument("--nickname", help="name of this peer for people (the host's name)")
    founding = up.add_argument_group("a new mesh")
    founding.add_argument(
        "--initial-peers",
        metavar="N",
        help="so many hosts found the mesh together, more than half of them at least (this one and those given)",
    )
    founding.add_argument("--observer", action="store_true", default=None, help="never found a mesh, only join one")
    tunnel = up.add_argument_group("tunnels")
    tunnel.add_argument("--datapath", help="auto (default), kernel, userspace (wireguard-go), held (run by others)")
    tunnel.add_argument("--interface", help="name of the WireGuard device (wm0); begins with wm")
    tunnel.add_argument(
        "--mtu", help="of that device, in octets, and the most for each path (auto: as the network below allows)"
    )
    tunnel.add_argument(
        "--rotate-key-every", metavar="TIME", help="a new WireGuard key so often, as 12h or 30d (never)"
    )
    secret = up.add_argument_group("secret, log and metrics")
    secret.add_argument("--secret-file", metavar="FILE", help="holds the cluster secret (/etc/weavemesh/secret)")
    secret.add_argument(
        "--force-weak-secret", action="store_true", default=None, help="take a secret that can be guessed"
    )
    secret.add_argument("--log-level", help="debug, info (default), warning or error")
    secret.add_argument(
        "--metrics-addr", metavar="ADDRESS:PORT", help="serve metrics for Prometheus there, as 0.0.0.0:6782 (none)"
    )


def _add_status(commands: Commands) -> None:
    status = _add(
        commands,
        "status",
        "show:status",
        "show whether all is well, who is here, and what is wrong",
        example="weavemesh status peers",
        more="The exit status is 0 only if all is well.",
    )
    status.add_argument(
        "part",
        nargs="?",
        choices=("peers", "connections", "targets", "ipam", "pods"),
        help="one part in full",
    )
    _json(status)


def _add_explain(commands: Commands) -> None:
    why = _add(
        commands,
        "why",
        "explain:explain_path",
        "explain how packets go between two peers or pods, and why not directly",
        example="weavemesh why web3 10.32.0.7",
    )
    why.add_argument("one", metavar="A", help="a peer's nickname or name, or an address of a pod or peer")
    why.add_argument("other", nargs="?", metavar="B", help="the same (this peer)")
    _json(why)
    ping = _add(
        commands,
        "ping",
        "ping:ping",
        "ask a peer through its tunnel, as often as told; or find the largest packet that passes",
        example="weavemesh ping web3 --mtu",
        more="The exit status is 0 if it answered at all.",
    )
    ping.add_argument("peer", metavar="PEER", help="its nickname or name, or an address of its")
    ping.add_argument("-c", "--count", type=int, default=3, metavar="N", help="so many questions (3)")
    ping.add_argument("-i", "--interval", type=_seconds, default=0.5, metavar="S", help="seconds between two (0.5)")
    ping.add_argument("--mtu", action="store_true", help="find the largest packet that passes")
    _json(ping)
    netcheck = _add(
        commands,
        "netcheck",
        "explain:check_network",
        "show where others see this host, and what NAT it is behind",
        example="weavemesh netcheck",
    )
    _json(netcheck)


def _add_connect(commands: Commands) -> None:
    connect = _add(
        commands,
        "connect",
        "target:connect",
        "tell the agent of more peers",
        example="weavemesh connect host3 host4:7000",
    )
    connect.add_argument("targets", nargs="+", metavar="HOST[:PORT]")
    connect.add_argument("--replace", action="store_true", help="instead of all hosts given before")
    _json(connect)
    forget = _add(
        commands,
        "forget",
        "target:forget",
        "dial these peers no longer",
        example="weavemesh forget host3",
        more="Links that stand are left alone.",
    )
    forget.add_argument("targets", nargs="+", metavar="HOST[:PORT]")
    _json(forget)


def _add_ring(commands: Commands) -> None:
    rmpeer = _add(
        commands,
        "rmpeer",
        "ring:rmpeer",
        "remove a peer that is gone for ever; others get its addresses",
        example="weavemesh rmpeer web3",
        more="A removed peer can never come back under its name. Saying so on one host is enough.",
    )
    rmpeer.add_argument("peer", metavar="NAME", help="its nickname or name, as `weavemesh status peers` shows them")
    rmpeer.add_argument("--force", action="store_true", help="also if it is up: its pods lose their network")
    _json(rmpeer)
    ipam = _add(
        commands,
        "ipam",
        "ring:ipam",
        "ask for addresses, give them back, or look up who has one",
        example="weavemesh ipam lookup 10.32.0.7",
        more="lookup IDENT|ADDRESS: who has it. allocate IDENT: any address. claim IDENT ADDRESS: this one. release "
        "IDENT: give it back. clear CIDR: hand out again what a conflict has isolated, once nobody else uses it.",
    )
    ipam.add_argument("action", choices=("lookup", "allocate", "claim", "release", "clear"))
    ipam.add_argument("subject", metavar="IDENT|ADDRESS|CIDR", help="a name for who has it, an address, or a range")
    ipam.add_argument("address", nargs="?", metavar="ADDRESS", help="claim: the address")
    _json(ipam)


def _add_stop(commands: Commands) -> None:
    stop = _add(
        commands,
        "stop",
        "down:stop",
        "end the agent; tunnels and pods go on",
        example="weavemesh stop && weavemesh up",
    )
    _json(stop)
    down = _add(
        commands,
        "down",
        "down:down",
        "end the agent and remove the tunnels; identity and addresses are kept",
        example="weavemesh down",
        more="Works also when the agent was killed, hangs, or never ran.",
    )
    reset = _add(
        commands,
        "reset",
        "down:reset",
        "as down, and forget identity and addresses too",
        example="weavemesh reset",
        more="The host comes back as a new peer. A state folder that holds other files is left alone.",
    )
    down.add_argument(
        "--leave", action="store_true", help="hand the addresses to other peers first, and forget identity and state"
    )
    for command in (down, reset):
        _json(command)
        _state_dir(command)
        command.add_argument("--interface", help="name of the WireGuard device (as at the last start, or wm0)")


def _add_rotate_key(commands: Commands) -> None:
    rotate_key = _add(
        commands,
        "rotate-key",
        "key:rotate_key",
        "give this host a new WireGuard key; no packet is lost",
        example="weavemesh rotate-key",
        more="`up --rotate-key-every 30d` does it by itself.",
    )
    _json(rotate_key)


def _add_report(commands: Commands) -> None:
    report = _add(
        commands,
        "report",
        "report:report",
        "print all that a bug report needs, as JSON, without secrets",
        example="weavemesh report > report.json",
    )
    _state_dir(report)


def _add_secret(commands: Commands) -> None:
    secret = _add(
        commands,
        "secret",
        "secret:secret",
        "make the secret that admits hosts to the mesh, or show its fingerprint",
        example="weavemesh secret --write && weavemesh secret fingerprint",
        more="All hosts of a mesh have the same secret, hence the same fingerprint.",
    )
    secret.add_argument("action", nargs="?", choices=("new", "fingerprint", "rotate"), default="new")
    secret.add_argument(
        "--write", nargs="?", const="", metavar="FILE", help="keep it in a file (/etc/weavemesh/secret), mode 0600"
    )
    secret.add_argument("--force", action="store_true", help="replace a file that is there")
    secret.add_argument("--secret-file", metavar="FILE", help="fingerprint, rotate: the secret in this file")
    secret.add_argument("--finish", action="store_true", help="rotate: show the second secret from now on")
    secret.add_argument("--forget", action="store_true", help="rotate: accept the old secret no longer")
    _json(secret)


def _add(
    commands: Commands, name: str, run: str, summary: str, *, example: str, more: str = ""
) -> argparse.ArgumentParser:
    sentence = f"{summary[0].upper()}{summary[1:]}."
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{sentence} {more}".strip(),
        epilog=f"example: {example}\nexit status: {_STATUSES_IN_A_LINE}",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run, example=example)
    command.add_argument("--run-dir", metavar="DIR", help="sockets and log of the agent (/run/weavemesh)")
    return command


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _state_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state-dir", metavar="DIR", help="identity and addresses (/var/lib/weavemesh)")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError("not between 0 and 86400")
    return value
