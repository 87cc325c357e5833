"""The container image as `make image` builds it: what is in it, what is not, and that it runs.

Downloads come from the cache, which compares each with its pinned hash; the image itself is built anew, twice.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import content, debian, wheel
from deploy.image.tree import own_architecture
from weavemesh import __version__

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: the image is made of Debian packages"),
    pytest.mark.skipif(platform.machine() not in content.MACHINES.values(), reason="needs x86-64 or arm64"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot")

IMPORTS = """
import importlib, pkgutil, sys
import gossip, ipam_crdt, weavemesh
for package in (gossip, ipam_crdt, weavemesh):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config
import prometheus_client
from pathlib import Path
files = {name: one for name, one in sys.modules.items() if (getattr(one, "__file__", None) or "").endswith(".py")}
files = {name: one for name, one in files.items() if one.__spec__ and one.__spec__.origin != "frozen"}
slow = [name for name, module in files.items() if not Path(getattr(module, "__cached__", None) or "/nowhere").exists()]
assert slow == [], f"without bytecode: {slow}"
"""

CALL = """
import http.server, json, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"kind": "Node"}' if self.path.endswith("one") else b"{}"
        self.send_response(200 if self.path.endswith("one") else 404)
        self.send_header("Content-Type", "application/json"); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
host = f"http://127.0.0.1:{server.server_port}"
client = ApiClient(Configuration(host=host))
def get(name):
    answer = client.rest_client.request("GET", f"{host}/api/v1/nodes/{name}", headers={})
    return answer.status, json.loads(answer.read())
from weavemesh.kube.cluster import Cluster, ClusterError
try:
    Cluster(client).nodes()
    raise SystemExit("an answer 404 was taken for nodes")
except ClusterError:
    pass
assert get("one") == (200, {"kind": "Node"}) and get("other")[0] == 404
"""


def build(output: Path, *words: str) -> Path:
    """An archive, built as a user builds it."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.image", "--output", output, *words], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(output.glob("*.tar"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def root(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's files, layer over layer."""
    folder = tmp_path_factory.mktemp("root")
    with tarfile.open(archive) as image:
        manifest = json.load(member(image, "manifest.json"))
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=member(image, layer)) as files:
                files.extractall(folder, filter="fully_trusted")
    yield folder
    shutil.rmtree(folder)


def member(image: tarfile.TarFile, name: str):  # type: ignore[no-untyped-def] # what tarfile returns has no public name
    body = image.extractfile(name)
    assert body is not None
    return body


def inside(root: Path, *command: str) -> str:
    """What a program prints that sees nothing but the image, in namespaces of its own."""
    words = [
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "sh",
        "-c",
        'ip link set lo up && exec chroot "$@"',
        "sh",
        str(root),
    ]
    done = subprocess.run(
        [*words, *command], capture_output=True, text=True, timeout=120, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_builds_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(archive.read_bytes()).digest()


def test_the_image_says_what_it_is(archive: Path) -> None:
    with tarfile.open(archive) as image:
        manifest = json.load(member(image, "manifest.json"))[0]
        config = json.load(member(image, manifest["Config"]))
        layers = [f"sha256:{hashlib.sha256(member(image, name).read()).hexdigest()}" for name in manifest["Layers"]]
    assert archive.name == f"weavemesh-image-{__version__}-{own_architecture()}.tar"
    assert manifest["RepoTags"] == [content.NAME]
    assert config["config"]["Entrypoint"] == ["weavemesh"]
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["rootfs"]["diff_ids"] == layers and len(layers) == 3


def test_the_image_is_small(root: Path) -> None:
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(sizes) <= content.UNPACKED_BYTES_MAX


def test_nothing_that_builds_or_installs_is_inside(root: Path) -> None:
    unwanted = ("gcc", "cc", "ld", "as", "pip", "pip3", "apt", "apt-get", "dpkg", "perl", "sh", "bash", "dash")
    assert [
        path for path in root.rglob("*") if path.name in unwanted and os.access(path, os.X_OK) and path.is_file()
    ] == []
    assert not (root / wheel.SITE / "pip").exists()
    assert [path for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000] == []


@pytest.mark.parametrize("architecture", content.MACHINES)
def test_every_library_that_is_needed_is_inside(architecture: str, root: Path, tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf (Debian: binutils)")
    executable = PROJECT / f"build/cni-{content.MACHINES[architecture]}/weavemesh"
    build_root = root
    if architecture != own_architecture():
        if not executable.exists():
            pytest.skip("needs the executable for another architecture; `make executables` builds it")
        build_root = tmp_path / "root"
        command = [sys.executable, "-m", "deploy.image", "--arch", architecture, "--root", str(build_root)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    names = {path.name for path in build_root.rglob("*")}
    machine = {"amd64": "X86-64", "arm64": "AArch64"}[architecture]
    files = [path for path in build_root.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = [path for path in files if path.read_bytes()[:4] == b"\x7fELF"]
    assert len(programs) > 50
    for program in programs:
        told = subprocess.run(["readelf", "-h", "-d", "-W", program], capture_output=True, text=True, check=True).stdout
        assert machine in told, program
        wanted = [line.split("[")[1].rstrip("]") for line in told.splitlines() if "(NEEDED)" in line]
        assert [name for name in wanted if name not in names] == [], program


@pytest.mark.root
@needs_root
def test_the_programs_run(root: Path) -> None:
    assert inside(root, "/usr/bin/weavemesh", "--version") == f"weavemesh {__version__}\n"
    assert len(inside(root, "/usr/bin/weavemesh", "secret").split()) == 1
    assert inside(root, "/usr/sbin/nft", "--version").startswith("nftables v")
    assert inside(root, "/usr/bin/wireguard-go", "--version").startswith("wireguard-go v")


@pytest.mark.root
@needs_root
def test_everything_that_is_used_can_be_imported_and_has_its_bytecode(root: Path) -> None:
    inside(root, "/usr/bin/python3", "-I", "-B", "-c", IMPORTS)


@pytest.mark.root
@needs_root
def test_an_api_can_be_called(root: Path) -> None:
    inside(root, "/usr/bin/python3", "-I", "-B", "-c", CALL)


def test_a_damaged_download_is_not_used_and_a_package_that_is_gone_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = debian.Package("no-such-package-of-weavemesh", "1.0", "0" * 64)
    monkeypatch.setenv("WEAVEMESH_IMAGE_CACHE", str(tmp_path))
    (tmp_path / f"{package.sha256}.deb").write_bytes(b"not what the lock names")
    with pytest.raises(debian.ImageError, match="make image-lock"):
        debian.fetch(own_architecture(), [package])


@pytest.mark.parametrize("architecture", content.MACHINES)
def test_the_lock_holds_names_versions_and_hashes_only(architecture: str) -> None:
    packages = debian.read_lock(architecture)
    assert {*content.PACKAGES} <= {package.name for package in packages}
    assert not {package.name for package in packages} & {*content.PACKAGES_LEFT_OUT}
    assert "://" not in debian.lock_file(architecture).read_text()
    assert all(len(package.sha256) == 64 for package in packages)


def test_the_dockerfile_says_the_same_as_the_image() -> None:
    text = (PROJECT / "deploy/image/Dockerfile").read_text()
    for key, value in content.LABELS.items():
        assert f'{key}="{value}"' in text
    for variable in content.ENVIRONMENT:
        assert variable in text
