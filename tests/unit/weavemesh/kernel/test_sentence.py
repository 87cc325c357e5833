"""Every failure is one sentence that says what was meant, why it failed and, where possible, what helps."""

import errno
from ipaddress import IPv4Interface, IPv4Network
from typing import get_args

import pytest

from weavemesh.error import UserError
from weavemesh.kernel.device import DeviceError
from weavemesh.kernel.netlink import KernelError
from weavemesh.kernel.sentence import FAILURES, SENTENCES_MAX, bounded, describe, describe_failure, reason
from weavemesh.overlay.diff import (
    Action,
    AddAddress,
    AddRoute,
    BringUp,
    ConfigureDevice,
    CreateDevice,
    DiscardAllowedIps,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ReplaceRoute,
    SetMtu,
    SetPeer,
)
from weavemesh.overlay.state import PresharedKey, PrivateKey, PublicKey, Route

ALICE, SECRET, PAIR = PublicKey(b"\x01" * 32), PrivateKey(b"\x09" * 32), PresharedKey(b"\x77" * 32)
NETWORK = IPv4Network("10.33.0.0/16")
ROUTE = Route(NETWORK, "device", None)
ADDRESS = IPv4Interface("10.32.0.1/32")
SENTENCES: tuple[tuple[Action, str], ...] = (
    (CreateDevice("weavemesh"), "making the tunnel device weavemesh"),
    (ConfigureDevice(SECRET, None), "setting the tunnel device's key"),
    (ConfigureDevice(None, 6783), "letting the tunnel device listen on UDP port 6783"),
    (ConfigureDevice(SECRET, 6783), "letting the tunnel device listen on UDP port 6783"),
    (SetMtu(1420), "setting the tunnel device's MTU to 1420"),
    (BringUp(), "bringing the tunnel device up"),
    (AddAddress(ADDRESS), "giving the tunnel device the address 10.32.0.1/32"),
    (RemoveAddress(ADDRESS), "taking the address 10.32.0.1/32 from the tunnel device"),
    (
        SetPeer(ALICE, exists=False, preshared_key=PAIR, endpoint=None, allowed_ips=(NETWORK,)),
        f"setting up the tunnel to {ALICE.text()}",
    ),
    (DiscardAllowedIps((NETWORK, IPv4Network("10.34.0.0/16"))), "taking 2 allowed IPs away"),
    (RemovePeer(ALICE), f"removing the tunnel to {ALICE.text()}"),
    (AddRoute(ROUTE), "adding the route to 10.33.0.0/16"),
    (ReplaceRoute(ROUTE), "changing the route to 10.33.0.0/16"),
    (RemoveRoute(ROUTE), "removing the route to 10.33.0.0/16"),
)


@pytest.mark.parametrize(("action", "sentence"), SENTENCES, ids=[type(action).__name__ for action, _ in SENTENCES])
def test_an_action_is_the_subject_of_a_sentence_without_secrets(action: Action, sentence: str) -> None:
    assert describe(action) == sentence
    for secret in (SECRET, PAIR):
        assert secret.text() not in sentence


def test_every_kind_of_action_has_its_sentence() -> None:
    assert {type(action) for action, _ in SENTENCES} == set(get_args(Action))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (UserError("no device", remedy="load the module"), "no device; load the module"),
        (KernelError(errno.EPERM, "Operation not permitted"), "Operation not permitted"),
        (DeviceError("wireguard-go does not answer"), "wireguard-go does not answer"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(), "unknown error"),
    ],
)
def test_a_failure_says_why_in_the_words_of_whoever_refused(error: Exception, why: str) -> None:
    assert isinstance(error, FAILURES)
    assert reason(error) == why
    assert describe_failure("this", error) == f"this failed: {why}"


def test_a_route_that_somebody_else_has_comes_with_the_remedy_instead_of_the_kernels_words() -> None:
    sentence = describe_failure(describe(AddRoute(ROUTE)), KernelError(errno.EEXIST, "File exists"))
    assert sentence.startswith("adding the route to 10.33.0.0/16 failed: another program has one")
    assert "remove" in sentence
    assert "File exists" not in sentence


@pytest.mark.parametrize("count", [0, 1, SENTENCES_MAX])
def test_few_sentences_are_all_shown(count: int) -> None:
    sentences = [str(number) for number in range(count)]
    assert bounded(sentences) == tuple(sentences)


@pytest.mark.parametrize("more", [1, 980])
def test_of_many_sentences_the_first_are_shown_and_the_others_counted(more: int) -> None:
    sentences = [str(number) for number in range(SENTENCES_MAX + more)]
    *shown, last = bounded(sentences)
    assert shown == sentences[:SENTENCES_MAX]
    assert last.startswith(f"and {more} more")
