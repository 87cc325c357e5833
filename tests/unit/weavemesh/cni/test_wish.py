from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavemesh.cni.result import CniError, Dns, ErrorCode
from weavemesh.cni.wish import Wish, decode_wish

MAC = "02:00:00:00:00:07"


def test_nothing_is_wished_by_default_and_what_is_unknown_is_tolerated() -> None:
    assert decode_wish(None, None, "") == Wish()
    unknown = {"portmappings": [{"hostport": 1}], "bandwidth": {}, "ipranges": [[]], "deviceid": "x", "aliases": {}}
    assert decode_wish(unknown, {"cni": {"labels": []}, "other": 1}, "IgnoreUnknown=1;FOO=bar") == Wish()


def test_capabilities_come_before_args_and_these_before_the_variable() -> None:
    variable = "IP=10.32.0.1;MAC=02:00:00:00:00:01;K8S_POD_NAME=web"
    assert decode_wish(None, None, variable).addresses == (IPv4Address("10.32.0.1"),)
    args = {"cni": {"ips": ["10.32.0.2"], "mac": "02:00:00:00:00:02"}}
    assert decode_wish(None, args, variable) == Wish((IPv4Address("10.32.0.2"),), "02:00:00:00:00:02", None, "web")
    both = {"ips": ["10.32.0.3/12", "fd57::1/64"], "mac": "02-00-00-00-00-0A"}
    assert decode_wish(both, args, variable) == Wish(
        (IPv4Address("10.32.0.3"), IPv6Address("fd57::1")), "02:00:00:00:00:0a", None, "web"
    )


def test_a_name_service_is_told_in_a_results_words() -> None:
    dns = {"servers": ["10.0.0.10"], "searches": ["shop.svc"], "options": None}
    assert decode_wish({"dns": dns}, None, "").dns == Dns(nameservers=["10.0.0.10"], search=["shop.svc"])


@pytest.mark.parametrize(
    "capabilities",
    [
        {"ips": ["10.32.0.256"]},
        {"ips": ["10.32.0.1", "10.32.0.2"]},
        {"ips": ["10.32.0.1", "fd57::1", "fd57::2"]},
        {"mac": "02:00:00:00:00"},
        {"mac": "01:00:5e:00:00:01"},
        {"mac": "00:00:00:00:00:00"},
        {"mac": 7},
    ],
)
def test_what_cannot_be_meant_is_code_7(capabilities: dict[str, object]) -> None:
    with pytest.raises(CniError) as caught:
        decode_wish(capabilities, None, "")
    assert caught.value.code is ErrorCode.INVALID_CONFIG


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ips", "mac", "dns", "servers", "cni"]), inner),
)


@given(json_values, json_values, st.text())
def test_garbage_is_nothing_or_code_7(capabilities: object, args: object, variable: str) -> None:
    try:
        decode_wish(capabilities, args, variable)
    except CniError as error:
        assert error.code is ErrorCode.INVALID_CONFIG
