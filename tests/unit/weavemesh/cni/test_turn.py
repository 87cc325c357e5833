import asyncio

from weavemesh.cni.turn import Turns


def test_those_who_want_the_same_come_in_order_and_others_do_not_wait() -> None:
    async def main() -> None:
        turns, order = Turns(), list[str]()
        gate = asyncio.Event()

        async def hold(name: str, mark: str, wait: bool = False) -> None:  # noqa: FBT001  # a test's own helper
            async with turns.take(name):
                order.append(mark)
                if wait:
                    await gate.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(hold("a", "first", True))
            group.create_task(hold("a", "second"))
            group.create_task(hold("a", "third"))
            await asyncio.sleep(0)
            await hold("b", "other")
            assert order == ["first", "other"]
            gate.set()
        assert order == ["first", "other", "second", "third"]

    asyncio.run(main())


def test_whoever_is_cancelled_leaves_the_turn() -> None:
    async def main() -> None:
        turns = Turns()
        async with turns.take("a"), asyncio.TaskGroup() as group:

            async def late() -> None:
                async with turns.take("a"):
                    raise AssertionError("never")

            waiting = group.create_task(late())
            await asyncio.sleep(0)
            waiting.cancel()
        async with asyncio.timeout(1), turns.take("a"):
            pass

    asyncio.run(main())
