"""An exchange of the secret: step by step, in files, between peers, and over real links in every mixture of steps."""

import asyncio
import itertools
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.overlay.state import PublicKey
from weavemesh.secret import ClusterSecret
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.listener import ControlListener
from weavemesh.transport.stream import StreamTransport
from weavemesh.trust import (
    NEXT,
    PREVIOUS,
    Secrets,
    begin_rotation,
    beside,
    end_rotation,
    finish_rotation,
)

OLD, NEW = ClusterSecret.generate(), ClusterSecret.generate()
STEPS = (Secrets(OLD), Secrets(OLD, NEW), Secrets(NEW, OLD), Secrets(NEW))
"""A host before the exchange, and after each of its steps."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    OLD.write(tmp_path / "secret")
    return tmp_path / "secret"


def test_a_rotation_goes_step_by_step_and_each_step_again_does_nothing(path: Path) -> None:
    sentence, new = begin_rotation(path)
    assert new.fingerprint() in sentence and new.text() not in sentence
    assert begin_rotation(path)[1] == new
    assert Secrets.load(path, force=False).fingerprints() == (OLD.fingerprint(), new.fingerprint())
    assert beside(path, NEXT).stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        finish_rotation(path)
        assert Secrets.load(path, force=False).fingerprints() == (new.fingerprint(), OLD.fingerprint())
    for _ in range(2):
        end_rotation(path)
        assert Secrets.load(path, force=False).fingerprints() == (new.fingerprint(),)
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_a_secret_copied_from_another_host_is_taken_up(path: Path) -> None:
    NEW.write(beside(path, NEXT))
    assert begin_rotation(path)[1] == NEW


def test_steps_out_of_order_are_refused_with_the_right_one(path: Path) -> None:
    with pytest.raises(UserError, match="no rotation has begun"):
        finish_rotation(path)
    begin_rotation(path)
    with pytest.raises(UserError, match="not shown yet"):
        end_rotation(path)
    finish_rotation(path)
    with pytest.raises(UserError, match="still accepted"):
        begin_rotation(path)
    with pytest.raises(UserError, match="there is no cluster secret"):
        begin_rotation(path.with_name("elsewhere"))


def test_a_crash_between_the_two_writes_of_finishing_is_mended_by_doing_it_again(path: Path) -> None:
    _, new = begin_rotation(path)
    OLD.write(beside(path, PREVIOUS))
    assert set(Secrets.load(path, force=False).fingerprints()) == {OLD.fingerprint(), new.fingerprint()}
    finish_rotation(path)
    assert Secrets.load(path, force=False).fingerprints() == (new.fingerprint(), OLD.fingerprint())


def test_both_ends_of_a_pair_derive_its_key_from_the_same_secret_in_all_neighbouring_steps() -> None:
    one, other = PublicKey(bytes(32)), PublicKey(bytes(31) + b"1")
    for left, right in itertools.product(STEPS, STEPS):
        keys = {
            left.for_pair(right.fingerprints()).preshared_key(one, other),
            right.for_pair(left.fingerprints()).preshared_key(other, one),
        }
        have_common = bool(set(left.fingerprints()) & set(right.fingerprints()))
        assert (len(keys) == 1) == have_common
    assert STEPS[1].for_pair(()) == OLD, "a peer of an earlier release does not tell"


async def links(dialler: Secrets, acceptor: Secrets) -> bool:
    """Whether a link comes about."""
    accepting = acceptor.issuer(Identity.generate(nickname="acceptor"))
    listener = await ControlListener.open(0, issuer=accepting, host="127.0.0.1")
    try:
        transport = StreamTransport(dialler.issuer(Identity.generate(nickname="dialler")))
        connection = await transport.dial("127.0.0.1", listener.port)
    except LinkFailed as failure:
        assert failure.code is Failure.WRONG_SECRET
        return False
    else:
        accepted = await listener.accept()
        connection.close("done")
        await connection.wait_closed()
        await accepted.wait_closed()
        return True
    finally:
        listener.close()


@pytest.mark.parametrize(("dialler", "acceptor"), list(itertools.product(range(4), range(4))))
def test_hosts_that_are_one_step_apart_link_and_those_further_apart_only_where_each_accepts(
    dialler: int, acceptor: int
) -> None:
    mine, theirs = STEPS[dialler], STEPS[acceptor]
    each_accepts = theirs.fingerprints()[0] in mine.fingerprints() and mine.fingerprints()[0] in theirs.fingerprints()
    assert asyncio.run(links(mine, theirs)) is each_accepts
    assert each_accepts or abs(dialler - acceptor) > 1


def test_a_running_agent_follows_its_files(path: Path) -> None:
    secrets = Secrets.load(path, force=False)
    issuer = secrets.issuer(Identity.generate(nickname="mine"))
    before = issuer.contexts()
    NEW.write(beside(path, NEXT))
    secrets.reload(path, force=False)
    assert secrets.fingerprints() == (OLD.fingerprint(), NEW.fingerprint())
    finish_rotation(path)
    end_rotation(path)
    secrets.reload(path, force=False)
    assert secrets.shown == NEW
    assert issuer.contexts() is not before, "links opened from now on show another certificate"
