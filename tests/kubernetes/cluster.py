"""A whole cluster: control plane and nodes on one network, or in two clouds behind routers of their own.

One network: the control plane's machine has the bridge, 10.200.0.1; the nodes are n1 at 10.200.0.11, n2 at .12 …

Two clouds: the laboratory of translators (`tests.lab.nat`). The API server has an address of the internet, and so has
the first node, as the machines of a control plane often do: it is whom all others can dial. The other nodes are in turn
behind the routers `cloud1` and `cloud2`. These let nothing in, so the API server reaches the kubelets behind them
(`kubectl logs`, `exec`) by what stands for an agent and proxy like konnectivity: `tests.kubernetes.tunnel` passes
connections on to the kubelet's port from inside the node. No packet of the mesh can go that way, and no address or
interface of the node comes of it.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from deploy.demo.lab import Lab, Machine, wait_until
from tests.kubernetes.control import ControlPlane
from tests.kubernetes.folder import clusters_folder
from tests.kubernetes.image import store_with
from tests.kubernetes.node import (
    IptablesKind,
    Node,
    equip,
    is_running,
    make_cgroups,
    make_machine,
    program_path,
    remove_cgroups,
)
from tests.kubernetes.service import Services
from tests.kubernetes.tunnel import KubeletTunnel
from tests.lab.nat import Internet, NatKind, Site

GATEWAY = "10.200.0.1"
BRIDGE_MAC = "02:00:0a:c8:00:01"
"""Fixed: else a bridge takes that of a port, and hosts lose the API server whenever one joins."""
PUBLIC = "n1"
"""Of the nodes in two clouds, the one with an address of the internet."""
NODES_S = 60.0


class Cluster:
    """A context manager that leaves nothing behind; the nodes are registered, and NotReady, when it is entered."""

    def __init__(
        self,
        nodes: int,
        *,
        name: str,
        images: Sequence[Path] = (),
        clouds: tuple[NatKind, NatKind] | None = None,
        iptables: IptablesKind = "nft",
        report_s: int = 10,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.store = Path()
        """containerd's, with the images, of which each node has a copy."""
        self.folder = clusters_folder() / name
        self.nodes: dict[str, Node] = {}
        self.internet: Internet | None = None
        self.sites: list[Site] = []
        self._count = nodes
        self._images = images
        self._clouds = clouds
        self._iptables = iptables
        self._report_s = report_s
        self._say = say
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            sweep_dead()
            sweep(self.name)
            self.folder.mkdir()
            (self.folder / "keeper").write_text(str(os.getpid()))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.lab = stack.enter_context(Lab())
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- what people and tests do with it -------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True, timeout_s: float = 120) -> str:
        """What kubectl prints."""
        return self.control.kubectl(*arguments, stdin=stdin, check=check, timeout_s=timeout_s).stdout

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def add_host(self, name: str) -> Machine:
        """A machine that is no node: beside the nodes, or on the internet."""
        if self.internet is not None:
            return self.internet.public(name)
        machine = self.lab.machine(name)
        self._plug_in(machine, f"10.200.0.{100 + len(self._hosts)}")
        self._hosts.append(machine)
        return machine

    def site_of(self, name: str) -> Site | None:
        """The router that a node is behind; None if it has none."""
        return self.sites[int(name[1:]) % 2] if self.sites and name != PUBLIC else None

    def end_node(self, name: str, *, keep_disk: bool) -> None:
        """Pull its plug; the API server is not told."""
        node = self.nodes.pop(name)
        node.end()
        node.services.stop_all()
        if not keep_disk:
            node.forget()

    def start_node(self, name: str) -> Node:
        """A node of this name, new or with the disk that an earlier one has left."""
        node = self._make_node(name)
        node.start_runtime()
        node.start_kubelet()
        return node

    def wait_for_nodes(self, names: Sequence[str] | None = None) -> None:
        """Return when these (all) are registered."""
        wanted = set(names or self.nodes)
        wait_until(
            lambda: wanted <= set(self.kubectl("get", "nodes", "-o", "name", check=False).replace("node/", "").split()),
            seconds=NODES_S,
            what=f"the nodes {', '.join(sorted(wanted))} to register",
        )

    def introduce(self, name: str, place: str) -> None:
        """Tell the API server's machine where the kubelet of this name is reached."""
        script = 'sed -i "/ $2\\$/d" /etc/hosts; echo "$1 $2" >>/etc/hosts'
        self.control.machine.run("sh", "-c", script, "sh", place, name)

    # -- making it ------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._hosts: list[Machine] = []
        self.store = store_with(self._images)
        self._say("the images are there")
        if self._clouds is None:
            control, address = self.lab.machine("control", forwarding=True), GATEWAY
            control.ip("link", "add", "wmbr0", "address", BRIDGE_MAC, "type", "bridge")
            control.ip("address", "add", f"{GATEWAY}/24", "dev", "wmbr0")
            control.ip("link", "set", "wmbr0", "up")
        else:
            self.internet = Internet(self.lab)
            control = self.internet.public("control")
            address = self.internet.address(control)
            self.sites = [self.internet.site(f"cloud{number}", kind) for number, kind in enumerate(self._clouds, 1)]
        self.control = ControlPlane(control, address, self.folder)
        self._stack.callback(self.control.stop)
        self.control.start()
        for number in range(1, self._count + 1):
            self._make_node(f"n{number}").start_runtime()
        self._say("the machines are up, containerd runs on each node")
        self.control.wait()
        self._say("the API server answers")
        with ThreadPoolExecutor() as pool:
            list(pool.map(Node.start_kubelet, self.nodes.values()))
        self.wait_for_nodes()
        self._say("the nodes are registered")

    def _make_node(self, name: str) -> Node:
        folder = self.folder / "nodes" / name
        cgroup = f"{self.name}-{name}"
        make_cgroups(cgroup)
        self._stack.callback(remove_cgroups, cgroup)
        machine = make_machine(self.lab, name, folder, self.store)
        address = f"10.200.0.{10 + int(name[1:])}"
        if self.internet is None:
            self._plug_in(machine, address)
        elif (site := self.site_of(name)) is None:
            address = self.internet.attach(machine)
        else:
            address = self.internet.plug_in(site, machine)
        equip(machine, self.control.authority, address, cgroup=cgroup, iptables=self._iptables, report_s=self._report_s)
        services = Services(machine, self.folder / "log" / name)
        node = Node(name, machine, address, services, cgroup, folder, program_path())
        self.introduce(name, self._kubelet_place(node))
        self.nodes[name] = node
        self._stack.callback(self._end_node, node)
        return node

    def _end_node(self, node: Node) -> None:
        node.end()
        node.services.stop_all()

    def _kubelet_place(self, node: Node) -> str:
        """Where the API server reaches the kubelet of a node: in clouds, at the end of a tunnel."""
        if self.internet is None:
            return node.address
        place = f"127.0.1.{int(node.name[1:])}"
        tunnel = KubeletTunnel(self.control.machine.init_pid, place, node.machine.init_pid)
        self._stack.callback(tunnel.close)
        return place

    def _plug_in(self, machine: Machine, address: str) -> None:
        port = f"port{address.rpartition('.')[2]}"
        control = self.control.machine
        control.run("ip", "link", "delete", port, check=False)  # of an earlier machine of this name
        self.lab.wire(machine, f"eth0={address}/24", control, f"{port}=198.51.100.1/32")
        control.ip("link", "set", port, "master", "wmbr0")
        machine.ip("route", "add", "default", "via", GATEWAY)


def sweep(name: str) -> None:
    """Remove what a cluster of this name, whose process was killed, has left: folders and control groups."""
    folder = clusters_folder() / name
    for node in folder.glob("nodes/*"):
        remove_cgroups(f"{name}-{node.name}")
    shutil.rmtree(folder, ignore_errors=True)


def sweep_dead() -> None:
    """The same for all clusters whose processes have ended."""
    for keeper in clusters_folder().glob("*/keeper"):
        if (pid := keeper.read_text()) and not is_running(int(pid)):
            sweep(keeper.parent.name)
