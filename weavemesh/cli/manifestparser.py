"""The words of `weavemesh manifest`; what it does is in `weavemesh.cli.manifest`."""

from weavemesh.cli.podparser import Add, Commands


def add_manifest(commands: Commands, add: Add) -> None:
    """The command and its options."""
    manifest = add(
        commands,
        "manifest",
        "manifest:manifest",
        "print what Kubernetes needs to run weavemesh on all nodes of a cluster, as YAML",
        example="weavemesh manifest --ipalloc-range 10.64.0.0/12 >weavemesh.yaml",
        more="Options that are not listed can be given to the agents as variables, in the YAML.",
    )
    manifest.add_argument(
        "--encryption-secret",
        metavar="FILE",
        help="put the cluster secret from this file in, too (-: from standard input); keep what is printed safe then",
    )
    manifest.add_argument(
        "--force-weak-secret", action="store_true", default=None, help="take a secret that can be guessed"
    )
    manifest.add_argument("--namespace", default="weavemesh", help="for all objects (weavemesh)")
    manifest.add_argument("--image", help="the image of the containers, as your registry names it")
    agents = manifest.add_argument_group("the agents, as for `weavemesh up`")
    agents.add_argument("--ipalloc-range", metavar="CIDR", help="addresses for pods (10.32.0.0/12)")
    agents.add_argument("--ipalloc-default-subnet", metavar="CIDR", help="the part of it that pods' are taken from")
    agents.add_argument("--port", help="TCP for control links and UDP for WireGuard (6783)")
    agents.add_argument("--mtu", help="the most for each path (auto)")
    agents.add_argument("--rotate-key-every", metavar="TIME", help="a new WireGuard key so often (never)")
    agents.add_argument("--metrics-addr", metavar="ADDRESS:PORT", help="for Prometheus (0.0.0.0:6782; none: not)")
    agents.add_argument("--log-level", help="debug, info (default), warning or error")
    agents.add_argument("--no-masquerade", action="store_true", default=None, help="pods' packets leave as they are")
    agents.add_argument("--no-relay", action="store_true", default=None, help="no node forwards for others")
