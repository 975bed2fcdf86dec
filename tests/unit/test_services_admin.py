"""
What root is told by burstctl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.errors import AccountingMissing
from burst_agent.model import JobState, JobUsage

from .fakes import make_job
from .house import FakeAccounting, make_house
from .serving import refused, serving

Code = grpc.StatusCode


class AccountingIsNotInstalled(FakeAccounting):
    """
    No sacct.
    """

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        msg = "install Slurm's commands"
        raise AccountingMissing(msg)


async def test_status(tmp_path: Path) -> None:
    """Jobs, pods, usage and problems; one user's where asked."""
    house = make_house()
    house.accounting.jobs = [JobUsage(5, "alice", "physics", "COMPLETED", 7200, 2)]
    async with serving(tmp_path, house) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        assert (await stub.Status(pb.StatusRequest())).problems
        house.slurm.submit(make_job(7))
        house.slurm.submit(make_job(8, uid=1001))
        await house.settle()
        status = await stub.Status(pb.StatusRequest())
        assert [job.job_id for job in status.jobs] == [7, 8]
        assert not status.problems
        assert (status.usage[0].gpu_hours, status.usage[0].gpus) == (4.0, 2)
        assert [job.job_id for job in (await stub.Status(pb.StatusRequest(uid=1001))).jobs] == [8]


async def test_status_without_accounting(tmp_path: Path) -> None:
    """It says what to install; the rest is there."""
    async with serving(tmp_path, accounting=AccountingIsNotInstalled()) as desk, desk.local() as channel:
        status = await pb_grpc.AdminServiceStub(channel).Status(pb.StatusRequest())
        assert status.usage_error == "install Slurm's commands"


async def test_status_tells_where_since_when_and_what_it_costs(tmp_path: Path) -> None:
    """What burstctl top shows; slurmdbd is not asked for that."""
    house, prices = make_house(), "[policy.prices.default]\npod_hour = 2\n"
    async with serving(tmp_path, house, AccountingIsNotInstalled(), prices) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        house.slurm.submit(make_job(7, time_limit_min=120, submit_time=500))
        house.slurm.submit(
            make_job(
                8, state=JobState.RUNNING, partition="k8s-burst", nodes=("k8s-2",), start_time=400, time_limit_min=60
            )
        )
        house.slurm.submit(make_job(9, features="fast", submit_time=600))
        await house.settle()
        status = await stub.Status(pb.StatusRequest(without_usage=True))
        now = house.clock.now()
        ran = (now - 400) / 1800
        assert [(job.job_id, job.target, job.since, job.cost_to_come) for job in status.jobs] == [
            (7, "default", int(now), 4.0),
            (8, status.jobs[1].target, 400, pytest.approx(2 - ran)),
            (9, "", 600, 0.0),
        ]
        assert [job.cost_so_far for job in status.jobs] == [0.0, pytest.approx(ran), 0.0]
        assert (status.currency, status.usage_error) == ("EUR", "")


async def test_budget(tmp_path: Path) -> None:
    """For root alone: caps, what is left, what accounts spend."""
    async with serving(tmp_path) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        code, said = await refused(stub.Budget(pb.BudgetRequest()))
        assert (code, "has not looked yet" in said) == (Code.UNAVAILABLE, True)
        await desk.house.loop.tick()
        answer = await stub.Budget(pb.BudgetRequest())
        assert [cap.setting for cap in answer.caps] == ["max_pods", "max_gpus"]
        assert answer.unknown
        async with desk.tls(desk.login) as login:
            code, _ = await refused(pb_grpc.AdminServiceStub(login).Budget(pb.BudgetRequest()))
            assert code == Code.UNIMPLEMENTED


async def test_targets(tmp_path: Path) -> None:
    """For root alone: what each target holds, what it costs, and what keeps pods from it."""
    async with serving(tmp_path) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        code, _ = await refused(stub.Targets(pb.TargetsRequest()))
        assert code == Code.UNAVAILABLE
        job_id = desk.house.slurm.submit(make_job())
        await desk.house.settle()
        (target,) = (await stub.Targets(pb.TargetsRequest())).targets
        assert (target.name, target.state, target.pods, target.gpus) == ("default", "ok", 1, 1)
        desk.house.kube.fail_pods("ErrImageNeverPull", message="not there")
        await desk.house.settle()
        (target,) = (await stub.Targets(pb.TargetsRequest())).targets
        (pause,) = target.pauses
        assert (target.state, target.pods, pause.shape) == ("paused", 0, "pods of the default image")
        assert (pause.failures, pause.until > desk.house.clock.now(), "not there" in pause.why) == (1, True, True)
        assert "paused" not in desk.house.slurm.jobs[job_id].admin_comment
        async with desk.tls(desk.login) as login:
            code, _ = await refused(pb_grpc.AdminServiceStub(login).Targets(pb.TargetsRequest()))
            assert code == Code.UNIMPLEMENTED
