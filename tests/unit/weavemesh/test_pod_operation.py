import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.weavemesh.test_pool import Disk, open_pool, running
from weavemesh.api.message import Changed
from weavemesh.api.pod import ExposeRequest, HideRequest
from weavemesh.error import UserError
from weavemesh.pod_operation import PodOperation
from weavemesh.podside import PodSide


def play(scenario: Callable[[PodOperation], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(open_pool(Disk())) as pool:
            pods = PodSide(pool, ula=lambda: None, mtu=lambda: 1420, interface="wm0", masquerade=False)
            await scenario(PodOperation(pods))
            await pods.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("10.32.0.256", "10.32.0.7"), ("192.0.2.1", "not in 10.32.0.0/24"), ("10.32.0.0", "kept out of use")],
)
def test_an_address_that_cannot_be_is_refused_with_a_remedy(address: str, sentence: str) -> None:
    async def scenario(operation: PodOperation) -> None:
        with pytest.raises(UserError, match=sentence):
            await operation.expose(ExposeRequest(address=address))
        assert await operation.hide(HideRequest()) == Changed()

    play(scenario)
