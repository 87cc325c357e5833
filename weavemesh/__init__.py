"""The weavemesh agent, its command line and its CNI plugin: everything that touches the world.

Who is in the mesh and who owns which addresses is decided by two packages without I/O, `gossip` and
`ipam_crdt`; this package feeds them and carries out what they ask for.
"""

__version__ = "0.1.0"
