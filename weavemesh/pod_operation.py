"""What the agent can be asked about the exposed host over its local API (`weavemesh.api.pod`)."""

from dataclasses import dataclass

from weavemesh.api.message import Changed
from weavemesh.api.pod import Exposed, ExposeRequest, HideRequest
from weavemesh.cni.wish import decode_ip
from weavemesh.error import UserError
from weavemesh.kernel.podmodel import WiringFailed
from weavemesh.podaddress import AddressUnfit
from weavemesh.podside import PodSide
from weavemesh.pool import AllocationRefused, NotDurable


@dataclass(frozen=True)
class PodOperation:
    """Implements `PodApi`."""

    pods: PodSide

    async def expose(self, request: ExposeRequest) -> Exposed:
        """An address for this host; the same again if it has one and no other is asked for."""
        try:
            wanted = () if request.address is None else (decode_ip(request.address),)
            address = await self.pods.expose(wanted)
        except ValueError as error:
            raise UserError(str(error), remedy="write an address like 10.32.0.7", exit_status=2) from error
        except (AllocationRefused, AddressUnfit) as refused:
            reason, _, remedy = str(refused).rpartition("; ")
            raise UserError(reason or remedy, remedy=remedy) from refused
        except NotDurable as error:
            raise UserError(f"the address cannot be kept: {error}", remedy="make room on the disk") from error
        return Exposed(addresses=tuple(map(str, address.all())))

    async def hide(self, request: HideRequest) -> Changed:  # noqa: ARG002 - there is nothing to choose
        """The address is given back, for good when answered."""
        try:
            address = await self.pods.hide()
        except (NotDurable, WiringFailed) as error:
            raise UserError(f"it cannot be given back for good now: {error}", remedy="try again") from error
        if address is None:
            return Changed()
        return Changed(sentences=(f"this host has {' and '.join(map(str, address.all()))} no longer",))
