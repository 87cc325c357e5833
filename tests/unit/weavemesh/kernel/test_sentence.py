"""Every action and every failure has its sentence."""

import errno
from ipaddress import IPv4Interface, IPv4Network

import pytest

from tests.unit.weavemesh.overlay.overlay_sample import public_key
from weavemesh.error import UserError
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netlink import KernelError
from weavemesh.kernel.sentence import FAILURES, SENTENCES_MAX, bounded, describe, describe_failure
from weavemesh.overlay import diff
from weavemesh.overlay.state import PrivateKey, Route

ROUTE = Route(IPv4Network("10.33.0.0/16"), "device", None)
KEY = public_key(2).text()
SENTENCES: dict[str, diff.Action] = {
    "making the tunnel device wm0": diff.CreateDevice("wm0"),
    "setting the tunnel device's key": diff.ConfigureDevice(PrivateKey(bytes(32)), None),
    "letting the tunnel device listen on UDP port 6783": diff.ConfigureDevice(None, 6783),
    "setting the tunnel device's MTU to 1280": diff.SetMtu(1280),
    "bringing the tunnel device up": diff.BringUp(),
    "giving the tunnel device the address 10.32.0.1/32": diff.AddAddress(IPv4Interface("10.32.0.1")),
    "taking the address 10.32.0.1/32 from the tunnel device": diff.RemoveAddress(IPv4Interface("10.32.0.1")),
    f"setting up the tunnel to {KEY}": diff.SetPeer(public_key(2), False, None, None, ()),
    "taking 1 allowed IPs away": diff.DiscardAllowedIps((IPv4Network("10.33.0.0/16"),)),
    f"removing the tunnel to {KEY}": diff.RemovePeer(public_key(2)),
    "adding the route to 10.33.0.0/16": diff.AddRoute(ROUTE),
    "changing the route to 10.33.0.0/16": diff.ReplaceRoute(ROUTE),
    "removing the route to 10.33.0.0/16": diff.RemoveRoute(ROUTE),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_action_has_a_subject(sentence: str) -> None:
    assert describe(SENTENCES[sentence]) == sentence


def test_every_failure_has_a_reason() -> None:
    failures = {
        "x failed: another program has one to the same destination; remove that one": KernelError(errno.EEXIST, "File"),
        "x failed: Nexthop has invalid gateway": KernelError(errno.EINVAL, "Nexthop has invalid gateway"),
        "x failed: wireguard-go does not answer": DeviceError("wireguard-go does not answer"),
        "x failed: it is wrong; do it right": UserError("it is wrong", remedy="do it right"),
        "x failed: No space left on device": OSError(errno.ENOSPC, "No space left on device"),
        "x failed: unknown error": OSError(),
    }
    assert [describe_failure("x", error) for error in failures.values()] == list(failures)
    assert all(isinstance(error, FAILURES) for error in failures.values())


def test_many_sentences_are_cut_and_counted() -> None:
    assert bounded(["a"]) == ("a",)
    assert bounded(["a"] * SENTENCES_MAX) == ("a",) * SENTENCES_MAX
    assert bounded(["a"] * (SENTENCES_MAX + 3))[-1] == "and 3 more failures of this kind"
