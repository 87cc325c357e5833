import json
from ipaddress import IPv4Address, IPv6Address, ip_interface

import pytest
from msgspec.structs import replace

from weavemesh.cni.result import (
    VERSIONS,
    Attached,
    CniError,
    Dns,
    ErrorCode,
    Leased,
    encode_error,
    encode_lease,
    encode_result,
    encode_versions,
)
from weavemesh.kernel.podmodel import EVERYWHERE, PodAddress, WiredPod

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
    alone = replace(ATTACHED, pod=replace(POD, address=PodAddress(POD.address.ipv4, None), routes=EVERYWHERE[:1]))
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


LEASED = Leased(
    addresses=(ip_interface("10.32.0.5/13"), ip_interface("fd57::a20:5/109")),
    gateways=(IPv4Address("10.47.0.1"), IPv6Address("fd57::a2f:1")),
    routes=({"dst": "10.32.0.0/12"}, {"dst": "fd57::a20:0/108"}),
    dns=Dns(),
)
LEASE_IPS: list[dict[str, object]] = [
    {"address": "10.32.0.5/13", "gateway": "10.47.0.1"},
    {"address": "fd57::a20:5/109", "gateway": "fd57::a2f:1"},
]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lease_has_no_interfaces_in_any_version(version: str) -> None:
    lease = json.loads(encode_lease(LEASED, version))
    assert lease.pop("cniVersion") == version
    if version in ("0.1.0", "0.2.0"):
        assert lease == {
            "ip4": {"ip": "10.32.0.5/13", "gateway": "10.47.0.1", "routes": [LEASED.routes[0]]},
            "ip6": {"ip": "fd57::a20:5/109", "gateway": "fd57::a2f:1", "routes": [LEASED.routes[1]]},
            "dns": {},
        }
        return
    assert lease.pop("dns", None) == (None if version in ("1.0.0", "1.1.0") else {})
    family = [{}, {}] if version in ("1.0.0", "1.1.0") else [{"version": "4"}, {"version": "6"}]
    assert lease == {
        "ips": [{**ip, **more} for ip, more in zip(LEASE_IPS, family, strict=True)],
        "routes": list(LEASED.routes),
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
