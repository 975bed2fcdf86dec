"""
The table, row by row: jobs that pend. Those that run are in test_lifecycle_running.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from burst_agent import lifecycle, names
from burst_agent.model import BurstState, JobRef, PodPhase
from burst_agent.steps import Backoff, Decision, DeletePods, MakePods, MoveJob, Seen, Step, WriteComment

from .fakes import make_job, make_pod
from .table import MOVED, RAN, SHARE, SITE, kinds, moved, running, step_of


def test_reserve_remembers_first() -> None:
    """Where the job comes from is written down before anything is made."""
    step = step_of(make_job(), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.PROVISIONING
    assert step.actions == (WriteComment(JobRef(7), MOVED), MakePods("default", ("k8s-1",), (SHARE,)))


def test_split_array_tasks() -> None:
    """By writing into the tasks' own records; pods come at the next look, for their own ids."""
    step = step_of(make_job(array_tasks=(1, 2, 3)), decision=Decision(target="default", tasks=(1, 2)))
    assert step.actions == (WriteComment(JobRef(7, 1), MOVED), WriteComment(JobRef(7, 2), MOVED))


def test_all_running_then_move() -> None:
    """Onto the nodes of the pods, and nothing is written on the way."""
    job = make_job(admin_comment=MOVED)
    step = step_of(job, make_pod(job))
    assert (step.state, step.actions) == (BurstState.MOVED, (MoveJob("k8s-burst", ("k8s-1",)),))


def test_an_origin_that_no_longer_holds_is_written_before_the_move() -> None:
    """The user moved the job to another partition meanwhile."""
    job = make_job(admin_comment=MOVED, partition="cpu")
    assert kinds(step_of(job, make_pod(job))) == ["WriteComment", "MoveJob"]


def test_a_node_count_that_no_longer_holds_is_written_before_the_move() -> None:
    """The way back gives the job what its user asks for now; why it is not elsewhere does not matter any more."""
    job = make_job(admin_comment=MOVED, max_nodes=2)
    remember, move = step_of(job, make_pod(job)).actions
    assert remember == WriteComment(JobRef(7), MOVED.replace("1-0", "1-2"))
    assert isinstance(move, MoveJob)


def test_pods_that_the_job_outgrew() -> None:
    """Whether they run or not, it does not move onto them; policy is asked once they are gone."""
    job = make_job(admin_comment=MOVED)
    for pod in (make_pod(job), make_pod(job, running=False, phase=PodPhase.PENDING)):
        step = step_of(job, pod, misfit="it asks for more")
        assert (step.state, step.reason, kinds(step)) == (BurstState.WAITING, "it asks for more", ["DeletePods"])


def test_not_all_running() -> None:
    """Nothing but waiting, with what is waited for."""
    job = make_job(admin_comment=MOVED)
    pod = make_pod(job, running=False, phase=PodPhase.PENDING)
    step = step_of(job, make_pod(job, node="k8s-2"), pod)
    assert (step.state, step.actions) == (BurstState.PROVISIONING, ())
    assert step.reason == "pod k8s-burst-7-0-k8s-1 is Pending"


def test_given_up() -> None:
    """The target is paused first: were the agent killed after it, the pods would still be seen as failed."""
    job = make_job(admin_comment=MOVED)
    step = step_of(job, make_pod(job, running=False, reason="ErrImageNeverPull", message="not there"))
    assert step.state is BurstState.WAITING
    assert kinds(step) == ["PauseTarget", "WriteComment", "DeletePods"]


def test_deleted_pods_are_waited_for() -> None:
    """Nothing is made beside them, and their job is not kept from another try: it did nothing wrong."""
    job = make_job(admin_comment=MOVED)
    step = step_of(job, make_pod(job, terminating=True))
    assert (step.state, step.actions) == (BurstState.WAITING, ())
    assert "was deleted" in step.reason


def test_names_that_are_taken() -> None:
    """A finalizer keeps a deleted pod for a while: no pod of its name is made meanwhile; elsewhere one is."""
    job = make_job(admin_comment=MOVED.replace("provisioning", "waiting"))
    going = make_pod(job, terminating=True)
    step = step_of(job, going, decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.WAITING
    assert "k8s-burst-7-0-k8s-1 of an earlier try is still being ended" in step.reason
    assert kinds(step) == ["WriteComment"]
    other = Decision(target="default", shares=(replace(SHARE, node="k8s-2"),))
    assert kinds(step_of(job, going, decision=other)) == ["WriteComment", "MakePods"]


def test_an_evicted_pod_backs_off() -> None:
    """Kubernetes took the room that the job was given."""
    job = make_job(admin_comment=MOVED)
    step = step_of(job, make_pod(job, terminating=True, reason="EvictionByEvictionAPI"))
    assert kinds(step)[0] == "StartBackoff"


def test_pods_left_while_backing_off_go() -> None:
    """A move that slurmctld refused leaves running pods: the back-off says that they are of no use."""
    job = make_job(admin_comment=MOVED)
    step = step_of(job, make_pod(job), backoff=Backoff(2000, "refused"))
    assert kinds(step) == ["WriteComment", "DeletePods"]


def test_refused() -> None:
    """Users read which option it is."""
    step = step_of(make_job(features="fast"), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.REFUSED
    assert "fast" in step.reason
    assert kinds(step) == ["WriteComment"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"priority": 0, "reason": "JobHeldUser"}, "held"),
        ({"reason": "None", "dependency": "afterok:5(unfulfilled)"}, "Dependency"),
        ({"reason": "JobArrayTaskLimit"}, "JobArrayTaskLimit"),
    ],
)
def test_slurm_holds_it(changes: dict[str, Any], said: str) -> None:
    """It waits as any job; pods would only stand idle."""
    job = make_job(**changes)
    step = step_of(job, make_pod(job), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.WAITING
    assert said in step.reason
    assert kinds(step) == ["DeletePods", "WriteComment"]


def test_a_reason_that_slurmctld_forgot_holds_until_it_looks_again() -> None:
    """The words of admin_comment that made it forget must not make pods for a job that it holds back."""
    held = make_job(reason="QOSMaxJobsPerUserLimit")
    step = step_of(held)
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    forgotten = replace(held, reason="None", admin_comment=said.text)
    assert step_of(forgotten) == Step(BurstState.WAITING, step.reason)
    assert step_of(replace(forgotten, reason="Resources")).reason == ""


def test_moved_waits_for_slurmctld() -> None:
    """In time, with all pods, there is nothing to do."""
    job = moved()
    assert step_of(job, make_pod(job), moved_since=1050.0) == Step(BurstState.MOVED, "Resources")


def test_moved_and_not_started() -> None:
    """Back to its queue with the node count it had, then its pods go."""
    job = moved(reason="BadConstraints")
    step = step_of(job, make_pod(job), moved_since=1000.0)
    assert step.actions[0] == MoveJob("gpu", (), (1, 0))
    assert kinds(step) == ["MoveJob", "StartBackoff", "DeletePods", "WriteComment"]
    assert step.reason == "Slurm did not start it on k8s-1: BadConstraints"
    # slurmctld holds such a job at once: the next try would only meet the same.
    assert step_of(replace(job, priority=0), make_pod(job), moved_since=1100.0) == step


def test_requeued_goes_back_without_back_off() -> None:
    """It did nothing wrong: capacity first, as for any job."""
    job = moved(restart_count=1)
    old = make_pod(make_job())
    step = step_of(job, old)
    assert kinds(step) == ["DeletePods", "MoveJob", "WriteComment"]
    assert step.reason == "it was requeued"


def test_requeued_after_a_loss_keeps_the_reason() -> None:
    """Users read why it runs again."""
    job = moved(restart_count=1, admin_comment=RAN.replace("running", "lost") + " reason=pod x was evicted")
    assert step_of(job).reason == "pod x was evicted"


@pytest.mark.parametrize("reason", ["BeginTime", "None", "Priority"])
def test_requeued_waits_for_its_time(reason: str) -> None:
    """slurmctld lets no requeued job start at once, whatever reason it shows; why it runs again stays to be read."""
    comment = "k8s-burst=now state=waiting reason=pod x was evicted; the job is requeued"
    job = make_job(restart_count=1, reason=reason, eligible_time=3000, admin_comment=comment)
    decision = Decision(target="default", shares=(SHARE,))
    assert step_of(job, now=2000.0, decision=decision).actions == ()
    assert not lifecycle.asks_policy(Seen(job, names.parse_comment(comment), (), 2000.0), SITE)
    assert kinds(step_of(job, now=3000.0, decision=decision))[-1:] == ([] if reason == "BeginTime" else ["MakePods"])


def test_moved_out_by_hand() -> None:
    """Its user took it home, and is rid of the nodes that the agent had required; other nodes are his own wish."""
    job = moved(partition="gpu")
    step = step_of(job, make_pod(job), pinned=True, decision=Decision(target="default", shares=(SHARE,)))
    assert step.actions[0] == MoveJob("gpu", (), (1, 0))
    assert kinds(step) == ["MoveJob", "StartBackoff", "DeletePods", "WriteComment"]
    assert "by hand" in step.reason
    requeued = step_of(replace(job, restart_count=1), make_pod(job), pinned=True)
    assert kinds(requeued) == ["DeletePods", "MoveJob", "StartBackoff", "WriteComment"]
    other = moved(partition="gpu", required_nodes="gpu0")
    assert step_of(other, make_pod(other)).state is BurstState.REFUSED


def test_in_the_burst_partition_by_itself() -> None:
    """slurmctld places it; nothing says where it would go back to."""
    job = make_job(partition="k8s-burst")
    assert step_of(job) == Step(BurstState.WAITING, "in k8s-burst already: Slurm places it")


def test_a_gated_pod_is_waited_for() -> None:
    """Kueue admits it when it is its turn: no stock-out, no time-out; from then on the cluster's own time counts."""
    job = make_job()
    held: dict[str, Any] = {"reason": "SchedulingGated", "message": "Kueue has not admitted it yet"}
    gated = make_pod(job, running=False, phase=PodPhase.PENDING, gated=True, **held)
    step = step_of(job, gated, now=99_999.0)
    assert (step.state, step.reason) == (
        BurstState.PROVISIONING,
        f"pod {gated.name} is Pending (SchedulingGated: Kueue has not admitted it yet)",
    )
    assert kinds(step) == ["WriteComment"]
    assert "reason=SchedulingGated" in step.actions[0].text  # type: ignore[union-attr]
    admitted = replace(gated, gated=False, admitted=99_000.0, reason="", message="")
    assert "DeletePods" not in kinds(step_of(job, admitted, now=99_299.0))
    assert "DeletePods" in kinds(step_of(job, admitted, now=99_301.0))


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Kueue has not admitted it yet", "Kueue has not admitted it yet"),
        (
            "Kueue: couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor a1, 3 more needed",
            "Kueue: insufficient unused quota for cpu in flavor a1",
        ),
        ("Kueue: LocalQueue slurm doesn't exist", "Kueue: LocalQueue slurm doesn't exist"),
        ("Kueue has not admitted it yet (why is not known: forbidden)", "Kueue has not admitted it yet"),
    ],
)
def test_what_users_read_of_a_gated_pod(message: str, word: str) -> None:
    """Why it is not admitted, without the numbers: each change of the words would be one more call of slurmctld."""
    job = make_job(admin_comment=MOVED)
    held: dict[str, Any] = {"gated": True, "reason": "SchedulingGated", "message": message}
    step = step_of(job, make_pod(job, running=False, phase=PodPhase.PENDING, **held))
    assert message in step.reason
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    assert said.text.endswith(f"reason=SchedulingGated: {word}")


def _deleted(step: Step) -> set[str]:
    return {pod.node for action in step.actions if isinstance(action, DeletePods) for pod in action.pods}


def test_a_group_is_admitted_once() -> None:
    """Kueue takes no pod in another's place: with one that is too small, or gone without a word, all are made anew."""
    job = running(nodes=("k8s-1", "k8s-2"), admin_comment=MOVED, shares=(SHARE, replace(SHARE, node="k8s-2")))
    fits = make_pod(job, node="k8s-1", group="g", size=SHARE.size)
    small = make_pod(job, node="k8s-2", group="g", size=replace(SHARE.size, cpus=1))
    for group, deleted in (("g", {"k8s-1", "k8s-2"}), ("", {"k8s-2"})):
        step = step_of(job, replace(fits, group=group), replace(small, group=group))
        assert (step.state, _deleted(step)) == (BurstState.PROVISIONING, deleted)
    step = step_of(job, fits)
    assert (step.state, _deleted(step), kinds(step)) == (BurstState.PROVISIONING, {"k8s-1"}, ["DeletePods"])
    waits = step_of(job, replace(fits, terminating=True))
    assert (waits.state, waits.actions) == (BurstState.PROVISIONING, ())
    evicted = replace(fits, terminating=True, reason="WorkloadEvicted")
    assert step_of(job, evicted).state is BurstState.LOST
    assert kinds(step_of(job)) == ["MakePods"]
