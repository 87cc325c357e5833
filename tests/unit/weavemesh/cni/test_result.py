import json
from ipaddress import IPv4Address, IPv6Address

import pytest
from msgspec.structs import replace

from weavemesh.cni.result import (
    VERSIONS,
    Attached,
    CniError,
    Dns,
    ErrorCode,
    encode_error,
    encode_result,
    encode_versions,
)
from weavemesh.kernel.pod import PodAddress, WiredPod

POD = WiredPod(
    host_ifname="wmv0123456789",
    host_mac="ee:ee:ee:ee:ee:ee",
    mac="02:00:00:00:00:01",
    mtu=1380,
    address=PodAddress(IPv4Address("10.32.0.5"), IPv6Address("fd57::a20:5")),
)
ATTACHED = Attached(ifname="eth0", sandbox="/var/run/netns/cni-1", pod=POD, dns=Dns())

HOST = {"name": "wmv0123456789", "mac": "ee:ee:ee:ee:ee:ee"}
CONTAINER = {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/var/run/netns/cni-1"}
ROUTES = [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
IPS = [
    {"interface": 1, "address": "10.32.0.5/32", "gateway": "169.254.1.1"},
    {"interface": 1, "address": "fd57::a20:5/128", "gateway": "fe80::1"},
]
WITHOUT_INTERFACES: dict[str, object] = {
    "ip4": {"ip": "10.32.0.5/32", "gateway": "169.254.1.1", "routes": ROUTES[:1]},
    "ip6": {"ip": "fd57::a20:5/128", "gateway": "fe80::1", "routes": ROUTES[1:]},
    "dns": {},
}
WITH_FAMILIES: dict[str, object] = {
    "interfaces": [HOST, CONTAINER],
    "ips": [{**IPS[0], "version": "4"}, {**IPS[1], "version": "6"}],
    "routes": ROUTES,
    "dns": {},
}
SHAPES: dict[str, dict[str, object]] = {
    "0.1.0": WITHOUT_INTERFACES,
    "0.2.0": WITHOUT_INTERFACES,
    "0.3.0": WITH_FAMILIES,
    "0.3.1": WITH_FAMILIES,
    "0.4.0": WITH_FAMILIES,
    "1.0.0": {"interfaces": [HOST, CONTAINER], "ips": IPS, "routes": ROUTES},
    "1.1.0": {"interfaces": [{**HOST, "mtu": 1380}, {**CONTAINER, "mtu": 1380}], "ips": IPS, "routes": ROUTES},
}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_has_its_exact_shape(version: str) -> None:
    assert json.loads(encode_result(ATTACHED, version)) == {"cniVersion": version, **SHAPES[version]}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pod_without_ipv6_has_nothing_of_it(version: str) -> None:
    alone = replace(ATTACHED, pod=replace(POD, address=PodAddress(POD.address.ipv4, None)))
    text = encode_result(alone, version).decode()
    assert "fe80" not in text
    assert "ip6" not in text
    assert "::/0" not in text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_service_that_is_asked_for_is_handed_on(version: str) -> None:
    with_dns = replace(ATTACHED, dns=Dns(nameservers=["10.0.0.10"], search=["shop.svc"]))
    assert json.loads(encode_result(with_dns, version))["dns"] == {
        "nameservers": ["10.0.0.10"],
        "search": ["shop.svc"],
    }


def test_an_error_has_its_code_and_its_sentences() -> None:
    error = CniError(ErrorCode.TRY_AGAIN_LATER, "no address", "no peer has one")
    assert json.loads(encode_error(error, "0.4.0")) == {
        "cniVersion": "0.4.0",
        "code": 11,
        "msg": "no address",
        "details": "no peer has one",
    }
    assert "details" not in json.loads(encode_error(CniError(ErrorCode.IO_FAILURE, "no"), "0.4.0"))


def test_all_versions_are_told() -> None:
    assert json.loads(encode_versions("0.4.0")) == {"cniVersion": "0.4.0", "supportedVersions": list(VERSIONS)}
