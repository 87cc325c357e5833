"""The cluster secret: typos and weak ones are recognised, it is never shown, and all hosts derive the same from it."""

from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.identity import Identity
from weavemesh.secret import ENVIRONMENT, PREFIX, ClusterSecret

OWN = "Tr0ub4dor&3-xkcd-staple"


def refusal(text: str) -> str:
    with pytest.raises(UserError) as failure:
        ClusterSecret.parse(text)
    assert text.strip() not in str(failure.value) or not text.strip()
    return failure.value.sentence


def test_a_generated_secret_survives_copying_by_hand() -> None:
    secret = ClusterSecret.generate()
    text = secret.text()
    assert text.startswith(PREFIX)
    assert ClusterSecret.parse(f"  {text}\n") == secret
    assert ClusterSecret.parse(text.upper()) == secret
    assert ClusterSecret.parse(PREFIX + text.removeprefix(PREFIX).replace("-", "")) == secret
    assert ClusterSecret.parse(text.upper()).text() == text
    assert ClusterSecret.generate() != secret


def test_every_typo_in_a_generated_secret_is_recognised() -> None:
    text = ClusterSecret.generate().text()
    for at in range(len(PREFIX), len(text)):
        if text[at] == "-":
            continue
        wrong = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
        assert "typo" in refusal(wrong), at
    assert "typo" in refusal(text[:-1])
    assert "typo" in refusal(text + "a")
    assert "typo" in refusal(PREFIX + "1890")
    with pytest.raises(UserError, match="typo"):
        ClusterSecret.parse(text[:-1], force=True)


@pytest.mark.parametrize(
    "weak",
    [
        "short",
        "password12345678",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "abcdefghijklmnopqrstuvwxyz",
        "12345678901234567890",
        "weavemesh-secret-2024",
        "abababababababababababab",
        "kubernetes-admin-password",
    ],
)
def test_a_weak_secret_is_refused_unless_forced(weak: str) -> None:
    assert "weak" in refusal(weak)
    assert ClusterSecret.parse(weak, force=True).text() == weak


@pytest.mark.parametrize(
    "strong", [OWN, "correct horse battery staple", "9f86d081884c7d659a2feaa0c55ad015", "grüne Äpfel fallen nachts"]
)
def test_a_strong_secret_of_ones_own_is_taken(strong: str) -> None:
    assert ClusterSecret.parse(strong).text() == strong


def test_empty_long_and_broken_lines_are_refused() -> None:
    assert "empty" in refusal(" \n")
    assert "characters" in refusal(OWN * 100)
    assert "line break" in refusal(f"{OWN}\n{OWN}")


def test_the_secret_is_never_shown_by_accident() -> None:
    secret = ClusterSecret.parse(OWN)
    secret.fingerprint()
    assert OWN not in repr(secret) + str(secret) + f"{secret!r:>40} {[secret]}"
    with pytest.raises(TypeError):
        hash(secret)


def test_everything_derived_is_the_same_on_all_hosts_for_ever() -> None:
    """These bytes are the wire format: a change here parts a mesh that is being upgraded."""
    secret = ClusterSecret.parse(OWN)
    assert secret.fingerprint() == "abv6glot"
    assert secret.authority_seed().hex() == "a54d89400bb2c7f6d8af0f475c7f967b75218502e9e4277dacb5269a182ad87a"
    mine, theirs = (Identity.generate().wireguard_public_key for _ in range(2))
    key = secret.preshared_key(mine, theirs)
    assert key == ClusterSecret.parse(OWN).preshared_key(theirs, mine)
    assert key != secret.preshared_key(mine, Identity.generate().wireguard_public_key)
    other = ClusterSecret.parse(OWN + "!")
    assert key != other.preshared_key(mine, theirs)
    assert secret.fingerprint() != other.fingerprint()
    assert secret.authority_seed() != other.authority_seed()


def test_a_generated_secret_needs_no_slow_derivation_and_is_the_same_however_it_is_written() -> None:
    text = "wm1-" + "-".join([*["aaaaaaaa"] * 6, "aaaik3fg"])
    assert ClusterSecret.parse(text.replace("-", " ").upper().replace("WM1 ", "wm1-")).text() == text
    assert ClusterSecret.parse(text).fingerprint() == "zmmrwuyh"
    assert (
        ClusterSecret.parse(text).authority_seed().hex()
        == "934e775d8794d7234e2ad7706754016edb47f57d77a3960db6390379958de139"
    )


def test_a_written_secret_is_loaded_again_and_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "secret"
    secret = ClusterSecret.generate()
    secret.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ClusterSecret.load(path, environment={}) == secret
    other = ClusterSecret.generate()
    with pytest.raises(UserError, match="already a cluster secret"):
        other.write(path)
    assert ClusterSecret.load(path, environment={}) == secret
    other.write(path, force=True)
    assert ClusterSecret.load(path, environment={}) == other


def test_the_environment_goes_before_the_file_and_forgets_it(tmp_path: Path) -> None:
    environment = {ENVIRONMENT: OWN, "OTHER": "stays"}
    assert ClusterSecret.load(tmp_path / "none", environment=environment).text() == OWN
    assert environment == {"OTHER": "stays"}


def test_a_file_that_is_no_secret_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    def failure() -> str:
        with pytest.raises(UserError) as caught:
            ClusterSecret.load(path, environment={})
        assert str(path) in caught.value.sentence
        return str(caught.value)

    assert "there is no cluster secret" in failure()
    path.touch(0o600)
    assert "is empty" in failure()
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not text" in failure()
    path.write_text(OWN)
    path.chmod(0o644)
    assert f"readable by others (mode 0644); chmod 600 {path}" in failure()
    path.unlink()
    path.mkdir()
    assert "is a folder" in failure()
