"""Writes folders as the layers of an image, in the form that `docker save` writes and every engine reads.

The bytes depend on the files' names, contents and modes alone: entries are sorted, owned by root, and as old as Unix.
So a layer that did not change is the same layer, and an upgrade fetches only the others.
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.image import content


@dataclass(frozen=True, slots=True)
class Layer:
    """One folder of the image's files, and in a few words what it holds."""

    folder: Path
    what: str


def write_image(path: Path, layers: Sequence[Layer], architecture: str) -> None:
    """Writes the archive; it is whole or not there."""
    packed = [_pack(layer.folder) for layer in layers]
    config = _json(_config(architecture, layers, packed))
    config_name = f"{_digest(config)}.json"
    names = [f"{_digest(layer)}/layer.tar" for layer in packed]
    manifest = _json([{"Config": config_name, "RepoTags": [content.NAME], "Layers": names}])
    new = path.with_suffix(f".new-{os.getpid()}")
    try:
        with tarfile.open(new, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, body in ((config_name, config), *zip(names, packed, strict=True), ("manifest.json", manifest)):
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def _config(architecture: str, layers: Sequence[Layer], packed: Sequence[bytes]) -> dict[str, object]:
    created = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": ["weavemesh"],
            "Env": list(content.ENVIRONMENT),
            "Labels": content.LABELS,
            "User": "0:0",
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}" for layer in packed]},
        "history": [{"created": created, "created_by": "make image", "comment": layer.what} for layer in layers],
    }


def _pack(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            if path.is_symlink():
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
                archive.addfile(entry)
            elif path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if entry.name == "tmp" else 0o755
                archive.addfile(entry)
            else:
                entry.mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
                entry.size = path.stat().st_size
                with path.open("rb") as body:
                    archive.addfile(entry, body)
    return packed.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
