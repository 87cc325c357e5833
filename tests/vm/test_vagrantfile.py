"""Vagrant understands the Vagrantfile, for each provider; its machines are those of the demonstration in guests."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from deploy.vagrant.guests import SCRIPTS, plans

pytestmark = [pytest.mark.timeout(180)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy: Vagrant writes beside the file."""
    if shutil.which("vagrant") is None:
        pytest.skip("needs vagrant (Debian: vagrant, vagrant-libvirt)")
    return Path(
        shutil.copytree(SCRIPTS, tmp_path / "vagrant", ignore=shutil.ignore_patterns(".vagrant", "__pycache__"))
    )


def vagrant(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VAGRANT_HOME": str(folder / "home"), **variables}
    return subprocess.run(
        ["vagrant", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("variables", [{}, {"WEAVEMESH_HOSTS": "5"}, {"WEAVEMESH_CLOUDS": "1"}])
def test_it_is_valid_with_and_without_a_provider(folder: Path, variables: dict[str, str]) -> None:
    # VirtualBox itself need not be there for its part to be read.
    checks = {"virtualbox": ["--ignore-provider"]}
    if "vagrant-libvirt" in vagrant(folder, "plugin", "list").stdout:
        checks["libvirt"] = []
    for provider, options in checks.items():
        result = vagrant(folder, "validate", *options, VAGRANT_DEFAULT_PROVIDER=provider, **variables)
        assert "validated successfully" in result.stdout, result.stdout + result.stderr
    secret = folder / ".vagrant" / "cluster-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_its_machines_are_those_of_the_guests(folder: Path) -> None:
    vagrant(folder, "validate", "--ignore-provider")
    shown = vagrant(folder, "status", "--machine-readable", VAGRANT_DEFAULT_PROVIDER="libvirt").stdout
    if "provider-name" not in shown:
        pytest.skip("needs Vagrant's provider for libvirt (Debian: vagrant-libvirt)")
    machines = {line.split(",")[1] for line in shown.splitlines() if ",provider-name," in line}
    assert machines == {machine.name for machine in plans(3)}


@pytest.mark.parametrize("variable", ["WEAVEMESH_HOSTS=6", "WEAVEMESH_CLOUDS=3"])
def test_what_is_out_of_bounds_is_refused_with_the_bounds(folder: Path, variable: str) -> None:
    name, _, value = variable.partition("=")
    assert f"{name} is " in vagrant(folder, "validate", "--ignore-provider", **{name: value}).stderr
