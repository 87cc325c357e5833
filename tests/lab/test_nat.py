"""Each kind of NAT in the laboratory is what its name says: its mapping, its filtering, its ports, its hairpins.

With plain UDP sockets; no agent is involved. WEAVEMESH_NAT_MATRIX=all tries all pairs of kinds.
"""

import json
import os
import sys
from collections.abc import Iterator

import pytest

from deploy.demo.lab import Lab, Machine
from tests.kernel.tunnel_lab import root_missing
from tests.lab.nat import KINDS, PORT, Internet, NatKind, Site, is_direct_possible

CONES: tuple[NatKind, ...] = ("full-cone", "address-restricted", "port-restricted")

_TALK = """
import json, socket, sys
sent_to, expected, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", int(sys.argv[4])))
one.settimeout(seconds)
for address, port in sent_to:
    one.sendto(b"hello", (address, port))
print("ready", flush=True)
heard = []
try:
    while len(heard) < expected:
        heard.append(one.recvfrom(100)[1])
except TimeoutError:
    pass
print(json.dumps(heard))
"""


class Speech:
    """A UDP socket on a machine that says hello to some and then listens until it has heard enough, or for a while."""

    def __init__(
        self, machine: Machine, to: list[tuple[str, int]], *, hear: int, port: int = PORT, seconds: float = 5
    ) -> None:
        arguments = (json.dumps(to), str(hear), str(seconds), str(port))
        self._process = machine.start(sys.executable, "-I", "-c", _TALK, *arguments, stdout=-1)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == "ready\n"

    def heard(self) -> list[tuple[str, int]]:
        with self._output:
            output = self._output.read()  # ends: the program listens for a while only
        self._process.wait()
        return [(address, port) for address, port in json.loads(output)]


@pytest.fixture
def internet() -> Iterator[Internet]:
    if reason := root_missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield Internet(lab)


def seen_by(listener: Machine, speaker: Machine, address: str, *, port: int) -> tuple[str, int]:
    """Where packets of the speaker's PORT come from, as the listener sees them at this port of its own."""
    ear = Speech(listener, [], hear=1, port=port)
    Speech(speaker, [(address, port)], hear=0).heard()
    (source,) = ear.heard()
    return source


def is_let_in(speaker: Machine, listener: Machine, at: tuple[str, int], *, port: int) -> bool:
    """Whether a hello from this port of the speaker reaches the listener's PORT at its outside address."""
    ear = Speech(listener, [], hear=1, seconds=1)
    Speech(speaker, [at], hear=0, port=port).heard()
    return bool(ear.heard())


@pytest.mark.parametrize("kind", CONES)
def test_a_cone_gives_one_port_towards_everybody(internet: Internet, kind: NatKind) -> None:
    first, second = internet.public("first"), internet.public("second")
    site = internet.site("nat", kind)
    host = internet.host("host", site)
    expected = (site.address, site.outside_port(host))
    assert expected[1] != PORT
    for listener, port in ((first, 7000), (first, 7001), (second, 7000)):
        assert seen_by(listener, host, internet.address(listener), port=port) == expected


def test_a_symmetric_one_gives_each_destination_another_port(internet: Internet) -> None:
    first, second = internet.public("first"), internet.public("second")
    host = internet.behind("host", "symmetric")
    seen = {
        seen_by(listener, host, internet.address(listener), port=port)
        for listener, port in ((first, 7000), (first, 7001), (second, 7000))
    }
    assert len({address for address, _ in seen}) == 1
    assert len({port for _, port in seen}) == 3
    # The same destination sees the same port again.
    again = seen_by(first, host, internet.address(first), port=7000)
    assert again in seen


LET_IN: dict[NatKind, tuple[bool, bool, bool]] = {
    "full-cone": (True, True, True),
    "address-restricted": (False, True, True),
    "port-restricted": (False, False, True),
    "symmetric": (False, False, True),
}
"""By kind: a stranger; who was spoken to, from another port; who was spoken to."""


@pytest.mark.parametrize("kind", LET_IN)
def test_who_is_let_in(internet: Internet, kind: NatKind) -> None:
    friend, stranger = internet.public("friend"), internet.public("stranger")
    host = internet.behind("host", kind)
    at = seen_by(friend, host, internet.address(friend), port=7000)
    let_in = (
        is_let_in(stranger, host, at, port=7000),
        is_let_in(friend, host, at, port=7001),
        is_let_in(friend, host, at, port=7000),
    )
    assert let_in == LET_IN[kind]


def test_a_strangers_try_does_not_spoil_the_mapping(internet: Internet) -> None:
    friend = internet.public("friend")
    site = internet.site("nat", "port-restricted")
    host = internet.host("host", site)
    at = (site.address, site.outside_port(host))
    assert not is_let_in(friend, host, at, port=7000)
    assert seen_by(friend, host, internet.address(friend), port=7000) == at


def test_a_double_nat_shows_the_outer_address_and_lets_only_answers_in(internet: Internet) -> None:
    friend = internet.public("friend")
    outer = internet.site("outer", "port-restricted")
    inner = internet.site("inner", "port-restricted", behind=outer)
    host = internet.host("host", inner)
    at = seen_by(friend, host, internet.address(friend), port=7000)
    assert at[0] == outer.address
    assert is_let_in(friend, host, at, port=7000)
    assert not is_let_in(friend, host, at, port=7001)


@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpin(internet: Internet, hairpin: bool) -> None:  # noqa: FBT001 - a parameter of the test
    site = internet.site("nat", "full-cone", hairpin=hairpin)
    one, other = internet.host("one", site), internet.host("other", site)
    at = (site.address, site.outside_port(other))
    ear = Speech(other, [], hear=1, seconds=2)
    Speech(one, [at], hear=0).heard()
    assert ear.heard() == ([(site.address, site.outside_port(one))] if hairpin else [])


def test_hosts_behind_one_nat_reach_each_other_inside(internet: Internet) -> None:
    site = internet.site("nat", "symmetric")
    one, other = internet.host("one", site), internet.host("other", site)
    source = seen_by(other, one, site.inside_address(other), port=7000)
    assert source == (site.inside_address(one), PORT)


def test_blocked_in_one_direction(internet: Internet) -> None:
    one, other = internet.public("one"), internet.public("other")
    a, b = internet.address(one), internet.address(other)
    internet.block(a, b)
    assert not is_let_in(one, other, (b, PORT), port=7000)
    assert is_let_in(other, one, (a, PORT), port=7000)
    internet.unblock(a, b)
    assert is_let_in(one, other, (b, PORT), port=7000)


def test_locked_in_but_for_one(internet: Internet) -> None:
    prisoner, friend, stranger = (internet.public(name) for name in ("prisoner", "friend", "stranger"))
    internet.lock_in(internet.address(prisoner), but=[internet.address(friend)])
    assert is_let_in(prisoner, friend, (internet.address(friend), PORT), port=7000)
    assert is_let_in(friend, prisoner, (internet.address(prisoner), PORT), port=7000)
    assert not is_let_in(prisoner, stranger, (internet.address(stranger), PORT), port=7000)
    assert not is_let_in(stranger, prisoner, (internet.address(prisoner), PORT), port=7000)


ALL = [(one, other) for index, one in enumerate(KINDS) for other in KINDS[index:]]
HARD = [pair for pair in ALL if not {"none", "full-cone"} & set(pair)]
PAIRS = ALL if os.environ.get("WEAVEMESH_NAT_MATRIX") == "all" else HARD


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one}+{other}" for one, other in PAIRS])
def test_theory_holds_for_two_sockets(internet: Internet, one: NatKind, other: NatKind) -> None:
    """Both speak to where a third sees the other, and to whoever speaks to them: the classical hole punching."""
    third = internet.public("third")
    a, b = internet.behind("a", one), internet.behind("b", other)
    seen_a = seen_by(third, a, internet.address(third), port=7000)
    seen_b = seen_by(third, b, internet.address(third), port=7000)
    assert punch(a, seen_b, b, seen_a) == is_direct_possible(one, other)


_PUNCH = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("0.0.0.0", int(sys.argv[3])))
one.settimeout(0.1)
targets, got = {(sys.argv[1], int(sys.argv[2]))}, False
end = time.monotonic() + 2
while time.monotonic() < end:
    for target in targets:
        one.sendto(b"pong" if got else b"ping", target)
    try:
        content, source = one.recvfrom(100)
    except TimeoutError:
        continue
    got, targets = True, targets | {source}
    if content == b"pong":
        one.sendto(b"pong", source)
        sys.exit(0)
sys.exit(1)
"""


def punch(one: Machine, seen_one: tuple[str, int], other: Machine, seen_other: tuple[str, int]) -> bool:
    arguments = [(one, seen_one), (other, seen_other)]
    processes = [
        machine.start(sys.executable, "-I", "-c", _PUNCH, address, str(port), str(PORT))
        for machine, (address, port) in arguments
    ]
    results = [process.wait(timeout=15) == 0 for process in processes]
    assert results[0] == results[1]
    return results[0]


def test_a_site_names_its_hosts(internet: Internet) -> None:
    site: Site = internet.site("nat", "port-restricted")
    host = internet.host("host", site)
    assert f"{site.inside_address(host)}/24" in host.ip("address", "show", "dev", "wan")
