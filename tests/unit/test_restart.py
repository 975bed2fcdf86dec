"""
kill -9 of the agent at every single step of a job's life.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from burst_agent.model import JobState, PodPhase

from .fakes import make_job
from .house import House, make_house


class AgentIsKilled(BaseException):
    """kill -9 in the middle of a round."""


def _kill_at(house: House, count: int) -> None:
    """Let the agent die right before its call number ``count`` that changes anything."""
    left = count

    def wrap(call: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def wrapped(*arguments: object, **named: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise AgentIsKilled
            await call(*arguments, **named)

        return wrapped

    for port, calls in (
        (house.slurm, ("set_admin_comment", "move_job", "requeue_job", "kill_job")),
        (house.kube, ("ensure_namespace", "create_pod", "delete_pod")),
    ):
        for name in calls:
            setattr(port, name, wrap(getattr(port, name)))


async def _whole_life(house: House) -> int:
    """From submission over an eviction to the end; the agent starts anew when it dies. Gives its deaths."""
    deaths = 0

    async def settle() -> None:
        nonlocal deaths
        while True:
            try:
                await house.settle()
            except AgentIsKilled:
                deaths += 1
                house.restart()
            else:
                return

    house.slurm.submit(make_job())
    await settle()
    for round_number in range(2):
        house.kube.run_pods()
        await settle()
        house.slurm.schedule()
        await settle()
        assert house.slurm.jobs[7].state is JobState.RUNNING
        assert house.slurm.jobs[7].restart_count == round_number
        assert [pod.restart for pod in house.kube.by_name.values()] == [round_number]
        if round_number == 0:
            house.kube.fail_pods("Evicted", phase=PodPhase.FAILED, running=False)
            await settle()
    house.slurm.end(7)
    await settle()
    return deaths


@pytest.mark.parametrize("count", range(1, 17))
async def test_killed_before_any_call_the_end_is_the_same(count: int) -> None:
    """Wherever the agent dies, the next one finishes what it began, and the job runs once per incarnation."""
    house = make_house()
    _kill_at(house, count)
    deaths = await _whole_life(house)
    assert not house.kube.by_name
    assert (house.slurm.jobs[7].state, house.slurm.jobs[7].restart_count) == (JobState.COMPLETED, 1)
    changes = [call for call in house.slurm.calls if call.startswith(("move", "requeue"))]
    assert changes == ["move 7 k8s-burst", "requeue 7", "move 7 gpu", "move 7 k8s-burst"]
    assert deaths <= 1


async def test_the_kills_above_cover_a_whole_life() -> None:
    """The last number killed something, the next one does not."""
    counts = []
    for count in (16, 17):
        house = make_house()
        _kill_at(house, count)
        counts.append(await _whole_life(house))
    assert counts == [1, 0]
