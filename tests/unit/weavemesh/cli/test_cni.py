"""`weavemesh cni install` puts what runtimes need in their places, the configuration last, and tells what it did."""

import os
import subprocess
from pathlib import Path

import pytest

from weavemesh.cli import cni
from weavemesh.cli.main import main

FIRST, SECOND = b"#!/bin/sh\n# WMC1\nexec sleep 60\n", b"#!/bin/sh\n# WMC1, another\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plugin").write_bytes(FIRST)
    (tmp_path / "10-weavemesh.conflist").write_text("{}")
    monkeypatch.setattr(cni, "EXECUTABLES", (tmp_path / "nowhere", tmp_path / "plugin"))
    monkeypatch.setattr(cni, "CONFIGURATIONS", (tmp_path / "10-weavemesh.conflist",))
    return tmp_path


def run(action: str, folder: Path, *more: str) -> int:
    return main(["cni", action, "--bin-dir", str(folder / "bin"), "--conf-dir", str(folder / "conf"), *more])


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_all_are_put_in_their_places_and_said(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0o077)
    try:
        assert run("install", package) == 0
    finally:
        os.umask(before)
    binaries, config = package / "bin", package / "conf" / "10-weavemesh.conflist"
    assert listing(binaries) == ["weavemesh", "weavemesh-ipam"]
    for name in listing(binaries):
        assert (binaries / name).read_bytes() == FIRST and not (binaries / name).is_symlink()
        assert (binaries / name).stat().st_mode & 0o777 == 0o755
    assert (config.read_text(), config.stat().st_mode & 0o777) == ("{}", 0o644)
    assert capsys.readouterr().out.splitlines() == [
        f"installed {binaries / 'weavemesh'}",
        f"installed {binaries / 'weavemesh-ipam'}",
        f"installed {config}",
    ]


def test_again_does_nothing(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", package)
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(package.rglob("*"))]
    capsys.readouterr()
    assert run("install", package) == 0
    assert all(line.endswith(" is there already") for line in capsys.readouterr().out.splitlines())
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(package.rglob("*"))] == before


def test_a_running_executable_is_replaced_and_a_changed_configuration_kept(package: Path) -> None:
    run("install", package)
    running = subprocess.Popen([package / "bin" / "weavemesh"])
    try:
        (package / "plugin").write_bytes(SECOND)
        (package / "conf" / "10-weavemesh.conflist").write_text("mine")
        assert run("install", package) == 0
    finally:
        running.kill()
        running.wait()
    assert (package / "bin" / "weavemesh").read_bytes() == SECOND
    assert (package / "conf" / "10-weavemesh.conflist").read_text() == "mine"
    assert run("install", package, "--force") == 0
    assert (package / "conf" / "10-weavemesh.conflist").read_text() == "{}"


def test_a_configuration_that_comes_first_is_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "conf").mkdir()
    for name in ("05-other.conflist", "87-podman.conflist", "README"):
        (package / "conf" / name).touch()
    assert run("install", package) == 0
    assert "05-other.conflist, which runtimes take first" in capsys.readouterr().out


def test_uninstalling_takes_what_is_ours_and_leaves_the_rest(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", package)
    (package / "bin" / "bridge").write_bytes(b"theirs")
    (package / "bin" / "weavemesh-ipam").write_bytes(b"somebody else's")
    (package / "conf" / "87-podman.conflist").touch()
    capsys.readouterr()
    assert run("uninstall", package) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"removed {package / 'conf' / '10-weavemesh.conflist'}", "it goes first"
    assert listing(package / "bin") == ["bridge", "weavemesh-ipam"]
    assert listing(package / "conf") == ["87-podman.conflist"]
    assert run("uninstall", package) == 0


def test_a_changed_configuration_stops_an_uninstall(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", package)
    (package / "conf" / "10-weavemesh.conflist").write_text("mine")
    assert run("uninstall", package) == 1
    assert "was changed" in capsys.readouterr().err
    assert listing(package / "bin") == ["weavemesh", "weavemesh-ipam"]
    assert run("uninstall", package, "--force") == 0


def test_what_a_killed_installer_left_is_swept_up(package: Path) -> None:
    (package / "conf").mkdir()
    old, new = package / "conf" / ".weavemesh-new-00", package / "conf" / ".weavemesh-new-11"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    assert run("install", package) == 0
    assert listing(package / "conf") == [".weavemesh-new-11", "10-weavemesh.conflist"]


def test_without_an_executable_it_says_how_to_get_one(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "plugin").unlink()
    assert run("install", package) == 1
    assert "deploy/cni/build.sh" in capsys.readouterr().err


def test_the_sign_by_which_ours_are_known_is_in_the_source() -> None:
    source = Path(cni.__file__).parents[1] / "cni" / "shim.c"
    assert cni.OWN_SIGN.decode() in source.read_text()


def test_what_runtimes_noted_of_our_network_is_taken_away_and_nothing_else(tmp_path: Path) -> None:
    notes = {
        "weavemesh-1-eth0": '{"kind": "cniCacheV1", "networkName": "weavemesh"}',
        "weavemesh-2-eth0": '{"kind": "cniCacheV1", "networkName": "weavemesh"}',
        "weavemesh-blue-1-eth0": '{"kind": "cniCacheV1", "networkName": "weavemesh-blue"}',
        "weavemesh-broken": "{",
        "weavemesh-list": "[]",
        "bridge-1-eth0": '{"kind": "cniCacheV1", "networkName": "bridge"}',
    }
    for name, text in notes.items():
        (tmp_path / name).write_text(text)
    assert cni.remove_results(tmp_path) == [f"removed 2 results of deleted pods from {tmp_path}"]
    assert listing(tmp_path) == ["bridge-1-eth0", "weavemesh-blue-1-eth0", "weavemesh-broken", "weavemesh-list"]
    assert cni.remove_results(tmp_path) == [] == cni.remove_results(tmp_path / "missing")
