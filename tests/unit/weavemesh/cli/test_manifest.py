"""`weavemesh manifest`: what it prints, and what it refuses."""

import io
from pathlib import Path

import pytest
import yaml

from weavemesh.cli.main import main
from weavemesh.cli.manifest import MANIFESTS
from weavemesh.secret import ClusterSecret


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["manifest", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["manifest", *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_without_options_it_is_the_manifest_of_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == MANIFESTS[-1].read_text()


def test_options_are_checked_as_those_of_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'10.32.0.1/12' is no IPv4 range" in refused(capsys, "--ipalloc-range", "10.32.0.1/12")
    assert "'9' is not a number from 1280 to" in refused(capsys, "--mtu", "9")
    assert "is not inside the range" in refused(capsys, "--ipalloc-default-subnet", "10.0.0.0/24")
    assert "'6782' is no address and port" in refused(capsys, "--metrics-addr", "6782")
    assert "'Weave_Mesh' is not a name of a namespace" in refused(capsys, "--namespace", "Weave_Mesh")
    assert "is not a name of an image" in refused(capsys, "--image", "a b")


def test_options_and_switches_are_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--mtu", "1400", "--no-masquerade", "--rotate-key-every", "30d")
    for name, value in (("MTU", "1400"), ("NO_MASQUERADE", "yes"), ("ROTATE_KEY_EVERY", "30d")):
        assert f'- name: WEAVEMESH_{name}\n              value: "{value}"\n' in text


def test_the_secret_comes_from_a_file_that_others_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, secret = tmp_path / "secret", ClusterSecret.generate()
    secret.write(path)
    text = printed(capsys, "--encryption-secret", str(path))
    (written,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "Secret"]
    assert written["stringData"]["secret"] == secret.text()
    path.chmod(0o644)
    message = refused(capsys, "--encryption-secret", str(path))
    assert secret.text() not in message


def test_the_secret_comes_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ClusterSecret.generate().text()
    monkeypatch.setattr("sys.stdin", io.StringIO(secret + "\n"))
    assert secret in printed(capsys, "--encryption-secret", "-")


def test_a_weak_secret_is_refused_without_showing_it_unless_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2"))
    message = refused(capsys, "--encryption-secret", "-")
    assert "weak" in message
    assert "hunter2" not in message
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2"))
    text = printed(capsys, "--encryption-secret", "-", "--force-weak-secret")
    assert '- name: WEAVEMESH_FORCE_WEAK_SECRET\n              value: "yes"\n' in text


def test_no_secret_is_no_secret_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert "kind: Secret" not in printed(capsys)


def test_an_empty_secret_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "empty" in refused(capsys, "--encryption-secret", "-")
