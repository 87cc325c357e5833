"""Who stands behind the door to a kernel."""

from weavemesh.kernel.applier import Kernel
from weavemesh.kernel.fake import FakeKernel
from weavemesh.overlay.tunnel import ApplyReport, Tunnel


def test_the_fake_and_the_real_kernel_are_tunnels() -> None:
    implementations: list[type[Tunnel]] = [FakeKernel, Kernel]  # held by mypy
    doors = [name for name in vars(Tunnel) if not name.startswith("_")]
    assert all(hasattr(kind, door) for kind in implementations for door in doors)


def test_a_report_of_nothing_is_empty() -> None:
    assert ApplyReport((), (), ()) == ApplyReport(actions=(), settings=(), failures=())
