"""What can end a start: opens the cores from the state folder, and says in a sentence why that, or going on, cannot be.

A file that is torn, of another peer or of another range ends the start: guessing could give an address twice.
"""

import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

import gossip
import ipam_crdt
from gossip import Mesh, MeshOptions, Target, TargetView
from ipam_crdt import Allocator, Electorate, Owner
from weavemesh.config import AgentConfig
from weavemesh.error import UserError
from weavemesh.identity import Identity, verify
from weavemesh.overlay.mtu import PathMtus
from weavemesh.overlay.plan import unproven_mtu
from weavemesh.overlay.tunnel import Tunnel
from weavemesh.planning import dial_addresses
from weavemesh.transport.failure import Failure, LinkFailed

MESH_FILE, RING_FILE = "mesh", "ring"
"""In the state folder."""


async def open_mtus(kernel: Tunnel, *, device_mtu: int) -> PathMtus:
    """The machine for MTUs of paths, with what a former life found: the routes still hold it."""
    observed = None
    with suppress(UserError):  # a device that cannot be read is mended by the first plan
        observed = await kernel.observe()
    unproven = unproven_mtu(device_mtu)
    found = {
        route.destination: route.mtu or observed.mtu
        for route in (observed.routes if observed is not None else ())
        if observed is not None and route.kind == "device" and isinstance(route.destination, IPv4Network)
    }
    adopted = {network: octets for network, octets in found.items() if octets != unproven}
    return PathMtus(most=device_mtu, unproven=unproven, adopted=adopted, rng=random.Random())


def refuse_overlap(overlapping: tuple[str, ...], ipalloc_range: IPv4Network) -> None:
    """UserError if these routes of the host share addresses with the range."""
    if overlapping:
        raise UserError(
            f"the address range {ipalloc_range} overlaps this host's route {overlapping[0]}",
            remedy="choose a range that no host of the mesh uses, with --ipalloc-range, the same on all peers",
        )


def refuse_wrong_secret(
    targets: Collection[TargetView], failures: Mapping[Target, LinkFailed], fingerprint: str
) -> None:
    """UserError if a peer without a ring finds only meshes with another secret: it was given the wrong one."""
    last = [failures.get(target.target) for target in targets]
    if last and all(failure is not None and failure.code is Failure.WRONG_SECRET for failure in last):
        raise UserError(
            f"{', '.join(target.target for target in targets)} has another cluster secret than this host "
            f"(fingerprint {fingerprint})",
            remedy="copy the secret file from a host of the mesh to this one; "
            "`weavemesh secret fingerprint` shows whether two hosts have the same",
        )


def ready_sentence(identity: Identity, address: IPv4Address, *, others: int, datapath: str) -> str:
    """What is told when a start has come to its end."""
    peers = f"{others} other {'peer' if others == 1 else 'peers'}"
    return (
        f"ready: {identity.nickname} ({identity.name}) has {address} in the mesh with {peers}; "
        f"encrypted by WireGuard, {datapath}"
    )


def open_mesh(config: AgentConfig, identity: Identity, epoch: int, snapshot: bytes | None, now: float) -> Mesh:
    """The gossip core of this life; UserError if its snapshot cannot be read."""
    try:
        return Mesh(
            signer=identity,
            verify=verify,
            epoch=epoch,
            options=MeshOptions(dial_addresses=dial_addresses, discovery=config.discovery),
            rng=random.Random(),
            snapshot=snapshot,
            now=now,
        )
    except gossip.SnapshotCorrupt as error:
        raise UserError(
            f"the file {MESH_FILE} in the state folder cannot be used: {error}",
            remedy=f"remove {config.state_dir / MESH_FILE}; the other peers will tell its contents again",
        ) from error


def open_allocator(
    config: AgentConfig, identity: Identity, electorate: Electorate | None, snapshot: bytes | None, now: float
) -> Allocator:
    """The allocator of this peer; UserError if its snapshot cannot be used. With a ring there, nobody founds one."""
    try:
        return Allocator(
            owner=Owner(identity.name),
            universe=config.ipalloc_range,
            subnet=config.ipalloc_default_subnet,
            electorate=electorate,
            snapshot=snapshot,
            rng=random.SystemRandom(),
            now=now,
        )
    except ipam_crdt.UniverseMismatch as error:
        raise UserError(
            f"this peer's address ring divides {error.persisted}, but --ipalloc-range says {error.configured}",
            remedy=f"start it with --ipalloc-range {error.persisted}, or begin anew with `weavemesh reset`",
        ) from error
    except ipam_crdt.SnapshotForeign as error:
        raise UserError(
            f"{config.state_dir / RING_FILE} is of another peer, {error.belongs_to}, and this one is {identity.name}",
            remedy="put the files of one peer together again, or begin as a new peer with `weavemesh reset`",
        ) from error
    except ipam_crdt.SnapshotCorrupt as error:
        raise UserError(
            f"{config.state_dir / RING_FILE}: {error}",
            remedy="restore the file from a backup, or begin as a new peer with `weavemesh reset`",
        ) from error
