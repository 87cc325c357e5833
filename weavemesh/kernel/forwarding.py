"""Has this kernel forward encrypted packets between pairs of peers that do not reach each other: a stateless relay.

Theory of operation. A packet at one of our relay ports, from exactly where one end of a pair was seen to knock, gets a
mark that stands for that end. By the mark its destination becomes the other end's place and, after routing, its source
the address and port of ours that the other end knows. (The source not before: with an own address as source the kernel
drops what comes from outside.) No connection is tracked, nothing is decrypted, no packet comes up to a process. Knocks
are not forwarded; they are for the agent. Whatever else comes to these ports finds nobody there.

The rules are always the same; pairs are elements of maps, so that one more pair is some more elements, and what the
kernel forwards goes on when the agent ends. Which pairs there are `weavemesh.overlay.relay` decides.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from gossip import PeerName
from weavemesh.kernel import nftables
from weavemesh.kernel.nftables import NftablesError
from weavemesh.kernel.sysctl import PROC_SYS
from weavemesh.overlay.knock import MAGIC
from weavemesh.overlay.relay import End, Forwarding

TABLE: Final = "weavemesh-relay"
RELAY_PORTS: Final = range(26783, 26911)
"""UDP. Below the ports that systems give to clients by themselves."""

REBOUND_S: Final = 6.0
"""Ends of pairs in use bind every 5 s."""

_MARK: Final = 0x67000000
"""Ours are this and a number; kube-proxy's bits 0x4000 and 0x8000 stay clear."""
_MARK_MASK: Final = 0xFFFF0000
_SLOTS: Final = range(1, 0x4000)
_RESERVED: Final = PROC_SYS / "net/ipv4/ip_local_reserved_ports"


class _Slot(Struct, frozen=True):
    """One direction of a pair: what comes from `end` goes to `other`."""

    mark: int
    end: End
    other: End


class Traffic(Struct, frozen=True):
    """What was forwarded for a pair, both directions together, since both were bound."""

    packets: int
    octets: int


class KernelRelay:
    """The table of this namespace. Every method raises NftablesError where the kernel or the program refuses."""

    def __init__(self) -> None:
        self._slots: dict[tuple[PeerName, PeerName], _Slot] = {}
        """By from whom and to whom."""
        self._free = iter(_SLOTS)
        self._returned: list[int] = []
        self._is_there = False
        self._is_stale = False
        """An earlier life's table is still there."""
        self._applying = asyncio.Lock()

    async def adopt(self) -> None:
        """Where an earlier life's table still forwards, return only when its pairs have had time to bind again: the
        first `forward` replaces it."""
        with suppress(NftablesError):
            if nftables.is_installed() and await nftables.read("inet", TABLE) is not None:
                self._is_stale = True
                await asyncio.sleep(REBOUND_S)

    async def forward(self, pairs: Sequence[Forwarding]) -> None:
        """Forward exactly these from now on. The same again does nothing."""
        async with self._applying:
            wanted = dict(_directions(pairs))
            gone = {key for key, slot in self._slots.items() if wanted.get(key) != (slot.end, slot.other)}
            new = [key for key in wanted if key not in self._slots or key in gone]
            if not gone and not new and not self._is_stale:
                return
            lines: list[str] = []
            if not self._is_there:
                _reserve_ports()
                table = nftables.Table("inet", TABLE, _BODY)
                lines.append(table.text())
            for key in gone:
                slot = self._slots[key]
                lines += _elements("delete", slot)
            after = {key: slot for key, slot in self._slots.items() if key not in gone}
            for key in new:
                before = self._slots.get(key)
                after[key] = _Slot(self._mark() if before is None else before.mark, *wanted[key])
                lines += _elements("add", after[key])
            await nftables.run("\n".join(lines))
            self._is_there, self._is_stale = True, False
            self._returned += [self._slots[key].mark for key in gone if key not in after]
            self._slots = after

    async def traffic(self) -> Mapping[tuple[PeerName, PeerName], Traffic]:
        """What was forwarded, by pair (the smaller name first)."""
        if not self._is_there:
            return {}
        counted = _counters(await nftables.list_set("inet", TABLE, "traffic"))
        totals: dict[tuple[PeerName, PeerName], Traffic] = {}
        for (one, other), slot in self._slots.items():
            pair = (min(one, other), max(one, other))
            before, now = totals.get(pair, Traffic(0, 0)), counted.get(slot.mark, Traffic(0, 0))
            totals[pair] = Traffic(before.packets + now.packets, before.octets + now.octets)
        return totals

    def _mark(self) -> int:
        return self._returned.pop() if self._returned else _MARK | next(self._free)


def _directions(pairs: Iterable[Forwarding]) -> Iterator[tuple[tuple[PeerName, PeerName], tuple[End, End]]]:
    for pair in pairs:
        yield (pair.one_name, pair.other_name), (pair.one, pair.other)
        yield (pair.other_name, pair.one_name), (pair.other, pair.one)


def _elements(verb: str, slot: _Slot) -> Iterator[str]:
    version = slot.end.source.address.version
    end, other, mark = slot.end, slot.other, f"0x{slot.mark:08x}"
    values = {
        f"from{version}": f"{end.source.address} . {end.source.port} . {end.local.port}: {mark}",
        f"to{version}": f"{mark}: {other.source.address}",
        f"as{version}": f"{mark}: {other.local.address}",
        "to_port": f"{mark}: {other.source.port}",
        "as_port": f"{mark}: {other.local.port}",
    }
    for name, element in values.items():
        key = element.rpartition(": ")[0] if verb == "delete" else element
        yield f"{verb} element inet {TABLE} {name} {{ {key} }}"


def _counters(listing: str) -> dict[int, Traffic]:
    found: dict[int, Traffic] = {}
    for entry in msgspec.json.decode(listing)["nftables"]:
        for element in entry.get("set", {}).get("elem", ()):
            counter = element["elem"]["counter"]
            found[int(element["elem"]["val"])] = Traffic(counter["packets"], counter["bytes"])
    return found


def _reserve_ports() -> None:
    """Keep the system from giving these ports to clients. Where it may not be set, one of 128 ports may collide."""
    try:
        held = _RESERVED.read_text(encoding="ascii").strip()
        wanted = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
        if wanted not in held.split(","):
            _RESERVED.write_text(",".join(filter(None, (held, wanted))), encoding="ascii")
    except OSError:
        return


def _rules(version: int) -> tuple[str, str]:
    word = "ip" if version == 4 else "ip6"
    family = "ipv4" if version == 4 else "ipv6"
    pre = f"meta nfproto {family} meta mark set {word} saddr . udp sport . udp dport map @from{version}"
    turned = f"meta nfproto {family} {word} daddr set meta mark map @to{version}"
    return pre, turned


_PORTS: Final = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
_OURS: Final = f"meta mark & 0x{_MARK_MASK:08x} == 0x{_MARK:08x}"
_BODY: Final = f"""
  map from4 {{ type ipv4_addr . inet_service . inet_service : mark; }}
  map from6 {{ type ipv6_addr . inet_service . inet_service : mark; }}
  map to4 {{ type mark : ipv4_addr; }}
  map to6 {{ type mark : ipv6_addr; }}
  map to_port {{ type mark : inet_service; }}
  map as4 {{ type mark : ipv4_addr; }}
  map as6 {{ type mark : ipv6_addr; }}
  map as_port {{ type mark : inet_service; }}
  set traffic {{ type mark; size {len(_SLOTS)}; flags dynamic; counter; }}
  chain turn {{
    update @traffic {{ meta mark }}
    notrack
    {_rules(4)[1]}
    {_rules(6)[1]}
    udp dport set meta mark map @to_port
    accept
  }}
  chain pre {{
    type filter hook prerouting priority raw - 10;
    udp dport {_PORTS} @th,64,32 0x{MAGIC.hex()} notrack accept
    udp dport {_PORTS} meta mark set 0
    udp dport {_PORTS} {_rules(4)[0]}
    udp dport {_PORTS} {_rules(6)[0]}
    udp dport {_PORTS} {_OURS} goto turn
  }}
  chain answers {{ type filter hook output priority raw - 10; udp sport {_PORTS} notrack; }}
  chain post {{
    type filter hook postrouting priority srcnat + 10;
    {_OURS} meta l4proto udp udp sport set meta mark map @as_port
    {_OURS} meta nfproto ipv4 meta l4proto udp ip saddr set meta mark map @as4
    {_OURS} meta nfproto ipv6 meta l4proto udp ip6 saddr set meta mark map @as6
  }}
"""

__all__ = ["RELAY_PORTS", "TABLE", "KernelRelay", "NftablesError", "Traffic"]
