"""The CA is the same on all peers; a leaf stands for one peer, is fresh, and its key never lies on a disk."""

import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from weavemesh.certificate import (
    LEAF_RENEWED,
    CertificateInvalid,
    LeafIssuer,
    MembershipAuthority,
    peer_of,
)
from weavemesh.identity import Identity

AUTHORITY = MembershipAuthority.from_seed(bytes(32))
DAY_S = timedelta(days=1).total_seconds()
NOW = 1_700_000_000.0


def leaf_of(identity: Identity, *, now: float = NOW) -> x509.Certificate:
    return x509.load_pem_x509_certificate(AUTHORITY.issue(identity, now=now))


def test_every_peer_makes_the_same_authority_to_the_last_byte() -> None:
    assert MembershipAuthority.from_seed(bytes(32)).der == AUTHORITY.der
    assert MembershipAuthority.from_seed(b"\x01" * 32).der != AUTHORITY.der


def test_a_leaf_is_under_the_authority_and_names_its_peer() -> None:
    identity = Identity.generate()
    leaf = leaf_of(identity)
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(AUTHORITY.der))
    assert peer_of(leaf.public_bytes(Encoding.DER)) == identity.name


def test_a_leaf_is_valid_a_day_before_and_a_week_after() -> None:
    leaf = leaf_of(Identity.generate())
    assert leaf.not_valid_before_utc.timestamp() == NOW - DAY_S
    assert leaf.not_valid_after_utc.timestamp() == NOW + 7 * DAY_S


def test_a_host_whose_clock_begins_in_1970_has_a_leaf_too() -> None:
    assert leaf_of(Identity.generate(), now=5.0).not_valid_before_utc.timestamp() == 0


def test_a_leaf_that_names_another_peer_is_refused() -> None:
    class Impostor(Identity):
        @property
        def key_of_links(self) -> Ed25519PrivateKey:
            return other.key_of_links

    other = Identity.generate()
    impostor = Impostor(
        identity_key=Ed25519PrivateKey.generate(), wireguard_key=other.wireguard_key, nickname="impostor"
    )
    with pytest.raises(CertificateInvalid, match=f"names .*{impostor.name} but its key is that of {other.name}"):
        peer_of(leaf_of(impostor).public_bytes(Encoding.DER))


@pytest.mark.parametrize("der", [b"", b"\x30\x00", AUTHORITY.der])
def test_what_names_no_peer_is_refused(der: bytes) -> None:
    with pytest.raises(CertificateInvalid):
        peer_of(der)


def test_leaves_are_renewed_by_age_and_when_the_clock_is_set_back() -> None:
    now = [NOW]
    issuer = LeafIssuer(identity=Identity.generate(), authority=AUTHORITY, clock=lambda: now[0])
    first = issuer.contexts()
    now[0] += LEAF_RENEWED.total_seconds() - 1
    assert issuer.contexts() is first
    now[0] += 1
    second = issuer.contexts()
    assert second is not first
    now[0] = NOW
    assert issuer.contexts() is not second


def test_both_ends_demand_a_certificate_and_tls_1_3() -> None:
    contexts = LeafIssuer(identity=Identity.generate(), authority=AUTHORITY).contexts()
    for context in (contexts.accept, contexts.dial):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert contexts.accept.num_tickets == 0


def test_the_key_never_lies_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    issuer = LeafIssuer(identity=Identity.generate(), authority=AUTHORITY)
    before = os.listdir("/proc/self/fd")
    issuer.contexts()
    assert os.listdir("/proc/self/fd") == before
    assert not os.listdir(tmp_path)
