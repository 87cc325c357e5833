"""What may be given to an agent, and what each wrong thing is answered with."""

import doctest
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavemesh import config
from weavemesh.config import AgentConfig, check, parse_target
from weavemesh.error import UserError
from weavemesh.option import Options
from weavemesh.overlay.state import Endpoint

STATE, RUN = Path("/var/lib/weavemesh"), Path("/run/weavemesh")


def checked(options: Options, **environment: str) -> AgentConfig:
    return check(options, state_dir=STATE, run_dir=RUN, environment=environment)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(config).failed == 0


def test_nothing_given_means_the_defaults() -> None:
    plain = checked(Options())
    assert (plain.interface, plain.port, plain.targets, plain.datapath) == ("wm0", 6783, (), "auto")
    assert plain.ipalloc_range == IPv4Network("10.32.0.0/12")
    assert plain.ipalloc_default_subnet == plain.ipalloc_range
    assert (plain.initial_peers, plain.observer) == (None, False)
    assert plain.mtu is None
    assert plain.discovery
    assert plain.secret_file == Path("/etc/weavemesh/secret")
    assert plain.nickname
    assert plain.metrics_addr is None


def test_what_is_given_arrives() -> None:
    full = checked(
        Options(
            targets=("Host1", "10.0.0.2:7", "[fd00::1]:8", "fd00::2", "host1:7000"),
            port="7000",
            advertise=("198.51.100.7", "[2001:db8::1]:9"),
            mtu="1400",
            no_discovery=True,
            secret_file="secret",
            ipalloc_range="192.0.2.0/24",
            ipalloc_default_subnet="192.0.2.128/25",
            initial_peers="3",
        )
    )
    assert full.targets == ("host1:7000", "10.0.0.2:7", "[fd00::1]:8", "[fd00::2]:7000")
    assert full.advertise == (Endpoint(ip_address("198.51.100.7"), 7000), Endpoint(ip_address("2001:db8::1"), 9))
    assert full.mtu == 1400
    assert full.ipalloc_default_subnet == IPv4Network("192.0.2.128/25")
    assert full.initial_peers == 3
    assert not full.discovery
    assert full.secret_file == Path.cwd() / "secret"


@pytest.mark.parametrize(
    "options",
    [
        Options(port="0"),
        Options(port="65536"),
        Options(port="6783x"),
        Options(port="\u0663"),
        Options(port="9" * 5000),
        Options(mtu="1279"),
        Options(mtu="-1"),
        Options(interface="eth0"),
        Options(interface="wmv0"),
        Options(interface="wm"),
        Options(interface="wm0123456789abcd"),
        Options(interface="wm/0"),
        Options(ipalloc_range="10.32.0.1/12"),
        Options(ipalloc_range="10.0.0.0/7"),
        Options(ipalloc_range="10.0.0.0/30"),
        Options(ipalloc_range="127.0.0.0/8"),
        Options(ipalloc_range="169.0.0.0/8"),
        Options(ipalloc_range="224.0.0.0/8"),
        Options(ipalloc_range="240.0.0.0/8"),
        Options(ipalloc_range="0.0.0.0/8"),
        Options(ipalloc_range="fd00::/64"),
        Options(ipalloc_range="ten"),
        Options(ipalloc_default_subnet="10.128.0.0/16"),
        Options(ipalloc_default_subnet="10.0.0.0/8"),
        Options(ipalloc_default_subnet="10.32.0.0/31"),
        Options(ipalloc_default_subnet="10.32.0.1/24"),
        Options(initial_peers="0"),
        Options(initial_peers="257"),
        Options(initial_peers="three"),
        Options(initial_peers="3", observer=True),
        Options(nickname="a b"),
        Options(nickname="\x1b[2J"),
        Options(nickname="n" * 65),
        Options(datapath="carrier pigeon"),
        Options(log_level="loud"),
        Options(metrics_addr="6782"),
        Options(metrics_addr="host:6782"),
        Options(metrics_addr="0.0.0.0"),
        Options(metrics_addr="0.0.0.0:0"),
        Options(metrics_addr="[::]:70000"),
        Options(rotate_key_every="often"),
        Options(rotate_key_every="59s"),
        Options(rotate_key_every="3651d"),
        Options(advertise=("host1",)),
        Options(advertise=("127.0.0.1",)),
        Options(targets=("",)),
        Options(targets=tuple(f"h{number}" for number in range(1001))),
    ],
)
def test_what_cannot_be_is_wrong_usage_with_a_remedy(options: Options) -> None:
    with pytest.raises(UserError) as caught:
        checked(options)
    assert caught.value.exit_status == 2
    assert caught.value.remedy


def test_a_subnet_outside_the_range_is_refused_with_both_named() -> None:
    with pytest.raises(UserError, match=r"10.128.0.0/16 is not inside the range 10.32.0.0/12") as caught:
        checked(Options(ipalloc_default_subnet="10.128.0.0/16"))
    assert "--ipalloc-range" in caught.value.remedy


def test_a_period_is_a_number_with_a_unit() -> None:
    assert checked(Options()).rotate_key_every_s is None
    assert checked(Options(rotate_key_every="never")).rotate_key_every_s is None
    assert checked(Options(rotate_key_every="90m")).rotate_key_every_s == 5400.0
    assert checked(Options(rotate_key_every="30d")).rotate_key_every_s == 2592000.0


def test_the_secret_is_given_once() -> None:
    assert checked(Options(), WEAVEMESH_SECRET="x").secret_file == Path("/etc/weavemesh/secret")
    with pytest.raises(UserError, match="given twice"):
        checked(Options(secret_file="/a"), WEAVEMESH_SECRET="x")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("host3", "host3:6783"),
        ("HOST3.Example.com.:99", "host3.example.com.:99"),
        ("under_score", "under_score:6783"),
        ("192.0.2.1", "192.0.2.1:6783"),
        ("::1", "[::1]:6783"),
        ("[2001:DB8::1]", "[2001:db8::1]:6783"),
        ("fe80::1%eth0", "[fe80::1%eth0]:6783"),
    ],
)
def test_a_target_has_one_form(text: str, target: str) -> None:
    assert parse_target(text, default_port=6783) == target
    assert parse_target(target, default_port=1) == target


@pytest.mark.parametrize(
    "text",
    ["", ":1", "h:", "h:0", "h:65536", "h:1:2x", "[::1", "[h]:1", "[::1]x", "h h", "-h", "h-", "10.0.0", "10.0.0.256",
     "0.0.0.0", "224.0.0.1", "h/1", "a..b", "x" * 64, "host:٣", "http://host1"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_target(text, default_port=6783)
    assert caught.value.exit_status == 2


@given(st.text())
def test_any_text_is_a_target_or_wrong_usage(text: str) -> None:
    try:
        target = parse_target(text, default_port=6783)
    except UserError:
        return
    assert parse_target(target, default_port=1) == target


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [("0.0.0.0:6782", "0.0.0.0", 6782), ("[::]:9100", "::", 9100), ("10.0.0.1:1", "10.0.0.1", 1)],
)
def test_metrics_are_served_at_an_address_and_port(text: str, address: str, port: int) -> None:
    assert checked(Options(metrics_addr=text)).metrics_addr == Endpoint(ip_address(address), port)


def test_metrics_can_be_switched_off_again() -> None:
    assert checked(Options(metrics_addr="none")).metrics_addr is None
