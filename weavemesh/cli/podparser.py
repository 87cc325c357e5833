"""The words of the commands about pods and the exposed host; what they do is in `weavemesh.cli.pod` and `.cni`."""

import argparse
from typing import Protocol, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Add(Protocol):
    """Adds a command; see `weavemesh.cli.parser`."""

    def __call__(
        self, commands: Commands, name: str, run: str, summary: str, *, example: str, more: str = ""
    ) -> argparse.ArgumentParser: ...


class AddSwitch(Protocol):
    """Adds a switch that many commands have."""

    def __call__(self, command: argparse.ArgumentParser) -> None: ...


def add_pod_commands(commands: Commands, add: Add, add_json: AddSwitch) -> None:
    """All of them."""
    _add_expose(commands, add, add_json)
    _add_attach(commands, add, add_json)
    _add_cni(commands, add, add_json)


def _add_expose(commands: Commands, add: Add, add_json: AddSwitch) -> None:
    expose = add(
        commands,
        "expose",
        "pod:expose",
        "give this host one more address in the mesh, and print it",
        example="weavemesh expose 10.32.0.99",
        more="What other machines send to pods through this host then has that address as its source. It lasts until "
        "`weavemesh hide`, also over restarts.",
    )
    expose.add_argument("address", nargs="?", metavar="ADDRESS", help="this one (any)")
    add_json(expose)
    add_json(add(commands, "hide", "pod:hide", "take that address back", example="weavemesh hide"))


def _add_attach(commands: Commands, add: Add, add_json: AddSwitch) -> None:
    attach = add(
        commands,
        "attach",
        "pod:attach",
        "give a network namespace, process or container an interface in the mesh",
        example="weavemesh attach mycontainer",
        more="For those that no container runtime attaches. It is shown and ends like any pod.",
    )
    attach.add_argument("--address", metavar="ADDRESS", help="this one (any)")
    attach.add_argument("--default-route", action="store_true", help="send everything this way, not only the mesh")
    detach = add(commands, "detach", "pod:detach", "take that interface away", example="weavemesh detach mycontainer")
    for command in (attach, detach):
        command.add_argument(
            "netns", metavar="NETNS|PID|CONTAINER", help="a path, a name of `ip netns`, a process id, a container"
        )
        command.add_argument("--ifname", default="mesh0", metavar="NAME", help="of the interface inside (mesh0)")
        add_json(command)
    ps = add(commands, "ps", "pod:ps", "list what is attached on this host", example="weavemesh ps shop/")
    ps.add_argument("words", nargs="*", metavar="WORD", help="only what has this in its container, pod or address")
    add_json(ps)


def _add_cni(commands: Commands, add: Add, add_json: AddSwitch) -> None:
    cni = commands.add_parser(
        "cni",
        help="put the CNI plugin where container runtimes look for it, or take it away",
        description="Put the CNI plugin where container runtimes look for it, or take it away.",
        epilog="example: weavemesh cni install",
        allow_abbrev=False,
    )
    actions = cni.add_subparsers(title="actions", metavar="ACTION", required=True)
    install = add(
        actions,
        "install",
        "cni:install",
        "put the executables, then the configuration, in their places",
        example="weavemesh cni install",
        more="Again does nothing. A configuration that was changed is kept.",
    )
    uninstall = add(
        actions,
        "uninstall",
        "cni:uninstall",
        "take the configuration away, then the executables",
        example="weavemesh cni uninstall",
        more="First delete the pods: without the executable a runtime cannot delete them.",
    )
    for command in (install, uninstall):
        command.add_argument(
            "--bin-dir", default="/opt/cni/bin", metavar="DIR", help="for the executables (/opt/cni/bin)"
        )
        command.add_argument(
            "--conf-dir", default="/etc/cni/net.d", metavar="DIR", help="for the configuration (/etc/cni/net.d)"
        )
        command.add_argument("--force", action="store_true", help="also a configuration that was changed")
        add_json(command)
