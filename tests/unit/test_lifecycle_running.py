"""
The table, row by row: jobs that run or have ended.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from burst_agent.model import BurstState, JobRef, JobState, PodPhase
from burst_agent.names import FOREIGN_GROUPS
from burst_agent.steps import Backoff, KillJob, MakePods, RequeueJob, Step, WriteComment

from .fakes import make_job, make_pod
from .table import MOVED, RAN, kinds, moved, running, step_of


def test_running_is_said_once() -> None:
    """With the incarnation that had its pods."""
    job = running(admin_comment=MOVED)
    step = step_of(job, make_pod(job))
    assert step == Step(BurstState.RUNNING, "", (WriteComment(JobRef(7), RAN),))
    assert step_of(running(), make_pod(job)) == Step(BurstState.RUNNING)


def test_late_pods() -> None:
    """A job that started without pods gets them."""
    job = running(admin_comment=MOVED)
    assert step_of(job).actions == (MakePods("default", ("k8s-1",)),)


def test_late_pods_of_another_incarnation() -> None:
    """What admin_comment says of an earlier run is not about this one."""
    job = running(restart_count=1)
    assert step_of(job).actions == (MakePods("default", ("k8s-1",)),)


@pytest.mark.parametrize("changes", [{"phase": PodPhase.FAILED}, {"terminating": True}])
def test_lost(changes: dict[str, Any]) -> None:
    """The reason is written before the job is requeued; its pods stay until then."""
    job = running()
    step = step_of(job, make_pod(job, **changes))
    assert step.state is BurstState.LOST
    assert kinds(step) == ["WriteComment", "RequeueJob"]


@pytest.mark.parametrize("comment", [MOVED, RAN])
def test_a_pod_that_has_succeeded_is_no_loss(comment: str) -> None:
    """slurmctld was away when the batch script ended: a job that has had its run is not run again."""
    job = running(admin_comment=comment)
    step = step_of(job, make_pod(job, running=False, phase=PodPhase.SUCCEEDED), now=9000.0)
    assert (step.state, step.actions) == (BurstState.RUNNING, ())
    deleted = make_pod(job, running=False, phase=PodPhase.SUCCEEDED, terminating=True)
    assert step_of(job, deleted).state is BurstState.LOST


def test_a_pod_that_is_being_ended_has_its_grace() -> None:
    """Tasks may save their work, and the launcher may tell; but a node that is gone confirms nothing."""
    job = running()
    going: dict[str, Any] = {"terminating": True, "running": True, "ends_by": 1100.0}
    step = step_of(job, make_pod(job, **going), now=1090.0)
    assert (step.state, kinds(step)) == (BurstState.LOST, ["WriteComment"])
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    told = running(admin_comment=said.text)
    assert step_of(told, make_pod(job, **going), now=1099.0) == replace(step, actions=())
    for end in (
        step_of(told),
        step_of(told, make_pod(job, **{**going, "running": False})),
        step_of(told, make_pod(job, **going), now=1200.0),
    ):
        assert kinds(end) == ["RequeueJob"]


def test_a_job_that_started_before_its_pods_were_admitted() -> None:
    """One with a queue of its own goes back there in time; one that was submitted to the virtual nodes waits."""
    held: dict[str, Any] = {"running": False, "phase": PodPhase.PENDING, "gated": True, "reason": "SchedulingGated"}
    job = running(admin_comment=MOVED)
    assert step_of(job, make_pod(job, **held), now=1299.0).state is BurstState.PROVISIONING
    assert kinds(step_of(job, make_pod(job, **held), now=1301.0)) == ["WriteComment", "RequeueJob"]
    direct = running(admin_comment=MOVED.replace(" from=gpu", ""))
    assert step_of(direct, make_pod(direct, **held), now=99_999.0).actions == ()
    admitted = make_pod(direct, running=False, phase=PodPhase.PENDING, admitted=99_000.0)
    assert step_of(direct, admitted, now=99_299.0).actions == ()
    assert kinds(step_of(direct, admitted, now=99_301.0)) == ["PauseTarget", "WriteComment", "KillJob"]


def test_the_pods_beside_one_that_goes_are_warned_as_well() -> None:
    """The batch script may run in one that stays: it is deleted too, once, and the requeue waits for the last."""
    job = running(nodes=("k8s-1", "k8s-2"))
    going = make_pod(job, node="k8s-2", terminating=True, running=True, ends_by=1100.0)
    stays = make_pod(job, node="k8s-1")
    step = step_of(job, going, stays)
    assert kinds(step) == ["WriteComment", "DeletePods"]
    assert step.actions[1].pods == (stays,)  # type: ignore[union-attr]
    told = replace(job, admin_comment=step.actions[0].text)  # type: ignore[union-attr]
    assert kinds(step_of(told, going, stays)) == ["DeletePods"]
    both = replace(stays, terminating=True, ends_by=1150.0)
    assert step_of(told, going, both).actions == ()
    assert step_of(told, replace(going, running=False), both).actions == ()
    assert kinds(step_of(told, replace(going, running=False), replace(both, running=False))) == ["RequeueJob"]


@pytest.mark.parametrize("reason", ["OOMKilled", "DeadlineExceeded"])
def test_its_own_fault_is_not_repeated(reason: str) -> None:
    """A second try would end the same way."""
    job = running()
    assert isinstance(step_of(job, make_pod(job, phase=PodPhase.FAILED, reason=reason)).actions[-1], KillJob)


def test_an_image_at_fault_is_left_alone() -> None:
    """The supervisor is seen to run for a moment; without a queue to go back to, the job would only meet it again."""
    changes: dict[str, Any] = {"phase": PodPhase.FAILED, "reason": FOREIGN_GROUPS}
    started = running(admin_comment=MOVED)
    assert kinds(step_of(started, make_pod(started, **changes))) == ["PauseTarget", "WriteComment", "RequeueJob"]
    direct = running(admin_comment="")
    assert kinds(step_of(direct, make_pod(direct, **changes)))[-1] == "KillJob"
    waits = moved()
    assert kinds(step_of(waits, make_pod(waits, **changes)))[:2] == ["MoveJob", "PauseTarget"]


def test_no_batch_script_no_requeue() -> None:
    """Slurm can't start an srun again."""
    job = running(batch=False)
    assert isinstance(step_of(job, make_pod(job, terminating=True)).actions[-1], KillJob)


def test_late_pods_that_cannot_be_made() -> None:
    """Tried, refused, and the time is over: the job must not hang."""
    job = running(admin_comment=MOVED, start_time=1000)
    backoff = Backoff(2000, "exceeded quota")
    assert step_of(job, backoff=backoff).actions == ()
    assert isinstance(step_of(job, backoff=backoff, now=1301.0).actions[-1], RequeueJob)
    direct = replace(job, admin_comment="")
    assert isinstance(step_of(direct, backoff=backoff, now=1301.0).actions[-1], KillJob)


def test_late_pods_that_do_not_run() -> None:
    """In time they are waited for; then the job goes back to its queue, if it came from one."""
    job = running(admin_comment=MOVED)
    pod = make_pod(job, running=False, phase=PodPhase.PENDING)
    assert step_of(job, pod).actions == ()
    assert isinstance(step_of(job, pod, now=1301.0).actions[-1], RequeueJob)


def test_running_locally() -> None:
    """Pods of a job that found a node are in the way of others."""
    job = make_job(state=JobState.RUNNING, nodes=("gpu0",), admin_comment=MOVED)
    step = step_of(job, make_pod(job))
    assert step.state is BurstState.LOCAL
    assert kinds(step) == ["DeletePods", "WriteComment"]


def test_completing_keeps_its_pods() -> None:
    """Launchers fetch the last output."""
    job = running(state=JobState.COMPLETED, completing=True)
    assert step_of(job, make_pod(job)).actions == ()
    assert kinds(step_of(replace(job, completing=False), make_pod(job))) == ["DeletePods"]
