"""Golden cases of the overlay: a row of wishes, and what a kernel shows after each.

The fake kernel passes them in the unit tests, real ones (kernel and userspace WireGuard) in tests/kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from tests.unit.weavemesh.overlay.overlay_sample import endpoint, known, peer
from weavemesh.overlay.plan import PlanInput, plan
from weavemesh.overlay.state import DesiredState, PrivateKey

MOVED = endpoint(9)
OTHER_PRIVATE_KEY = PrivateKey(bytes([0x48] * 32))

KEY2, KEY3 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM="


@dataclass(frozen=True)
class Step:
    """One wish, the actions it takes and what is there afterwards."""

    known: Callable[[str], PlanInput]
    """Makes the wish's input for an interface name."""
    actions: tuple[str, ...]
    """Names of the actions, in order."""
    shown: str
    """What `render` gives, with IFACE for the interface."""

    def desired(self, interface: str) -> DesiredState:
        return plan(self.known(interface))


NEW_DEVICE = (
    "AddRoute",
    "AddRoute",
    "CreateDevice",
    "ConfigureDevice",
    "SetMtu",
    "AddAddress",
    "AddAddress",
    "BringUp",
)
FENCE = """\
  route 10.32.0.0/12 unreachable
  route fd00:77::a20:0/108 unreachable
"""
ALONE = (
    """\
interface IFACE up mtu 1400 port 6783 key set
  address 10.32.0.1/32
  address fd00:77::a20:1/128
"""
    + FENCE
)
TWO = (
    f"""\
interface IFACE up mtu 1400 port 6783 key set
  address 10.32.0.1/32
  address fd00:77::a20:1/128
  peer {KEY2} endpoint 192.0.2.2:6783 preshared set
    allowed 10.33.0.0/24
    allowed fd00:77::a21:0/120
  route 10.33.0.0/24 device src 10.32.0.1
  route fd00:77::a21:0/120 device src fd00:77::a20:1
"""
    + FENCE
)
THREE = (
    f"""\
interface IFACE up mtu 1400 port 6783 key set
  address 10.32.0.1/32
  address fd00:77::a20:1/128
  peer {KEY2} endpoint 192.0.2.2:6783 preshared set
    allowed 10.33.0.0/24
    allowed 10.34.0.0/24
    allowed fd00:77::a21:0/120
    allowed fd00:77::a22:0/120
  peer {KEY3} endpoint 192.0.2.3:6783 preshared set
  route 10.33.0.0/24 device src 10.32.0.1
  route 10.34.0.0/24 device src 10.32.0.1
  route fd00:77::a21:0/120 device src fd00:77::a20:1
  route fd00:77::a22:0/120 device src fd00:77::a20:1
"""
    + FENCE
)
AFTER_MOVE = (
    f"""\
interface IFACE up mtu 1400 port 6783 key set
  address 10.32.0.1/32
  address fd00:77::a20:1/128
  peer {KEY2} endpoint 192.0.2.2:6783 preshared set
    allowed 10.33.0.0/24
    allowed fd00:77::a21:0/120
  peer {KEY3} endpoint 192.0.2.3:6783 preshared set
    allowed 10.34.0.0/24
    allowed fd00:77::a22:0/120
  route 10.33.0.0/24 device src 10.32.0.1
  route 10.34.0.0/24 device src 10.32.0.1
  route fd00:77::a21:0/120 device src fd00:77::a20:1
  route fd00:77::a22:0/120 device src fd00:77::a20:1
"""
    + FENCE
)


def _wish(ranges: dict[int, str], *numbers: int, moved: bool = False) -> Callable[[str], PlanInput]:
    peers = tuple(peer(number, at=MOVED if moved else None) for number in numbers)
    return lambda interface: known(ranges, *peers, interface=interface, mtu=1400)


def _again(wish: Callable[[str], PlanInput], shown: str) -> Step:
    return Step(wish, (), shown)


_alone = _wish({})
_two = _wish({2: "10.33.0.0/24"}, 2)
_three = _wish({2: "10.33.0.0/24 10.34.0.0/24"}, 2, 3)
NARROW = TWO.replace("src 10.32.0.1", "src 10.32.0.1 mtu 1232").replace(
    "src fd00:77::a20:1", "src fd00:77::a20:1 mtu 1232"
)


def _narrow(interface: str) -> PlanInput:
    return replace(_two(interface), mtus={peer(2).name: 1232})


_after_move = _wish({2: "10.33.0.0/24", 3: "10.34.0.0/24"}, 2, 3)

CASES: dict[str, tuple[Step, ...]] = {
    "a host alone has a fence and a device": (Step(_alone, NEW_DEVICE, ALONE), _again(_alone, ALONE)),
    "a peer costs a peer": (
        Step(_alone, NEW_DEVICE, ALONE),
        Step(_two, ("SetPeer", "AddRoute", "AddRoute"), TWO),
        _again(_two, TWO),
        Step(_three, ("SetPeer", "SetPeer", "AddRoute", "AddRoute"), THREE),
        _again(_three, THREE),
    ),
    "a range moves to another peer by one change": (
        Step(_three, (*NEW_DEVICE, "SetPeer", "SetPeer", *["AddRoute"] * 4), THREE),
        Step(_after_move, ("SetPeer",), AFTER_MOVE),
        _again(_after_move, AFTER_MOVE),
    ),
    "ranges that nobody has any more are discarded after their routes": (
        Step(_three, (*NEW_DEVICE, "SetPeer", "SetPeer", *["AddRoute"] * 4), THREE),
        Step(_two, ("RemoveRoute", "RemoveRoute", "DiscardAllowedIps", "RemovePeer"), TWO),
        Step(_alone, ("RemoveRoute", "RemoveRoute", "RemovePeer"), ALONE),
        _again(_alone, ALONE),
    ),
    "a peer without a handshake is looked for elsewhere": (
        Step(_two, (*NEW_DEVICE, "SetPeer", "AddRoute", "AddRoute"), TWO),
        Step(
            _wish({2: "10.33.0.0/24"}, 2, moved=True),
            ("SetPeer",),
            TWO.replace("endpoint 192.0.2.2:6783", f"endpoint {MOVED.text()}"),
        ),
    ),
    "another own address takes the routes along": (
        Step(_two, (*NEW_DEVICE, "SetPeer", "AddRoute", "AddRoute"), TWO),
        Step(
            lambda interface: known(
                {2: "10.33.0.0/24"}, peer(2), interface=interface, address="10.32.0.7", mtu=1280, port=6784
            ),
            (
                *("ConfigureDevice", "SetMtu", "AddAddress", "AddAddress"),
                *("ReplaceRoute", "ReplaceRoute", "RemoveAddress", "RemoveAddress"),
            ),
            TWO.replace("10.32.0.1", "10.32.0.7")
            .replace("a20:1", "a20:7")
            .replace("mtu 1400 port 6783", "mtu 1280 port 6784"),
        ),
    ),
    "a path's MTU comes onto its routes and goes again": (
        Step(_two, (*NEW_DEVICE, "SetPeer", "AddRoute", "AddRoute"), TWO),
        Step(_narrow, ("ReplaceRoute", "ReplaceRoute"), NARROW),
        _again(_narrow, NARROW),
        Step(_two, ("ReplaceRoute", "ReplaceRoute"), TWO),
    ),
    "another key keeps the peers": (
        Step(_two, (*NEW_DEVICE, "SetPeer", "AddRoute", "AddRoute"), TWO),
        Step(
            lambda interface: known(
                {2: "10.33.0.0/24"}, peer(2), interface=interface, mtu=1400, private_key=OTHER_PRIVATE_KEY
            ),
            ("ConfigureDevice",),
            TWO,
        ),
    ),
}
