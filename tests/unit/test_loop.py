"""
When the loop looks: at once when called, often after an announcement, else every poll_s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from burst_agent.model import Job, Unflagged

from .fake_slurm import FakeSlurm
from .fakes import VirtualClock, make_job, make_pod
from .house import House, make_house

QUICK, SLOW, SETTLE = 0.2, 5.0, 0.01
#: Job id of a pod whose job is nowhere.
ORPHAN = 99


class EnoughWaitsError(Exception):
    """The end of a test's loop."""


class ClockStopsTheLoop(VirtualClock):
    """
    Keeps what was waited for, lets no real time pass, and ends the loop after so many waits.
    """

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits
        self.waits: list[float] = []

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        self.left -= 1
        if self.left == 0:
            raise EnoughWaitsError
        return await super().wait(event, timeout_s)


class SlurmBreaksItsPromise(FakeSlurm):
    """
    Raises what no port may raise, once.
    """

    looks = 0

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        self.looks += 1
        if self.looks == 1:
            raise ZeroDivisionError
        return await super().flagged_jobs(also)


async def _run(house: House, waits: int, *, announce: bool = False, wake: bool = False) -> list[float]:
    house.clock = clock = ClockStopsTheLoop(waits)
    house.restart()
    if announce:
        house.loop.announce()
    task = asyncio.create_task(house.loop.run())
    if wake:
        await house.kube.watched.wait()
        house.kube.changed()
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(task, 60)
    assert isinstance(caught.value.exceptions[0], EnoughWaitsError)
    return clock.waits


def _problems(house: House) -> list[str]:
    return list(house.loop.view.problems)


class SlurmFailsForOrphans(FakeSlurm):
    """
    Raises what no port may raise, when asked for a pod's job.
    """

    async def job(self, job_id: int) -> Job:
        if job_id == ORPHAN:
            raise ZeroDivisionError
        return await super().job(job_id)


async def test_an_orphan_that_fails_is_not_the_end_of_the_round() -> None:
    """What else is to be done is done, and nothing of it goes on beside the next round."""
    house = make_house(slurm=SlurmFailsForOrphans)
    house.kube.change(make_pod(make_job(ORPHAN)))
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert house.state(job_id) == "provisioning"
    assert {pod.job_id for pod in house.kube.by_name.values()} == {ORPHAN, job_id}


async def test_nothing_to_do() -> None:
    """The slow pace."""
    assert await _run(make_house(), 3) == [SLOW, SLOW, SLOW]


async def test_after_something_was_done() -> None:
    """One more look soon: what was done may allow the next step."""
    house = make_house()
    house.slurm.submit(make_job())
    assert await _run(house, 3) == [QUICK, SLOW, SLOW]


async def test_after_an_announcement() -> None:
    """The quick pace for five seconds, then the slow one."""
    waits = await _run(make_house(), 30, announce=True)
    quick = waits.count(QUICK)
    assert 24 <= quick <= 26
    assert waits[:quick] == [QUICK] * quick
    assert set(waits[quick:]) == {SLOW}


async def test_a_pod_that_changed_calls_at_once() -> None:
    """One round serves all that changed within a moment."""
    waits = await _run(make_house(), 4, wake=True)
    assert waits == [SLOW, SETTLE, SLOW, SLOW]


async def test_a_round_that_fails_is_not_the_end() -> None:
    """It is told, and the next one goes on."""
    house = make_house(slurm=SlurmBreaksItsPromise)
    await _run(house, 1)
    assert _problems(house) == ["the agent failed; its log says how"]
    house.slurm.submit(make_job())
    await _run(house, 2)
    assert _problems(house) == []
    assert len(house.kube.by_name) == 1
