"""The keys and certificates of a cluster, and the configurations with which its parts call the API server."""

import base64
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVICE_IP = "10.96.0.1"
"""The API server's own Service: the first address of the Services' range."""
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs for one cluster; keeps its key in memory only, but for the file that the controller manager needs."""

    def __init__(self, folder: Path, api_address: str) -> None:
        self.folder = folder
        self._url = f"https://{api_address}:6443"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wm-test-ca")])
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        folder.mkdir(parents=True, mode=0o700)
        self.write("ca", Pair(self.certificate, _pem(self._key)))
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", api_address]
        self.write("apiserver", self.issue("kube-apiserver", names=[*names, "127.0.0.1", SERVICE_IP]))
        self.write("to-kubelet", self.issue("kube-apiserver-kubelet-client", groups=["system:masters"]))
        signer = ec.generate_private_key(ec.SECP256R1())
        self.write("service-account", Pair(_public_pem(signer), _pem(signer)))

    @property
    def certificate(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, *, groups: Sequence[str] = (), names: Sequence[str] = ()) -> Pair:
        """A new pair for somebody of these groups, who answers at these DNS names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        builder = self._builder(x509.Name(subject), key).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def write(self, name: str, pair: Pair) -> None:
        """As NAME.crt and NAME.key."""
        (self.folder / f"{name}.crt").write_bytes(pair.certificate)
        (self.folder / f"{name}.key").write_bytes(pair.key)

    def kubeconfig(self, name: str, *, groups: Sequence[str] = ()) -> str:
        """A configuration for somebody of these groups."""
        pair = self.issue(name, groups=groups)
        cluster = {"server": self._url, "certificate-authority-data": _text(self.certificate)}
        user = {"client-certificate-data": _text(pair.certificate), "client-key-data": _text(pair.key)}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "wm", "cluster": cluster}],
                "users": [{"name": "wm", "user": user}],
                "contexts": [{"name": "wm", "context": {"cluster": "wm", "user": "wm"}}],
                "current-context": "wm",
            }
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 365 * _DAY)
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
