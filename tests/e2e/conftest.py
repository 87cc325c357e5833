"""Machines for end-to-end tests: the lab of the demonstration, with agents as users start them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.lab import BIN, CNI_PLUGIN, Lab, Machine
from weavemesh.secret import ClusterSecret

SECRET_FILE = "/etc/weavemesh/secret"


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    if not (BIN / "weavemesh").exists() or not CNI_PLUGIN.exists():
        pytest.fail("run `make setup` first: the command line or the CNI executable is not there")
    with Lab() as lab:
        yield lab


@pytest.fixture
def pair(lab: Lab) -> tuple[Machine, Machine]:
    """Two hosts on one wire, with the same secret: `one` is 192.0.2.1, `other` 192.0.2.2. No agent runs."""
    one, other = lab.machine("one"), lab.machine("other")
    lab.wire(one, "eth0=192.0.2.1/24", other, "eth0=192.0.2.2/24")
    secret = ClusterSecret.generate().text()
    for machine in (one, other):
        machine.write_file(SECRET_FILE, secret)
    return one, other


@pytest.fixture
def trio(lab: Lab) -> tuple[Machine, Machine, Machine]:
    """Three hosts on one switch, 192.0.2.1 to 192.0.2.3, with the same secret. No agent runs."""
    switch = lab.machine("switch")
    switch.ip("link", "add", "br0", "type", "bridge")
    switch.ip("link", "set", "br0", "up")
    secret = ClusterSecret.generate().text()
    hosts = []
    for number, name in enumerate(("one", "two", "three"), start=1):
        host = lab.machine(name)
        lab.wire(host, f"eth0=192.0.2.{number}/24", switch, f"port{number}=198.51.100.{number}/32")
        switch.ip("link", "set", f"port{number}", "master", "br0")
        host.write_file(SECRET_FILE, secret)
        hosts.append(host)
    return hosts[0], hosts[1], hosts[2]


def leftovers(machine: Machine) -> list[str]:
    """What of ours is on a machine: links, routes, processes, sockets."""
    links = [line.split()[1] for line in machine.ip("-o", "link").splitlines() if line.split()[1].startswith("wm")]
    routes = machine.ip("route", "show", "table", "all", "proto", "87").splitlines()
    routes += machine.ip("-6", "route", "show", "table", "all", "proto", "87").splitlines()
    processes = [f"process {pid}" for pid in machine.processes("wireguard-go|weavemesh")]
    sockets = machine.run("sh", "-c", "ls /run/weavemesh /run/wireguard 2>/dev/null", check=False).stdout.split()
    return [*links, *routes, *processes, *(name for name in sockets if name.endswith(".sock"))]


def path_of(machine: Machine, path: str) -> Path:
    """A file of a machine, seen from outside."""
    return Path(f"/proc/{machine.init_pid}/root{path}")
