"""An identity is made once, kept, and recognised when damaged; its name belongs to its key."""

import os
from pathlib import Path

import pytest

from gossip import PeerName, Signer, is_peer_name
from weavemesh.error import UserError
from weavemesh.identity import IDENTITY_FILE, WIREGUARD_FILE, Identity, name_of, verify


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    made = Identity.load_or_create(tmp_path, nickname="host1")
    kept = Identity.load_or_create(tmp_path, nickname="host1")
    assert (kept.name, kept.public_key, kept.wireguard_key) == (made.name, made.public_key, made.wireguard_key)
    assert is_peer_name(made.name)
    assert sorted(os.listdir(tmp_path)) == [IDENTITY_FILE, WIREGUARD_FILE]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in os.listdir(tmp_path))


def test_the_wireguard_key_is_renewed_on_disk_too_and_the_name_stays(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path, nickname="host1")
    former, name = identity.wireguard_public_key, identity.name
    identity.renew_wireguard_key(tmp_path)
    kept = Identity.load_or_create(tmp_path, nickname="host1")
    assert kept.wireguard_public_key == identity.wireguard_public_key != former
    assert (kept.wireguard_key, kept.name) == (identity.wireguard_key, name)


def test_the_nickname_is_the_hosts_name_unless_given() -> None:
    assert Identity.generate().nickname == os.uname().nodename
    assert Identity.generate(nickname="host1").nickname == "host1"


def test_a_signature_holds_for_its_name_key_and_message_only() -> None:
    one, other = Identity.generate(), Identity.generate()
    signer: Signer = one
    signature = signer.sign(b"hello")
    assert verify(one.name, one.public_key, b"hello", signature)
    assert not verify(one.name, one.public_key, b"hallo", signature)
    assert not verify(other.name, one.public_key, b"hello", signature)
    assert not verify(one.name, other.public_key, b"hello", signature)
    assert not verify(other.name, other.public_key, b"hello", signature)
    assert not verify(one.name, one.public_key, b"hello", signature[:-1])
    for garbage in (b"", b"\x00" * 31, b"\xff" * 32):
        assert not verify(name_of(garbage), garbage, b"hello", signature)
        assert not verify(PeerName("abcdefghij234567"), garbage, b"hello", b"")


def test_a_signature_made_for_something_else_does_not_pass() -> None:
    one = Identity.generate()
    assert not verify(one.name, one.public_key, b"hello", one.key_of_links.sign(b"hello"))


def test_private_keys_are_not_shown() -> None:
    one = Identity.generate()
    assert one.key_of_links.private_bytes_raw().hex() not in repr(one)
    assert one.wireguard_key.text() not in f"{one!r} {one.wireguard_key!r}"


@pytest.mark.parametrize("file", [IDENTITY_FILE, WIREGUARD_FILE])
def test_a_damaged_key_file_is_recognised_at_every_byte_and_left_alone(tmp_path: Path, file: str) -> None:
    Identity.load_or_create(tmp_path)
    path = tmp_path / file
    whole = path.read_bytes()
    damaged = [whole[:at] for at in range(len(whole) - 1)] + [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole) - 1)
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is (damaged|empty)") as failure:
            Identity.load_or_create(tmp_path)
        assert str(path) in failure.value.sentence
        assert "weavemesh reset" in failure.value.remedy
        assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Identity.load_or_create(tmp_path)
    (tmp_path / IDENTITY_FILE).chmod(0o640)
    with pytest.raises(UserError, match="readable by others"):
        Identity.load_or_create(tmp_path)


def test_the_wireguard_key_is_as_a_device_gives_it_back(tmp_path: Path) -> None:
    """Else it would be set anew for ever. The kernel clamps (RFC 7748, §5)."""
    for raw in (bytes(Identity.load_or_create(tmp_path).wireguard_key), bytes(Identity.generate().wireguard_key)):
        assert (raw[0] & 7, raw[31] & 192) == (0, 64)
