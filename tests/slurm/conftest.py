"""
What the live tests share: the adapter, and jobs that are gone after the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from burst_agent.model import Job, JobState
from burst_agent.slurm import SlurmController

from tests.slurm.cluster import PARTITION, run, submit, until

TIMEOUT_S = 30.0

Submit = Callable[..., int]


@pytest.fixture
async def slurm() -> AsyncIterator[SlurmController]:
    """The adapter under test."""
    controller = SlurmController(burst_partition=PARTITION, timeout_s=TIMEOUT_S)
    yield controller
    await controller.close()


@pytest.fixture
def hold() -> Iterator[Submit]:
    """Submits held jobs of an ordinary user, and cancels them after the test."""
    jobs: list[int] = []

    def hold(*options: str) -> int:
        jobs.append(submit(*options))
        return jobs[-1]

    yield hold
    for job in jobs:
        run("scancel", "--quiet", str(job))


@pytest.fixture
async def nodes(slurm: SlurmController) -> tuple[str, str]:
    """Two virtual nodes with nothing on them."""

    async def idle() -> list[str]:
        found = [node.name for node in await slurm.virtual_nodes() if node.usable and not node.allocated.cpus]
        return found if len(found) >= 2 else []

    found = await until("two idle virtual nodes", idle)
    return found[0], found[1]


async def running(slurm: SlurmController, job_id: int) -> Job:
    """Wait until a job runs."""

    async def look() -> Job | None:
        job = await slurm.job(job_id)
        return job if job.state is JobState.RUNNING else None

    job = await until(f"job {job_id} to run", look)
    assert job is not None
    return job
