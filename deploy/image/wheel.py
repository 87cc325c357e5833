"""Python's part of the image: the wheels of our dependencies as constraints.txt pins them, and our own.

Which packages those are is what this project and they name as their needs, read from what `make setup` installed. A
wheel is believed only if its hash is in constraints.txt.
"""

import fnmatch
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from deploy.image import content
from deploy.image.debian import ImageError, cache_folder

PROJECT = Path(__file__).resolve().parents[2]
SITE = f"usr/local/lib/{content.PYTHON}/dist-packages"
_GLIBC_MINORS = range(36, 16, -1)
"""Of the C libraries that a wheel may be built for: Debian 12's down to that of manylinux2014."""


def pinned() -> dict[str, str]:
    """The lines of constraints.txt by package, hashes included."""
    blocks = re.split(r"^(?=[a-z0-9])", (PROJECT / "constraints.txt").read_text(), flags=re.MULTILINE)
    return {str(canonicalize_name(block.split("==")[0])): block for block in blocks if "==" in block}


def needed(architecture: str) -> list[str]:
    """Names of the packages that weavemesh needs in the image, its own not among them."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    waiting = [
        Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["kubernetes"])
    ]
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        if name in found or name in content.WHEELS_LEFT_OUT or not _applies(requirement, architecture):
            continue
        found.add(name)
        waiting += [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    return sorted(found)


def fetch(architecture: str) -> list[Path]:
    """The wheels in the cache, each with a hash of constraints.txt."""
    pins = pinned()
    wanted = {name: pins[name] for name in needed(architecture)}
    text = "".join(wanted.values())
    folder = cache_folder() / f"wheels-{architecture}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not _complete(folder, wanted):
        _download(architecture, text, folder)
        if not _complete(folder, wanted):
            raise ImageError(f"pip brought other wheels for {architecture} than constraints.txt pins")
    return sorted(folder.glob("*.whl"))


def build_own(folder: Path) -> Path:
    """This project's wheel, made in that folder.

    From a copy of the source: what other builds leave in `build/`, or write there meanwhile, must not get into it.
    """
    source = folder / "source"
    shutil.copytree(
        PROJECT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests")
    )
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    return next(folder.glob("weavemesh-*.whl"))


def unpack(wheel: Path, root: Path) -> None:
    """Puts a wheel's files where the image's Python looks, less what is left out."""
    site = root / SITE
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            # What is named `….data/` goes elsewhere: manuals and programs, but modules, too.
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", entry.filename)
            if entry.is_dir() or any(
                fnmatch.fnmatch(name, pattern) for pattern in (*content.SITE_LEFT_OUT, "*.data/*")
            ):
                continue
            target = site / name
            if not target.resolve().is_relative_to(site.resolve()):
                raise ImageError(f"{wheel.name} holds {entry.filename}, which is outside of it")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
            target.chmod(0o644)


def _applies(requirement: Requirement, architecture: str) -> bool:
    environment = {
        "python_version": "3.11",
        "python_full_version": "3.11.2",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": content.MACHINES[architecture],
        "extra": "",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _complete(folder: Path, wanted: Mapping[str, str]) -> bool:
    names = set()
    for wheel in folder.glob("*.whl"):
        name = str(parse_wheel_filename(wheel.name)[0])
        if name not in wanted or f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" not in wanted[name]:
            return False
        names.add(name)
    return names == set(wanted)


def _download(architecture: str, requirements: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "requirements.txt").write_text(requirements)
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "-r", f"{work}/requirements.txt"]
        _pip("download", *options, *_tags(architecture), "-d", f"{work}/wheels")
        shutil.copytree(f"{work}/wheels", folder)


def _tags(architecture: str) -> Iterator[str]:
    machine = content.MACHINES[architecture]
    yield from (
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
        "--abi",
        "abi3",
        "--abi",
        "none",
    )
    for minor in _GLIBC_MINORS:
        yield from ("--platform", f"manylinux_2_{minor}_{machine}")
    yield from ("--platform", f"manylinux2014_{machine}")


def _pip(*words: str) -> None:
    command: Sequence[str] = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *words)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if "ERROR" in line or "error" in line]
        raise ImageError(f"pip {words[0]} failed: {' '.join(complaints) or done.stderr.strip()}")
