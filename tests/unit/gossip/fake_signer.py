"""A signer without keys: the signature is a hash of public key and message, deterministic and quick.

Anybody could forge it; tests that forge do so on purpose. Counterpart in the agent: the Ed25519 identity.
"""

from __future__ import annotations

import base64
import hashlib

from gossip import PeerName


def name_of(public_key: bytes) -> PeerName:
    """Return the name that belongs to a public key."""
    return PeerName(base64.b32encode(hashlib.sha256(public_key).digest()[:10]).decode().lower())


class FakeSigner:
    """An identity made from a nickname."""

    def __init__(self, nickname: str) -> None:
        self.nickname = nickname
        self._public_key = hashlib.sha256(nickname.encode()).digest()
        self._name = name_of(self._public_key)

    @property
    def name(self) -> PeerName:
        return self._name

    @property
    def public_key(self) -> bytes:
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        return hashlib.sha256(b"signed" + self._public_key + message).digest()


def fake_verify(name: PeerName, public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The `Verify` that belongs to `FakeSigner`."""
    is_owner = name_of(public_key) == name
    return is_owner and hashlib.sha256(b"signed" + public_key + message).digest() == signature
