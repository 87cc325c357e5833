"""Waiting for an agent's start."""

import asyncio

from weavemesh.api.message import Failure, Readiness
from weavemesh.api.readiness import STEPS_MAX, ReadinessLog


def test_who_comes_late_hears_all_at_once() -> None:
    async def scenario() -> Readiness:
        log = ReadinessLog()
        log.step("one")
        log.step("one")
        log.step("two")
        return await log.wait(known=0, wait_s=10.0)

    assert asyncio.run(scenario()) == Readiness(ready=False, steps=("one", "two"), known=2)


def test_who_knows_all_waits_for_news() -> None:
    async def scenario() -> tuple[Readiness, Readiness]:
        log = ReadinessLog()
        log.step("one")
        async with asyncio.TaskGroup() as group:
            first = group.create_task(log.wait(known=1, wait_s=10.0))
            second = group.create_task(log.wait(known=1, wait_s=10.0))
            await asyncio.sleep(0)
            log.finish("ready")
        return first.result(), second.result()

    news = Readiness(ready=True, steps=("ready",), known=2)
    assert asyncio.run(scenario()) == (news, news)


def test_waiting_ends_without_news() -> None:
    async def scenario() -> Readiness:
        return await ReadinessLog().wait(known=0, wait_s=0.0)

    assert asyncio.run(scenario()) == Readiness(ready=False, steps=(), known=0)


def test_a_ready_agent_keeps_nobody_waiting() -> None:
    async def scenario() -> Readiness:
        log = ReadinessLog()
        log.step("ready")
        log.finish("ready")
        return await log.wait(known=1, wait_s=10.0)

    assert asyncio.run(scenario()) == Readiness(ready=True, steps=(), known=1)


def test_an_agent_that_waits_for_days_does_not_grow() -> None:
    async def scenario() -> Readiness:
        log = ReadinessLog()
        for number in range(3 * STEPS_MAX):
            log.step(f"try {number}")
        return await log.wait(known=0, wait_s=0.0)

    readiness = asyncio.run(scenario())
    assert len(readiness.steps) == STEPS_MAX
    assert readiness.steps[-1] == f"try {3 * STEPS_MAX - 1}"
    assert readiness.known == 3 * STEPS_MAX


def test_a_refusal_is_told_at_once_also_to_who_knows_all_steps() -> None:
    async def scenario() -> tuple[Readiness, Readiness]:
        log = ReadinessLog()
        log.finish("ready")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(log.wait(known=1, wait_s=10.0))
            log.refuse("this peer was removed", "begin anew")
        return waiting.result(), await log.wait(known=2, wait_s=10.0)

    told, again = asyncio.run(scenario())
    assert told.refusal == again.refusal == Failure(sentence="this peer was removed", remedy="begin anew")
    assert told.steps[-1] == "this peer was removed; begin anew"


def test_an_asker_from_before_a_restart_is_answered() -> None:
    async def scenario() -> Readiness:
        log = ReadinessLog()
        log.finish("ready")
        return await log.wait(known=99, wait_s=10.0)

    assert asyncio.run(scenario()) == Readiness(ready=True, steps=(), known=1)
