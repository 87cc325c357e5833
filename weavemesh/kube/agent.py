"""The agent of a node of Kubernetes: the same agent as everywhere, started by what the cluster says, with a companion.

In the order in which it matters: the CNI executables first, since whoever runs may be asked to delete a pod; then the
part in founding the ring; then the agent; and when that is ready, the CNI configuration, since from then on pods come.
"""

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from weavemesh.api.client import ApiClient
from weavemesh.api.message import SOCKET_NAME
from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.foreground import RunAgent, run_in_foreground
from weavemesh.identity import Identity
from weavemesh.kube.cluster import Cluster, ClusterError
from weavemesh.kube.companion import Again, Companion, Place
from weavemesh.kube.decision import place, targets
from weavemesh.kube.founding import Succession, part_of
from weavemesh.kube.memory import Memory, recall
from weavemesh.kube.node import Node
from weavemesh.option import Options
from weavemesh.secret import ClusterSecret
from weavemesh.store import StateFolder

NODE: Final = "WEAVEMESH_NODE_NAME"
NAMESPACE: Final = "WEAVEMESH_POD_NAMESPACE"


class Installer(Struct, frozen=True):
    """Puts the CNI plugin where the runtime looks."""

    executables: Callable[[], None]
    configuration: Callable[[], None]


class Folders(Struct, frozen=True):
    """Of the agent, both absolute."""

    state: Path
    run: Path


def run_on_node(
    options: Options,
    folders: Folders,
    *,
    environment: MutableMapping[str, str],
    installer: Installer,
    run_agent: RunAgent,
    connect: Callable[[], Cluster] = Cluster.of_this_pod,
    say: Callable[[str], None],
) -> Again | None:
    """Run until told to stop (None), or until the agent must begin anew: because others have removed it (`removed`, its
    state is worthless then), or because it is to found the ring now (`founds`). UserError if it cannot start."""
    node, namespace = _required(environment, NODE), _required(environment, NAMESPACE)
    config = check(options, state_dir=folders.state, run_dir=folders.run, environment=environment)
    ClusterSecret.load(config.secret_file, environment=dict(environment), force=config.force_weak_secret)
    installer.executables()
    with StateFolder.open(folders.state) as folder:
        peer = Identity.load_or_create(folder.path, nickname=node).name
        memory = recall(folder)
    founds, succession = False, None
    if memory is None:
        memory, founds, succession = _arrive(config, connect, peer=peer, node=node, namespace=namespace, say=say)
    known = memory
    companion = Companion(
        Place(node=node, namespace=namespace, cluster=known.cluster, founder=known.founder, given=config.targets),
        open_cluster=connect,
        agent=ApiClient(folders.run / SOCKET_NAME),
        succession=succession,
        ready=installer.configuration,
        keep=lambda nodes: _known(known.cluster, known.founder, node, nodes).keep(folders.state),
    )
    options = _joined(options, known, node=node, founds=founds)
    config = check(options, state_dir=folders.state, run_dir=folders.run, environment=environment)
    companion.start()
    run_in_foreground(
        replace(config, node=place(known.cluster, node)), options, run_agent, environment=environment, say=say
    )
    return companion.again


def _arrive(
    config: AgentConfig,
    connect: Callable[[], Cluster],
    *,
    peer: str,
    node: str,
    namespace: str,
    say: Callable[[str], None],
) -> tuple[Memory, bool, Succession | None]:
    """What the API server tells a peer that has no ring: the cluster, whether it founds, and how to watch who does."""
    try:
        cluster = connect()
    except ClusterError as error:
        raise UserError(
            f"the API server cannot be found: {error}", remedy="run this as a pod of the DaemonSet"
        ) from error
    part = part_of(cluster, peer=peer, node=node, namespace=namespace, observer=config.observer, say=say)
    founds = part.charter.founder == peer
    say(f"the ring of this cluster is founded by the peer {part.charter.founder} on the node {part.charter.node}")
    succession = None
    if not (founds or config.observer):
        succession = Succession(part.charter, peer=peer, node=node, namespace=namespace)
    return _known(part.charter.cluster, part.charter.node, node, part.nodes), founds, succession


def _known(cluster: str, founder: str, node: str, nodes: tuple[Node, ...]) -> Memory:
    return Memory(
        cluster=cluster,
        founder=founder,
        targets=targets(node, nodes, founder=founder),
        advertised=next((one.advertised() for one in nodes if one.name == node), ()),
    )


def _joined(options: Options, memory: Memory, *, node: str, founds: bool) -> Options:
    """The options of this start: what the user gave, and what the cluster says where the user says nothing."""
    return replace(
        options,
        targets=tuple(dict.fromkeys((*(options.targets or ()), *memory.targets))) or None,
        advertise=options.advertise or memory.advertised or None,
        nickname=options.nickname or node,
        initial_peers="1" if founds else None,
        observer=not founds,
    )


def _required(environment: MutableMapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise UserError(
            f"the variable {name} is missing",
            remedy="run this by the DaemonSet (`weavemesh manifest`); elsewhere the command is `weavemesh up`",
            exit_status=2,
        )
    return value
