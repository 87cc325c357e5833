"""What is refused before anything is made, in the namespace of a host that has something else in the way."""

import sys
from collections.abc import Iterator
from functools import cache

import pytest

from tests.kernel.tunnel_lab import DATAPATHS, Datapath, Host, Wire, missing
from weavemesh.error import UserError

pytestmark = pytest.mark.root

lacks = cache(missing)


@pytest.fixture(params=DATAPATHS)
def datapath(request: pytest.FixtureRequest) -> Datapath:
    chosen: Datapath = request.param
    if reason := lacks(chosen):
        pytest.skip(reason)
    return chosen


@pytest.fixture
def host(datapath: Datapath) -> Iterator[Host]:
    with Wire(1, datapath) as wire:
        yield wire.hosts[0]


def test_a_name_that_something_else_has_is_refused(host: Host) -> None:
    host.run("ip", "link", "add", host.interface, "type", "veth", "peer", "name", "p")
    with pytest.raises(UserError, match="is a veth, not a WireGuard device; remove it"):
        host.join()
    host.run("ip", "link", "del", host.interface)


def test_without_the_right_to_configure_networks_the_sentence_says_so(host: Host) -> None:
    program = (
        "import asyncio; from weavemesh.kernel.applier import Kernel; from weavemesh.error import UserError\n"
        "try: asyncio.run(Kernel.open(interface='wmk0', datapath='auto'))\n"
        "except UserError as error: print(error)"
    )
    drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    result = host.run(*drop, sys.executable, "-c", program)
    assert result.stdout == "weavemesh may not configure networks; run it as root (it needs CAP_NET_ADMIN)\n"
