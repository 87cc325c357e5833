"""A laboratory of address translators: hosts behind NATs of every kind round one internet, in namespaces with nftables.

Theory of operation. `Internet` is one machine that forwards between all that hang on it. A public host has one leg in
it; a site is a router with one public address and hosts behind it, each on a wire of its own. What kind of NAT a
router is, its ruleset says (RFC 4787 has the words):

- mapping: the *cones* give one port of an inside host the same outside port towards everybody (endpoint-independent).
  Linux promises that to nobody, so the outside port is chosen here, a fixed one for each host, and never the same
  number as inside. `symmetric` gives a random port to every destination (address- and port-dependent).
- filtering: `full-cone` lets everybody in; `address-restricted` whom the host has sent to, from any port;
  `port-restricted` and `symmetric` only answers.
- hairpin: whether hosts behind one router reach each other at their outside addresses.

A packet that is not let in is dropped before the router remembers it: an entry of a stranger's try would take the port
that the mapping needs, which no home router lets happen.

What it is not: a model. All packets are real, translated by the kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from deploy.demo.lab import Lab, Machine

NatKind = Literal["none", "full-cone", "address-restricted", "port-restricted", "symmetric"]
KINDS: tuple[NatKind, ...] = get_args(NatKind)

PORT = 6783
"""The inside port whose mapping is promised: that of the tunnels."""
_OUTSIDE_PORT = 20000
"""The n-th host behind a router is seen at this port plus n."""


def is_direct_possible(one: NatKind, other: NatKind) -> bool:
    """Whether theory lets two hosts behind such routers talk without a relay.

    Both ends must be able to foretell where the other's packets will come from, or let in what comes from anywhere:
    a random port cannot be foretold, and whoever lets in only answers needs to foretell it.

    >>> is_direct_possible("symmetric", "address-restricted"), is_direct_possible("symmetric", "port-restricted")
    (True, False)
    """
    kinds = {one, other}
    return "symmetric" not in kinds or bool(kinds & {"none", "full-cone", "address-restricted"})


@dataclass
class Site:
    """A router with one public address and the hosts behind it."""

    router: Machine
    address: str
    """Public, or behind the next router."""
    kind: NatKind
    hairpin: bool
    lan: str
    """First two numbers of the addresses inside."""
    hosts: list[Machine] = field(default_factory=list)

    def outside_port(self, host: Machine) -> int:
        """Where PORT of a host behind a cone is seen from outside."""
        return _OUTSIDE_PORT + self.hosts.index(host)

    def inside_address(self, host: Machine) -> str:
        return f"{self.lan}.{self.hosts.index(host)}.2"


class Internet:
    """Machines round one router that forwards between all of them; made in a `Lab`, which takes it down again."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.core = lab.machine("internet", forwarding=True)
        self._legs = 0
        self._lans = 0
        self._addresses: dict[str, str] = {}
        self._leg_names: dict[str, str] = {}
        self.core.run("nft", "-f", "-", stdin=_CORE)

    def public(self, name: str) -> Machine:
        """A host with an address of the internet."""
        machine = self._lab.machine(name)
        self.attach(machine)
        return machine

    def address(self, machine: Machine) -> str:
        """The address of a public host or a router."""
        return self._addresses[machine.name]

    def leg(self, machine: Machine) -> str:
        """The interface of `core` that leads to a public host or a router."""
        return self._leg_names[machine.name]

    def site(self, name: str, kind: NatKind, *, hairpin: bool = False, behind: Site | None = None) -> Site:
        """A router of this kind without hosts; `behind` another one, it is a double NAT."""
        router = self._lab.machine(name, forwarding=True)
        self._lans += 1
        lan = f"10.{100 + self._lans}"
        if behind is None:
            address = self.attach(router)
        else:
            address = self.plug_in(behind, router)
        site = Site(router, address, kind, hairpin, lan)
        self._configure(site)
        return site

    def host(self, name: str, site: Site) -> Machine:
        """One more host behind a router."""
        machine = self._lab.machine(name)
        self.plug_in(site, machine)
        return machine

    def behind(self, name: str, kind: NatKind) -> Machine:
        """A host alone behind a router of its own; a public one for the kind `none`."""
        return self.public(name) if kind == "none" else self.host(name, self.site(f"nat-{name}", kind))

    def renumber(self, machine: Machine) -> str:
        """Give a public host another address in the place of the one it has."""
        machine.ip("link", "delete", "wan")
        return self.attach(machine)

    def block(self, source: str, destination: str, *, protocol: str = "udp") -> None:
        """Lose everything of this protocol from one address to another, in this direction."""
        self._rule("blocked", f"{protocol} . {source} . {destination}")

    def unblock(self, source: str, destination: str, *, protocol: str = "udp") -> None:
        """Undo `block`."""
        self._rule("blocked", f"{protocol} . {source} . {destination}", verb="delete")

    def enlarge(self, machine: Machine, octets: int) -> None:
        """Let the leg of a public host carry larger frames; before its agent starts."""
        machine.ip("link", "set", "wan", "mtu", str(octets))
        self.core.ip("link", "set", self._leg_names[machine.name], "mtu", str(octets))

    def narrow(self, machine: Machine, octets: int) -> None:
        """What goes to a public host or a router passes in packets of so many octets: larger ones are fragmented or,
        where they may not be, dropped without a word.
        """
        leg = self._leg_names[machine.name]
        self.core.ip("route", "replace", f"{self.address(machine)}/32", "dev", leg, "mtu", "lock", str(octets))

    def lose_fragments(self, machine: Machine) -> None:
        """Drop fragments before the host, as many firewalls do."""
        machine.run("nft", "-f", "-", stdin=_NO_FRAGMENTS)

    def widen(self, machine: Machine) -> None:
        """Undo `narrow`."""
        self.core.ip("route", "delete", f"{self.address(machine)}/32")

    def lock_in(self, address: str, *, but: Sequence[str]) -> None:
        """Lose all UDP of this address, in both directions, but with these others."""
        self.core.run("nft", f"add element ip wm_lab locked {{ {address} }}")
        for other in but:
            self._rule("friends", f"{address} . {other}")
            self._rule("friends", f"{other} . {address}")

    def _rule(self, name: str, element: str, *, verb: str = "add") -> None:
        self.core.run("nft", f"{verb} element ip wm_lab {name} {{ {element} }}")

    def attach(self, machine: Machine) -> str:
        """Give a machine a leg in the internet; its address."""
        number = self._legs
        self._legs += 1
        base = f"198.51.{100 + number // 64}"
        near, far = f"{base}.{number % 64 * 4 + 1}", f"{base}.{number % 64 * 4 + 2}"
        self._lab.wire(machine, f"wan={far}/30", self.core, f"leg{number}={near}/30")
        machine.ip("route", "add", "default", "via", near)
        self._addresses[machine.name] = far
        self._leg_names[machine.name] = f"leg{number}"
        return far

    def plug_in(self, site: Site, machine: Machine) -> str:
        """Put a machine behind a router; its address there."""
        number = len(site.hosts)
        near, far = f"{site.lan}.{number}.1", f"{site.lan}.{number}.2"
        self._lab.wire(machine, f"wan={far}/24", site.router, f"lan{number}={near}/24")
        machine.ip("route", "add", "default", "via", near)
        site.hosts.append(machine)
        self._configure(site)
        return far

    def _configure(self, site: Site) -> None:
        site.router.run("nft", "-f", "-", stdin=_router_rules(site))


_CORE = """
table ip wm_lab {
  set blocked { type inet_proto . ipv4_addr . ipv4_addr; }
  set locked { type ipv4_addr; }
  set friends { type ipv4_addr . ipv4_addr; }
  chain forward {
    type filter hook forward priority filter;
    meta l4proto . ip saddr . ip daddr @blocked drop
    meta l4proto udp ip saddr . ip daddr @friends accept
    meta l4proto udp ip saddr @locked drop
    meta l4proto udp ip daddr @locked drop
  }
  chain output {
    type filter hook output priority filter;
    icmp type destination-unreachable icmp code 4 drop
  }
}
"""


_NO_FRAGMENTS = """
table ip wm_fragments {
  chain prerouting { type filter hook prerouting priority -450; ip frag-off & 0x3fff != 0 drop; }
}
"""


def _router_rules(site: Site) -> str:
    """The whole ruleset; what was learned of flows before is forgotten."""
    mapped = [(site.inside_address(host), site.outside_port(host)) for host in site.hosts]
    outward = ", ".join(f"{inside} . {PORT} : {site.address} . {port}" for inside, port in mapped)
    inward = ", ".join(f"{port} : {inside} . {PORT}" for inside, port in mapped)
    is_cone = site.kind != "symmetric" and bool(mapped)
    let_in = {
        "full-cone": 'iif "wan" dnat ip to udp dport map @inward',
        "address-restricted": 'iif "wan" ip saddr . udp dport @spoken_to dnat ip to udp dport map @inward',
    }.get(site.kind, "")
    turn_round = f'iifname "lan*" ip daddr {site.address} dnat ip to udp dport map @inward' if site.hairpin else ""
    return f"""
table ip wm_nat
delete table ip wm_nat
table ip wm_nat {{
  map outward {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; {_elements(outward)} }}
  map inward {{ type inet_service : ipv4_addr . inet_service; {_elements(inward)} }}
  set spoken_to {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
  chain pre {{
    type nat hook prerouting priority dstnat;
    {let_in if is_cone else ""}
    {turn_round if is_cone else ""}
  }}
  chain post {{
    type nat hook postrouting priority srcnat;
    {'oif "wan" snat ip to ip saddr . udp sport map @outward' if is_cone else ""}
    {'oifname "lan*" ct status dnat snat ip to ip saddr . udp sport map @outward' if is_cone else ""}
    oif "wan" masquerade {"random,fully-random" if site.kind == "symmetric" else ""}
  }}
  chain remember {{
    type filter hook postrouting priority srcnat + 10;
    oif "wan" meta l4proto udp update @spoken_to {{ ip daddr . udp sport }}
  }}
  chain input {{ type filter hook input priority filter; iif "wan" meta l4proto udp drop; }}
  chain forward {{
    type filter hook forward priority filter;
    ct status dnat accept
    iif "wan" ct state new drop
  }}
}}
"""


def _elements(text: str) -> str:
    return f"elements = {{ {text} }};" if text else ""
