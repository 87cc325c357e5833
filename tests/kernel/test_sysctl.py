"""Host settings in a real namespace, each with its own copy of net/."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator

import pytest

from weavemesh.kernel.netns import call_in
from weavemesh.kernel.sysctl import Settings

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

Pass = Callable[[Callable[[Settings], object]], Settings]


@pytest.fixture
def one_pass() -> Iterator[Pass]:
    """Makes one pass over the settings of a fresh namespace that has the interface eth0."""
    name = f"wmk{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)

    def run(task: Callable[[Settings], object]) -> Settings:
        def work() -> Settings:
            settings = Settings()
            task(settings)
            return settings

        return call_in(descriptor, work)

    try:
        subprocess.run(["ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "eth1"], check=True)
        run(lambda settings: [settings.ensure(f"net/ipv6/conf/{name}/accept_ra", "1") for name in ("eth0", "eth1")])
        run(lambda settings: settings.ensure("net/ipv4/ip_forward", "0"))
        run(lambda settings: settings.ensure("net/ipv6/conf/all/forwarding", "0"))
        yield run
    finally:
        os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


def read(one_pass: Pass, key: str) -> str | None:
    values: list[str | None] = []
    one_pass(lambda settings: values.append(settings.read(key)))
    return values[0]


def test_a_host_forwards_and_keeps_its_advertisements(one_pass: Pass) -> None:
    first = one_pass(Settings.prepare_host)
    assert first.failures == []
    assert "net.ipv4.ip_forward set from 0 to 1" in first.changed
    assert first.changed[-1] == "net.ipv6.conf.all.forwarding set from 0 to 1", "not before advertisements are kept"
    assert read(one_pass, "net/ipv6/conf/eth0/accept_ra") == "2"
    again = one_pass(Settings.prepare_host)
    assert (again.changed, again.failures) == ([], [])


def test_an_interface_that_refuses_advertisements_goes_on_refusing(one_pass: Pass) -> None:
    one_pass(lambda settings: settings.ensure("net/ipv6/conf/eth0/accept_ra", "0"))
    one_pass(Settings.prepare_host)
    assert read(one_pass, "net/ipv6/conf/eth0/accept_ra") == "0"


@pytest.mark.parametrize(
    ("everywhere", "here", "afterwards"),
    [("1", "0", "2"), ("0", "1", "2"), ("1", "2", "2"), ("0", "0", "0"), ("2", "1", "1")],
)
def test_a_strict_reverse_path_becomes_loose(one_pass: Pass, everywhere: str, here: str, afterwards: str) -> None:
    one_pass(lambda settings: settings.ensure("net/ipv4/conf/all/rp_filter", everywhere))
    one_pass(lambda settings: settings.ensure("net/ipv4/conf/eth0/rp_filter", here))
    one_pass(lambda settings: settings.prepare_interface("eth0"))
    assert read(one_pass, "net/ipv4/conf/eth0/rp_filter") == afterwards


def test_ipv6_is_allowed_on_the_device(one_pass: Pass) -> None:
    one_pass(lambda settings: settings.ensure("net/ipv6/conf/eth0/disable_ipv6", "1"))
    settings = one_pass(lambda settings: settings.prepare_interface("eth0"))
    assert "net.ipv6.conf.eth0.disable_ipv6 set from 1 to 0" in settings.changed
    assert settings.has_ipv6()


def test_what_cannot_be_set_is_a_sentence_with_the_remedy(one_pass: Pass) -> None:
    outcome: list[bool] = []
    settings = one_pass(lambda settings: outcome.append(settings.ensure("net/ipv4/ip_forward", "nonsense")))
    assert outcome == [False]
    assert settings.changed == []
    (sentence,) = settings.failures
    assert sentence.startswith("net.ipv4.ip_forward is 0 and cannot be set to nonsense (Invalid argument): run `sysctl")
    assert read(one_pass, "net/ipv4/ip_forward") == "0"


def test_what_this_kernel_does_not_have_is_right(one_pass: Pass) -> None:
    settings = one_pass(lambda settings: settings.ensure("net/ipv4/no_such_setting", "1"))
    assert (settings.changed, settings.failures) == ([], [])
