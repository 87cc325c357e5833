"""Pods wired by the real executable and the real server: addresses, packets, and nothing left behind."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kernel.cni_lab import NETWORK, Host, Pod, build_shim, config, run
from tests.kernel.player import FakeExecutable
from weavemesh.cni.frame import decode_answer, encode_request
from weavemesh.kernel.netlink import PROTOCOL
from weavemesh.kernel.netns import call_in
from weavemesh.kernel.pod import PodWiring
from weavemesh.kernel.podmessage import PROTOCOL as POD_PROTOCOL
from weavemesh.kernel.podmodel import HOST_MAC, PodLink, host_ifname, pod_mac
from weavemesh.kernel.podplan import INDEX_MIN

pytestmark = pytest.mark.root

HOST_IPV4, HOST_IPV6 = "10.47.255.1", "fd57:4d00::ffff"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def host(tmp_path: Path, shim: Path) -> Iterator[Host]:
    with Host(tmp_path, shim) as host:
        host.start_agent()
        yield host


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def assert_nothing_left(host: Host) -> None:
    left = host.leftovers()
    devices = ("links", "neighbours")  # these may be going still
    assert not any(found for kind, found in left.items() if kind not in devices), left
    wait_for(lambda: not host.leftovers()["links"] and not host.leftovers()["neighbours"])


def give_host_an_address(host: Host) -> None:
    run("ip", "-n", host.name, "addr", "add", f"{HOST_IPV4}/32", "dev", "lo")
    run("ip", "-n", host.name, "addr", "add", f"{HOST_IPV6}/128", "dev", "lo")


def addresses_of(result: dict[str, list[dict[str, str]]]) -> list[str]:
    return [entry["address"].partition("/")[0] for entry in result["ips"]]


def link_in(pod: Pod) -> dict[str, object]:
    (link,) = json.loads(run("ip", "-n", pod.name, "-json", "addr", "show", "eth0").stdout)
    assert isinstance(link, dict)
    return link


def test_pods_and_host_reach_each_other_with_the_first_packet_in_both_families(host: Host) -> None:
    give_host_an_address(host)
    one, two = host.add_pod(), host.add_pod()
    first, second = addresses_of(one.add()), addresses_of(two.add())
    for address in second:
        assert one.pings(address)
    for address in first:
        assert two.pings(address)
    for address in (HOST_IPV4, HOST_IPV6, *first):
        assert one.pings(address)
    for address in (*first, *second):
        run("ip", "netns", "exec", host.name, "ping", "-c1", "-W2", address)


def test_nobody_on_the_wire_asks_for_a_neighbour(host: Host, tmp_path: Path) -> None:
    give_host_an_address(host)
    one, two = host.add_pod(), host.add_pod()
    capture = tmp_path / "capture"
    dump = ["ip", "netns", "exec", host.name, "tcpdump", "-i", "any", "-U", "-w", str(capture)]
    watcher = subprocess.Popen(dump, stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stderr is not None
        wait_for(lambda: "listening on" in (watcher.stderr.readline() if watcher.stderr else ""))
        first, second = addresses_of(one.add()), addresses_of(two.add())
        assert all(one.pings(address) for address in (*second, HOST_IPV4, HOST_IPV6))
        assert all(two.pings(address) for address in (*first, HOST_IPV4, HOST_IPV6))
        wait_for(lambda: "ICMP6, echo reply" in run("tcpdump", "-nr", capture, check=False).stdout)
    finally:
        watcher.terminate()
        watcher.communicate()
    asked = run("tcpdump", "-nr", capture, "arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))").stdout
    assert asked == ""


def test_the_pod_gets_what_the_result_says(host: Host) -> None:
    pod = host.add_pod()
    result = pod.add()
    ident = f"{NETWORK}/{pod.name}/eth0"
    assert result == {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": host_ifname(ident), "mac": HOST_MAC},
            {"name": "eth0", "mac": pod_mac(ident), "sandbox": str(pod.netns)},
        ],
        "ips": [
            {"interface": 1, "address": "10.32.0.1/32", "gateway": "169.254.1.1"},
            {"interface": 1, "address": "fd57:4d00::a20:1/128", "gateway": "fe80::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}],
    }
    link = link_in(pod)
    assert (link["address"], link["mtu"]) == (pod_mac(ident), 1380)
    (outside,) = json.loads(run("ip", "-n", host.name, "-json", "link", "show", host_ifname(ident)).stdout)
    assert (outside["address"], outside["mtu"], outside["ifalias"]) == (HOST_MAC, 1380, f"weavemesh {ident}")


def test_a_pod_without_ipv6_gets_ipv4_alone(host: Host) -> None:
    give_host_an_address(host)
    pod = host.add_pod()
    pod.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    result = pod.add()
    assert addresses_of(result) == ["10.32.0.1"]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0"]
    previous = config(prevResult=result)
    pod.call("CHECK", check=True, stdin=previous)
    run("ip", "netns", "exec", host.name, "ping", "-c1", "-W2", "10.32.0.1")


def test_a_pod_cannot_send_from_an_address_that_is_not_its_own(host: Host) -> None:
    give_host_an_address(host)
    pod = host.add_pod()
    pod.add()
    pod.run("ip", "addr", "add", "10.32.9.9/32", "dev", "eth0")
    assert pod.pings(HOST_IPV4)
    assert pod.run("ping", "-c1", "-W1", "-I", "10.32.9.9", HOST_IPV4, check=False).returncode == 1


def test_del_leaves_nothing_in_all_the_forms_that_runtimes_send(host: Host) -> None:
    pods = [host.add_pod() for _ in range(4)]
    results = [pod.add() for pod in pods]
    pods[0].call("DEL", check=True, stdin=config(prevResult=results[0]))
    pods[0].call("DEL", check=True, CNI_NETNS="")
    pods[1].call("DEL", check=True, CNI_NETNS="/run/netns/never-was")
    run("ip", "netns", "del", pods[2].name)
    pods[2].call("DEL", check=True)
    pods[3].call("DEL", check=True, CNI_NETNS=str(pods[1].netns))
    answer = pods[3].call("DEL", check=True, CNI_CONTAINERID="unknown")
    assert answer.stdout == ""
    assert_nothing_left(host)


def test_an_interface_that_is_there_is_an_error_and_stays(host: Host) -> None:
    pod = host.add_pod()
    result = pod.add()
    again = pod.call("ADD")
    assert (again.returncode, json.loads(again.stdout)["code"]) == (1, 101)
    pod.call("CHECK", check=True, stdin=config(prevResult=result))
    foreign = host.add_pod()
    run("ip", "-n", foreign.name, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    refused = foreign.call("ADD")
    assert (refused.returncode, json.loads(refused.stdout)["code"]) == (1, 101)
    assert len(host.journal()) == 1
    assert link_in(foreign)["ifname"] == "eth0"


def test_a_half_made_leftover_is_cleared_and_made_anew(host: Host) -> None:
    pod = host.add_pod()
    name = host_ifname(f"{NETWORK}/{pod.name}/eth0")
    pair = ("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pod.name)
    run("ip", "-n", host.name, *pair)
    assert addresses_of(pod.add()) == ["10.32.0.1", "fd57:4d00::a20:1"]
    assert pod.pings("10.32.0.1")
    pod.call("DEL", check=True)
    assert_nothing_left(host)


def test_a_leftover_in_another_namespace_is_replaced(host: Host) -> None:
    old, new = host.add_pod(), host.add_pod()
    old.add()
    new.call("ADD", check=True, CNI_CONTAINERID=old.name)
    assert run("ip", "-n", old.name, "link", "show", "eth0", check=False).returncode == 1
    assert link_in(new)["operstate"] == "UP"


def test_the_hosts_own_namespace_is_refused(host: Host) -> None:
    pod = host.add_pod()
    refused = pod.call("ADD", CNI_NETNS=f"/run/netns/{host.name}")
    assert json.loads(refused.stdout)["code"] == 8
    not_one = pod.call("ADD", CNI_NETNS="/proc/self/status")
    assert json.loads(not_one.stdout)["code"] == 5
    assert_nothing_left(host)


def test_check_finds_what_is_missing(host: Host) -> None:
    pod = host.add_pod()
    previous = config(prevResult=pod.add())
    assert pod.call("CHECK", check=True, stdin=previous).stdout == ""
    damages = [
        (("route", "del", "default"), ("route", "add", "default", "via", "169.254.1.1"), "no default route"),
        (("-6", "route", "del", "default"), ("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0"), "fe80"),
    ]
    for damage, repair, sentence in damages:
        pod.run("ip", *damage)
        answer = pod.call("CHECK", stdin=previous)
        assert json.loads(answer.stdout)["code"] == 102
        assert sentence in json.loads(answer.stdout)["details"]
        pod.run("ip", *repair)
        pod.call("CHECK", check=True, stdin=previous)
    pod.run("ip", "addr", "del", "10.32.0.1/32", "dev", "eth0")
    assert "no address 10.32.0.1" in pod.call("CHECK", stdin=previous).stdout
    run("ip", "-n", host.name, "link", "del", host_ifname(f"{NETWORK}/{pod.name}/eth0"))
    assert "is gone" in pod.call("CHECK", stdin=previous).stdout


def test_a_name_that_is_too_long_to_be_written_on_the_link_does_no_harm(host: Host) -> None:
    pod = host.add_pod()
    pod.call("ADD", check=True, CNI_CONTAINERID="x" * 250)
    (link,) = json.loads(run("ip", "-n", host.name, "-json", "link", "show", "type", "veth").stdout)
    assert link["ifalias"] == "weavemesh"
    assert json.loads(pod.call("ADD", CNI_CONTAINERID="x" * 250).stdout)["code"] == 101
    pod.call("DEL", check=True, CNI_CONTAINERID="x" * 250)
    assert_nothing_left(host)


def test_links_are_found_with_their_idents_and_labels(host: Host) -> None:
    pod = host.add_pod()
    pod.call("ADD", check=True, CNI_ARGS="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web")
    run("ip", "-n", host.name, "link", "add", "wmv0123456789", "type", "veth", "peer", "name", "wmvother")

    async def look() -> tuple[PodLink, ...]:
        return await wiring.list_pod_links()

    wiring = PodWiring()
    with Path(f"/run/netns/{host.name}").open() as netns:
        found = call_in(netns.fileno(), lambda: asyncio.run(look()))
    asyncio.run(wiring.close())
    ident = f"{NETWORK}/{pod.name}/eth0"
    assert set(found) == {
        PodLink(host_ifname(ident), ident, "shop/web"),
        PodLink("wmv0123456789", None, "", is_whole=False),
    }


def test_twenty_adds_and_dels_at_once(host: Host) -> None:
    pods = [host.add_pod() for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        results = list(threads.map(Pod.add, pods))
        assert len({addresses_of(result)[0] for result in results}) == 20
        assert all(threads.map(lambda pod: pod.pings(addresses_of(results[0])[1]), pods))
        dels = list(threads.map(lambda pod: pod.call("DEL"), pods * 2))
    assert [answer.returncode for answer in dels] == [0] * 40
    assert_nothing_left(host)


def test_an_agent_killed_in_the_middle_of_adds_leaves_nothing_after_the_dels(host: Host) -> None:
    pods = [host.add_pod() for _ in range(10)]
    host.kill_agent()
    for round_ in range(4):
        host.start_agent()
        with ThreadPoolExecutor(len(pods)) as threads:
            adds = [threads.submit(pod.call, "ADD") for pod in pods]
            # Earlier in each round: some ADDs are done, some under way, some not begun.
            wait_for(lambda: sum(add.done() for add in adds) >= 6 - 2 * round_)  # noqa: B023
            host.kill_agent()
        codes = {json.loads(add.result().stdout)["code"] for add in adds if add.result().returncode}
        assert codes <= {11}
        host.start_agent()
        for pod in pods:
            pod.call("DEL", check=True)
        assert_nothing_left(host)
        assert addresses_of(pods[0].add())
        pods[0].call("DEL", check=True)
        host.kill_agent()


def test_our_routes_bear_one_mark() -> None:
    assert POD_PROTOCOL == PROTOCOL


def host_end(host: Host, pod: Pod) -> dict[str, object]:
    name = host_ifname(f"{NETWORK}/{pod.name}/eth0")
    (link,) = json.loads(run("ip", "-n", host.name, "-json", "link", "show", name).stdout)
    assert isinstance(link, dict)
    return link


def test_the_executable_itself_has_the_kernel_make_the_attachment(host: Host) -> None:
    pod = host.add_pod()
    pod.add()
    index = host_end(host, pod)["ifindex"]
    assert isinstance(index, int) and index >= INDEX_MIN
    assert link_in(pod)["ifindex"] == index + 1


def test_an_executable_that_cannot_play_is_served_all_the_same(host: Host) -> None:
    pod = host.add_pod()
    with socket.socket(socket.AF_UNIX) as connection, pod.netns.open("rb") as netns:
        connection.settimeout(10)
        connection.connect(str(host.socket))
        variables = {"CNI_COMMAND": "ADD", **pod.variables()}
        socket.send_fds(connection, [encode_request(variables, config().encode())], [netns.fileno()])
        frame = b""
        while chunk := connection.recv(65536):
            frame += chunk
    answer = decode_answer(frame)
    assert answer is not None and answer.status == 0
    index = host_end(host, pod)["ifindex"]
    assert isinstance(index, int) and index < INDEX_MIN


def test_an_executable_in_another_namespace_is_given_nothing_to_play(host: Host) -> None:
    pod, elsewhere = host.add_pod(), host.add_pod()
    command = ["nsenter", f"--net={elsewhere.netns}", str(host.shim)]
    run(*command, input=config(), env=host.environment("ADD", pod.variables()))
    index = host_end(host, pod)["ifindex"]
    assert isinstance(index, int) and index < INDEX_MIN


@pytest.mark.parametrize("batches", range(5))
def test_an_executable_that_is_killed_while_it_plays_leaves_nothing(host: Host, batches: int) -> None:
    pod = host.add_pod()
    with FakeExecutable(pod) as executable:
        executable.play(batches)
    pod.call("DEL", check=True)
    assert_nothing_left(host)
    assert pod.add()["ips"]


@pytest.mark.parametrize("batches", range(5))
def test_an_agent_that_is_killed_while_it_is_played_leaves_what_a_del_finds(host: Host, batches: int) -> None:
    pod = host.add_pod()
    with FakeExecutable(pod) as executable:
        host.kill_agent()
        executable.play(batches)
        host.start_agent()
    pod.call("DEL", check=True)
    assert_nothing_left(host)
    assert pod.add()["ips"]
