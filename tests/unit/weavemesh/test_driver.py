"""A driver performs what its core puts out, keeps the timer armed, and lets no error of a timer get lost."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from weavemesh.driver import Driver


@dataclass
class Echo:
    """A core that repeats each word once at once and once at its deadline."""

    due: float | None = None
    said: list[str] = field(default_factory=list)
    word: str = ""

    def receive(self, event: str, now: float) -> None:
        self.word, self.due = event, now + 0.01
        self.said.append(event)

    def tick(self, now: float) -> None:
        if self.due is not None and now >= self.due:
            self.due = None
            if self.word == "fail":
                raise ValueError("under the timer")
            self.said.append(f"{self.word} again")

    def deadline(self) -> float | None:
        return self.due

    def outputs(self) -> list[str]:
        said, self.said = self.said, []
        return said


def test_outputs_of_inputs_and_of_the_timer_are_performed_in_order() -> None:
    async def scenario() -> list[str]:
        performed: list[str] = []
        repeated = asyncio.Event()

        def perform(word: str) -> None:
            performed.append(word)
            if word.endswith("again"):
                repeated.set()

        driver = Driver(Echo(), perform)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(driver.run())
            driver.feed("one")
            await repeated.wait()
            running.cancel()
        return performed

    assert asyncio.run(scenario()) == ["one", "one again"]


def test_a_deadline_that_stays_costs_no_new_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> int:
        armed: list[float] = []
        loop = asyncio.get_running_loop()
        arm = loop.call_at

        def call_at(when: float, act: Callable[[], None]) -> asyncio.TimerHandle:
            armed.append(when)
            return arm(when, act)

        monkeypatch.setattr(loop, "call_at", call_at)
        core = Echo()
        driver = Driver(core, lambda _: None)
        driver.feed("one")
        monkeypatch.setattr(core, "receive", lambda *_: None)
        for _ in range(5):
            driver.feed("the same deadline")
        return len(armed)

    assert asyncio.run(scenario()) == 1


def test_an_error_under_the_timer_ends_run() -> None:
    async def scenario() -> None:
        driver = Driver(Echo(), lambda _: None)
        driver.feed("fail")
        await driver.run()

    with pytest.raises(ValueError, match="under the timer"):
        asyncio.run(scenario())


def test_an_output_that_feeds_its_own_core_is_our_bug() -> None:
    async def scenario() -> None:
        driver: Driver[str, str] = Driver(Echo(), lambda word: driver.feed(word))
        driver.feed("one")

    with pytest.raises(AssertionError, match="may not feed"):
        asyncio.run(scenario())
