"""The images of a cluster: made on the spot or taken from dist/, imported once, and given to each node as hard links.

An import costs a second or more a node and image, because containerd unpacks it. So it is done once, into a store of
containerd's (content and snapshots) that is kept in the cache under the digest of what is in it. A node's store is a
copy of that: files of snapshots and content are never changed in place, so they are shared; the databases are copied.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.demo.lab import wait_until
from tests.e2e.image import BUSYBOX, build_layer, pack
from tests.kubernetes.folder import HERE, PROJECT, binaries_folder, images_folder

PAUSE = "wm.test/pause:1"
BOX = "wm.test/box:1"
"""busybox with all its applets."""
AGNHOST = "wm.test/agnhost:1"
"""Kubernetes' own image for tests of networks, with busybox in it."""
NAMESPACE = "k8s.io"
"""Where the kubelet's part of containerd looks for images."""
_STORES_MAX = 3
_FOLDERS = ("bin", "dev", "etc", "proc", "sys", "tmp", "run", "uploads")
_CRASHING = "wget"
"""In a static busybox, looking up the name of a protocol loads a library that is not there."""
_CONFIG = """
version = 2
root = "{store}"
state = "{work}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{work}/socket"
"""


class ImageMissing(Exception):
    """An image that is wanted is not there, or cannot be imported; the text says which and what to do."""


def project_image() -> Path:
    """The project's own image, as `make image` leaves it."""
    found = sorted((PROJECT / "dist").glob("weavemesh-image-*.tar"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ImageMissing("dist/weavemesh-image-*.tar is not there: run `make image`")
    return found[-1]


def name_of(archive: Path) -> str:
    """What the one image in an archive is called."""
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        if "index.json" in names:
            (found,) = json.loads(_member(tar, "index.json"))["manifests"]
            return str(found["annotations"].get("io.containerd.image.name") or found["annotations"][_REFERENCE])
        (found,) = json.loads(_member(tar, "manifest.json"))
        return str(found["RepoTags"][0])


def store_with(archives: Sequence[Path]) -> Path:
    """A store of containerd's with the images of the tests and these; made if it is not in the cache."""
    content = [_build_pause(), _build_box(), _build_agnhost()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in content))
    for archive in archives:
        with archive.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    store = images_folder() / f"store-{digest.hexdigest()[:16]}"
    with (images_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another cluster may want the same
        if not store.exists():
            _make_store(store, content, archives)
        os.utime(store)
        for old in sorted(images_folder().glob("store-*"), key=lambda path: path.stat().st_mtime)[:-_STORES_MAX]:
            shutil.rmtree(old)
    return store


def _make_store(store: Path, content: Sequence[bytes], archives: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory(dir=images_folder(), prefix="new-") as folder:
        own = []
        for number, one in enumerate(content):
            own.append(Path(folder) / f"{number}.tar")
            own[-1].write_bytes(one)
        _import(Path(folder), [*own, *archives])
        (Path(folder) / "store").rename(store)


def copy_store(store: Path, place: Path) -> None:
    """Give a node its own: hard links but for the databases."""
    subprocess.run(["cp", "-al", f"{store}/.", place], check=True)
    for database in place.rglob("*.db"):
        new = database.with_suffix(".new")
        shutil.copy2(database, new)
        new.replace(database)


def _import(folder: Path, archives: Sequence[Path]) -> None:
    (folder / "config.toml").write_text(_CONFIG.format(store=folder / "store", work=folder))
    with _containerd(folder):
        for archive in archives:
            command = ["ctr", "-a", str(folder / "socket"), "-n", NAMESPACE, "images", "import", str(archive)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ImageMissing(f"containerd does not take {archive}: {done.stderr.strip()}")


@contextmanager
def _containerd(folder: Path) -> Iterator[None]:
    """Without its part for kubelets, and with mounts of its own: it mounts while it unpacks."""
    command = ["unshare", "--mount", "containerd", "--config", str(folder / "config.toml")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: (folder / "socket").exists(), seconds=20, what="containerd")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _build_pause() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "pause"
        subprocess.run(["gcc", "-static", "-Os", "-s", "-o", program, HERE / "pause.c"], check=True)
        layer = build_layer({"pause": program.read_bytes()}, links={}, folders=("tmp",))
    return pack(PAUSE, layer, {"Entrypoint": ["/pause"]})


def _build_box() -> bytes:
    return pack(BOX, build_layer(_box_files(), links=_applets(), folders=_FOLDERS), _box_config(["/bin/sh"]))


def _build_agnhost() -> bytes:
    program = binaries_folder() / "agnhost"
    if not program.exists():
        raise ImageMissing("agnhost is not built: run `python -m tests.kubernetes build`")
    layer = build_layer({"agnhost": program.read_bytes(), **_box_files()}, links=_applets(), folders=_FOLDERS)
    return pack(AGNHOST, layer, {**_box_config(["pause"]), "Entrypoint": ["/agnhost"]})


def _box_files() -> dict[str, bytes]:
    return {
        "bin/busybox": BUSYBOX.read_bytes(),
        "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
    }


def _applets() -> dict[str, str]:
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return {f"bin/{applet}": "busybox" for applet in listed if applet not in ("busybox", _CRASHING)}


def _box_config(command: list[str]) -> dict[str, object]:
    return {"Cmd": command, "Env": ["PATH=/bin:/sbin:/usr/bin"]}


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None, f"{name} is listed and no file"
    return stream.read()


_REFERENCE = "org.opencontainers.image.ref.name"


def measure_store(archives: Sequence[Path]) -> float:
    """Seconds that the import into a fresh store takes."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=images_folder(), prefix="new-") as folder:
        _import(Path(folder), archives)
    return time.monotonic() - began
