import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.weavemesh.cni.fake_doors import (
    FIRST,
    MTU,
    Doors,
    FakeAddresses,
    body_of,
    call,
    config,
    encode_call,
    environment,
    netns,
)
from weavemesh.cni.frame import Answer, Call
from weavemesh.cni.tombstone import SUFFIX
from weavemesh.kernel.podmodel import WiringFailed

IDENT = "net/c1/eth0"


def perform(doors: Doors, *calls: Call) -> list[Answer]:
    """The answers to calls one after the other."""

    async def main() -> list[Answer]:
        plugin = doors.plugin()
        return [await plugin.perform(one) for one in calls]

    return asyncio.run(main())


def code_of(answer: Answer) -> object:
    assert answer.status == 1
    return body_of(answer)["code"]


def test_an_add_gives_an_address_and_a_del_takes_it_back() -> None:
    doors = Doors()
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd, CNI_ARGS="K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"))
    assert (answer.status, answer.attached) == (0, IDENT)
    assert body_of(answer)["cniVersion"] == "1.0.0"
    assert doors.addresses.held == {IDENT: FIRST}
    assert doors.wiring.orders[IDENT].label == "a/b"
    assert doors.wiring.wired[IDENT].mtu == MTU
    assert perform(doors, call("DEL", CNI_NETNS="")) == [Answer(0, b"")]
    assert doors.is_empty()


def test_a_del_succeeds_whatever_there_was() -> None:
    doors = Doors()
    with netns() as fd:
        perform(doors, call("ADD", netns_fd=fd))
    answers = perform(
        doors,
        call("DEL", CNI_CONTAINERID="unknown"),
        call("DEL", config(name="other")),
        call("DEL", CNI_IFNAME="eth7"),
        call("DEL", CNI_NETNS="/gone"),
        call("DEL", CNI_NETNS=""),
    )
    assert answers == [Answer(0, b"")] * 5
    assert doors.is_empty()


def test_an_add_that_cannot_be_wired_gives_the_address_back() -> None:
    doors = Doors()
    doors.wiring.failure = WiringFailed("cannot make veth: no memory")
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd))
    assert code_of(answer) == 5
    assert body_of(answer)["details"] == "cannot make veth: no memory"
    assert doors.is_empty()


def test_an_address_that_an_earlier_add_left_is_only_for_a_del_to_release() -> None:
    doors = Doors()
    doors.addresses.held[IDENT] = FIRST
    doors.wiring.failure = WiringFailed("no")
    with netns() as fd:
        assert code_of(perform(doors, call("ADD", netns_fd=fd))[0]) == 5
        assert doors.addresses.held == {IDENT: FIRST}
        doors.wiring.failure = None
        assert perform(doors, call("ADD", netns_fd=fd))[0].status == 0
    assert doors.wiring.wired[IDENT].address == FIRST


def test_an_interface_that_is_there_is_an_error_and_keeps_its_address() -> None:
    doors = Doors()
    with netns() as fd:
        _, again = perform(doors, call("ADD", netns_fd=fd), call("ADD", netns_fd=fd))
    assert code_of(again) == 101
    assert list(doors.addresses.held) == list(doors.wiring.wired) == [IDENT]


def test_no_address_is_a_reason_to_try_again() -> None:
    doors = Doors(addresses=FakeAddresses(capacity=0))
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd))
    assert code_of(answer) == 11
    assert "no peer owns a free address" in str(body_of(answer)["msg"])


def test_a_del_that_would_leak_is_an_error_and_keeps_the_address() -> None:
    doors = Doors()
    with netns() as fd:
        perform(doors, call("ADD", netns_fd=fd))
    doors.wiring.failure = WiringFailed("device busy")
    assert code_of(perform(doors, call("DEL"))[0]) == 11
    assert doors.addresses.held == {IDENT: FIRST}


def test_a_del_on_a_full_disk_is_to_be_tried_again_and_a_failed_add_keeps_its_own_reason() -> None:
    doors = Doors()
    with netns() as fd:
        perform(doors, call("ADD", netns_fd=fd))
        doors.addresses.is_disk_full = True
        (refused,) = perform(doors, call("DEL"))
        assert code_of(refused) == 11
        assert body_of(refused)["details"] == "the disk is full; make room"
        doors.wiring.failure = WiringFailed("cannot make veth: no memory")
        (failed,) = perform(doors, call("ADD", netns_fd=fd))
    assert body_of(failed)["details"] == "cannot make veth: no memory"
    doors.addresses.is_disk_full, doors.wiring.failure = False, None
    assert perform(doors, call("DEL")) == [Answer(0, b"")]
    assert doors.is_empty()


def test_the_hosts_own_namespace_and_none_at_all_are_refused() -> None:
    doors = Doors()
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with netns() as fd:
            answers = perform(
                doors,
                call("ADD", netns_fd=own),
                Call(environment("ADD"), config(), netns_fd=fd, own_netns_fd=fd),
                call("ADD", netns_fd=None),
            )
    finally:
        os.close(own)
    assert [code_of(answer) for answer in answers] == [8, 8, 4]
    assert doors.is_empty()


def test_a_cancelled_add_leaves_nothing_while_it_waits_for_an_address() -> None:
    async def main() -> None:
        doors = Doors(addresses=FakeAddresses(gate=asyncio.Event()))
        plugin = doors.plugin()
        with netns() as fd:
            async with asyncio.TaskGroup() as group:
                add = group.create_task(plugin.perform(call("ADD", netns_fd=fd)))
                await doors.addresses.reached.wait()
                add.cancel()
        assert add.cancelled()
        assert doors.is_empty()
        assert (await plugin.perform(call("DEL"))).status == 0

    asyncio.run(main())


def test_calls_for_one_attachment_take_turns() -> None:
    async def main() -> None:
        doors = Doors(addresses=FakeAddresses(gate=asyncio.Event()))
        plugin = doors.plugin()
        with netns() as fd:
            async with asyncio.TaskGroup() as group:
                add = group.create_task(plugin.perform(call("ADD", netns_fd=fd)))
                await doors.addresses.reached.wait()
                late = group.create_task(plugin.perform(call("DEL")))
                other = await plugin.perform(call("DEL", CNI_CONTAINERID="c2"))
                assert other.status == 0
                assert not late.done()
                assert doors.addresses.gate is not None
                doors.addresses.gate.set()
        assert (add.result().status, late.result().status) == (0, 0)
        assert doors.is_empty()

    asyncio.run(main())


def test_an_answer_that_nobody_got_is_taken_back() -> None:
    async def main() -> None:
        doors = Doors()
        plugin = doors.plugin()
        with netns() as fd:
            answer = await plugin.perform(call("ADD", netns_fd=fd))
        await plugin.retract(Answer(0, b""))
        assert not doors.is_empty()
        await plugin.retract(answer)
        assert doors.is_empty()

    asyncio.run(main())


def previous(*addresses: str) -> bytes:
    interfaces = [{"name": "eth0", "sandbox": "/run/netns/c1"}]
    return config(prevResult={"interfaces": interfaces, "ips": [{"interface": 0, "address": a} for a in addresses]})


def test_a_check_says_nothing_when_all_is_well() -> None:
    doors = Doors()
    with netns() as fd:
        _, both, one = perform(
            doors,
            call("ADD", netns_fd=fd),
            call("CHECK", previous("10.32.0.1/32", "fd57::a20:1/128"), netns_fd=fd),
            call("CHECK", previous("10.32.0.1/32"), netns_fd=fd),
        )
    assert both == one == Answer(0, b"")
    assert [address.ipv6 for address in doors.wiring.checked] == [FIRST.ipv6, None]


@pytest.mark.parametrize(
    ("addresses", "sentence"),
    [(["10.32.0.9/32"], "10.32.0.9 is not kept"), ([], "10.32.0.1 is not in prevResult")],
)
def test_a_check_compares_the_result_with_the_journal(addresses: list[str], sentence: str) -> None:
    doors = Doors()
    with netns() as fd:
        _, answer = perform(doors, call("ADD", netns_fd=fd), call("CHECK", previous(*addresses), netns_fd=fd))
    assert code_of(answer) == 102
    assert sentence in str(body_of(answer)["details"])


def test_a_check_tells_what_the_namespace_lacks() -> None:
    doors = Doors()
    doors.wiring.findings = ("eth0 has no address 10.32.0.1",)
    with netns() as fd:
        _, answer = perform(doors, call("ADD", netns_fd=fd), call("CHECK", previous("10.32.0.1/32"), netns_fd=fd))
    assert "eth0 has no address" in str(body_of(answer)["msg"])


def test_a_check_of_what_was_never_added_fails() -> None:
    with netns() as fd:
        unknown, without = perform(
            Doors(), call("CHECK", previous("10.32.0.1/32"), netns_fd=fd), call("CHECK", netns_fd=fd)
        )
    assert (code_of(unknown), code_of(without)) == (102, 7)


NEWEST = config(cniVersion="1.1.0")


def test_version_and_status_are_answered() -> None:
    doors = Doors()
    version, status = perform(doors, call("VERSION", NEWEST), call("STATUS", NEWEST))
    assert "supportedVersions" in body_of(version)
    assert status == Answer(0, b"")
    doors.addresses.hindrance = "no peer has a free address"
    (refused,) = perform(doors, call("STATUS", NEWEST))
    assert (code_of(refused), body_of(refused)["details"]) == (50, "no peer has a free address")


def test_a_gc_takes_what_is_not_listed_of_its_network_and_role_only() -> None:
    doors = Doors()
    other = config(name="other")
    listed = config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]})
    with netns() as fd:
        perform(
            doors,
            call("ADD", netns_fd=fd),
            call("ADD", netns_fd=fd, CNI_CONTAINERID="c2"),
            call("ADD", other, netns_fd=fd),
            call("ADD", is_ipam=True, CNI_CONTAINERID="c3"),
            call("GC", NEWEST),
        )
        assert len(doors.addresses.held) == 4, "a GC that lists nothing takes nothing"
        assert perform(doors, call("GC", listed)) == [Answer(0, b"")]
    assert set(doors.addresses.held) == {IDENT, "other/c1/eth0", "ipam:net/c3/eth0"}
    assert set(doors.wiring.wired) == {IDENT, "other/c1/eth0"}
    perform(doors, call("GC", listed, is_ipam=True))
    assert set(doors.addresses.held) == {IDENT, "other/c1/eth0"}


def test_a_gc_that_leaves_something_says_so() -> None:
    doors = Doors()
    with netns() as fd:
        perform(doors, call("ADD", netns_fd=fd))
    doors.addresses.is_disk_full = True
    empty = config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": []})
    (answer,) = perform(doors, call("GC", empty))
    assert code_of(answer) == 11
    assert IDENT in str(body_of(answer)["details"])


def test_wishes_of_the_runtime_are_kept() -> None:
    doors = Doors()
    stdin = config(
        runtimeConfig={"ips": ["10.32.0.8/12"], "MAC": "02:AA:00:00:00:07", "DNS": {"Servers": ["10.0.0.10"]}},
        capabilities={"portMappings": True},
    )
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", stdin, netns_fd=fd, CNI_ARGS="IP=10.32.0.9"))
    body = body_of(answer)
    assert str(doors.addresses.held[IDENT].ipv4) == "10.32.0.8"
    assert doors.wiring.wired[IDENT].mac == "02:aa:00:00:00:07"
    assert body["dns"] == {"nameservers": ["10.0.0.10"]}


def test_an_address_that_cannot_be_given_is_a_wrong_configuration() -> None:
    doors = Doors()
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd, CNI_ARGS="IP=192.0.2.1"))
    assert code_of(answer) == 7
    assert doors.is_empty()


def test_an_address_that_cannot_be_kept_is_not_given() -> None:
    doors = Doors()
    doors.addresses.is_disk_full = True
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd))
    assert code_of(answer) == 11
    assert doors.is_empty()


def test_an_address_whose_veth_cannot_be_undone_stays_with_it() -> None:
    doors = Doors()
    doors.addresses.is_disk_full = doors.wiring.is_stuck = True
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", netns_fd=fd))
    assert code_of(answer) == 5
    assert doors.addresses.held == {IDENT: FIRST}, "a DEL or the collector frees both"


def test_later_in_a_chain_the_result_is_what_came_and_ours() -> None:
    doors = Doors()
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "br"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
        "ips": [{"interface": 1, "address": "192.0.2.7/24"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "custom": {"Kept": True},
    }
    with netns() as fd:
        (answer,) = perform(doors, call("ADD", config(prevResult=before), netns_fd=fd))
        body: Any = body_of(answer)
        assert [one["name"] for one in body["interfaces"]] == [
            "br",
            "eth0",
            doors.wiring.wired[IDENT].host_ifname,
            "mesh0",
        ]
        assert [one["interface"] for one in body["ips"]] == [1, 3, 3]
        assert [one["dst"] for one in body["routes"]] == ["0.0.0.0/0", "10.32.0.0/12", "fd57::a20:0/108"]
        assert body["custom"] == {"Kept": True}
        (checked,) = perform(doors, call("CHECK", config(prevResult=body), netns_fd=fd))
    assert checked == Answer(0, b"")
    assert doors.wiring.checked_ifnames == ["mesh0"]


def test_an_ipam_plugin_gives_an_address_with_this_host_as_gateway() -> None:
    doors = Doors()
    (answer,) = perform(doors, call("ADD", is_ipam=True))
    assert body_of(answer) == {
        "cniVersion": "1.0.0",
        "ips": [
            {"address": "10.32.0.1/13", "gateway": "10.47.0.1"},
            {"address": "fd57::a20:1/109", "gateway": "fd57::a2f:1"},
        ],
        "routes": [{"dst": "10.32.0.0/12", "gw": "10.47.0.1"}, {"dst": "fd57::a20:0/108", "gw": "fd57::a2f:1"}],
    }
    assert doors.wiring.wired == {}
    result = config(prevResult=body_of(answer))
    good, bad = perform(
        doors, call("CHECK", result, is_ipam=True), call("CHECK", config(prevResult={"ips": []}), is_ipam=True)
    )
    assert good == Answer(0, b"")
    assert code_of(bad) == 102
    assert perform(doors, call("DEL", is_ipam=True), call("DEL", is_ipam=True)) == [Answer(0, b"")] * 2
    assert doors.is_empty()


def test_an_ipam_plugin_of_a_host_without_an_address_waits() -> None:
    doors = Doors(addresses=FakeAddresses(own=None))
    assert code_of(perform(doors, call("ADD", is_ipam=True))[0]) == 11
    assert doors.is_empty()


def test_a_wrong_call_is_answered_in_its_version() -> None:
    (answer,) = perform(Doors(), call("ADD", config(cniVersion="0.3.1"), CNI_IFNAME=""))
    assert body_of(answer)["cniVersion"] == "0.3.1"


def test_tombstones_are_done_once_and_garbage_is_swept(tmp_path: Path) -> None:
    (tmp_path / f"a{SUFFIX}").write_bytes(encode_call(environment("DEL", CNI_NETNS=""), config()))
    (tmp_path / f"b{SUFFIX}").write_bytes(b"garbage")
    (tmp_path / f"c{SUFFIX}").write_bytes(encode_call(environment("DEL"), b"no JSON"))
    (tmp_path / f"d{SUFFIX}").write_bytes(encode_call(environment("ADD", CNI_CONTAINERID="c9"), config()))
    doors = Doors()

    async def main() -> None:
        plugin = doors.plugin()
        with netns() as fd:
            await plugin.perform(call("ADD", netns_fd=fd))
        assert await plugin.replay_tombstones(tmp_path) == 4
        assert await plugin.replay_tombstones(tmp_path) == 0

    asyncio.run(main())
    assert doors.is_empty()
    assert list(tmp_path.iterdir()) == []


def test_a_tombstone_that_cannot_be_done_stays(tmp_path: Path) -> None:
    (tmp_path / f"a{SUFFIX}").write_bytes(encode_call(environment("DEL"), config()))
    doors = Doors()
    doors.wiring.failure = WiringFailed("device busy")

    async def main() -> None:
        plugin = doors.plugin()
        assert await plugin.replay_tombstones(tmp_path) == 0
        doors.wiring.failure = None
        assert await plugin.replay_tombstones(tmp_path) == 1

    asyncio.run(main())
