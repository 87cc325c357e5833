"""A key is rotated in the order in which no packet is lost: on disk, on the device, in the mesh."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from weavemesh import rotation
from weavemesh.error import UserError
from weavemesh.identity import WIREGUARD_FILE, Identity
from weavemesh.overlay.state import PublicKey
from weavemesh.rotation import KeyRotation


class World:
    """The device and the mesh around a rotation: what happened, in order, with the key that each then saw."""

    def __init__(self, folder: Path, *, every_s: float | None = None) -> None:
        self.folder = folder
        self.identity = Identity.load_or_create(folder)
        self.steps: list[tuple[str, PublicKey]] = []
        self.device_takes = asyncio.Event()
        self.device_takes.set()
        self.told = asyncio.Event()
        self.rotation = KeyRotation(
            self.identity, folder, every_s=every_s, settle=self._settle, announce=self._announce
        )

    async def _settle(self) -> None:
        await self.device_takes.wait()
        kept = Identity.load_or_create(self.folder)
        assert kept.wireguard_key == self.identity.wireguard_key, "the key is on disk before it is on the device"
        self.steps.append(("device", self.identity.wireguard_public_key))

    def _announce(self) -> None:
        self.steps.append(("mesh", self.rotation.announced))
        self.told.set()


def play(game: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(game())


async def beside(world: World, work: Coroutine[object, object, None]) -> None:
    """Do the work while the rotation runs."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(world.rotation.run())
        try:
            await work
        finally:
            running.cancel()


def test_the_device_has_the_key_before_the_mesh_hears_of_it(tmp_path: Path) -> None:
    async def game() -> None:
        world = World(tmp_path)
        former = world.rotation.announced

        async def work() -> None:
            first, second = await world.rotation.rotate(), await world.rotation.rotate()
            assert len({former, first, second}) == 3
            assert world.steps == [("device", first), ("mesh", first), ("device", second), ("mesh", second)]

        await beside(world, work())

    play(game)


def test_what_the_device_has_not_taken_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "DEVICE_S", 0.01)

    async def game() -> None:
        world = World(tmp_path)
        former = world.rotation.announced

        async def work() -> None:
            world.device_takes.clear()
            with pytest.raises(UserError, match="the device has no new key"):
                await world.rotation.rotate()
            assert world.rotation.announced == former and world.steps == []
            world.device_takes.set()
            await world.told.wait()
            assert world.rotation.announced == world.identity.wireguard_public_key != former

        await beside(world, work())

    play(game)


def test_a_key_that_is_too_old_is_renewed_by_itself(tmp_path: Path) -> None:
    async def game() -> None:
        world = World(tmp_path, every_s=3600)
        former = world.rotation.announced
        os.utime(tmp_path / WIREGUARD_FILE, (1, 1))

        async def work() -> None:
            await world.told.wait()
            assert world.rotation.announced != former
            assert [step for step, _ in world.steps] == ["device", "mesh"], "the new one is young"

        await beside(world, work())

    play(game)


def test_a_key_that_cannot_be_kept_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "DEVICE_S", 0.05)

    async def game() -> None:
        world = World(tmp_path)
        former = world.identity.wireguard_key
        world.folder = tmp_path
        (tmp_path / WIREGUARD_FILE).unlink()
        (tmp_path / WIREGUARD_FILE).mkdir()

        async def work() -> None:
            with pytest.raises(UserError):
                await world.rotation.rotate()
            assert world.identity.wireguard_key == former and world.steps == []

        await beside(world, work())

    play(game)
