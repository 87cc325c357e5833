"""Addresses as people write them, and nothing that is none."""

import pytest

from weavemesh.transport.address import join_address, plain_host, split_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host1", "host1", 6783),
        ("host1.example:7000", "host1.example", 7000),
        ("192.0.2.1", "192.0.2.1", 6783),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("2001:db8::1", "2001:db8::1", 6783),
        ("[2001:db8::1]", "2001:db8::1", 6783),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("[fe80::1%eth0]:7000", "fe80::1%eth0", 7000),
    ],
)
def test_an_address_is_split(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":7000", "host:", "host:0", "host:65536", "host:७", "host:-1", "a:b:c", "[host]:1", "[::1"),
        *("[::1]7000", "[::1]:", "two words", "http://host", "user@host", "x" * 254, "host\n"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        split_address(text)


def test_an_ipv4_address_in_ipv6_clothes_is_ipv4() -> None:
    assert join_address("::ffff:192.0.2.1", 1) == "192.0.2.1:1"
    assert join_address("2001:db8::1", 1) == "[2001:db8::1]:1"
    assert plain_host("host1") == "host1"
