"""The cluster secret: whoever has it may join the mesh.

From its text one derivation makes a root, and from the root come, by HKDF labels: the key of the membership CA
(`weavemesh.certificate`), the preshared key of each WireGuard pair, and a fingerprint for people.

What it does not do: a peer that shows its certificate to a stranger lets that stranger test guesses at a *weak* secret
offline. Therefore weak ones are refused, and for a text of a person's own the derivation is slow (scrypt), which is the
price of each guess. A generated secret has 256 random bits: it cannot be guessed at any price, and is extracted in
microseconds (RFC 5869, §2.2).
"""

import hashlib
import hmac
import os
import re
import secrets
from base64 import b32decode, b32encode
from collections.abc import MutableMapping
from functools import cached_property
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from weavemesh.error import UserError
from weavemesh.file import make_folder, read_private, write_private
from weavemesh.overlay.state import PresharedKey, PublicKey

DEFAULT_FILE: Final = Path("/etc/weavemesh/secret")
ENVIRONMENT: Final = "WEAVEMESH_SECRET"

PREFIX: Final = "wm1-"
RANDOM_BYTES: Final = 32
CHECKSUM_BYTES: Final = 3
"""32 + 3 bytes are 56 characters of base32 without padding; a typo passes one time in 16 million."""
_GROUP: Final = 8

CHARACTERS_MIN: Final = 16
BITS_MIN: Final = 50
"""2^50 guesses at 0.1 s of a core each are 3.5 million core years."""
CHARACTERS_MAX: Final = 1024
_FILE_BYTES_MAX: Final = 8192

SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 5
"""N = 2^14, r = 8, p = 5 is one of the OWASP Password Storage Cheat Sheet's equal choices: 16 MiB, about 0.1 s. The
choices with more memory would exceed what the agent itself needs."""
_SALT: Final = b"weavemesh/1 cluster secret"
"""The same for all clusters: peers must come to the same root before they have exchanged anything."""

_COMMON: Final = re.compile(
    r"(19|20)\d\d|"
    r"administrator|kubernetes|qwertyuiop|weavemesh|wireguard|baseball|changeme|football|iloveyou|"
    r"password|passwort|sunshine|weavenet|cluster|default|example|letmein|testing|vagrant|welcome|"
    r"asdfgh|centos|debian|docker|dragon|master|monkey|qwerty|qwertz|secret|ubuntu|zxcvbn|admin|hello|"
    r"login|weave|host|node|root|test"
)


class ClusterSecret:
    """The secret; equality takes constant time, and nothing but `text()` shows it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "ClusterSecret(redacted)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSecret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fast, comparable trace of the secret

    @classmethod
    def generate(cls) -> Self:
        """A new one of 256 random bits."""
        return cls(_render(secrets.token_bytes(RANDOM_BYTES)))

    @classmethod
    def parse(cls, text: str, *, force: bool = False) -> Self:
        """The secret that a person gave: one made by `generate`, in any case and grouping, or a string of their own.

        UserError if it is empty, has a typo (those that begin with `wm1-` carry a checksum), contains control
        characters, is too long, or is weak; `force` admits a weak one.
        """
        text = text.strip()
        if not text:
            raise UserError("the cluster secret is empty", remedy="make one with `weavemesh secret`")
        if text.lower().startswith(PREFIX):
            return cls(_repair(text))
        if len(text) > CHARACTERS_MAX:
            raise UserError(
                f"the cluster secret has more than {CHARACTERS_MAX} characters",
                remedy="shorten it, or name the right file",
            )
        if not text.isprintable():
            raise UserError(
                "the cluster secret contains a line break or another control character",
                remedy="write it on one line; all hosts must have exactly the same text",
            )
        if not force and (why := _weakness(text)) is not None:
            raise UserError(
                f"the cluster secret is weak: {why}",
                remedy="make a strong one with `weavemesh secret`, or use --force-weak-secret to keep it",
            )
        return cls(text)

    @classmethod
    def load(cls, path: Path, *, environment: MutableMapping[str, str] = os.environ, force: bool = False) -> Self:
        """From the environment if WEAVEMESH_SECRET is set there (and removed from it, so that no child inherits it),
        else from the file.

        /proc/PID/environ goes on showing the environment that a process started with, to root and to its own user.
        UserError as `parse`, and if the file is missing, empty, or anyone else could have read it.
        """
        if (text := environment.pop(ENVIRONMENT, None)) is not None:
            return cls.parse(text, force=force)
        content = read_private(path, what="the cluster secret", bytes_max=_FILE_BYTES_MAX)
        if content is None:
            raise UserError(
                f"there is no cluster secret in {path}",
                remedy="copy that file from another host of the mesh, or make the first one with `weavemesh secret`, "
                f"or set {ENVIRONMENT}",
            )
        if not content.strip():
            raise UserError(
                f"the cluster secret in {path} is empty", remedy="copy the file again from another host of the mesh"
            )
        try:
            return cls.parse(content.decode(), force=force)
        except UnicodeDecodeError as error:
            raise UserError(f"the cluster secret in {path} is not text", remedy="name the right file") from error

    def write(self, path: Path, *, force: bool = False) -> None:
        """Keep it in a file of mode 0600, whole or not at all. UserError if there is one already and not `force`."""
        make_folder(path.parent, mode=0o755)
        try:
            write_private(path, f"{self._text}\n".encode(), overwrite=force)
        except FileExistsError as error:
            raise UserError(
                f"there is already a cluster secret in {path}",
                remedy="use that one, or --force to replace it (hosts that have the old one will then be refused)",
            ) from error

    def text(self) -> str:
        """The secret itself, to be shown to the person who asked for it."""
        return self._text

    def fingerprint(self) -> str:
        """8 characters, safe to show: people compare them to see whether two hosts have the same secret."""
        return self._fingerprint

    def authority_seed(self) -> bytes:
        """32 bytes: the Ed25519 seed of the membership CA's key."""
        return self._derive(b"membership ca", 32)

    def preshared_key(self, mine: PublicKey, theirs: PublicKey) -> PresharedKey:
        """The WireGuard preshared key of a pair; the same on both sides."""
        first, second = sorted((bytes(mine), bytes(theirs)))
        return PresharedKey(self._derive(b"preshared key" + first + second, 32))

    @cached_property
    def _fingerprint(self) -> str:
        return b32encode(self._derive(b"fingerprint", 5)).decode().lower()

    @cached_property
    def _root(self) -> bytes:
        # Unicode is taken as it is: a person's own text must be the same bytes everywhere.
        text = self._text.encode()
        if self._text.startswith(PREFIX):  # whole, with its checksum: `parse` has seen to that
            return hmac.digest(_SALT, text, "sha256")
        return Scrypt(salt=_SALT, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(text)

    def _derive(self, label: bytes, length: int) -> bytes:
        """RFC 5869, §2.3; the extraction before it is `_root`."""
        return HKDFExpand(algorithm=SHA256(), length=length, info=b"weavemesh/1 " + label).derive(self._root)


def _checksum(raw: bytes) -> bytes:
    return hashlib.sha256(b"weavemesh/1 secret checksum" + raw).digest()[:CHECKSUM_BYTES]


def _render(raw: bytes) -> str:
    letters = b32encode(raw + _checksum(raw)).decode().lower()
    return PREFIX + "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))


def _repair(text: str) -> str:
    """The canonical form of a generated secret; UserError if its checksum says that it was copied wrongly."""
    letters = re.sub(r"[\s-]", "", text[len(PREFIX) :]).upper()
    try:
        content = b32decode(letters)
    except ValueError:
        content = b""
    raw, checksum = content[:RANDOM_BYTES], content[RANDOM_BYTES:]
    if len(content) != RANDOM_BYTES + CHECKSUM_BYTES or not hmac.compare_digest(checksum, _checksum(raw)):
        raise UserError("the cluster secret has a typo: its checksum is wrong", remedy="copy it again, whole")
    return _render(raw)


def _weakness(text: str) -> str | None:
    """Why a text of a person's own can be guessed, or None. A coarse upper estimate: it catches the careless."""
    if len(text) < CHARACTERS_MIN:
        return f"it has {len(text)} characters, fewer than {CHARACTERS_MIN}"
    rest = _COMMON.sub("", text.lower())
    steps = [ord(later) - ord(earlier) for earlier, later in pairwise(rest)]
    surprising = bool(rest) + sum(step not in (-1, 0, 1) for step in steps)
    bits = surprising * log2(max(len(set(text)), 1))
    if bits < BITS_MIN:
        return f"common words, runs or few different characters (about {bits:.0f} bits, fewer than {BITS_MIN})"
    return None
