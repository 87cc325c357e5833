"""Where the harness keeps what it makes: in the user's cache, by kind."""

import os
from pathlib import Path

CACHE_VARIABLE = "WEAVEMESH_KUBERNETES_CACHE"
PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def cache_folder() -> Path:
    """The root of it; made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "weavemesh" / "kubernetes")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def binaries_folder() -> Path:
    """Kubernetes' own programs."""
    return _made("bin")


def images_folder() -> Path:
    """Stores of containerd with images imported."""
    return _made("images")


def clusters_folder() -> Path:
    """One folder for each cluster that is up."""
    return _made("clusters")


def emulated_folder() -> Path:
    """What emulated nodes are made of."""
    return _made("emulated")


def clients_folder() -> Path:
    """Official clients of several releases, by the hash of their wheels."""
    return _made("clients")


def _made(name: str) -> Path:
    folder = cache_folder() / name
    folder.mkdir(exist_ok=True)
    return folder
