"""Debian's part of the image: packages named by a lock file, fetched by apt, unpacked without their scripts.

apt works in a folder of its own, with this machine's sources and settings: so any architecture can be asked for, and
the machine's own lists and packages stay as they are. What is fetched is believed only if its hash is the lock's.
"""

import fnmatch
import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.image import content

HERE = Path(__file__).resolve().parent
_HEADER = "# Debian packages of the image for {}: name, version, SHA256. `make image-lock` writes it anew.\n"


class ImageError(Exception):
    """The image cannot be built; the text says why and what to do."""


class PackageGone(ImageError):
    """The archive has another version of a pinned package by now."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One line of a lock file."""

    name: str
    version: str
    sha256: str


def cache_folder() -> Path:
    """Where downloads are kept; made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("WEAVEMESH_IMAGE_CACHE") or Path(base) / "weavemesh" / "image")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lock_file(architecture: str) -> Path:
    """Where the packages of an architecture are pinned."""
    return HERE / f"packages-{architecture}.lock"


def read_lock(architecture: str) -> list[Package]:
    """The pinned packages."""
    lines = lock_file(architecture).read_text().splitlines()
    return [Package(*line.split()) for line in lines if not line.startswith("#")]


def write_lock(architecture: str) -> list[Package]:
    """Pins what the archive has today."""
    packages = newest(architecture)
    lines = [f"{package.name} {package.version} {package.sha256}\n" for package in packages]
    lock_file(architecture).write_text(_HEADER.format(architecture) + "".join(lines))
    return packages


def newest(architecture: str) -> list[Package]:
    """What the archive has today."""
    apt = Apt(architecture)
    apt.update()
    plan = apt.run("-s", "--no-install-recommends", "install", *content.PACKAGES)
    chosen = dict(re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE))
    wanted = [f"{name}={version}" for name, version in chosen.items() if name not in content.PACKAGES_LEFT_OUT]
    listed = apt.run("download", "--print-uris", *wanted)
    packages = []
    for name, sha256 in re.findall(r"^'.*' ([^_ ]+)_\S+ \d+ SHA256:([0-9a-f]{64})$", listed, re.MULTILINE):
        packages.append(Package(name, chosen[name], sha256))
    if len(packages) != len(wanted):
        raise ImageError(f"apt told the hashes of {len(packages)} packages of {len(wanted)}; is its index complete?")
    return sorted(packages)


def fetch(architecture: str, packages: Sequence[Package]) -> list[Path]:
    """The packages' files in the cache, each with the hash of the lock."""
    files = [cache_folder() / f"{package.sha256}.deb" for package in packages]
    missing = [package for package, file in zip(packages, files, strict=True) if not _is(file, package.sha256)]
    if missing:
        _download(architecture, missing)
    return files


def unpack(files: Sequence[Path], root: Path) -> None:
    """Puts packages' files into a folder as Debian lays them out, with /lib inside /usr, less what is left out."""
    for file in files:
        listing = subprocess.run(["dpkg-deb", "--fsys-tarfile", file], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(listing)) as archive:
            for member in archive:
                path = _merged(member.name.removeprefix("./"))
                if not member.isdir() and not _left_out(path):
                    _put(archive, member, root / path)


def _download(architecture: str, packages: Sequence[Package]) -> None:
    apt = Apt(architecture)
    apt.update()
    for package in packages:
        try:
            apt.run("download", f"{package.name}={package.version}")
        except ImageError as error:
            raise PackageGone(
                f"{package.name} {package.version} ({architecture}), which {lock_file(architecture).name} pins, cannot "
                f"be had: {error}. If the archive has a newer one: `make image-lock`, read what changed, commit it"
            ) from error
        found = next(apt.downloads.glob(f"{package.name}_*.deb"))
        if not _is(found, package.sha256):
            found.unlink()
            raise ImageError(
                f"{package.name} {package.version} is not the file that {lock_file(architecture).name} pins"
            )
        found.rename(cache_folder() / f"{package.sha256}.deb")


class Apt:
    """apt for one architecture, in a folder of its own."""

    def __init__(self, architecture: str) -> None:
        self._home = cache_folder() / f"apt-{architecture}"
        self.downloads = self._home / "downloads"
        for folder in ("state/lists/partial", "cache/archives/partial", "parts", "downloads"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        (self._home / "state/status").touch()
        for old in self.downloads.glob("*.deb"):
            old.unlink()
        settings = self._machine_settings()
        settings += [
            f'Dir::State "{self._home}/state/";',
            f'Dir::State::status "{self._home}/state/status";',
            f'Dir::Cache "{self._home}/cache/";',
            # All settings are here already: apt would add the machine's again, its hooks among them.
            f'Dir::Etc::parts "{self._home}/parts";',
            'Dir::Etc::main "/dev/null";',
            f'APT::Architecture "{architecture}";',
            "#clear APT::Architectures;",
            f'APT::Architectures {{ "{architecture}"; }};',
            'Acquire::Languages "none";',
            'APT::Sandbox::User "";',
        ]
        self._config = self._home / "apt.conf"
        self._config.write_text("\n".join(settings) + "\n")

    def update(self) -> None:
        """Reads the archive's index. A source that does not have this architecture does no harm."""
        subprocess.run(["apt-get", "-qq", "update"], env=self._environment(), check=False, capture_output=True)

    def run(self, *words: str) -> str:
        """What apt-get prints; an ImageError with its last complaint if it fails."""
        done = subprocess.run(
            ["apt-get", "-q", *words],
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            cwd=self.downloads,
        )
        if done.returncode != 0:
            complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise ImageError(complaints[-1][3:] if complaints else f"apt-get ended with status {done.returncode}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}

    def _machine_settings(self) -> list[str]:
        """Its proxies and sources, but no hooks: those work on the machine's own state."""
        try:
            told = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
        except FileNotFoundError as error:
            raise ImageError(
                "the image is made of Debian packages by apt; on another system use deploy/image/Dockerfile"
            ) from error
        return [line for line in told.splitlines() if "Invoke" not in line]


def _left_out(path: str) -> bool:
    if any(fnmatch.fnmatch(path, pattern) for pattern in content.KEPT):
        return False
    return any(fnmatch.fnmatch(path, pattern) for pattern in content.LEFT_OUT)


def _merged(path: str) -> str:
    """Where a path really is: /lib, /lib64, /bin and /sbin are links into /usr."""
    return f"usr/{path}" if path.split("/")[0] in ("lib", "lib64", "bin", "sbin") else path


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        target.unlink(missing_ok=True)
        target.symlink_to(member.linkname)
        return
    body = archive.extractfile(member)
    if body is None:
        raise ImageError(f"{member.name} is neither a file nor a link")
    target.write_bytes(body.read())
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _is(file: Path, sha256: str) -> bool:
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256
