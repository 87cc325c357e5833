"""Real container runtimes with our plugin: containerd by its command line and by its CRI, podman; portmap behind it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.lab import BIN, Lab, Machine, running, wait_until
from tests.e2e.cri import Cri
from tests.e2e.image import NAME, build_image
from tests.e2e.runtime import Containerd, add_portmap, containerd, missing_programs, prepare_plugins
from tests.e2e.test_pods import OUTSIDE

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

CONTAINERD = ("containerd", "ctr", "runc")
HOST_PORT, POD_PORT = 8088, 80
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=4).read().decode())"
HELLO = "hello from the pod"


@pytest.fixture
def one(pair: tuple[Machine, Machine]) -> Machine:
    """A host with an agent, and with the plugin in place."""
    machine = pair[0]
    prepare_plugins(machine)
    machine.weavemesh("up")
    machine.weavemesh("cni", "install")
    return machine


@pytest.fixture
def runtime(one: Machine) -> Iterator[Containerd]:
    if reason := missing_programs(*CONTAINERD):
        pytest.skip(reason)
    with containerd(one) as runtime:
        yield runtime


@pytest.fixture
def outside(lab: Lab, one: Machine) -> Machine:
    machine = lab.machine("outside")
    lab.wire(machine, f"eth0={OUTSIDE}/24", one, "eth1=198.51.100.1/24")
    return machine


def pods(machine: Machine) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(machine.weavemesh("ps", "--json").stdout)
    return found


def links(machine: Machine) -> list[str]:
    return [line.split(":")[1].strip() for line in machine.ip("-o", "link").splitlines() if "wmv" in line]


def test_ctr_runs_a_container_in_the_mesh_and_leaves_nothing(one: Machine, runtime: Containerd) -> None:
    pod = one.add_pod("pod")
    printed = runtime.run_container("first", "ip", "address", "show", "eth0").stdout
    assert "/32 scope global eth0" in printed and "/128" in printed
    assert runtime.run_container("second", "ping", "-c1", "-W2", str(pod.ipv4)).returncode == 0
    assert runtime.run_container("third", "ping", "-c1", "-W2", str(pod.ipv6)).returncode == 0
    assert [entry["pod"] for entry in pods(one)] == ["demo/pod"]
    wait_until(lambda: len(links(one)) == 1, seconds=10, what="the links to go")


def test_a_container_that_ctr_forgets_is_collected(one: Machine, runtime: Containerd) -> None:
    runtime.ctr("run", "-d", "--cni", "--snapshotter", "native", NAME, "forgotten", "sleep", "3600")
    assert len(pods(one)) == 1
    runtime.ctr("task", "kill", "-s", "9", "forgotten")  # no DEL comes of this
    wait_until(lambda: not pods(one) and not links(one), seconds=40, what="the address of the killed container")


def test_a_kubelets_calls_are_answered_and_leave_nothing(one: Machine, runtime: Containerd) -> None:
    with Cri(runtime.socket) as cri:
        assert cri.network_is_ready() == (True, "")
        first, second = cri.run_sandbox("first"), cri.run_sandbox("second")
        assert len(first.addresses) == 2 and set(first.addresses).isdisjoint(second.addresses)
        assert {entry["pod"] for entry in pods(one)} == {"shop/first", "shop/second"}
        container = cri.run_container(first, NAME, "sleep", "3600")
        for address in second.addresses:
            assert "1 packets received" in cri.execute(container, "ping", "-c1", "-W2", address)
        for sandbox in (first, second):
            cri.stop_sandbox(sandbox)
            cri.stop_sandbox(sandbox)
            cri.remove_sandbox(sandbox)
    assert pods(one) == []
    wait_until(lambda: not links(one), seconds=10, what="the links to go")


def test_a_sandbox_is_stopped_while_the_agent_is_down_and_freed_by_the_next(one: Machine, runtime: Containerd) -> None:
    with Cri(runtime.socket) as cri:
        sandbox = cri.run_sandbox("lonely")
        one.weavemesh("stop")
        cri.stop_sandbox(sandbox)
        cri.remove_sandbox(sandbox)
        one.weavemesh("up")
        wait_until(lambda: not pods(one), seconds=10, what="the DEL that was left behind")
        assert cri.run_sandbox("next").addresses


def test_a_configuration_that_is_installed_is_noticed_at_once(one: Machine, runtime: Containerd) -> None:
    with Cri(runtime.socket) as cri:
        one.weavemesh("cni", "uninstall")
        wait_until(lambda: not cri.network_is_ready()[0], seconds=10, what="containerd to miss the configuration")
        one.weavemesh("cni", "install")
        wait_until(lambda: cri.network_is_ready()[0], seconds=10, what="containerd to notice the configuration")


def test_a_host_port_behind_portmap_is_reached_from_outside(
    one: Machine, runtime: Containerd, outside: Machine
) -> None:
    add_portmap(one)
    with Cri(runtime.socket) as cri:
        wait_until(lambda: cri.network_is_ready()[0], seconds=10, what="containerd to read the configuration anew")
        web = cri.run_sandbox("web", ports={HOST_PORT: POD_PORT})
        server = cri.run_container(web, NAME, "httpd", "-f", "-p", str(POD_PORT), "-h", "/www")
        # Not busybox's wget: as a static program it is at the mercy of the host's resolver, and crashes with Debian's.
        fetch = (str(BIN / "python"), "-c", FETCH, f"http://198.51.100.1:{HOST_PORT}/")
        wait_until(
            lambda: outside.run(*fetch, check=False).stdout.strip() == HELLO,
            seconds=20,
            what="the port of the pod, from outside",
        )
        itself = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 198.51.100.1 {HOST_PORT}"
        assert HELLO in cri.execute(server, "sh", "-c", itself)
        cri.stop_sandbox(web)
        cri.remove_sandbox(web)
        assert outside.run(*fetch, check=False).returncode != 0
    assert pods(one) == []


def test_podman_with_its_cni_backend(one: Machine) -> None:
    if reason := missing_programs("podman"):
        pytest.skip(reason)
    one.write_file(
        "/etc/containers/containers.conf",
        '[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/opt/cni/bin"]\n'
        'network_config_dir = "/etc/cni/net.d"\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
    )
    podman = (
        "podman",
        "--runtime",
        "runc",
        "--root",
        "/run/podman/root",
        "--runroot",
        "/run/podman/run",
        "--storage-driver",
        "vfs",
    )
    Path(f"/proc/{one.init_pid}/root/run/image.tar").write_bytes(build_image())
    one.run(*podman, "load", "-i", "/run/image.tar")
    options = ("--network", "weavemesh", "--security-opt", "seccomp=unconfined")
    ran = one.run(*podman, "run", "--rm", *options, "--ip", "10.32.0.88", NAME, "ip", "address", "show", "eth0")
    assert "10.32.0.88/32" in ran.stdout
    assert pods(one) == []
    with running(one.start(*podman, "run", "--rm", "--name", "web", *options, NAME, "sleep", "60")):
        wait_until(lambda: [entry["pod"] for entry in pods(one)] == ["web"], seconds=20, what="the container's address")
        one.run(*podman, "rm", "-f", "web", timeout_s=30)
    wait_until(lambda: not pods(one) and not links(one), seconds=20, what="the container's address given back")
