"""`weavemesh cni install` and `uninstall`: the CNI executables and their configuration, where runtimes look for them.

What runtimes need of an installer: an executable that may be running is replaced by a rename; the configuration comes
last, because from then on they call; and it comes by a rename inside its folder, because containerd sees neither a link
nor a file that is renamed into it from elsewhere. Whatever is not ours, or was changed by somebody, is left alone.
"""

import argparse
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import weavemesh
from weavemesh.cli.output import print_sentences
from weavemesh.error import UserError

PACKAGE = Path(weavemesh.__file__).parent
EXECUTABLES = (PACKAGE / "share" / "cni" / "weavemesh", PACKAGE.parent / "build" / "cni" / "weavemesh")
"""In an installed wheel; in a source folder after `make setup`."""
CONFIGURATIONS = (
    PACKAGE / "share" / "10-weavemesh.conflist",
    PACKAGE.parent / "deploy" / "cni" / "10-weavemesh.conflist",
)
NAME, IPAM_NAME = "weavemesh", "weavemesh-ipam"
OWN_SIGN = b"WMC1"
"""What every executable of ours holds, of whichever release: the first bytes of what it says to the agent."""
CHAINED = {
    "portmap": ("portMappings", "hostPort of pods has no effect"),
    "bandwidth": ("bandwidth", "bandwidth annotations of pods have no effect"),
}
"""Plugins that others maintain, by the capability that each serves, and what is missing without them."""
RESULTS = Path("/var/lib/cni/results")
"""Of libcni, where the runtime names no other folder."""
RETIRED = "99-weavemesh.conflist"
"""The configuration on its way out: runtimes take the first by name."""
_TEMPORARY = ".weavemesh-new-"
"""Begins the names of files that are not finished; none of the endings that runtimes load."""
_STALE_S = 60.0


def install(arguments: argparse.Namespace) -> int:
    """Put all in their places; what is right already stays as it is."""
    bin_dir, conf_dir = Path(arguments.bin_dir), Path(arguments.conf_dir)
    _first(CONFIGURATIONS)  # nothing is installed by halves
    sentences = install_executables(bin_dir) + install_configuration(conf_dir, force=arguments.force)
    print_sentences(sentences, as_json=arguments.json)
    return 0


def install_executables(bin_dir: Path) -> list[str]:
    """Both plugins; what was done, as sentences. UserError."""
    binary = _first(EXECUTABLES).read_bytes()
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        _sweep(bin_dir)
        return [_put(bin_dir / name, binary, mode=0o755) for name in (NAME, IPAM_NAME)]
    except OSError as error:
        raise _unwritable(error) from error


def install_configuration(conf_dir: Path, *, force: bool, chain: Sequence[Mapping[str, object]] = ()) -> list[str]:
    """The configuration, from which on runtimes call, with these plugins behind ours; what was done, as sentences.

    With `force` also over one that was changed. UserError.
    """
    content = _first(CONFIGURATIONS).read_bytes()
    if chain:
        parsed = json.loads(content)
        parsed["plugins"] += chain
        content = json.dumps(parsed, indent=2).encode() + b"\n"
    config = conf_dir / _first(CONFIGURATIONS).name
    try:
        conf_dir.mkdir(parents=True, exist_ok=True)
        _sweep(conf_dir)
        if config.exists() and config.read_bytes() != content and not force:
            sentences = [f"kept {config}, which was changed (--force replaces it)"]
        else:
            sentences = [_put(config, content, mode=0o644)]
        (conf_dir / RETIRED).unlink(missing_ok=True)
        others = [one.name for one in _configurations(conf_dir) if one.name < config.name]
    except OSError as error:
        raise _unwritable(error) from error
    if others:
        sentences.append(f"{conf_dir} also holds {', '.join(others)}, which runtimes take first")
    return sentences


def companions(bin_dir: Path) -> tuple[list[Mapping[str, object]], list[str]]:
    """The plugins that pods of Kubernetes expect behind ours, as far as the node has them; and what is missing."""
    has = {kind: (bin_dir / kind).is_file() for kind in CHAINED}
    chain: list[Mapping[str, object]] = [
        {"type": kind, "capabilities": {capability: True}} for kind, (capability, _) in CHAINED.items() if has[kind]
    ]
    missing = [
        f"{bin_dir} has no {kind}, so {what} (it is of the package containernetworking-plugins, or kubernetes-cni)"
        for kind, (_, what) in CHAINED.items()
        if not has[kind]
    ]
    return chain, missing


def uninstall(arguments: argparse.Namespace) -> int:
    """Take the configuration away first, so that no more pods come here; then the executables."""
    sentences = remove_configuration(Path(arguments.conf_dir), force=arguments.force)
    sentences += remove_executables(Path(arguments.bin_dir))
    print_sentences(sentences or ["nothing of weavemesh was installed there"], as_json=arguments.json)
    return 0


def retire_configuration(conf_dir: Path) -> list[str]:
    """Let any other network's configuration go before ours; what was done, as sentences. UserError.

    Ours stays for the pods that are there: with no configuration at all, containerd deletes no pod any more.
    """
    config, retired = conf_dir / _first(CONFIGURATIONS).name, conf_dir / RETIRED
    try:
        if not config.exists():
            return []
        _put(retired, config.read_bytes(), mode=0o644)
        config.unlink()
    except OSError as error:
        raise _unwritable(error) from error
    return [f"renamed {config} to {retired.name}, behind any other network's"]


def remove_configuration(conf_dir: Path, *, force: bool) -> list[str]:
    """Runtimes call no longer; what was done, as sentences. UserError for one that was changed, without `force`."""
    configuration = _first(CONFIGURATIONS)
    config = conf_dir / configuration.name
    try:
        if (conf_dir / RETIRED).exists():
            (conf_dir / RETIRED).unlink()
            return [f"removed {conf_dir / RETIRED}", *_swept(conf_dir)]
        if not config.exists():
            return _swept(conf_dir)
        if config.read_bytes() != configuration.read_bytes() and not force:
            raise UserError(f"{config} was changed, so nothing was removed", remedy="remove it, or use --force")
        config.unlink()
        return [f"removed {config}", *_swept(conf_dir)]
    except OSError as error:
        raise _unwritable(error) from error


def remove_executables(bin_dir: Path) -> list[str]:
    """Both plugins; what was done, as sentences. UserError."""
    sentences = []
    try:
        for path in (bin_dir / NAME, bin_dir / IPAM_NAME):
            if path.exists() and OWN_SIGN not in path.read_bytes():
                sentences.append(f"kept {path}, which is not ours")
            elif path.exists() or path.is_symlink():
                path.unlink()
                sentences.append(f"removed {path}")
        return sentences + _swept(bin_dir)
    except OSError as error:
        raise _unwritable(error) from error


def remove_results(folder: Path) -> list[str]:
    """What runtimes note of each pod in the network and take away at its DEL, but not if that was another network's by
    then (libcni, which most runtimes call plugins by); for a node without pods. What was done, as sentences. UserError.
    """
    try:
        noted = [path for path in folder.glob(f"{NAME}-*") if _network_of(path) == NAME]
        for path in noted:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(error) from error
    return [f"removed {len(noted)} results of deleted pods from {folder}"] if noted else []


def _network_of(result: Path) -> object:
    """Whose a result is; None for what is none."""
    try:
        content = json.loads(result.read_bytes())
    except ValueError:
        return None
    return content.get("networkName") if isinstance(content, dict) else None


def _swept(folder: Path) -> list[str]:
    if folder.is_dir():
        _sweep(folder)
    return []


def _put(path: Path, content: bytes, *, mode: int) -> str:
    """The file has this content when this returns, and at every moment either the old one or this."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
        return f"{path} is there already"
    word = "replaced" if path.exists() else "installed"
    temporary = path.with_name(_TEMPORARY + secrets.token_hex(4))
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)  # whatever the umask took
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    return f"{word} {path}"


def _sync(folder: Path) -> None:
    """The new name is durable when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """What an installer that was killed has left; not what another is writing just now."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        if leftover.stat().st_mtime < time.time() - _STALE_S:
            leftover.unlink(missing_ok=True)


def _configurations(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".conf", ".conflist", ".json"))


def _unwritable(error: OSError) -> UserError:
    return UserError(f"{error.filename} cannot be written ({error.strerror})", remedy="run it as root")


def _first(candidates: tuple[Path, ...]) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise UserError(
        "this installation holds no CNI executable",
        remedy="build it from the source folder with `deploy/cni/build.sh build/cni` (it needs a C compiler)",
    )
