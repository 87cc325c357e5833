"""The CNI plugin: everything but the small executable that container runtimes start (shim.c, built by deploy/cni)."""

from weavemesh.cni.door import AddressSource, Wiring
from weavemesh.cni.plugin import Plugin
from weavemesh.cni.server import CniServer

__all__ = ["AddressSource", "CniServer", "Plugin", "Wiring"]
