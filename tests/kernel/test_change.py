"""An exchange of the tunnel device is told beforehand; anything else is not one."""

from collections.abc import Iterator

import pytest

from tests.kernel.tunnel_lab import Host, Wire, missing, root_missing
from weavemesh.kernel.change import data_path_change

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    if reason := root_missing() or missing("userspace"):
        pytest.skip(reason)
    with Wire(1, "userspace") as wire:
        yield wire.hosts[0]


def told(host: Host, datapath: str) -> str | None:
    return host.call(lambda: data_path_change(host.interface, datapath))


def test_only_an_exchange_is_told(host: Host) -> None:
    assert told(host, "kernel") is None, "there is no device yet"
    host.join()
    assert told(host, "userspace") is None
    sentence = told(host, "kernel")
    assert sentence is not None and "from the userspace to the kernel data path" in sentence
    assert told(host, "auto") is None
