"""
What the agent sees while slurmctld is away, and after.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from burst_agent.errors import SlurmUnavailable
from burst_agent.model import JobRef
from burst_agent.slurm import SlurmController

from tests.slurm.cluster import PARTITION, run
from tests.slurm.conftest import Submit
from tests.slurm.gate import Gate

TIMEOUT_S = 3.0


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """The way to slurmctld, open."""
    gate = Gate(tmp_path)
    monkeypatch.setenv("SLURM_CONF", str(gate.conf))
    await gate.open()
    yield gate
    await gate.shut()


@pytest.fixture
async def slurm(gate: Gate) -> AsyncIterator[SlurmController]:
    """The adapter, behind the gate."""
    assert gate.conf.exists()
    controller = SlurmController(burst_partition=PARTITION, timeout_s=TIMEOUT_S)
    yield controller
    await controller.close()


@pytest.mark.parametrize("mute", [False, True], ids=["nobody listens", "nobody answers"])
async def test_silence_ends_at_the_deadline_and_the_next_call_after_it_works(
    gate: Gate, slurm: SlurmController, hold: Submit, mute: bool
) -> None:
    job_id = hold()
    await slurm.job(job_id)
    await slurm.flagged_jobs()
    await gate.shut()
    if mute:
        await gate.open(mute=True)

    calls = (slurm.flagged_jobs(), slurm.job(job_id), slurm.virtual_nodes(), slurm.kill_job(job_id))
    began = time.monotonic()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    took = time.monotonic() - began

    assert [type(answer) for answer in answers] == [SlurmUnavailable] * len(answers)
    assert took < TIMEOUT_S + 1
    await gate.shut()
    await gate.open()
    assert (await slurm.job(job_id)).job_id == job_id
    await slurm.flagged_jobs()


async def test_a_worker_that_dies_is_replaced(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold()
    await slurm.job(job_id)
    for child in children():
        os.kill(child, signal.SIGKILL)

    for call in (lambda: slurm.job(job_id), slurm.flagged_jobs):
        try:
            await call()
        except SlurmUnavailable:  # the death was not noticed before the call
            await call()
    await slurm.set_admin_comment(JobRef(job_id), "k8s-burst=auto")
    assert (await slurm.job(job_id)).admin_comment == "k8s-burst=auto"


def children() -> list[int]:
    """Give the worker processes of this process."""
    pids = run("pgrep", "--parent", str(os.getpid()), "--full", "burst_agent.worker").split()
    assert pids
    return [int(pid) for pid in pids]


async def test_a_slurm_conf_that_is_broken_is_said_as_libslurm_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libslurm ends its process then: the agent must outlive it."""
    broken = tmp_path / "slurm.conf"
    broken.write_text("SlurmctldHost=nowhere\n")
    monkeypatch.setenv("SLURM_CONF", str(broken))
    controller = SlurmController(burst_partition=PARTITION, timeout_s=30)
    try:
        with pytest.raises(SlurmUnavailable, match=r"died during flagged_jobs; it said: .*ClusterName"):
            await controller.flagged_jobs()
    finally:
        await controller.close()


async def test_a_slurm_conf_that_is_missing_is_named_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libslurm looks for it for a minute, and says so once Python has started in its process."""
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none.conf"))
    controller = SlurmController(burst_partition=PARTITION, timeout_s=10)
    try:
        with pytest.raises(SlurmUnavailable, match=r"did not answer within 10 s and was ended; it said: .*none\.conf"):
            await controller.flagged_jobs()
    finally:
        await controller.close()
