"""Both implementations of WireGuard are devices, of different kinds of interfaces."""

from weavemesh.kernel.device import Device, DeviceError
from weavemesh.kernel.userspace import Userspace
from weavemesh.kernel.wireguard import KernelWireGuard


def test_kernel_and_userspace_are_devices() -> None:
    implementations: list[type[Device]] = [KernelWireGuard, Userspace]  # held by mypy
    assert [kind.link_kind for kind in implementations] == ["wireguard", "tun"]
    assert len({kind.datapath for kind in implementations}) == 2


def test_an_error_carries_its_reason() -> None:
    assert DeviceError("it does not answer").reason == "it does not answer"
