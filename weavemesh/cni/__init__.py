"""The CNI plugin: everything but the small executable that container runtimes start (shim.c, built by deploy/cni)."""

from weavemesh.cni.plugin import AddressSource, Plugin, Wiring
from weavemesh.cni.server import CniServer

__all__ = ["AddressSource", "CniServer", "Plugin", "Wiring"]
