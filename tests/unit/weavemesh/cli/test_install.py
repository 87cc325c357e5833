"""`weavemesh install-cni` puts two files in their places, also over a running executable."""

from pathlib import Path

import pytest

from weavemesh.cli import install
from weavemesh.cli.main import main


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plugin").write_bytes(b"first")
    (tmp_path / "10-weavemesh.conflist").write_text("{}")
    monkeypatch.setattr(install, "EXECUTABLES", (tmp_path / "nowhere", tmp_path / "plugin"))
    monkeypatch.setattr(install, "CONFIGURATIONS", (tmp_path / "10-weavemesh.conflist",))
    return tmp_path


def words(folder: Path) -> list[str]:
    return ["install-cni", "--bin-dir", str(folder / "bin"), "--conf-dir", str(folder / "conf")]


def test_both_are_put_in_their_places(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(package)) == 0
    installed = package / "bin" / "weavemesh"
    assert installed.read_bytes() == b"first" and installed.stat().st_mode & 0o777 == 0o755
    assert (package / "conf" / "10-weavemesh.conflist").read_text() == "{}"
    assert capsys.readouterr().out.splitlines() == [
        f"installed {installed}",
        f"wrote {package / 'conf' / '10-weavemesh.conflist'}",
    ]


def test_again_replaces_the_executable_and_keeps_the_configuration(package: Path) -> None:
    assert main(words(package)) == 0
    (package / "plugin").write_bytes(b"second")
    (package / "conf" / "10-weavemesh.conflist").write_text("mine")
    assert main(words(package)) == 0
    assert (package / "bin" / "weavemesh").read_bytes() == b"second"
    assert (package / "conf" / "10-weavemesh.conflist").read_text() == "mine"
    assert sorted(path.name for path in (package / "bin").iterdir()) == ["weavemesh"]


def test_without_an_executable_it_says_how_to_get_one(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "plugin").unlink()
    assert main(words(package)) == 1
    assert "deploy/cni/build.sh" in capsys.readouterr().err
