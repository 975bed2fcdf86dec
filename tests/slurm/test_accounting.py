"""
Finished jobs and users' accounts from a live slurmdbd.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from burst_agent.accounting import Accounting
from burst_agent.model import Accounts, JobRef, JobUsage
from burst_agent.slurm import SlurmController

from tests.slurm.cluster import PARTITION, USER, run, until
from tests.slurm.conftest import Submit, running


@pytest.fixture
async def accounting() -> AsyncIterator[Accounting]:
    """The adapter under test."""
    adapter = Accounting(deadline_s=30)
    yield adapter
    await adapter.close()


async def test_a_job_that_ended_in_the_burst_partition_is_found(
    accounting: Accounting, slurm: SlurmController, hold: Submit, nodes: tuple[str, str]
) -> None:
    began = int(time.time()) - 1
    elsewhere = hold()
    job_id = hold("--ntasks=1", "--mem=10M", "--gres=gpu:1")
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes[:1])
    run("scontrol", "release", str(job_id))
    account = (await running(slurm, job_id)).account
    run("scancel", str(job_id), str(elsewhere))

    async def recorded() -> list[JobUsage]:
        jobs = await accounting.finished_jobs(partition=PARTITION, since=began, limit=1000)
        assert elsewhere not in [job.job_id for job in jobs]
        return [job for job in jobs if job.job_id == job_id]

    (job,) = await until(f"job {job_id} in slurmdbd", recorded)
    assert (job.user, job.account, job.state, job.gpus) == (USER, account, "CANCELLED", 1)
    assert {"cpu", "gres/gpu"} <= set(await accounting.kept_tres())
    known = await accounting.accounts(USER)
    assert account == known.default
    assert account in known.names
    assert await accounting.accounts("nobody") == Accounts()
    assert len(await accounting.finished_jobs(partition=PARTITION, since=began, limit=1)) == 1
    assert await accounting.finished_jobs(partition=PARTITION, since=int(time.time()) + 3600, limit=9) == ()
