"""Membership and identity as certificates: who may open a link, and who is at its other end.

From the cluster secret comes a membership CA, the same on every peer to the last byte. Each peer issues its own
short-lived leaf certificate under it, for its identity key and with its name inside. So a handshake proves two things
at once: the other side has the secret (its leaf is under our CA) and it is the peer it says (it holds that key).
Keys reach the ssl library through memory, never through a file. Not here: what to do with a failed handshake
(`weavemesh.transport.tls`).
"""

import hashlib
import os
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from gossip import PeerName
from weavemesh.identity import Identity, name_of

WIRE_PROTOCOL: Final = "weavemesh/1"
"""Offered by both sides (ALPN, RFC 7301); a later wire version offers its own before this one."""

LEAF_BACKDATED: Final = timedelta(days=1)
LEAF_VALID: Final = timedelta(days=7)
"""Clocks may be wrong by a day one way and almost a week the other; no longer, so that a stolen leaf goes stale."""
LEAF_RENEWED: Final = timedelta(days=1)
"""Age at which a leaf is issued anew; links that are up keep theirs."""

_AUTHORITY_FROM: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AUTHORITY_UNTIL: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Fixed, because all peers must make the same bytes; the last is RFC 5280's "no expiry" (§4.1.2.5)."""
_NAME_URI: Final = "weavemesh://"


class CertificateInvalid(ValueError):
    """A certificate under our CA that names no peer, or a peer to whom its key does not belong."""


class MembershipAuthority:
    """The CA of one cluster secret."""

    def __init__(self, *, key: Ed25519PrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The CA whose key is this Ed25519 seed (32 bytes); equal seeds give equal certificates."""
        key = Ed25519PrivateKey.from_private_bytes(seed)
        digest = hashlib.sha256(key.public_key().public_bytes_raw()).digest()
        # The digest in the subject makes a peer with another secret an "unknown CA" and not a "bad signature".
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"weavemesh membership {digest[:8].hex()}")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(digest[8:24], "big") >> 1 or 1)
            .not_valid_before(_AUTHORITY_FROM)
            .not_valid_after(_AUTHORITY_UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(key=key, certificate=builder.sign(key, None))  # Ed25519 signatures are deterministic

    def __repr__(self) -> str:
        return f"MembershipAuthority({self._certificate.subject.rfc4514_string()!r})"

    @property
    def der(self) -> bytes:
        """The CA's certificate."""
        return self._certificate.public_bytes(Encoding.DER)

    def issue(self, identity: Identity, *, now: float) -> bytes:
        """A leaf certificate (PEM) for a peer's identity key, valid around `now` (Unix time in seconds)."""
        moment = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]))
            .issuer_name(self._certificate.subject)
            .public_key(identity.key_of_links.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(moment - LEAF_BACKDATED, _AUTHORITY_FROM))
            .not_valid_after(moment + LEAF_VALID)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_NAME_URI + identity.name)]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        return builder.sign(self._key, None).public_bytes(Encoding.PEM)


class TlsContexts(Struct, frozen=True):
    """What the two ends of a link need from the ssl library."""

    accept: ssl.SSLContext
    dial: ssl.SSLContext


class LeafIssuer:
    """Keeps this peer's leaf fresh: `contexts()` always shows one that is younger than LEAF_RENEWED."""

    def __init__(
        self,
        *,
        identity: Identity,
        authority: MembershipAuthority,
        also_trusted: tuple[MembershipAuthority, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`also_trusted`: CAs of other secrets whose peers are let in too. `clock`: Unix time in seconds."""
        self.identity = identity
        self._authority = authority
        self._trusted = (authority, *also_trusted)
        self._clock = clock
        self._issued_at = 0.0
        self._contexts: TlsContexts | None = None

    def replace(self, authority: MembershipAuthority, *also_trusted: MembershipAuthority) -> None:
        """Issue under another CA, or trust others, for links opened from now on."""
        self._authority = authority
        self._trusted = (authority, *also_trusted)
        self._contexts = None

    def contexts(self) -> TlsContexts:
        """The contexts for links opened now; a clock that was set back renews them too."""
        now = self._clock()
        age = now - self._issued_at
        if self._contexts is None or not 0 <= age < LEAF_RENEWED.total_seconds():
            leaf = self._authority.issue(self.identity, now=now)
            self._contexts = TlsContexts(
                accept=self._context(ssl.PROTOCOL_TLS_SERVER, leaf),
                dial=self._context(ssl.PROTOCOL_TLS_CLIENT, leaf),
            )
            self._issued_at = now
        return self._contexts

    def _context(self, protocol: int, leaf: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # names are bound to keys, see peer_of
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols([WIRE_PROTOCOL])
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # a resumed session would skip the certificates
        context.load_verify_locations(cadata=b"".join(authority.der for authority in self._trusted))
        key = self.identity.key_of_links.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _load_chain(context, key + leaf)
        return context


def peer_of(der: bytes) -> PeerName:
    """The peer that a leaf certificate (DER), already verified under our CA, stands for.

    CertificateInvalid if its key is not Ed25519, or the name inside does not belong to that key.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CertificateInvalid("the certificate names no peer") from error
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateInvalid("the certificate's key is not Ed25519")
    name = name_of(key.public_bytes_raw())
    if uris != [_NAME_URI + name]:
        raise CertificateInvalid(f"the certificate names {', '.join(uris) or 'nobody'} but its key is that of {name}")
    return name


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """ssl takes keys from paths only: give it the path of an unnamed file in memory (memfd_create(2))."""
    descriptor = os.memfd_create("weavemesh-leaf", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
