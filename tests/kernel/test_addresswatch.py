"""The kernel tells when addresses change."""

import asyncio
import os
import subprocess

import pytest

from deploy.demo.lab import Lab
from tests.kernel.tunnel_lab import root_missing
from weavemesh.kernel.addresswatch import AddressWatch
from weavemesh.kernel.netns import call_in


def test_a_new_address_is_told() -> None:
    if reason := root_missing():
        pytest.skip(reason)
    with Lab() as lab:
        machine = lab.machine("host")

        async def scenario() -> None:
            watch = AddressWatch.open()
            add = machine.command("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
            await asyncio.to_thread(subprocess.run, add, check=True)
            async with asyncio.timeout(5):
                await watch.changed(settle_s=0.01)
            watch.close()

        fd = os.open(f"/proc/{machine.init_pid}/ns/net", os.O_RDONLY)
        try:
            call_in(fd, lambda: asyncio.run(scenario()))
        finally:
            os.close(fd)
