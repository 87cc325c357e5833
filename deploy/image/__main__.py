"""Builds the container image without a container engine: `make image`, or `python -m deploy.image --help`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from deploy.image import content, debian, tree
from deploy.image.archive import write_image
from deploy.image.debian import ImageError
from weavemesh import __version__

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Status 0 if all was built, 1 with a sentence if not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description="Builds the container image.")
    parser.add_argument(
        "--arch", action="append", help=f"{' or '.join(content.MACHINES)}, or all (default: this machine's)"
    )
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="folder for the archives (default: dist)")
    parser.add_argument("--root", type=Path, help="write the files into this folder instead of an archive")
    parser.add_argument(
        "--locked",
        action="store_true",
        help="with the pinned Debian packages or not at all",
    )
    parser.add_argument(
        "--lock", action="store_true", help="pin the Debian packages that the archive has today, build nothing"
    )
    arguments = parser.parse_args()
    try:
        for architecture in _architectures(arguments.arch):
            if arguments.lock:
                print(f"{debian.lock_file(architecture).name}: {len(debian.write_lock(architecture))} packages")
            else:
                _build(architecture, arguments.output, arguments.root, locked=arguments.locked)
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def _architectures(named: list[str] | None) -> list[str]:
    if named is None:
        return [tree.own_architecture()]
    if "all" in named:
        return list(content.MACHINES)
    by_machine = {machine: architecture for architecture, machine in content.MACHINES.items()}
    chosen = [by_machine.get(name, name) for name in named]
    for name in chosen:
        if name not in content.MACHINES:
            raise ImageError(f"there is no image for {name}; there is one for {' and '.join(content.MACHINES)}")
    return chosen


def _build(architecture: str, output: Path, root: Path | None, *, locked: bool) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weavemesh-image-") as work:
        built = tree.build(architecture, Path(work), locked=locked)
        if root is not None:
            root.mkdir(parents=True, exist_ok=True)
            tree.merge(built, root)
            result = root
        else:
            output.mkdir(parents=True, exist_ok=True)
            result = output / f"weavemesh-image-{__version__}-{architecture}.tar"
            write_image(result, built.layers(), architecture)
        _tell(built)
    print(f"{result}: {content.NAME} for {architecture}, in {time.monotonic() - began:.0f} s")


def _tell(built: tree.Tree) -> None:
    """Prints the sizes of the layers and the ten largest parts."""
    parts: dict[str, int] = {}
    for layer in built.layers():
        files = [path for path in layer.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        print(f"{_mb(sum(path.stat().st_size for path in files))}  layer: {layer.what}")
        for path in files:
            name = _part(path.relative_to(layer.folder).parts)
            parts[name] = parts.get(name, 0) + path.stat().st_size
    print(f"{_mb(sum(parts.values()))}  unpacked; the largest parts:")
    for name, size in sorted(parts.items(), key=lambda part: -part[1])[:10]:
        print(f"{_mb(size)}    {name}")


def _part(path: tuple[str, ...]) -> str:
    """A package of Python, or one file or folder of the rest."""
    deep = 6 if "dist-packages" in path else 4 if path[:2] == ("usr", "lib") else 3
    return "/".join(path[:deep])


def _mb(size: int) -> str:
    return f"{size / 1e6:7.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
