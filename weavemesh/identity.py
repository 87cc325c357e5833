"""Who this peer is: an Ed25519 identity key, from whose hash its name comes, and an X25519 WireGuard key.

The first is made once and kept, the second can be renewed. Here are their files, their signatures and the check of
other peers' signatures; how a peer proves its identity on a link is `weavemesh.certificate`. Counterpart:
`gossip.Signer` and `gossip.Verify`.
"""

import binascii
import hashlib
import socket
from base64 import b32encode, b64decode, b64encode
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gossip import PeerName
from weavemesh.error import UserError
from weavemesh.file import read_private, write_private
from weavemesh.overlay.state import PrivateKey, PublicKey

IDENTITY_FILE: Final = "identity.key"
WIREGUARD_FILE: Final = "wireguard.key"

SIGNATURE_DOMAIN: Final = b"weavemesh/1 signed record\x00"
"""Goes before every signed message, so that no signature made for anything else can pass for one."""
KEYS_KEPT: Final = 1024
"""Public keys remembered as the library needs them, 1 KiB each at most: to make them anew is a fifth of a check."""
_NAME_BYTES: Final = 10
"""80 bits, 16 characters of base32: nobody finds a second key for a given name (2^80 tries)."""
_FILE_BYTES_MAX: Final = 1024


def name_of(public_key: bytes) -> PeerName:
    """The name that belongs to an Ed25519 public key (32 raw bytes)."""
    return PeerName(b32encode(hashlib.sha256(public_key).digest()[:_NAME_BYTES]).decode().lower())


def verify(name: PeerName, public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the peer of this name signed the message: the name belongs to the key, and the signature is the key's."""
    try:
        owner, key = _name_and_key(public_key)
        if owner != name:
            return False
        key.verify(signature, SIGNATURE_DOMAIN + message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=KEYS_KEPT)
def _name_and_key(public_key: bytes) -> tuple[PeerName, Ed25519PublicKey]:
    return name_of(public_key), Ed25519PublicKey.from_public_bytes(public_key)


class Identity:
    """The keys of this peer; a `gossip.Signer`. Never shown by repr."""

    def __init__(self, *, identity_key: Ed25519PrivateKey, wireguard_key: PrivateKey, nickname: str) -> None:
        self._identity_key = identity_key
        self._public_key = identity_key.public_key().public_bytes_raw()
        self._name = name_of(self._public_key)
        self.wireguard_key = wireguard_key
        self.wireguard_public_key = _wireguard_public(wireguard_key)
        self.nickname = nickname
        """For people only: the host's name, unless the user gave another."""

    def __repr__(self) -> str:
        return f"Identity({self._name}, {self.nickname!r})"

    @classmethod
    def generate(cls, *, nickname: str | None = None) -> Self:
        """A new one, kept nowhere."""
        return cls(
            identity_key=Ed25519PrivateKey.generate(),
            wireguard_key=PrivateKey(_new_wireguard_key()),
            nickname=_nickname(nickname),
        )

    @classmethod
    def load_or_create(cls, folder: Path, *, nickname: str | None = None) -> Self:
        """The identity kept in a folder; what is missing is made and is on disk when this returns.

        UserError: a key file is torn, altered, empty, readable by others, or cannot be written.
        """
        raw = _load_or_create(
            folder / IDENTITY_FILE,
            kind="identity",
            create=lambda: Ed25519PrivateKey.generate().private_bytes_raw(),
            public_of=lambda private: Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw(),
        )
        wireguard = _load_or_create(
            folder / WIREGUARD_FILE,
            kind="wireguard",
            create=_new_wireguard_key,
            public_of=lambda private: bytes(_wireguard_public(PrivateKey(private))),
            is_canonical=lambda private: _clamp(private) == private,
        )
        return cls(
            identity_key=Ed25519PrivateKey.from_private_bytes(raw),
            wireguard_key=PrivateKey(wireguard),
            nickname=_nickname(nickname),
        )

    def renew_wireguard_key(self, folder: Path) -> None:
        """Another WireGuard key in the place of this one; on disk when this returns. UserError: it stays as it is."""
        private = _new_wireguard_key()
        public = _wireguard_public(PrivateKey(private))
        write_private(folder / WIREGUARD_FILE, _render("wireguard", private, bytes(public)), overwrite=True)
        self.wireguard_key, self.wireguard_public_key = PrivateKey(private), public

    @property
    def name(self) -> PeerName:
        return self._name

    @property
    def public_key(self) -> bytes:
        """The identity's public key, 32 raw bytes."""
        return self._public_key

    @property
    def key_of_links(self) -> Ed25519PrivateKey:
        """The private identity key, for the handshake of links only."""
        return self._identity_key

    def sign(self, message: bytes) -> bytes:
        """64 bytes that `verify` accepts for this message and this peer's name."""
        return self._identity_key.sign(SIGNATURE_DOMAIN + message)


def _new_wireguard_key() -> bytes:
    return _clamp(X25519PrivateKey.generate().private_bytes_raw())


def _wireguard_public(private: PrivateKey) -> PublicKey:
    return PublicKey(X25519PrivateKey.from_private_bytes(bytes(private)).public_key().public_bytes_raw())


def _clamp(private: bytes) -> bytes:
    """The form in which a WireGuard device gives a key back (RFC 7748, §5: five bits are fixed)."""
    return bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])


def _nickname(given: str | None) -> str:
    return given or socket.gethostname() or "unnamed"


def _load_or_create(
    path: Path,
    *,
    kind: str,
    create: Callable[[], bytes],
    public_of: Callable[[bytes], bytes],
    is_canonical: Callable[[bytes], bool] = lambda _private: True,
) -> bytes:
    what = f"the {kind} key"
    content = read_private(path, what=what, bytes_max=_FILE_BYTES_MAX)
    if content is None:
        private = create()
        try:
            write_private(path, _render(kind, private, public_of(private)), overwrite=False)
        except FileExistsError:
            content = read_private(path, what=what, bytes_max=_FILE_BYTES_MAX) or b""
        else:
            return private
    known = _parse(kind, content, public_of)
    if known is None or not is_canonical(known):
        raise UserError(
            f"{what} in {path} is {'damaged' if content.strip() else 'empty'}",
            remedy="restore the file from a backup, or run `weavemesh reset` to begin as a new peer (the "
            "others keep the old one's addresses)",
        )
    return known


def _render(kind: str, private: bytes, public: bytes) -> bytes:
    """The public half is there so that a damaged private half is recognised instead of becoming another peer."""
    return (
        f"weavemesh {kind} key 1\nprivate {b64encode(private).decode()}\npublic {b64encode(public).decode()}\n".encode()
    )


def _parse(kind: str, content: bytes, public_of: Callable[[bytes], bytes]) -> bytes | None:
    """The private key; None if the content is not, to the last byte, what `_render` makes of it."""
    words = content.split()
    if len(words) != 8:
        return None
    try:
        private = b64decode(words[5], validate=True)
        return private if content == _render(kind, private, public_of(private)) else None
    except (binascii.Error, ValueError):
        return None
