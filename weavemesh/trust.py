"""The secrets that this agent goes by: the one that it shows, others that it accepts while they are being exchanged.

Theory of operation. To exchange the cluster secret without parting the mesh, each host goes through three steps
(`weavemesh secret rotate` on each, when `weavemesh status` says that all have done the step before):

    secret          secret.next       a second secret is accepted                    (rotate)
    secret          secret.previous   the new one is shown, the old one accepted      (rotate --finish)
    secret                            the old one is no longer accepted               (rotate --forget)

The new secret travels by the hand of the operator, never through the mesh: whoever stole the old one would read along.
What a peer accepts it tells the others by fingerprints, the one that it shows first. The preshared key of a WireGuard
pair derives from the secret that both show, or else from one that both accept and both would choose. Not here: the
certificates (`weavemesh.certificate`), what a secret is (`weavemesh.secret`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from weavemesh.certificate import LeafIssuer, MembershipAuthority
from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.secret import ENVIRONMENT, ClusterSecret

NEXT: Final = ".next"
PREVIOUS: Final = ".previous"
"""Endings of the files beside that of the secret."""


class Secrets:
    """What this agent shows and accepts."""

    def __init__(self, shown: ClusterSecret, *accepted: ClusterSecret) -> None:
        self.shown = shown
        self._accepted = accepted
        self._issuer: LeafIssuer | None = None

    @classmethod
    def load(cls, path: Path, *, force: bool) -> Self:
        """From the secret's file and those beside it, or the environment. UserError as `ClusterSecret.load`."""
        return cls(ClusterSecret.load(path, force=force), *_beside(path, force=force))

    def reload(self, path: Path, *, force: bool) -> None:
        """Go by what is in the files now; links that stand are kept. UserError as `ClusterSecret.load`."""
        shown = ClusterSecret.load(path, environment={}, force=force)
        self.shown, self._accepted = shown, tuple(_beside(path, force=force))
        if self._issuer is not None:
            self._issuer.replace(*self._authorities())

    def issuer(self, identity: Identity) -> LeafIssuer:
        """What links are opened and accepted with; it follows each `reload`."""
        authority, *others = self._authorities()
        self._issuer = LeafIssuer(identity=identity, authority=authority, also_trusted=tuple(others))
        return self._issuer

    def fingerprints(self) -> tuple[str, ...]:
        """Of the secret that is shown, then of the others that are accepted."""
        return tuple(secret.fingerprint() for secret in (self.shown, *self._accepted))

    def for_pair(self, theirs: Sequence[str]) -> ClusterSecret:
        """The secret that a pair's key derives from, where the other end has told `theirs`; both ends choose the same.

        The one that is shown where the other end has told nothing, or nothing in common.
        """
        ours = {secret.fingerprint(): secret for secret in (self.shown, *self._accepted)}
        common = sorted(set(ours) & set(theirs))
        if not common or theirs[0] == self.shown.fingerprint():
            return self.shown
        return ours[common[0]]

    def _authorities(self) -> tuple[MembershipAuthority, ...]:
        secrets = (self.shown, *self._accepted)
        return tuple(MembershipAuthority.from_seed(secret.authority_seed()) for secret in secrets)


def begin_rotation(path: Path) -> tuple[str, ClusterSecret]:
    """Accept a second secret, made here unless its file has been copied here. Return a sentence, and the secret."""
    following = beside(path, NEXT)
    if not path.exists():
        raise UserError(
            f"there is no cluster secret in {path}",
            remedy=f"rotate where it is kept in a file; with {ENVIRONMENT} set, that file is yours to change",
        )
    if beside(path, PREVIOUS).exists():
        raise UserError(
            f"the last rotation is not over: {beside(path, PREVIOUS)} is still accepted",
            remedy="end it with `weavemesh secret rotate --forget` when all hosts show the new secret",
        )
    if following.exists():
        new = ClusterSecret.load(following, environment={}, force=True)
        return f"the secret in {following} (fingerprint {new.fingerprint()}) is accepted, too", new
    new = ClusterSecret.generate()
    new.write(following)
    where = f"a second secret (fingerprint {new.fingerprint()}) is in {following} and accepted, too"
    return f"{where}; copy that file to all hosts and run `weavemesh secret rotate` there", new


def finish_rotation(path: Path) -> str:
    """Show the second secret from now on and accept the old one; again does nothing. UserError if there is none."""
    following, previous = beside(path, NEXT), beside(path, PREVIOUS)
    if not following.exists():
        if previous.exists():
            return f"the new secret is in {path} already; the old one is still accepted"
        raise UserError("no rotation has begun here", remedy="begin one with `weavemesh secret rotate`")
    if not previous.exists():
        # A copy and not a rename: at no moment there is no secret, nor one that the others do not accept.
        ClusterSecret.load(path, environment={}, force=True).write(previous)
    following.replace(path)
    return f"the new secret is shown from now on; the old one, in {previous}, is still accepted"


def end_rotation(path: Path) -> str:
    """Accept the old secret no longer. UserError if the new one is not shown yet."""
    if beside(path, NEXT).exists():
        raise UserError(
            "the second secret is accepted, but not shown yet", remedy="first run `weavemesh secret rotate --finish`"
        )
    beside(path, PREVIOUS).unlink(missing_ok=True)
    return "the old secret is no longer accepted"


def beside(path: Path, ending: str) -> Path:
    """The file with this ending beside that of the secret."""
    return path.with_name(path.name + ending)


def _beside(path: Path, *, force: bool) -> list[ClusterSecret]:
    files = [beside(path, ending) for ending in (NEXT, PREVIOUS)]
    return [ClusterSecret.load(file, environment={}, force=force) for file in files if file.exists()]
