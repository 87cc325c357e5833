import asyncio
import threading

import pytest

from weavemesh.errand import ErrandThread


def test_errands_are_run_in_order_and_each_tells_how_it_went() -> None:
    order: list[str] = []

    def fail() -> None:
        order.append("second")
        raise ValueError("no")

    async def main() -> None:
        thread = ErrandThread("errands")
        first, second, third = (
            thread.submit(work) for work in (lambda: order.append("first"), fail, lambda: order.append("third"))
        )
        await first
        with pytest.raises(ValueError, match="no"):
            await second
        await third
        thread.close()
        thread.close()

    asyncio.run(main())
    assert order == ["first", "second", "third"]


def test_what_nobody_waits_for_any_more_is_run_all_the_same() -> None:
    gate, ran = threading.Event(), threading.Event()

    async def main() -> None:
        thread = ErrandThread("errands")
        first, second = thread.submit(lambda: assert_soon(gate)), thread.submit(ran.set)
        first.cancel()
        gate.set()
        await second
        thread.close()

    asyncio.run(main())
    assert ran.is_set()


def test_a_loop_that_is_closed_is_told_nothing_and_the_thread_ends() -> None:
    gate = threading.Event()

    async def main() -> ErrandThread:
        thread = ErrandThread("errands")
        thread.submit(lambda: assert_soon(gate))
        return thread

    thread = asyncio.run(main())
    gate.set()
    thread.close()
    thread._thread.join(timeout=5)
    assert not thread._thread.is_alive()


def assert_soon(event: threading.Event) -> None:
    assert event.wait(5)
