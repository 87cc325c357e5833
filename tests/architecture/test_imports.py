"""The import contracts hold, and they are not toothless: each of them fails on a tree that breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
IMPORTED = ("gossip", "ipam_crdt", "weavemesh")

BREACHES = {
    "gossip opens a socket": ("gossip/breach.py", "import socket\n"),
    "gossip reads a clock": ("gossip/breach.py", "import time\n"),
    "gossip knows the ring": ("gossip/breach.py", "import ipam_crdt\n"),
    "the ring draws randomness": ("ipam_crdt/breach.py", "from secrets import token_bytes\n"),
    "the ring runs an event loop": ("ipam_crdt/breach.py", "import asyncio\n"),
    "the ring logs": ("ipam_crdt/breach.py", "import logging\n"),
    "the ring imports the agent": ("ipam_crdt/breach.py", "import weavemesh\n"),
    "the overlay's logic talks netlink": ("weavemesh/overlay/breach.py", "import weavemesh.kernel.rtnetlink\n"),
    "the overlay's logic starts a process": ("weavemesh/overlay/breach.py", "import subprocess\n"),
    "the command line talks netlink": ("weavemesh/cli/breach.py", "import weavemesh.kernel.linkmessage\n"),
    "the CNI plugin talks netlink": ("weavemesh/cni/breach.py", "import weavemesh.kernel.podlink\n"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder)},
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project's source that a test may spoil."""
    for package in IMPORTED:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(tree: Path, breach: str) -> None:
    file, line = BREACHES[breach]
    (tree / file).write_text(line)
    result = lint(tree)
    assert result.returncode != 0, "the breach was not found"
    assert "breach" in result.stdout, result.stdout
