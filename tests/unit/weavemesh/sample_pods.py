"""A host that can be exposed, as small as can be: `weavemesh.api.pod.PodApi`."""

from dataclasses import dataclass

from weavemesh.api.message import Changed
from weavemesh.api.pod import Exposed, ExposeRequest, HideRequest
from weavemesh.error import UserError


@dataclass
class SamplePods:
    """Remembers the one address that it has."""

    address: str | None = None

    async def expose(self, request: ExposeRequest) -> Exposed:
        if request.address == "192.0.2.1":
            raise UserError("192.0.2.1 is not in the range", remedy="ask for another")
        self.address = request.address or self.address or "10.32.0.9"
        return Exposed(addresses=(self.address,))

    async def hide(self, request: HideRequest) -> Changed:
        assert request == HideRequest()
        if self.address is None:
            return Changed()
        address, self.address = self.address, None
        return Changed(sentences=(f"this host has {address} no longer",))
