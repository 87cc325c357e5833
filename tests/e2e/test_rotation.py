"""The cluster secret is exchanged on running hosts: no link is refused, no tunnel lost, then the old one is useless."""

import pytest

from deploy.demo.lab import Machine, wait_until
from tests.e2e.conftest import SECRET_FILE

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def fingerprints(machine: Machine) -> list[list[str]]:
    """What all peers accept, as this machine knows it."""
    return sorted(peer["secrets"] for peer in machine.status()["peers"])


def is_all_well(machine: Machine) -> bool:
    return machine.weavemesh("status", check=False).returncode == 0


def test_an_exchange_of_the_secret_parts_nobody(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up")
    other.weavemesh("up", "192.0.2.1")
    mine, theirs = one.add_pod("pod1"), other.add_pod("pod1")
    (old,) = one.status()["peers"][0]["secrets"]

    one.weavemesh("secret", "rotate")
    other.write_file(f"{SECRET_FILE}.next", one.run("cat", f"{SECRET_FILE}.next").stdout)
    other.weavemesh("secret", "rotate")
    wait_until(lambda: len({tuple(told) for told in fingerprints(one)}) == 1, seconds=10, what="both to accept both")
    assert "is shown by 0 of 2 peers; accepted by all" in one.weavemesh("status", check=False).stdout

    one.weavemesh("secret", "rotate", "--finish")
    other.weavemesh("stop")
    other.weavemesh("up")  # an agent that still shows the old secret finds the one that shows the new
    wait_until(lambda: is_all_well(one) and is_all_well(other), seconds=20, what="all to be well in between")
    assert mine.answers(str(theirs.ipv4))

    other.weavemesh("secret", "rotate", "--finish")
    for machine in (one, other):
        machine.weavemesh("secret", "rotate", "--forget")
    wait_until(
        lambda: fingerprints(one) == fingerprints(other) and len(fingerprints(one)[0]) == 1, seconds=10, what="it"
    )
    assert fingerprints(one)[0] != [old]
    other.weavemesh("stop")
    other.weavemesh("up")
    wait_until(lambda: is_all_well(one) and is_all_well(other), seconds=20, what="all to be well in the end")
    assert mine.answers(str(theirs.ipv4))
