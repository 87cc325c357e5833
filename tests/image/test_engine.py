"""The Dockerfile, built by a container engine, holds the very files that `make image` puts into the image.

Minutes long; `make test-image` runs it. The base image is made of Debian's packages here, so no registry is needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE = "docker.io/library/debian:bookworm-slim"
PROGRAMS = ("buildah", "mmdebstrap")

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.environ.get("WEAVEMESH_IMAGE_TESTS") != "all", reason="minutes long: `make test-image`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot"),
    pytest.mark.skipif(None in map(shutil.which, PROGRAMS), reason=f"needs the packages {', '.join(PROGRAMS)}"),
]


class Engine:
    """buildah, with images of its own."""

    def __init__(self, folder: Path) -> None:
        self._storage = ["--root", str(folder / "images"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["buildah", *self._storage, *words], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()


@pytest.fixture
def work() -> Iterator[Path]:
    with TemporaryDirectory(prefix="wm-engine-") as folder:
        yield Path(folder)


@pytest.fixture
def engine(work: Path) -> Iterator[Engine]:
    engine = Engine(work)
    base = work / "base.tar"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", base], check=True)
    container = engine.run("from", "scratch")
    engine.run("add", "--quiet", container, str(base), "/")
    engine.run("config", "--cmd", "bash", container)
    engine.run("commit", "--quiet", container, BASE)
    try:
        yield engine
    finally:
        engine.run("rm", "--all")
        engine.run("rmi", "--all", "--force")


def test_the_dockerfile_makes_the_same_files(engine: Engine, work: Path) -> None:
    words = ["--pull-never", "--network", "host", "--isolation", "chroot"]
    if CERTIFICATES.exists():  # where the way to PyPI has an authority of its own
        settings = work / "pip.conf"
        settings.write_text("[global]\ncert = /machine.crt\n")
        words += ["--volume", f"{CERTIFICATES}:/machine.crt:ro", "--volume", f"{settings}:/etc/pip.conf:ro"]
    engine.run("build", *words, "--file", "deploy/image/Dockerfile", "--tag", "wm-image", ".")
    container = engine.run("from", "--pull-never", "wm-image")
    mounted = Path(engine.run("mount", container))
    subprocess.run([sys.executable, "-m", "deploy.image", "--root", work / "root"], cwd=PROJECT, check=True)
    assert files(mounted) == files(work / "root")
    said = engine.run("run", "--isolation", "chroot", container, "--", "weavemesh", "--version")
    assert said.startswith("weavemesh ")


def files(root: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of all files."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = (0, str(path.readlink()))
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(root))] = (path.stat().st_mode, digest)
    return found
