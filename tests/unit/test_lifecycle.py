"""
The table, row by row; and that looking it up twice changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from burst_agent import lifecycle, names, podstate
from burst_agent.model import BurstState, Job, JobRef, JobState, Pod, PodPhase, Share, Tres
from burst_agent.steps import (
    Backoff,
    Decision,
    DeletePods,
    KillJob,
    MakePods,
    MoveJob,
    RequeueJob,
    Seen,
    Site,
    StartBackoff,
    Step,
    WriteComment,
)
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_pod, make_seen

SITE = Site("k8s-burst", ("default",), provision_timeout_s=300, start_timeout_s=60)
SHARE = Share("k8s-1", Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1))
MOVED = "k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default"
RAN = "k8s-burst=now from=gpu nodes=1-0 state=running restart=0 target=default"


def _step(job: Job, *pods: Pod, now: float = 1100.0, **more: object) -> Step:
    return lifecycle.apply(make_seen(job, *pods, now=now, **more), SITE)


def _kinds(step: Step) -> list[str]:
    return [type(action).__name__ for action in step.actions]


def _moved(**changes: Any) -> Job:
    settled: dict[str, Any] = {"partition": "k8s-burst", "admin_comment": MOVED, "required_nodes": "k8s-1"}
    return make_job(**{**settled, **changes})


def _running(**changes: Any) -> Job:
    settled: dict[str, Any] = {
        "partition": "k8s-burst",
        "state": JobState.RUNNING,
        "nodes": ("k8s-1",),
        "admin_comment": RAN,
    }
    return make_job(**{**settled, **changes})


def test_reserve_remembers_first() -> None:
    """Where the job comes from is written down before anything is made."""
    step = _step(make_job(), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.PROVISIONING
    assert step.actions == (WriteComment(JobRef(7), MOVED), MakePods("default", ("k8s-1",), (SHARE,)))


def test_split_array_tasks() -> None:
    """By writing into the tasks' own records; pods come at the next look, for their own ids."""
    step = _step(make_job(array_tasks=(1, 2, 3)), decision=Decision(target="default", tasks=(1, 2)))
    assert step.actions == (WriteComment(JobRef(7, 1), MOVED), WriteComment(JobRef(7, 2), MOVED))


def test_all_running_then_move() -> None:
    """Onto the nodes of the pods, and nothing is written on the way."""
    job = make_job(admin_comment=MOVED)
    step = _step(job, make_pod(job))
    assert (step.state, step.actions) == (BurstState.MOVED, (MoveJob("k8s-burst", ("k8s-1",)),))


def test_an_origin_that_no_longer_holds_is_written_before_the_move() -> None:
    """The user moved the job to another partition meanwhile."""
    job = make_job(admin_comment=MOVED, partition="cpu")
    assert _kinds(_step(job, make_pod(job))) == ["WriteComment", "MoveJob"]


def test_not_all_running() -> None:
    """Nothing but waiting, with what is waited for."""
    job = make_job(admin_comment=MOVED)
    pod = make_pod(job, running=False, phase=PodPhase.PENDING)
    step = _step(job, make_pod(job, node="k8s-2"), pod)
    assert (step.state, step.actions) == (BurstState.PROVISIONING, ())
    assert step.reason == "pod k8s-burst-7-0-k8s-1 is Pending"


def test_given_up() -> None:
    """The target is paused first: were the agent killed after it, the pods would still be seen as failed."""
    job = make_job(admin_comment=MOVED)
    step = _step(job, make_pod(job, running=False, reason="ErrImageNeverPull", message="not there"))
    assert step.state is BurstState.WAITING
    assert _kinds(step) == ["PauseTarget", "WriteComment", "DeletePods"]


def test_deleted_pods_are_waited_for() -> None:
    """Nothing is made beside them, and their job is not kept from another try: it did nothing wrong."""
    job = make_job(admin_comment=MOVED)
    step = _step(job, make_pod(job, terminating=True))
    assert (step.state, step.actions) == (BurstState.WAITING, ())
    assert "was deleted" in step.reason


def test_names_that_are_taken() -> None:
    """A finalizer keeps a deleted pod for a while: no pod of its name is made meanwhile; elsewhere one is."""
    job = make_job(admin_comment=MOVED.replace("provisioning", "waiting"))
    going = make_pod(job, terminating=True)
    step = _step(job, going, decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.WAITING
    assert "k8s-burst-7-0-k8s-1 of an earlier try is still being ended" in step.reason
    assert _kinds(step) == ["WriteComment"]
    other = Decision(target="default", shares=(replace(SHARE, node="k8s-2"),))
    assert _kinds(_step(job, going, decision=other)) == ["WriteComment", "MakePods"]


def test_an_evicted_pod_backs_off() -> None:
    """Kubernetes took the room that the job was given."""
    job = make_job(admin_comment=MOVED)
    step = _step(job, make_pod(job, terminating=True, reason="EvictionByEvictionAPI"))
    assert _kinds(step)[0] == "StartBackoff"


def test_pods_left_while_backing_off_go() -> None:
    """A move that slurmctld refused leaves running pods: the back-off says that they are of no use."""
    job = make_job(admin_comment=MOVED)
    step = _step(job, make_pod(job), backoff=Backoff(2000, "refused"))
    assert _kinds(step) == ["WriteComment", "DeletePods"]


def test_refused() -> None:
    """Users read which option it is."""
    step = _step(make_job(features="fast"), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.REFUSED
    assert "fast" in step.reason
    assert _kinds(step) == ["WriteComment"]


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
    step = _step(job, make_pod(job), decision=Decision(target="default", shares=(SHARE,)))
    assert step.state is BurstState.WAITING
    assert said in step.reason
    assert _kinds(step) == ["DeletePods", "WriteComment"]


def test_a_reason_that_slurmctld_forgot_holds_until_it_looks_again() -> None:
    """The words of admin_comment that made it forget must not make pods for a job that it holds back."""
    held = make_job(reason="QOSMaxJobsPerUserLimit")
    step = _step(held)
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    forgotten = replace(held, reason="None", admin_comment=said.text)
    assert _step(forgotten) == Step(BurstState.WAITING, step.reason)
    assert _step(replace(forgotten, reason="Resources")).reason == ""


def test_moved_waits_for_slurmctld() -> None:
    """In time, with all pods, there is nothing to do."""
    job = _moved()
    assert _step(job, make_pod(job), moved_since=1050.0) == Step(BurstState.MOVED, "Resources")


def test_moved_and_not_started() -> None:
    """Back to its queue with the node count it had, then its pods go."""
    job = _moved(reason="BadConstraints")
    step = _step(job, make_pod(job), moved_since=1000.0)
    assert step.actions[0] == MoveJob("gpu", (), (1, 0))
    assert _kinds(step) == ["MoveJob", "StartBackoff", "DeletePods", "WriteComment"]
    assert step.reason == "Slurm did not start it on k8s-1: BadConstraints"


def test_requeued_goes_back_without_back_off() -> None:
    """It did nothing wrong: capacity first, as for any job."""
    job = _moved(restart_count=1)
    old = make_pod(make_job())
    step = _step(job, old)
    assert _kinds(step) == ["DeletePods", "MoveJob", "WriteComment"]
    assert step.reason == "it was requeued"


def test_requeued_after_a_loss_keeps_the_reason() -> None:
    """Users read why it runs again."""
    job = _moved(restart_count=1, admin_comment=RAN.replace("running", "lost") + " reason=pod x was evicted")
    assert _step(job).reason == "pod x was evicted"


@pytest.mark.parametrize("reason", ["BeginTime", "None", "Priority"])
def test_requeued_waits_for_its_time(reason: str) -> None:
    """slurmctld lets no requeued job start at once, whatever reason it shows; why it runs again stays to be read."""
    comment = "k8s-burst=now state=waiting reason=pod x was evicted; the job is requeued"
    job = make_job(restart_count=1, reason=reason, eligible_time=3000, admin_comment=comment)
    decision = Decision(target="default", shares=(SHARE,))
    assert _step(job, now=2000.0, decision=decision).actions == ()
    assert not lifecycle.asks_policy(Seen(job, names.parse_comment(comment), (), 2000.0), SITE)
    assert _kinds(_step(job, now=3000.0, decision=decision))[-1:] == ([] if reason == "BeginTime" else ["MakePods"])


def test_moved_out_by_hand() -> None:
    """Its user took it home, and is rid of the nodes that the agent had required; other nodes are his own wish."""
    job = _moved(partition="gpu")
    step = _step(job, make_pod(job), decision=Decision(target="default", shares=(SHARE,)))
    assert step.actions[0] == MoveJob("gpu", (), (1, 0))
    assert _kinds(step) == ["MoveJob", "StartBackoff", "DeletePods", "WriteComment"]
    assert "by hand" in step.reason
    other = _moved(partition="gpu", required_nodes="gpu0")
    assert _step(other, make_pod(other)).state is BurstState.REFUSED


def test_in_the_burst_partition_by_itself() -> None:
    """slurmctld places it; nothing says where it would go back to."""
    job = make_job(partition="k8s-burst")
    assert _step(job) == Step(BurstState.WAITING, "in k8s-burst already: Slurm places it")


def test_running_is_said_once() -> None:
    """With the incarnation that had its pods."""
    job = _running(admin_comment=MOVED)
    step = _step(job, make_pod(job))
    assert step == Step(BurstState.RUNNING, "", (WriteComment(JobRef(7), RAN),))
    assert _step(_running(), make_pod(job)) == Step(BurstState.RUNNING)


def test_late_pods() -> None:
    """A job that started without pods gets them."""
    job = _running(admin_comment=MOVED)
    assert _step(job).actions == (MakePods("default", ("k8s-1",)),)


def test_late_pods_of_another_incarnation() -> None:
    """What admin_comment says of an earlier run is not about this one."""
    job = _running(restart_count=1)
    assert _step(job).actions == (MakePods("default", ("k8s-1",)),)


@pytest.mark.parametrize("changes", [{"phase": PodPhase.FAILED}, {"terminating": True}])
def test_lost(changes: dict[str, Any]) -> None:
    """The reason is written before the job is requeued; its pods stay until then."""
    job = _running()
    step = _step(job, make_pod(job, **changes))
    assert step.state is BurstState.LOST
    assert _kinds(step) == ["WriteComment", "RequeueJob"]


@pytest.mark.parametrize("comment", [MOVED, RAN])
def test_a_pod_that_has_succeeded_is_no_loss(comment: str) -> None:
    """slurmctld was away when the batch script ended: a job that has had its run is not run again."""
    job = _running(admin_comment=comment)
    step = _step(job, make_pod(job, running=False, phase=PodPhase.SUCCEEDED), now=9000.0)
    assert (step.state, step.actions) == (BurstState.RUNNING, ())
    deleted = make_pod(job, running=False, phase=PodPhase.SUCCEEDED, terminating=True)
    assert _step(job, deleted).state is BurstState.LOST


def test_a_pod_that_is_being_ended_has_its_grace() -> None:
    """Tasks may save their work, and the launcher may tell; but a node that is gone confirms nothing."""
    job = _running()
    going: dict[str, Any] = {"terminating": True, "running": True, "ends_by": 1100.0}
    step = _step(job, make_pod(job, **going), now=1090.0)
    assert (step.state, _kinds(step)) == (BurstState.LOST, ["WriteComment"])
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    told = _running(admin_comment=said.text)
    assert _step(told, make_pod(job, **going), now=1099.0) == replace(step, actions=())
    for end in (
        _step(told),
        _step(told, make_pod(job, **{**going, "running": False})),
        _step(told, make_pod(job, **going), now=1200.0),
    ):
        assert _kinds(end) == ["RequeueJob"]


def test_a_gated_pod_is_waited_for() -> None:
    """Kueue admits it when it is its turn: no stock-out, no time-out; from then on the cluster's own time counts."""
    job = make_job()
    held: dict[str, Any] = {"reason": "SchedulingGated", "message": "Kueue has not admitted it yet"}
    gated = make_pod(job, running=False, phase=PodPhase.PENDING, gated=True, **held)
    step = _step(job, gated, now=99_999.0)
    assert (step.state, step.reason) == (
        BurstState.PROVISIONING,
        f"pod {gated.name} is Pending (SchedulingGated: Kueue has not admitted it yet)",
    )
    assert _kinds(step) == ["WriteComment"]
    assert "reason=SchedulingGated" in step.actions[0].text  # type: ignore[union-attr]
    admitted = replace(gated, gated=False, admitted=99_000.0, reason="", message="")
    assert "DeletePods" not in _kinds(_step(job, admitted, now=99_299.0))
    assert "DeletePods" in _kinds(_step(job, admitted, now=99_301.0))


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
    step = _step(job, make_pod(job, running=False, phase=PodPhase.PENDING, **held))
    assert message in step.reason
    (said,) = step.actions
    assert isinstance(said, WriteComment)
    assert said.text.endswith(f"reason=SchedulingGated: {word}")


def test_a_job_that_started_before_its_pods_were_admitted() -> None:
    """One with a queue of its own goes back there in time; one that was submitted to the virtual nodes waits."""
    held: dict[str, Any] = {"running": False, "phase": PodPhase.PENDING, "gated": True, "reason": "SchedulingGated"}
    job = _running(admin_comment=MOVED)
    assert _step(job, make_pod(job, **held), now=1299.0).state is BurstState.PROVISIONING
    assert _kinds(_step(job, make_pod(job, **held), now=1301.0)) == ["WriteComment", "RequeueJob"]
    direct = _running(admin_comment=MOVED.replace(" from=gpu", ""))
    assert _step(direct, make_pod(direct, **held), now=99_999.0).actions == ()
    admitted = make_pod(direct, running=False, phase=PodPhase.PENDING, admitted=99_000.0)
    assert _step(direct, admitted, now=99_299.0).actions == ()
    assert _kinds(_step(direct, admitted, now=99_301.0)) == ["PauseTarget", "WriteComment", "KillJob"]


def _deleted(step: Step) -> set[str]:
    return {pod.node for action in step.actions if isinstance(action, DeletePods) for pod in action.pods}


def test_a_group_is_admitted_once() -> None:
    """Kueue takes no pod in another's place: with one that is too small, or gone without a word, all are made anew."""
    job = _running(nodes=("k8s-1", "k8s-2"), admin_comment=MOVED, shares=(SHARE, replace(SHARE, node="k8s-2")))
    fits = make_pod(job, node="k8s-1", group="g", size=SHARE.size)
    small = make_pod(job, node="k8s-2", group="g", size=replace(SHARE.size, cpus=1))
    for group, deleted in (("g", {"k8s-1", "k8s-2"}), ("", {"k8s-2"})):
        step = _step(job, replace(fits, group=group), replace(small, group=group))
        assert (step.state, _deleted(step)) == (BurstState.PROVISIONING, deleted)
    step = _step(job, fits)
    assert (step.state, _deleted(step), _kinds(step)) == (BurstState.PROVISIONING, {"k8s-1"}, ["DeletePods"])
    waits = _step(job, replace(fits, terminating=True))
    assert (waits.state, waits.actions) == (BurstState.PROVISIONING, ())
    evicted = replace(fits, terminating=True, reason="WorkloadEvicted")
    assert _step(job, evicted).state is BurstState.LOST
    assert _kinds(_step(job)) == ["MakePods"]


def test_the_pods_beside_one_that_goes_are_warned_as_well() -> None:
    """The batch script may run in one that stays: it is deleted too, once, and the requeue waits for the last."""
    job = _running(nodes=("k8s-1", "k8s-2"))
    going = make_pod(job, node="k8s-2", terminating=True, running=True, ends_by=1100.0)
    stays = make_pod(job, node="k8s-1")
    step = _step(job, going, stays)
    assert _kinds(step) == ["WriteComment", "DeletePods"]
    assert step.actions[1].pods == (stays,)  # type: ignore[union-attr]
    told = replace(job, admin_comment=step.actions[0].text)  # type: ignore[union-attr]
    assert _kinds(_step(told, going, stays)) == ["DeletePods"]
    both = replace(stays, terminating=True, ends_by=1150.0)
    assert _step(told, going, both).actions == ()
    assert _step(told, replace(going, running=False), both).actions == ()
    assert _kinds(_step(told, replace(going, running=False), replace(both, running=False))) == ["RequeueJob"]


@pytest.mark.parametrize("reason", ["OOMKilled", "DeadlineExceeded"])
def test_its_own_fault_is_not_repeated(reason: str) -> None:
    """A second try would end the same way."""
    job = _running()
    assert isinstance(_step(job, make_pod(job, phase=PodPhase.FAILED, reason=reason)).actions[-1], KillJob)


def test_no_batch_script_no_requeue() -> None:
    """Slurm can't start an srun again."""
    job = _running(batch=False)
    assert isinstance(_step(job, make_pod(job, terminating=True)).actions[-1], KillJob)


def test_late_pods_that_cannot_be_made() -> None:
    """Tried, refused, and the time is over: the job must not hang."""
    job = _running(admin_comment=MOVED, start_time=1000)
    backoff = Backoff(2000, "exceeded quota")
    assert _step(job, backoff=backoff).actions == ()
    assert isinstance(_step(job, backoff=backoff, now=1301.0).actions[-1], RequeueJob)
    direct = replace(job, admin_comment="")
    assert isinstance(_step(direct, backoff=backoff, now=1301.0).actions[-1], KillJob)


def test_late_pods_that_do_not_run() -> None:
    """In time they are waited for; then the job goes back to its queue, if it came from one."""
    job = _running(admin_comment=MOVED)
    pod = make_pod(job, running=False, phase=PodPhase.PENDING)
    assert _step(job, pod).actions == ()
    assert isinstance(_step(job, pod, now=1301.0).actions[-1], RequeueJob)


def test_running_locally() -> None:
    """Pods of a job that found a node are in the way of others."""
    job = make_job(state=JobState.RUNNING, nodes=("gpu0",), admin_comment=MOVED)
    step = _step(job, make_pod(job))
    assert step.state is BurstState.LOCAL
    assert _kinds(step) == ["DeletePods", "WriteComment"]


def test_completing_keeps_its_pods() -> None:
    """Launchers fetch the last output."""
    job = _running(state=JobState.COMPLETED, completing=True)
    assert _step(job, make_pod(job)).actions == ()
    assert _kinds(_step(replace(job, completing=False), make_pod(job))) == ["DeletePods"]


STATES = st.sampled_from(JobState)
JOBS = st.builds(
    make_job,
    state=STATES,
    partition=st.sampled_from(["gpu", "k8s-burst"]),
    nodes=st.sampled_from([(), ("k8s-1",), ("k8s-1", "k8s-2")]),
    admin_comment=st.sampled_from(["", "k8s-burst=now", "k8s-burst=never", MOVED, RAN]),
    restart_count=st.integers(0, 1),
    completing=st.booleans(),
    priority=st.integers(0, 1),
    reason=st.sampled_from(["Resources", "Dependency"]),
    array_tasks=st.sampled_from([(), (1, 2)]),
    uid=st.sampled_from([0, 1000]),
)
PODS = st.lists(
    st.builds(
        make_pod,
        st.builds(make_job, restart_count=st.integers(0, 1)),
        node=st.sampled_from(["k8s-1", "k8s-2"]),
        running=st.booleans(),
        terminating=st.booleans(),
        ends_by=st.sampled_from([0.0, 1100.0]),
        phase=st.sampled_from(PodPhase),
        reason=st.sampled_from(["", "Unschedulable", "ImagePullBackOff"]),
    ),
    max_size=3,
    unique_by=lambda pod: pod.name,
)
DECISIONS = st.sampled_from(
    [None, Decision(target="default", shares=(SHARE,)), Decision(target="default", tasks=(1,)), Decision(reason="cap")]
)
SEEN = st.builds(
    lambda job, pods, backoff, decision, moved_since: Seen(
        job, names.parse_comment(job.admin_comment), tuple(pods), 1100.0, backoff, moved_since, decision
    ),
    JOBS,
    PODS,
    st.sampled_from([None, Backoff(2000, "x")]),
    DECISIONS,
    st.sampled_from([None, 1000.0]),
)


@given(SEEN)
def test_a_comment_once_written_is_not_written_again(seen: Seen) -> None:
    """Applying what was decided, and looking again, asks for no second write."""
    step = lifecycle.apply(seen, SITE)
    written = [action for action in step.actions if isinstance(action, WriteComment) and action.ref == JobRef(7)]
    assert len(written) <= 1
    for action in written:
        job = replace(seen.job, admin_comment=action.text)
        again = lifecycle.apply(replace(seen, job=job, comment=names.parse_comment(action.text)), SITE)
        assert not [one for one in again.actions if isinstance(one, WriteComment) and one.ref == JobRef(7)]


@given(SEEN)
def test_what_must_never_happen(seen: Seen) -> None:
    """Whatever is seen."""
    step, job = lifecycle.apply(seen, SITE), seen.job
    kinds = _kinds(step)
    moves = [action for action in step.actions if isinstance(action, MoveJob)]
    assert not moves or job.state is JobState.PENDING
    assert not ({"RequeueJob", "KillJob"} & set(kinds)) or job.state in (JobState.RUNNING, JobState.SUSPENDED)
    assert not (job.uid == 0 and "MakePods" in kinds)
    if job.completing:
        assert not kinds
    for move in moves:
        if move.partition == SITE.partition:
            current = [pod for pod in seen.pods if podstate.is_current(pod, job)]
            assert current
            assert all(pod.running and not pod.ended for pod in current)
            assert not job.held
        else:
            assert job.partition == SITE.partition
    for action in step.actions:
        if isinstance(action, DeletePods):
            assert not any(pod.terminating for pod in action.pods)
        if isinstance(action, (StartBackoff, RequeueJob, KillJob)):
            assert action.why
