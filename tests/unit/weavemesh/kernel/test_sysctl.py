"""Settings are read first, written only when wrong, and what cannot be written is a sentence."""

from pathlib import Path

import pytest

from weavemesh.kernel.sysctl import Settings


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A /proc/sys of a host with one network card that listens to router advertisements."""
    write(tmp_path, "net/ipv4/ip_forward", "0\n")
    write(tmp_path, "net/ipv6/conf/all/forwarding", "0\n")
    for interface, accept_ra in (
        ("all", "1"),
        ("default", "1"),
        ("lo", "1"),
        ("eth0", "1"),
        ("eth1", "0"),
        ("eth2", "2"),
    ):
        write(tmp_path, f"net/ipv6/conf/{interface}/accept_ra", f"{accept_ra}\n")
    write(tmp_path, "net/ipv6/conf/wm0/disable_ipv6", "0\n")
    write(tmp_path, "net/ipv4/conf/all/rp_filter", "0\n")
    write(tmp_path, "net/ipv4/conf/wm0/rp_filter", "0\n")
    return tmp_path


def write(root: Path, key: str, value: str) -> None:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)


def test_forwarding_is_switched_on_once_and_advertisements_are_kept(tree: Path) -> None:
    first, second = Settings(root=tree), Settings(root=tree)
    first.prepare_host()
    assert first.changed == [
        "net.ipv4.ip_forward set from 0 to 1",
        "net.ipv6.conf.eth0.accept_ra set from 1 to 2",
        "net.ipv6.conf.all.forwarding set from 0 to 1",
    ]
    second.prepare_host()
    assert (second.changed, second.failures) == ([], [])


def test_a_router_that_ignores_advertisements_goes_on_to(tree: Path) -> None:
    write(tree, "net/ipv6/conf/all/forwarding", "1\n")
    settings = Settings(root=tree)
    settings.prepare_host()
    assert settings.read("net/ipv6/conf/eth0/accept_ra") == "1"


def test_without_the_advertisements_safe_ipv6_does_not_forward(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, "accept_ra")
    settings = Settings(root=tree)
    settings.prepare_host()
    assert settings.read("net/ipv6/conf/all/forwarding") == "0"
    (failure,) = settings.failures
    assert failure == (
        "net.ipv6.conf.eth0.accept_ra is 1 and cannot be set to 2 (Read-only file system): "
        "run `sysctl -w net.ipv6.conf.eth0.accept_ra=2` on the host"
    )


def test_what_is_right_needs_no_right_to_write(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree, "net/ipv4/ip_forward", "1\n")
    write(tree, "net/ipv6/conf/all/forwarding", "1\n")
    deny(monkeypatch, "")
    settings = Settings(root=tree)
    settings.prepare_host()
    settings.prepare_interface("wm0")
    assert (settings.changed, settings.failures) == ([], [])


@pytest.mark.parametrize(
    ("everywhere", "own", "after"),
    [("0", "0", "0"), ("1", "0", "2"), ("0", "1", "2"), ("1", "2", "2"), ("2", "1", "1")],
)
def test_the_tunnel_is_never_strict_about_the_way_back(tree: Path, everywhere: str, own: str, after: str) -> None:
    write(tree, "net/ipv4/conf/all/rp_filter", everywhere)
    write(tree, "net/ipv4/conf/wm0/rp_filter", own)
    settings = Settings(root=tree)
    settings.prepare_interface("wm0")
    assert settings.read("net/ipv4/conf/wm0/rp_filter") == after


def test_ipv6_is_switched_on_for_the_tunnel(tree: Path) -> None:
    write(tree, "net/ipv6/conf/wm0/disable_ipv6", "1\n")
    settings = Settings(root=tree)
    settings.prepare_interface("wm0")
    assert settings.changed == ["net.ipv6.conf.wm0.disable_ipv6 set from 1 to 0"]


def test_a_kernel_without_ipv6_and_a_device_that_is_not_there_are_fine(tmp_path: Path) -> None:
    write(tmp_path, "net/ipv4/ip_forward", "1")
    settings = Settings(root=tmp_path)
    settings.prepare_host()
    settings.prepare_interface("wm0")
    assert not settings.has_ipv6()
    assert (settings.changed, settings.failures) == ([], [])


def deny(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Make writing to paths that contain `part` fail, as on a read-only /proc/sys (root may write to any file)."""
    original = Path.write_text

    def write_text(self: Path, data: str, encoding: str | None = None) -> int:
        if part in str(self):
            raise OSError(30, "Read-only file system")
        return original(self, data, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", write_text)
