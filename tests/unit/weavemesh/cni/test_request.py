import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.weavemesh.cni.fake_doors import call, config
from weavemesh.cni.request import (
    CONFIG_DEPTH_MAX,
    Command,
    PreviousAddress,
    Request,
    decode,
    is_attachment,
    version_of,
)
from weavemesh.cni.result import VERSIONS, CniError, Dns, ErrorCode
from weavemesh.cni.wish import Wish


def refusal(command: str, stdin: bytes | None = None, *, is_ipam: bool = False, **changes: str) -> CniError:
    with pytest.raises(CniError) as caught:
        decode(call(command, stdin, netns_fd=None, is_ipam=is_ipam, **changes))
    return caught.value


def test_an_add_is_understood() -> None:
    arguments = "K8S_POD_NAME=web-1;IgnoreUnknown=1;K8S_POD_UID=u;K8S_POD_NAMESPACE=shop;K8S_POD_INFRA_CONTAINER_ID=x"
    assert decode(call("ADD", CNI_ARGS=arguments)) == Request(
        command=Command.ADD,
        version="1.0.0",
        network="net",
        container_id="c1",
        ifname="eth0",
        netns="/run/netns/c1",
        wish=Wish(label="shop/web-1"),
        pod_ifname="eth0",
    )


def test_the_ident_has_no_path_in_it() -> None:
    assert decode(call("DEL", CNI_NETNS="")).ident == "net/c1/eth0"


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        ("", ""),
        ("IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.88.0.9;MAC=aa:bb:cc:dd:ee:ff;FOO=bar", "web"),
        ("no pair;;=;a=b=c;K8S_POD_NAME=", ""),
    ],
)
def test_any_arguments_are_tolerated(arguments: str, label: str) -> None:
    assert decode(call("ADD", CNI_ARGS=arguments)).wish.label == label


@pytest.mark.parametrize("command", ["", "add", "FOO", "ADD "])
def test_an_unknown_command_is_code_4(command: str) -> None:
    error = refusal(command)
    assert error.code is ErrorCode.INVALID_ENVIRONMENT
    assert "CNI_COMMAND" in error.msg


@pytest.mark.parametrize(
    ("command", "changes", "names"),
    [
        ("ADD", {"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
        ("ADD", {"CNI_CONTAINERID": "a/b"}, "CNI_CONTAINERID"),
        ("ADD", {"CNI_CONTAINERID": "a\n"}, "CNI_CONTAINERID"),
        ("ADD", {"CNI_CONTAINERID": "x" * 256}, "CNI_CONTAINERID"),
        ("ADD", {"CNI_CONTAINERID": "é"}, "CNI_CONTAINERID"),
        ("ADD", {"CNI_NETNS": "", "CNI_IFNAME": ""}, "CNI_NETNS, CNI_IFNAME"),
        ("CHECK", {"CNI_NETNS": ""}, "CNI_NETNS"),
        ("DEL", {"CNI_IFNAME": "sixteen-letters-"}, "CNI_IFNAME"),
        ("DEL", {"CNI_IFNAME": "a b"}, "CNI_IFNAME"),
        ("DEL", {"CNI_IFNAME": "a:b"}, "CNI_IFNAME"),
        ("DEL", {"CNI_IFNAME": ".."}, "CNI_IFNAME"),
    ],
)
def test_wrong_variables_are_code_4_and_all_are_named(command: str, changes: dict[str, str], names: str) -> None:
    error = refusal(command, None, is_ipam=False, **changes)
    assert error.code is ErrorCode.INVALID_ENVIRONMENT
    assert error.msg.endswith(": " + names)


@pytest.mark.parametrize("command", ["DEL", "VERSION", "GC", "STATUS"])
def test_a_command_asks_only_for_what_it_needs(command: str) -> None:
    changes = {"CNI_NETNS": "", "CNI_PATH": ""}
    if command != "DEL":
        changes |= {"CNI_CONTAINERID": "", "CNI_IFNAME": ""}
    stdin = config(cniVersion="1.1.0")
    assert decode(call(command, stdin, netns_fd=None, is_ipam=False, **changes)).command == command


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"name": 5}',
        b'{"cniVersion": {}}',
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * (CONFIG_DEPTH_MAX + 2) + b"1" + b"}" * (CONFIG_DEPTH_MAX + 2),
    ],
)
def test_what_is_no_configuration_is_code_6(stdin: bytes) -> None:
    assert refusal("ADD", stdin).code is ErrorCode.DECODING_FAILURE


@pytest.mark.parametrize("name", [None, "", "a/b", "-a", "a b", "x" * 256])
def test_a_network_without_a_good_name_is_code_7(name: str | None) -> None:
    assert refusal("ADD", config(name=name)).code is ErrorCode.INVALID_CONFIG


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_spoken(version: str) -> None:
    assert decode(call("ADD", config(cniVersion=version))).version == version


@pytest.mark.parametrize("missing", [{}, {"cniVersion": ""}, {"cniVersion": None}])
def test_no_version_means_the_oldest(missing: dict[str, object]) -> None:
    body = json.dumps({"name": "net", **missing}).encode()
    assert decode(call("ADD", body)).version == "0.1.0"


@pytest.mark.parametrize(
    ("command", "version"),
    [("ADD", "2.0.0"), ("ADD", "0.2"), ("DEL", "x"), ("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")],
)
def test_a_version_without_the_command_is_code_1(command: str, version: str) -> None:
    error = refusal(command, config(cniVersion=version))
    assert error.code is ErrorCode.INCOMPATIBLE_VERSION
    assert "1.1.0" in error.details


def test_version_is_never_refused() -> None:
    request = decode(call("VERSION", b"garbage", CNI_IFNAME="dummy", CNI_CONTAINERID="", CNI_NETNS="dummy"))
    assert request.version == "1.1.0"


def test_keys_match_whatever_their_case_and_unknown_ones_are_tolerated() -> None:
    body = {
        "CNIVersion": "0.4.0",
        "NAME": "net",
        "runtimeConfig": {"portMappings": [{"HostPort": 80}], "io.kubernetes.cri.pod-annotations": {"A": "b"}},
        "capabilities": {"portMappings": True},
        "ipam": {},
        "Dns": {"NameServers": ["10.0.0.10"], "Search": None},
        "cni.dev/attachments": [],
    }
    request = decode(call("ADD", json.dumps(body).encode()))
    assert (request.version, request.network) == ("0.4.0", "net")
    assert request.dns == Dns(nameservers=["10.0.0.10"])


def test_a_check_knows_the_addresses_of_its_own_interface() -> None:
    previous = {
        "interfaces": [
            {"name": "eth0", "mac": "aa"},
            {"name": "eth0", "mac": "bb", "sandbox": "/run/netns/c1"},
            {"name": "net1", "sandbox": "/run/netns/c1"},
        ],
        "ips": [
            {"interface": 0, "address": "10.9.9.1/32"},
            {"version": "4", "interface": 1, "address": "10.32.0.1/32"},
            {"interface": 1, "address": "fd57::1/128", "gateway": "fe80::1"},
            {"interface": 2, "address": "10.9.9.2/32"},
            {"interface": 7, "address": "10.9.9.3/32"},
            {"address": "10.9.9.4/32"},
        ],
    }
    request = decode(call("CHECK", config(prevResult=previous)))
    assert request.previous == tuple(
        PreviousAddress(ifname, ip_address(text))
        for ifname, text in (
            ("", "10.9.9.1"),
            ("eth0", "10.32.0.1"),
            ("eth0", "fd57::1"),
            ("net1", "10.9.9.2"),
            ("", "10.9.9.3"),
            ("", "10.9.9.4"),
        )
    )
    assert decode(call("CHECK", config(prevResult={"interfaces": None, "ips": None}))).previous == ()


@pytest.mark.parametrize("previous", ["text", {"ips": 5}, {"ips": [{}]}])
def test_a_wrong_previous_result_fails_a_check_and_never_a_del(previous: object) -> None:
    assert refusal("CHECK", config(prevResult=previous)).code is ErrorCode.DECODING_FAILURE
    assert decode(call("DEL", config(prevResult=previous, dns=5))).ident == "net/c1/eth0"


def test_a_previous_result_with_an_address_that_is_none_is_code_7() -> None:
    previous = {"interfaces": [{"name": "eth0", "sandbox": "/s"}], "ips": [{"interface": 0, "address": "10.0.0/8/8"}]}
    assert refusal("CHECK", config(prevResult=previous)).code is ErrorCode.INVALID_CONFIG


@pytest.mark.parametrize(
    ("stdin", "version"),
    [(config(cniVersion="0.3.1"), "0.3.1"), (config(cniVersion="9.9.9"), "1.1.0"), (b"{", "1.1.0"), (b"{}", "0.1.0")],
)
def test_an_error_is_told_in_a_version_that_the_runtime_knows(stdin: bytes, version: str) -> None:
    assert version_of(call("ADD", stdin)) == version


CHAINED = {
    "interfaces": [{"name": "wmbr0"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"interface": 1, "address": "192.0.2.7/24"}],
}


def test_later_in_a_chain_our_interface_has_another_name_and_the_default_route_is_anothers() -> None:
    first = decode(call("ADD", config(prevResult={"interfaces": [{"name": "eth0"}]})))
    assert (first.pod_ifname, first.is_default) == ("eth0", True), "that eth0 is not in the container"
    later = decode(call("ADD", config(prevResult=CHAINED)))
    assert (later.pod_ifname, later.is_default, later.chained) == ("mesh0", False, CHAINED)
    named = decode(call("ADD", config(prevResult=CHAINED, interfaceName="net1", defaultRoute=True)))
    assert (named.pod_ifname, named.is_default, named.ident) == ("net1", True, "net/c1/eth0")
    alone = decode(call("ADD", config(interfaceName="net1", defaultRoute=False)))
    assert (alone.pod_ifname, alone.is_default, alone.chained) == ("eth0", False, None)


@pytest.mark.parametrize("name", ["", "eth0", "a/b", "sixteen-letters-"])
def test_a_name_for_our_interface_that_cannot_be_is_code_7(name: str) -> None:
    assert refusal("ADD", config(prevResult=CHAINED, interfaceName=name)).code is ErrorCode.INVALID_CONFIG


def test_a_gc_knows_what_is_valid_only_if_it_is_told() -> None:
    listed = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1"}]
    told = config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": listed})
    assert decode(call("GC", told)).valid == frozenset(("net/c1/eth0", "net/c2/net1"))
    assert decode(call("GC", told, is_ipam=True)).valid == frozenset(("ipam:net/c1/eth0", "ipam:net/c2/net1"))
    assert decode(call("GC", config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": []}))).valid == frozenset()
    assert decode(call("GC", config(cniVersion="1.1.0"))).valid is None
    assert refusal("GC", config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": [{}]})).code == 6


def test_an_ipam_plugin_reads_its_own_part() -> None:
    ipam = {"type": "weavemesh-ipam", "gateway": "10.32.0.9", "routes": [{"dst": "192.0.2.0/24"}]}
    request = decode(call("ADD", config(ipam=ipam), is_ipam=True))
    assert request.ident == "ipam:net/c1/eth0"
    assert (request.gateway, request.routes) == (ip_address("10.32.0.9"), ({"dst": "192.0.2.0/24"},))
    assert refusal("ADD", config(ipam={"gateway": "no"}), is_ipam=True).code is ErrorCode.INVALID_CONFIG


def test_idents_tell_interfaces_from_all_else() -> None:
    idents = ["net/c1/eth0", "ipam:net/c1/eth0", "weavemesh:host", "a/b", "a/b/c/d", "mine"]
    assert [is_attachment(ident) for ident in idents] == [True, False, False, False, False, False]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(stdin=st.binary() | json_values.map(lambda value: json.dumps(value).encode()), command=st.sampled_from(Command))
def test_garbage_is_refused_with_a_code_and_nothing_else_happens(stdin: bytes, command: Command) -> None:
    try:
        decode(call(command, stdin))
    except CniError as error:
        assert error.code in ErrorCode


@given(
    known=st.sampled_from(
        [
            "dns",
            "prevResult",
            "name",
            "cniVersion",
            "DNS",
            "runtimeConfig",
            "args",
            "ipam",
            "interfaceName",
            "capabilities",
        ]
    ),
    value=json_values,
)
def test_garbage_under_known_keys_is_refused_with_a_code_too(known: str, value: object) -> None:
    for command in ("ADD", "CHECK", "DEL", "GC"):
        try:
            decode(call(command, config(**{known: value})))
        except CniError as error:
            assert error.code in ErrorCode
