"""The variables of Weave Net's DaemonSet: what they become here, or what replaces them. Pure.

For clusters that come from Weave Net with its manifest's variables: what has the same meaning is taken over, and of all
else one is told. The caller is `weavemesh kubernetes agent`. Our own variables always win.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from weavemesh.option import variable

IGNORED: Final = {
    "CHECKPOINT_DISABLE": "nothing here asks for news of releases",
    "CONN_LIMIT": "there is no limit to set: each peer keeps some log2 N control links, and a tunnel to every other",
    "DB_PREFIX": "the state is in /var/lib/weavemesh (WEAVEMESH_STATE_DIR)",
    "EXPECT_NPC": "there is no network policy controller to wait for; network policies are not enforced yet",
    "EXTRA_ARGS": "give options as variables: --mtu as WEAVEMESH_MTU (`weavemesh up --help` has all)",
    "HAIRPIN_MODE": "there is no bridge: a pod reaches itself through a service without it",
    "IPTABLES_BACKEND": "the rules are a table of our own in nftables, whatever others use",
    "WEAVE_EXPOSE_IP": "each node has an address in the mesh of its own; `weavemesh expose ADDRESS` gives one more",
    "WEAVE_HTTP_ADDR": "the local API is a unix socket in /run/weavemesh, not a port",
    "WEAVE_NO_FASTDP": "there is one data path, WireGuard: the kernel's, or wireguard-go where the kernel has none",
}
"""What has no counterpart, and why or what does it instead."""

_SAME: Final = {"IPALLOC_RANGE": "ipalloc_range", "WEAVE_MTU": "mtu", "WEAVE_METRICS_ADDR": "metrics_addr"}
_PORTLESS: Final = re.compile(r":(\d+)")
_WEAVE_NETS: Final = frozenset(
    (*IGNORED, *_SAME, "WEAVE_PASSWORD", "KUBE_PEERS", "IPALLOC_INIT", "NO_MASQ_LOCAL", "WEAVE_STATUS_ADDR")
)


class _Translation(Struct):
    """What has been found so far."""

    environment: Mapping[str, str]
    variables: dict[str, str]
    sentences: list[str]

    def take(self, name: str, option: str, value: str) -> None:
        """Let a variable become an option, unless that is given."""
        ours = variable(option)
        if not self.environment.get(ours, "").strip():
            self.variables[ours] = value
            self.say(name, f"taken over as {ours}={value}")
        elif self.environment[ours].strip() != value:
            self.say(name, f"ignored, because {ours} says something else")

    def say(self, name: str, what: str) -> None:
        """A sentence about one variable."""
        self.sentences.append(f"{name} (of Weave Net): {what}")


def translate(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """(variables, sentences): variables of ours that Weave Net's mean, to be added to the environment; and a sentence
    for each of Weave Net's that is set, which says what became of it.

    An empty variable is not set. One of ours that is set is never among the variables: it wins. Values are not checked;
    that is done where options are. The value of WEAVE_PASSWORD is in nothing that is returned.

    >>> translate({"WEAVE_MTU": "1376"})
    ({'WEAVEMESH_MTU': '1376'}, ('WEAVE_MTU (of Weave Net): taken over as WEAVEMESH_MTU=1376',))
    """
    found = _Translation(environment, {}, [])
    for name in sorted(_WEAVE_NETS):
        value = environment.get(name, "").strip()
        if value:
            _translate(found, name, value)
    return found.variables, tuple(found.sentences)


def _translate(found: _Translation, name: str, value: str) -> None:
    if name in IGNORED:
        found.say(name, f"ignored: {IGNORED[name]}")
    elif name in _SAME:
        # Weave Net took ":6782" for all addresses.
        found.take(name, _SAME[name], f"0.0.0.0{value}" if _PORTLESS.fullmatch(value) else value)
    elif name == "KUBE_PEERS":
        found.take(name, "targets", " ".join(value.split()))
    elif name == "NO_MASQ_LOCAL":
        _source_addresses(found, name, value)
    elif name == "IPALLOC_INIT":
        _founding(found, name, value)
    elif name == "WEAVE_STATUS_ADDR":
        found.say(
            name,
            "ignored: `weavemesh status` and `weavemesh kubernetes ready` tell the status; metrics, which Weave Net "
            f"serves there, are at {variable('metrics_addr')}",
        )
    else:
        found.say(
            name,
            "ignored: the cluster secret is the file of the Secret `weavemesh`, since variables of a process are shown "
            "to whoever may look at it; a password of 16 characters and more that cannot be guessed may be put there",
        )


def _source_addresses(found: _Translation, name: str, value: str) -> None:
    if value == "0":
        found.say(name, "ignored: pods always see the real addresses of those who reach them")
    else:
        found.say(name, "is always so: pods see the real addresses of those who reach them")


def _founding(found: _Translation, name: str, value: str) -> None:
    if value == "observer":
        found.take(name, "observer", "yes")
    else:
        found.say(name, "ignored: the nodes agree through the API server on who founds the address ring")
