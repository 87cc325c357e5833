"""Bytes between peers: authenticated links (TCP and TLS 1.3), their in-memory twin, and datagrams.

What is said on a link is not known here (`gossip` knows); who may open one is decided by `weavemesh.certificate`.
The agent holds a `Transport` and sees `Connection`, `Listener` and `LinkFailed`; which kind it is, is settled once.
"""

from weavemesh.transport.address import CONTROL_PORT, join_address, split_address
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.link import Connection, Listener, Transport

__all__ = [
    "CONTROL_PORT",
    "Connection",
    "Failure",
    "LinkFailed",
    "Listener",
    "Transport",
    "join_address",
    "split_address",
]
