"""Agents that start at once found one ring, however often that is repeated."""

import pytest

from tests.kubernetes.product import Mesh
from tests.kubernetes.reset import forget_everything

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

TIMES = 3


def test_agents_that_start_at_once_found_one_ring(mesh: Mesh) -> None:
    found = []
    for _ in range(TIMES):
        forget_everything(mesh)
        mesh.install()
        mesh.wait()
        rings = mesh.rings()
        assert len(set(rings.values())) == 1 and all(rings.values()), rings
        assert {mesh.status(name)["ipam"]["ring_id"] for name in rings} == set(rings.values())
        assert all(mesh.status(name)["ok"] for name in rings)
        found.append(rings["n1"])
    assert len(set(found)) == TIMES
