"""
One job's way through the house, and everything that comes in between.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from burst_agent import names
from burst_agent.hints import FORGETS_S
from burst_agent.model import JobState, PodPhase, Tres

from .fake_kube import KubeIsAway, KubeIsFull
from .fake_slurm import FakeSlurm, SlurmIsAway, SlurmRefusesMove, SlurmStartsJobAtTheMove
from .fakes import make_job, make_node, make_settings
from .house import House, make_house


async def _to_provisioning(house: House) -> int:
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert house.state(job_id) == "provisioning"
    assert len(house.kube.by_name) == 1
    return job_id


async def _to_running(house: House) -> int:
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    await house.settle()
    assert house.slurm.jobs[job_id].state is JobState.RUNNING
    assert house.state(job_id) == "running"
    return job_id


async def test_a_job_goes_all_the_way() -> None:
    """Pods first, then the move onto their node, then nothing but its record; at its end the pods go."""
    house = make_house()
    job_id = await _to_provisioning(house)
    assert house.slurm.jobs[job_id].partition == "gpu", "moved before its pods run"
    assert await house.quiet()
    house.kube.run_pods()
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.partition, job.required_nodes, job.state) == ("k8s-burst", "k8s-1", JobState.PENDING)
    assert await house.quiet()
    house.slurm.schedule()
    await house.settle()
    comment = names.parse_comment(house.slurm.jobs[job_id].admin_comment)
    assert comment is not None
    assert (comment.state, comment.origin, comment.restart) == ("running", "gpu", 0)
    assert await house.quiet()
    house.slurm.end(job_id)
    await house.settle()
    assert not house.kube.by_name
    assert await house.quiet()


async def test_a_local_node_wins_the_race() -> None:
    """A job that starts in its own queue stays there, and its pods go."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.slurm.start_locally(job_id)
    await house.settle()
    assert not house.kube.by_name
    assert house.state(job_id) == "local"
    assert not any(call.startswith("move") for call in house.slurm.calls)
    assert await house.quiet()


async def test_a_local_node_wins_in_the_moment_of_the_move() -> None:
    """slurmctld refuses to move a job that runs: it is left alone, and its pods go."""
    house = make_house(slurm=SlurmStartsJobAtTheMove)
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.state, job.nodes) == (JobState.RUNNING, ("gpu0",))
    assert not house.kube.by_name
    assert house.state(job_id) == "local"


async def test_a_refused_move_is_given_up_and_said() -> None:
    """The job keeps its place, its pods go, users read why, and the next try comes later."""
    house = make_house(slurm=SlurmRefusesMove)
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    assert not house.kube.by_name
    assert "its account is not allowed there" in house.slurm.jobs[job_id].admin_comment
    assert await house.quiet()
    house.clock.time += 31
    await house.settle()
    assert house.slurm.calls.count(f"move {job_id} k8s-burst") == 1
    assert len(house.kube.by_name) == 1


async def test_caps_raised_while_it_runs_reach_the_quotas() -> None:
    """SIGHUP changes [policy]: the next pods' namespace is as large as the new caps need."""
    house = make_house()
    await _to_provisioning(house)
    house.loop.use(make_settings("max_pods_per_user = 5"))
    house.slurm.submit(make_job(8))
    await house.settle()
    assert house.kube.namespaces["c1-u1000"][0]["metadata"]["annotations"] == {"max-pods": "11"}


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull", "CreateContainerConfigError"])
async def test_pods_that_cannot_start_are_given_up(reason: str) -> None:
    """Back to waiting, with the pod's reason and a back-off that doubles up to its cap."""
    house = make_house()
    job_id = await _to_provisioning(house)
    delays = []
    for _ in range(4):
        house.kube.fail_pods(reason, message="no such thing")
        await house.settle()
        assert not house.kube.by_name
        assert house.state(job_id) == "waiting"
        assert reason in house.slurm.jobs[job_id].admin_comment
        began = house.clock.time
        while not house.kube.by_name:
            house.clock.time += 1
            await house.settle()
        delays.append(house.clock.time - began)
    assert delays == [30, 60, 100, 100]


async def test_pods_that_do_not_run_in_time_are_given_up() -> None:
    """Unschedulable is waited for as long as the settings say, and shown meanwhile."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.kube.fail_pods("Unschedulable", message="0/3 nodes are available")
    await house.settle()
    assert house.state(job_id) == "provisioning"
    assert "reason=Unschedulable" in house.slurm.jobs[job_id].admin_comment
    assert await house.quiet()
    house.clock.time += 299
    assert await house.quiet()
    house.clock.time += 2
    await house.settle()
    assert not house.kube.by_name
    assert "target default has no room: 0/3 nodes are available" in house.slurm.jobs[job_id].admin_comment


async def test_a_full_quota_backs_off() -> None:
    """What the API server refuses is not asked again and again."""
    house = make_house(kube=KubeIsFull)
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert "exceeded quota" in house.slurm.jobs[job_id].admin_comment
    assert await house.quiet()


async def test_a_job_that_slurmctld_does_not_start_goes_back() -> None:
    """Its own queue again, with no node required and the node count that it asked for."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    assert house.slurm.jobs[job_id].max_nodes == 1
    house.clock.time += 61
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.partition, job.required_nodes, job.min_nodes, job.max_nodes) == ("gpu", "", 1, 0)
    assert not house.kube.by_name
    assert "Slurm did not start it on k8s-1" in job.admin_comment


async def test_a_requeued_job_races_in_its_own_queue_again() -> None:
    """After a requeue the old pods go, the job goes back, and bursts anew with pods of its own."""
    house = make_house()
    job_id = await _to_running(house)
    old = next(iter(house.kube.by_name.values()))
    house.slurm.requeue(job_id)
    house.slurm.change(job_id, completing=True)
    await house.settle()
    assert old.name in {pod.name for pod in house.kube.by_name.values()}, "output may still be fetched"
    house.slurm.change(job_id, completing=False, reason="BeginTime")
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.partition, job.required_nodes) == ("gpu", "")
    assert not house.kube.by_name
    house.slurm.change(job_id, reason="Resources")
    await house.settle()
    assert [pod.restart for pod in house.kube.by_name.values()] == [1]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("change", ["gpus", "time", "account"])
async def test_what_a_user_changes_meanwhile_is_decided_anew(change: str, *, running: bool) -> None:
    """More than policy agreed to is not had by the way: the job waits at home until policy agrees, or for ever."""
    house = make_house(more="max_gpus = 2")
    job_id = await _to_provisioning(house)
    job = house.slurm.jobs[job_id]

    def ask(gpus: int = 1, minutes: int = 60, account: str = job.account) -> None:
        request = replace(job.request, gpus_per_node=gpus)
        requested = replace(job.requested, gpus=gpus)
        house.slurm.change(job_id, request=request, requested=requested, time_limit_min=minutes, account=account)

    if running:
        house.kube.run_pods()
    {"gpus": lambda: ask(gpus=2), "time": lambda: ask(minutes=61), "account": lambda: ask(account="x")}[change]()
    await house.settle()
    (pod,) = house.kube.by_name.values()
    assert (pod.gpus, pod.phase) == (2 if change == "gpus" else 1, PodPhase.PENDING)
    assert house.state(job_id) == "provisioning"
    ask(gpus=3)
    await house.settle()
    assert not house.kube.by_name
    assert house.slurm.jobs[job_id].partition == "gpu"
    assert "state=refused reason=asks for more GPUs" in house.slurm.jobs[job_id].admin_comment
    assert await house.quiet()


async def test_each_array_task_bursts_by_itself() -> None:
    """As many tasks are split off as there is room for; each gets pods under its own job id; the rest waits."""
    house = make_house(more="max_pods_per_user = 3")
    array = house.slurm.submit(make_job(50, array_job_id=50, array_tasks=(0, 1, 2, 3, 4)))
    await house.settle()
    split = {job.array_task_id: job for job in house.slurm.jobs.values() if job.array_task_id is not None}
    assert sorted(split) == [0, 1, 2]
    assert house.slurm.jobs[array].array_tasks == (3, 4)
    assert {pod.job_id for pod in house.kube.by_name.values()} == {job.job_id for job in split.values()}
    assert all("from=gpu" in job.admin_comment for job in split.values())
    assert "cap on pods of this user" in house.slurm.jobs[array].admin_comment
    assert await house.quiet()


async def test_taken_home_by_hand_after_a_requeue() -> None:
    """It is rid of the virtual node that the agent's move had required, though its pods are those of an earlier run."""
    house = make_house()
    job_id = await _to_running(house)
    house.slurm.requeue(job_id)
    house.slurm.change(job_id, partition="gpu")
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.required_nodes, job.min_nodes, job.max_nodes) == ("", 1, 0)
    assert "by hand" in job.admin_comment
    assert not house.kube.by_name


async def test_the_last_array_task_keeps_the_arrays_id() -> None:
    """slurmctld gives it no new id: the record itself is the task, which moves and starts under that id."""
    house = make_house()
    array = house.slurm.submit(make_job(50, array_job_id=50, array_tasks=(3, 4)))
    await house.settle()
    assert sorted(pod.job_id for pod in house.kube.by_name.values()) == [array, 1001]
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    ran = {job.job_id: job.array_task_id for job in house.slurm.jobs.values() if job.state is JobState.RUNNING}
    assert ran == {array: 4, 1001: 3}


@pytest.mark.parametrize("stage", ["provisioning", "moved", "running"])
async def test_cancelled_at_each_stage(stage: str) -> None:
    """scancel ends it, and nothing of it is left."""
    house = make_house()
    job_id = await _to_provisioning(house)
    if stage != "provisioning":
        house.kube.run_pods()
        await house.settle()
    if stage == "running":
        house.slurm.schedule()
        await house.settle()
    house.slurm.end(job_id, JobState.CANCELLED)
    await house.settle()
    assert not house.kube.by_name
    assert await house.quiet()
    del house.slurm.jobs[job_id]
    assert await house.quiet()


@pytest.mark.parametrize("loss", ["evicted", "gone"])
@pytest.mark.parametrize("may_requeue", [True, False])
async def test_a_pod_is_lost_under_a_running_job(loss: str, may_requeue: bool) -> None:
    """Requeued under the same id where the job allows it, else killed; the reason stands in admin_comment."""
    house = make_house()
    job_id = await _to_running(house)
    house.slurm.change(job_id, requeue=may_requeue)
    if loss == "evicted":
        house.kube.fail_pods("Evicted", phase=PodPhase.FAILED, running=False)
    else:
        house.kube.by_name.clear()
    await house.loop.tick()
    job = house.slurm.jobs[job_id]
    assert job.state is (JobState.PENDING if may_requeue else JobState.CANCELLED)
    assert job.restart_count == (1 if may_requeue else 0)
    assert ("Evicted" if loss == "evicted" else "is gone") in job.admin_comment
    await house.settle()
    assert [pod.restart for pod in house.kube.by_name.values()] == ([1] if may_requeue else [])


async def test_slurmctld_refuses_the_requeue_then_the_job_is_killed() -> None:
    """A job must never run on without its pod."""
    house = make_house()
    job_id = await _to_running(house)

    class Stubborn(FakeSlurm):
        async def requeue_job(self, job_id: int) -> None:
            self.jobs[job_id] = replace(self.jobs[job_id], requeue=False)
            await super().requeue_job(job_id)

    house.slurm.__class__ = Stubborn
    house.kube.by_name.clear()
    await house.settle()
    assert house.slurm.jobs[job_id].state is JobState.CANCELLED


async def test_a_job_that_starts_without_pods_gets_them() -> None:
    """Submitted to the burst partition itself: the pods follow the allocation, sized by it."""
    house = make_house()
    direct = make_job(
        admin_comment="",
        partition="k8s-burst",
        state=JobState.RUNNING,
        nodes=("k8s-1", "k8s-2"),
        allocated=Tres(cpus=8, memory_mib=4096, nodes=2, gpus=2),
    )
    house.slurm.submit(direct)
    await house.settle()
    assert {pod.node for pod in house.kube.by_name.values()} == {"k8s-1", "k8s-2"}
    limits = [one["spec"]["containers"][0]["resources"]["limits"] for one in house.kube.manifests.values()]
    assert {limit["nvidia.com/gpu"] for limit in limits} == {"1"}
    assert {limit["memory"] for limit in limits} == {f"{2048 + 64}Mi"}
    assert await house.quiet()
    assert house.slurm.jobs[direct.job_id].admin_comment == "", "it is not ours to write into"


async def test_pods_follow_an_allocation_that_differs() -> None:
    """slurmctld put the job on another node: the pod there is made, the other one goes."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    house.slurm.change(job_id, nodes=("k8s-2",))
    await house.settle()
    assert [pod.node for pod in house.kube.by_name.values()] == ["k8s-2"]


async def test_a_job_of_root_in_the_burst_partition_is_killed() -> None:
    """It would wait for a pod that is never made."""
    house = make_house()
    house.slurm.submit(make_job(uid=0, partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",)))
    await house.settle()
    assert house.slurm.jobs[7].state is JobState.CANCELLED
    assert not house.kube.calls


async def test_pods_without_a_job_go() -> None:
    """slurmctld knows no such job any more."""
    house = make_house()
    job_id = await _to_provisioning(house)
    del house.slurm.jobs[job_id]
    await house.settle()
    assert not house.kube.by_name


async def test_pods_of_a_job_missing_from_the_list_stay() -> None:
    """The list alone never condemns a pod: slurmctld is asked for that very job."""

    class SlurmForgetsAJob(FakeSlurm):
        async def flagged_jobs(self, also: object = ()) -> list[object]:  # type: ignore[override]
            return []

    house = make_house()
    await _to_running(house)
    house.slurm.__class__ = SlurmForgetsAJob
    await house.loop.tick()
    assert len(house.kube.by_name) == 1


@pytest.mark.parametrize("away", ["slurm", "kube"])
async def test_somebody_is_away(away: str) -> None:
    """It is said, no pod is made, and the next round goes on."""
    house = make_house(slurm=SlurmIsAway) if away == "slurm" else make_house(kube=KubeIsAway)
    house.slurm.submit(make_job())
    await house.settle()
    assert any("does not answer" in problem for problem in house.loop.view.problems)
    assert not house.kube.calls
    (house.slurm if away == "slurm" else house.kube).away = False  # type: ignore[union-attr]
    await house.settle()
    assert not house.loop.view.problems
    assert len(house.kube.by_name) == 1


async def test_auto_waits_its_time() -> None:
    """Not before wait_s, and the reason is shown; then it bursts."""
    house = make_house()
    job_id = house.slurm.submit(make_job(admin_comment="k8s-burst=auto", submit_time=2000, eligible_time=2000))
    await house.settle()
    assert not house.kube.calls
    assert "state=waiting reason=waits 60 s" in house.slurm.jobs[job_id].admin_comment
    house.clock.time += 60
    await house.settle()
    assert len(house.kube.by_name) == 1


async def test_a_pods_deadline_goes_by_the_policy_that_was_read_last() -> None:
    """The time limit, the grace, and how long the pod may take to run, and Slurm to start the job."""
    house = make_house()
    policy = house.settings.policy.model_copy(update={"provision_timeout_s": 7200.0})
    house.loop.use(house.settings.model_copy(update={"policy": policy}))
    house.slurm.submit(make_job())
    await house.settle()
    (manifest,) = house.kube.manifests.values()
    assert manifest["spec"]["activeDeadlineSeconds"] == 3600 + 3600 + 7200 + 60


async def test_the_wait_that_was_saved_is_counted_once() -> None:
    """When the job runs in its pods: not at a try, nor where a local node wins, nor below nothing."""
    house = make_house(kube=KubeIsFull)
    assert isinstance(house.kube, KubeIsFull)
    soon, later, local = (
        house.slurm.submit(make_job(number, start_time=start, requested=Tres(cpus=1, memory_mib=1, nodes=1)))
        for number, start in ((7, 2001), (8, 6000), (9, 6000))
    )
    await house.settle()
    assert _gains(house) == (0, 0)
    house.kube.full = False
    house.clock.time += 100
    await house.settle()
    house.kube.run_pods()  # the first, which tries: the others follow
    await house.settle()
    assert len(house.kube.by_name) == 3
    assert _gains(house) == (0, 0)
    house.slurm.start_locally(local)
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    for _ in range(2):
        await house.settle()
        assert _gains(house) == (2, 6000 - 2100 - 60)
    for job_id in (soon, later):
        house.slurm.requeue(job_id)
    for _ in range(2):
        await house.settle()
        house.kube.run_pods()
        await house.settle()
        house.slurm.schedule()
    await house.settle()
    assert house.state(later) == "running"
    assert _gains(house)[0] == 2


def _gains(house: House) -> tuple[float, float]:
    registry = house.loop._metrics.registry
    values = [registry.get_sample_value(f"k8s_burst_expected_gain_seconds_{what}") for what in ("count", "sum")]
    return values[0] or 0, values[1] or 0


async def test_no_pods_for_gpus_of_a_type_that_no_virtual_node_has() -> None:
    """slurmctld would never start the job there, and pods would be made again and again."""
    house = make_house(nodes=[make_node(gpus={"": (4, 0)})])
    typed = house.slurm.submit(make_job(8, gpu_type="a100"))
    plain = house.slurm.submit(make_job(9))
    await house.settle()
    assert [pod.job_id for pod in house.kube.by_name.values()] == [plain]
    assert "state=refused reason=no virtual node has GPUs of type a100" in house.slurm.jobs[typed].admin_comment


async def test_a_start_that_is_due_is_waited_for() -> None:
    """When it passes, and while Slurm looks for new ones and has none; not for ever."""
    house = make_house()
    job_id = house.slurm.submit(make_job(admin_comment="k8s-burst=auto", start_time=2010))
    for now in (2000, 2010, 2015):
        house.clock.time = now
        await house.settle()
    house.slurm.change(job_id, start_time=0)
    house.clock.time = 2030
    await house.settle()
    assert not house.kube.by_name
    assert "is expected to start here soon enough" in house.slurm.jobs[job_id].admin_comment
    house.clock.time = 2015 + FORGETS_S
    await house.settle()
    assert house.kube.by_name


async def test_never_is_left_alone() -> None:
    """No pod, and no word in its admin_comment."""
    house = make_house()
    job_id = house.slurm.submit(make_job(admin_comment="k8s-burst=never"))
    await house.settle()
    assert not house.kube.calls
    assert house.slurm.jobs[job_id].admin_comment == "k8s-burst=never"


async def test_a_job_held_while_provisioning_loses_its_pods() -> None:
    """Capacity that nobody can use is given back."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.slurm.change(job_id, priority=0, reason="JobHeldUser")
    await house.settle()
    assert not house.kube.by_name
    assert "held" in house.slurm.jobs[job_id].admin_comment


async def test_a_job_held_after_the_move_goes_back() -> None:
    """As above, and it waits in its own queue."""
    house = make_house()
    job_id = await _to_provisioning(house)
    house.kube.run_pods()
    await house.settle()
    house.slurm.change(job_id, priority=0, reason="JobHeldUser")
    await house.settle()
    assert house.slurm.jobs[job_id].partition == "gpu"
    assert not house.kube.by_name


async def test_a_full_cluster_keeps_the_queues_order() -> None:
    """Room goes to the job with the higher priority; the other one says what is missing."""
    house = make_house(nodes=[make_node("k8s-1", total=Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1))])
    low = house.slurm.submit(make_job(1, priority=1))
    high = house.slurm.submit(make_job(2, priority=5))
    await house.settle()
    assert [pod.job_id for pod in house.kube.by_name.values()] == [high]
    assert "no room on the virtual nodes now" in house.slurm.jobs[low].admin_comment
    too_large = house.slurm.submit(make_job(3, requested=Tres(cpus=4, nodes=1, gpus=9)))
    await house.settle()
    assert "no virtual node is that large" in house.slurm.jobs[too_large].admin_comment
