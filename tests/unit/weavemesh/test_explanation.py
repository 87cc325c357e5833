"""Paths explained: what a person reads of direct and relayed ways, of pods, and of the NAT in between."""

import msgspec
import pytest

from tests.unit.weavemesh.sample import A, B, C, peers, sound_report
from weavemesh.error import UserError
from weavemesh.explanation import netcheck, why
from weavemesh.status import PathStatus, SeenStatus, StatusReport


def changed(**fields: object) -> StatusReport:
    """The sound report with another second peer."""
    ours, second, third = peers()
    return msgspec.structs.replace(sound_report(), peers=(ours, msgspec.structs.replace(second, **fields), third))


def with_router(**fields: object) -> StatusReport:
    report = sound_report()
    return msgspec.structs.replace(report, router=msgspec.structs.replace(report.router, **fields))


def test_a_direct_path() -> None:
    (sentence,) = why(changed(loss=0.0, path_since_s=60.0), "n1", "n2")
    assert sentence.startswith(f"packets go to {B}(n2) directly, to 192.0.2.2:6783 for ")
    assert "round-trip time" in sentence and "loss 0 %" in sentence
    assert "packets of up to 1232 octets" in sentence and "not proven" not in sentence
    assert "1420 octets, which is not proven" in why(sound_report(), "n1", "n3")[0]


def test_a_relayed_path_has_its_reason() -> None:
    report = changed(via=C, why_not_direct="no answer from 192.0.2.2:6783")
    first, second = why(report, "n2", "n1")
    assert f"over {C}(n3), which cannot read them" in first
    assert second == "not directly: no answer from 192.0.2.2:6783"


def test_no_path_at_all() -> None:
    sentences = why(changed(via=None, tunnel="connecting", reachable=False), "n1", "n2")
    assert sentences[0] == f"no path to {B}(n2) has been found yet"
    assert any("packets are lost" in sentence for sentence in sentences)
    assert any("cannot be asked" in sentence for sentence in sentences)


def test_pods_are_on_their_hosts() -> None:
    report = sound_report()
    address = report.peers[1].owned[0].partition("/")[0]
    sentences = why(report, "n1", address)
    assert sentences[0] == f"{address} is on {B}(n2)"
    assert "never leave" in why(report, "n2", address)[-1]


def test_paths_of_others_are_what_they_told() -> None:
    assert "packets go directly" in why(sound_report(), "n2", "n3")[-1]
    told = with_router(indirect=(PathStatus(origin=C, peer=B, relay=A, reason="no UDP answer"),))
    assert why(told, "n2", "n3") == [f"{C}(n3) says: packets to {B}(n2) go over {A}(n1), because: no UDP answer"]
    lost = with_router(indirect=(PathStatus(origin=C, peer=B, relay=None, reason="no UDP answer"),))
    assert "get nowhere" in why(lost, "n2", "n3")[0]


@pytest.mark.parametrize("text", ["nobody", "203.0.113.1", "fe80::1"])
def test_what_nobody_is_or_has_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        why(sound_report(), "n1", text)


@pytest.mark.parametrize(
    ("own", "seen", "conclusion"),
    [
        ("192.0.2.1:6783", {}, "UDP is blocked"),
        ("192.0.2.1:6783", {B: "192.0.2.1:6783", C: "192.0.2.1:6783"}, "no NAT"),
        ("10.0.0.1:6783", {B: "192.0.2.1:20000", C: "192.0.2.1:20000"}, "one port towards everybody"),
        ("10.0.0.1:6783", {B: "192.0.2.1:20000", C: "192.0.2.1:30000"}, "gives each destination another port: peers"),
        ("10.0.0.1:6783", {B: "192.0.2.1:20000"}, "only when more than one peer sees it"),
        ("10.0.0.1:6783", {B: "192.0.2.1:20000", C: "[2001:db8::1]:20000"}, "only when more than one peer sees it"),
    ],
)
def test_what_nat_we_are_behind(own: str, seen: dict[str, str], conclusion: str) -> None:
    told = tuple(SeenStatus(peer=peer, endpoint=endpoint) for peer, endpoint in seen.items())
    sentences = netcheck(with_router(own_endpoints=(own,), seen_as=told))
    assert any(conclusion in sentence for sentence in sentences)
    for peer, endpoint in seen.items():
        assert any(peer in sentence and endpoint in sentence for sentence in sentences)
