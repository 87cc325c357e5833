"""A container image made on the spot: busybox, which Debian has as one static file, as an OCI archive."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

NAME = "localhost/wmbox:1"
BUSYBOX = Path("/usr/bin/busybox")
APPLETS = ("sh", "sleep", "wget", "httpd", "ping", "ip", "cat", "nc")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build_image() -> bytes:
    """The archive, as `ctr image import` and `podman load` take it; its command sleeps for an hour."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _described("application/vnd.oci.image.config.v1+json", config),
            "layers": [_described("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [{**_described("application/vnd.oci.image.manifest.v1+json", manifest), "annotations": names}],
        }
    ).encode()
    blobs = {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (layer, config, manifest)}
    return _archive({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs})


def _layer() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        _add(archive, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        _add(archive, "www/index.html", b"hello from the pod\n")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return content.getvalue()


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
