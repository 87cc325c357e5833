"""The image on an emulated machine with Debian's stock kernel: a mesh of two hosts, and pods that reach each other.

Minutes long; `make test-image` runs it.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from deploy.image import content
from tests.image.machine import missing_packages, what_happens_inside

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("WEAVEMESH_IMAGE_TESTS") != "all", reason="minutes long: `make test-image`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the files of the image are root's"),
]


@pytest.mark.parametrize("architecture", content.MACHINES)
def test_two_hosts_and_their_pods(architecture: str) -> None:
    if packages := missing_packages(architecture):
        pytest.skip(f"needs the packages {', '.join(packages)}")
    with TemporaryDirectory(prefix="wm-machine-") as work:
        told = what_happens_inside(architecture, Path(work), timeout_s=600)
    assert [one for one in told if one["status"] != 0] == []
    pings = of(told, "ping -c")
    assert [" 0% packet loss" in one["out"] for one in pings] == [True, True], pings
    status = json.loads(of(told, "status --json")[0]["out"])
    assert status["encryption"]["datapath"] == "kernel"
    assert sorted(peer["tunnel"] for peer in status["peers"] if not peer["ourselves"]) == ["live"]
    links = [{link["ifname"] for link in json.loads(one["out"])} for one in of(told, "ip -json link")]
    assert [{"lo", "eth0"} <= names and "wm0" not in names for names in links] == [True, True], links


def of(told: list[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    """What was told of the commands with these words."""
    return [one for one in told if words in one["command"]]
