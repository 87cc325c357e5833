"""Clusters for the tests of a module: one with nothing installed, one with weavemesh."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.kubernetes.binary import missing
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.image import ImageMissing, project_image
from tests.kubernetes.product import Mesh

NODES = 3


@pytest.fixture(scope="session")
def _can_run() -> None:
    """Skips or fails where no cluster can be."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    if lacking := missing():
        pytest.fail(f"run `make test-kubernetes`: not built are {', '.join(lacking)}")
    try:
        project_image()
    except ImageMissing as error:
        pytest.fail(str(error))


def cluster_name() -> str:
    return f"wmtest{os.getpid()}"


@pytest.fixture(scope="module")
def cluster(_can_run: None) -> Iterator[Cluster]:
    """Three nodes on one network, without a network for pods."""
    with Cluster(NODES, name=cluster_name(), images=[project_image()]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mesh(cluster: Cluster) -> Mesh:
    """weavemesh on them, ready."""
    mesh = Mesh(cluster)
    mesh.install()
    mesh.wait()
    mesh.wait_for_peers(NODES)
    return mesh


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failure what the agents say."""
    report = yield
    mesh = getattr(item, "funcargs", {}).get("mesh")
    if report.failed and isinstance(mesh, Mesh):
        report.sections.append(("agents", mesh.describe()))
    return report
