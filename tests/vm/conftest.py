"""The kernel of guests, for tests of the guests themselves."""

import os

import pytest

from tests.vm.kernel import GuestKernel, find_kernel


@pytest.fixture(scope="session")
def kernel() -> GuestKernel:
    """The kernel at hand: tests do not build one."""
    found = find_kernel()
    if found is None:
        pytest.skip("needs the guests' kernel; `python -m tests.vm kernel` builds it")
    if os.geteuid() != 0:
        pytest.skip("needs root: guests read the whole file system of the host")
    return found
