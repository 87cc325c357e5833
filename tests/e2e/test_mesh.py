"""A mesh as its users have it: real agents, real tunnels, real packets."""

import json
import os
import re
import time
from collections.abc import Callable

import pytest

from deploy.demo.lab import Machine, Pod, interrupt, running, wait_until
from tests.e2e.conftest import leftovers

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def is_all_well(machine: Machine) -> bool:
    return machine.weavemesh("status", check=False).returncode == 0


def bring_up(one: Machine, other: Machine) -> tuple[Pod, Pod]:
    one.weavemesh("up")
    other.weavemesh("up", "192.0.2.1")
    return one.add_pod("pod1"), other.add_pod("pod1")


def kill_agent(machine: Machine) -> None:
    """kill -9; returns when nothing of the process is left, its sockets included."""
    pid = str(machine.status()["agent"]["pid"])
    machine.run("kill", "-9", pid)
    wait_until(lambda: machine.run("kill", "-0", pid, check=False).returncode != 0, seconds=5, what="the agent's end")


ON_THEIR_WAY_MAX = 3
"""Pings at the very end whose answers take 30 ms at most: a busy machine."""


def lost_pings(source: Pod, address: str, *, during: Callable[[], None]) -> tuple[int, int]:
    """Sent and lost, at 100 a second, while `during()` runs. The last few may still have been on their way."""
    ping = source.start("ping", "-n", "-i", "0.01", "-W", "2", address, stdout=-1)
    time.sleep(0.5)
    during()
    time.sleep(0.5)
    interrupt(ping)
    output = ping.communicate(timeout=20)[0]
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)}
    summary = next(line for line in output.splitlines() if "transmitted" in line)
    sent, last = int(summary.split()[0]), max(answered, default=0)
    on_their_way = sent - last if sent - last <= ON_THEIR_WAY_MAX else 0
    return sent, sent - on_their_way - len(answered)


def test_two_commands_lead_to_encrypted_pods_in_both_families(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    mine, theirs = bring_up(one, other)
    for source, destination in ((mine, theirs), (theirs, mine), (mine, mine)):
        assert source.answers(str(destination.ipv4)), f"{source.name} → {destination.ipv4}"
        assert source.answers(str(destination.ipv6)), f"{source.name} → {destination.ipv6}"
    wait_until(lambda: is_all_well(one) and is_all_well(other), seconds=15, what="all to be well")
    (peer,) = [peer for peer in one.status()["peers"] if not peer["ourselves"]]
    assert (peer["nickname"], peer["tunnel"], peer["endpoint"]) == ("other", "live", "192.0.2.2:6783")
    assert peer["owned"] and peer["rtt_ms"] > 0 and peer["rx_bytes"] > 0


def test_hosts_reach_pods_and_pods_reach_hosts(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    mine, theirs = bring_up(one, other)
    for address in (str(mine.ipv4), str(mine.ipv6), str(theirs.ipv4), str(theirs.ipv6)):
        assert one.run("ping", "-n", "-c1", "-W2", address, check=False).returncode == 0, address
    host_addresses = next(peer["addresses"] for peer in one.status()["peers"] if not peer["ourselves"])
    for address in host_addresses:
        assert mine.answers(address), address


@pytest.mark.parametrize("how", ["stop", "kill -9"])
def test_a_restart_of_the_agent_loses_no_packet(pair: tuple[Machine, Machine], how: str) -> None:
    one, other = pair
    mine, theirs = bring_up(one, other)
    assert mine.answers(str(theirs.ipv4))

    def restart() -> None:
        if how == "stop":
            other.weavemesh("stop")
        else:
            kill_agent(other)
        assert other.weavemesh("status", check=False).returncode == 3
        other.weavemesh("up")

    sent, lost = lost_pings(mine, str(theirs.ipv4), during=restart)
    assert sent > 100
    assert lost == 0, f"{lost} of {sent} lost"
    wait_until(lambda: is_all_well(other) and is_all_well(one), seconds=15, what="all to be well again")
    assert theirs.cni("CHECK", config={"prevResult": theirs.result}).returncode == 0


def test_addresses_survive_a_restart_and_are_not_given_twice(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    _, theirs = bring_up(one, other)
    name_before = other.status()["agent"]["name"]
    kill_agent(other)
    other.weavemesh("up")
    assert other.status()["agent"]["name"] == name_before
    addresses = {str(other.add_pod(f"more{i}").ipv4) for i in range(5)}
    assert str(theirs.ipv4) not in addresses and len(addresses) == 5


def test_deleting_a_pod_frees_its_address_and_interface(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    pod = one.add_pod("pod1")
    assert len(one.status()["pods"]) == 1
    pod.cni("DEL")
    pod.cni("DEL")
    assert one.status()["pods"] == []
    assert "wmv" not in one.ip("-o", "link")


def test_a_pod_deleted_while_no_agent_runs_is_cleaned_up_by_the_next(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    pod = one.add_pod("pod1")
    one.weavemesh("stop")
    refused = pod.cni("ADD", check=False)
    assert refused.returncode != 0 and json.loads(refused.stdout)["code"] == 11
    pod.cni("DEL")
    one.ip("netns", "del", "pod1")
    one.weavemesh("up")
    wait_until(lambda: one.status()["pods"] == [], seconds=10, what="the tombstone to be honoured")


def test_a_packet_for_an_unknown_pod_never_leaves_in_clear(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.ip("route", "add", "default", "via", "192.0.2.2")
    mine, _ = bring_up(one, other)
    other.weavemesh("down")
    for address in ("10.47.255.200", "10.32.7.7"):  # the range of the peer that left, and our own
        log = mine.run("ping", "-n", "-c1", "-W1", address, check=False).stdout
        assert " 0 received" in log
    sniffed = other.run("timeout", "1", "tcpdump", "-nn", "-c1", "-i", "eth0", "net", "10.32.0.0/12", check=False)
    assert "10.4" not in sniffed.stdout
    status = one.weavemesh("status", check=False)
    assert status.returncode == 1 and "other" in status.stdout


def test_down_leaves_nothing_but_keeps_who_we_are(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    bring_up(one, other)
    before = other.status()["agent"]["name"], other.status()["peers"][0]["owned"]
    other.weavemesh("down")
    assert leftovers(other) == []
    other.weavemesh("up")
    assert (other.status()["agent"]["name"], other.status()["peers"][0]["owned"]) == before


def test_reset_leaves_nothing_also_without_agent_and_state(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    bring_up(one, other)
    kill_agent(other)
    other.run("sh", "-c", "rm -rf /var/lib/weavemesh /run/weavemesh")
    other.weavemesh("reset")
    assert leftovers(other) == []
    again = other.weavemesh("reset")
    assert again.returncode == 0
    one.run("mkdir", "-p", "/var/lib/cni/weavemesh-tombstones")
    one.weavemesh("reset")
    assert leftovers(one) == []
    assert one.run("ls", "/var/lib/weavemesh", "/var/lib/cni/weavemesh-tombstones", check=False).stdout == ""


def test_connect_and_forget(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up")
    one.weavemesh("connect", "192.0.2.2")
    wait_until(lambda: one.status()["router"]["targets"][0]["reason"], seconds=10, what="the dial to fail")
    shown = one.weavemesh("status", "targets", check=False)
    assert shown.returncode == 1 and "192.0.2.2:6783" in shown.stdout
    one.weavemesh("forget", "192.0.2.2")
    assert one.status()["router"]["targets"] == []
    assert is_all_well(one)
    assert leftovers(other) == []


def test_a_killed_wireguard_go_is_brought_back(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    mine, theirs = bring_up(one, other)
    if not one.status()["encryption"]["datapath"].startswith("userspace"):
        pytest.skip("this kernel has WireGuard: no wireguard-go runs")
    (pid,) = one.processes("^wireguard-go wm0|/wireguard-go wm0")
    one.run("kill", "-9", str(pid))
    one.weavemesh("stop")
    one.weavemesh("up")
    wait_until(lambda: mine.answers(str(theirs.ipv4)), seconds=20, what="the tunnel to come back")


def test_the_report_holds_no_secret(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    bring_up(one, other)
    report = one.weavemesh("report").stdout
    secrets = [one.run("cat", "/etc/weavemesh/secret").stdout.strip()]
    keys = ("identity.key", "wireguard.key")
    secrets += [one.run("cat", f"/var/lib/weavemesh/{key}").stdout.split()[5] for key in keys]
    log = one.run("cat", "/run/weavemesh/agent.log").stdout
    arguments = one.run("ps", "axww", "-o", "args").stdout
    for secret in secrets:
        assert len(secret) > 20
        for text in (report, log, arguments, one.weavemesh("status", "--json", check=False).stdout):
            assert secret not in text
    assert json.loads(report)["agent"]["status"]["ok"] in (True, False)


def test_the_agent_survives_garbage_on_its_port(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up")
    garbage = os.urandom(2000).hex()
    for text in (garbage, "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02"):
        other.run("timeout", "2", "bash", "-c", "cat >/dev/tcp/192.0.2.1/6783", stdin=text, check=False)
    with running(other.start("bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/6783; sleep 30")):
        other.weavemesh("up", "192.0.2.1")
    log = one.run("cat", "/run/weavemesh/agent.log").stdout
    assert "Traceback" not in log
    wait_until(lambda: is_all_well(one), seconds=15, what="all to be well")
