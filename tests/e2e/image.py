"""A container image made on the spot: busybox, which Debian has as one static file, as an OCI archive."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

NAME = "localhost/wmbox:1"
BUSYBOX = Path("/usr/bin/busybox")
APPLETS = ("sh", "sleep", "wget", "httpd", "ping", "ip", "cat", "nc")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build_image() -> bytes:
    """The archive, as `ctr image import` and `podman load` take it; its command sleeps for an hour."""
    return pack(NAME, _layer(), {"Cmd": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"]})


def pack(name: str, layer: bytes, config: Mapping[str, object]) -> bytes:
    """An archive of one layer, which is a tar; `config` is that of the containers."""
    whole = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _described("application/vnd.oci.image.config.v1+json", whole),
            "layers": [_described("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [{**_described("application/vnd.oci.image.manifest.v1+json", manifest), "annotations": names}],
        }
    ).encode()
    blobs = {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (layer, whole, manifest)}
    return _archive({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs})


def build_layer(files: Mapping[str, bytes], *, links: Mapping[str, str], folders: Iterable[str]) -> bytes:
    """A layer of executables and other files, all of them readable and executable for all."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, file in files.items():
            _add(archive, name, file, mode=0o755)
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return content.getvalue()


def _layer() -> bytes:
    return build_layer(
        {"bin/busybox": BUSYBOX.read_bytes(), "www/index.html": b"hello from the pod\n"},
        links={f"bin/{applet}": "busybox" for applet in APPLETS},
        folders=("bin", "dev", "etc", "proc", "sys", "tmp", "www"),
    )


def _archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, file in files.items():
            _add(archive, name, file)
    return content.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _described(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
