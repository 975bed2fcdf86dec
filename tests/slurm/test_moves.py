"""
What the agent changes in slurmctld.
"""

from __future__ import annotations

import pytest
from burst_agent.errors import JobRefusesMove, NoSuchJob, SlurmRefused
from burst_agent.model import JobRef, JobState
from burst_agent.slurm import SlurmController
from burst_agent.slurm.jobs import Place
from burst_agent.slurm.refusals import Refusal
from burst_agent.worker import Worker

from tests.slurm.cluster import PARTITION, run, shown, until
from tests.slurm.conftest import TIMEOUT_S, Submit, running

NO_JOB = 2_000_000_000
Nodes = tuple[str, str]


async def start(slurm: SlurmController, hold: Submit, *nodes: str) -> int:
    """Make a job run on virtual nodes."""
    job_id = hold("--ntasks=1", "--mem=10M")
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes)
    run("scontrol", "release", str(job_id))
    await running(slurm, job_id)
    return job_id


async def test_a_moved_job_starts_on_the_required_nodes(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold("--ntasks=2", "--mem=10M", "--gres=gpu:1")
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes)
    run("scontrol", "release", str(job_id))

    job = await running(slurm, job_id)

    assert (job.partition, job.nodes) == (PARTITION, nodes)
    assert (job.allocated.nodes, job.allocated.gpus) == (2, 2)
    used = {node.name: node.allocated for node in await slurm.virtual_nodes()}
    assert [used[node].gpus for node in nodes] == [1, 1]
    assert all(used[node].cpus and used[node].memory_mib for node in nodes)


async def test_one_of_two_nodes_is_chosen_by_the_agent(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = await start(slurm, hold, nodes[1])

    assert (await slurm.job(job_id)).nodes == (nodes[1],)


async def test_moving_back_restores_what_the_job_asked_for(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold("--ntasks=4", "--mem=10M")
    before = await slurm.job(job_id)
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes)
    moved = await slurm.job(job_id)
    assert (moved.required_nodes, moved.min_nodes, moved.max_nodes) == (",".join(nodes), 2, 2)

    await slurm.move_job(
        JobRef(job_id),
        partition=before.partition,
        nodes=(),
        min_nodes=before.min_nodes,
        max_nodes=before.max_nodes,
    )

    after = await slurm.job(job_id)
    assert (after.partition, after.required_nodes, after.max_nodes) == (before.partition, "", before.max_nodes)
    assert shown(job_id, "ReqNodeList") == "(null)"
    assert after.requested.cpus == before.requested.cpus


async def test_a_job_keeps_the_nodes_that_it_excludes(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold(f"--exclude={nodes[1]}")
    origin = (await slurm.job(job_id)).partition
    for _ in range(2):
        await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes[:1])
        await slurm.move_job(JobRef(job_id), partition=origin, nodes=())

    assert shown(job_id, "ExcNodeList").strip(",") == nodes[1]


async def test_one_task_of_an_array_is_moved_alone(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold("--array=0-3")
    origin = (await slurm.job(job_id)).partition

    await slurm.move_job(JobRef(job_id, 1), partition=PARTITION, nodes=nodes[:1])

    assert (shown(f"{job_id}_1", "Partition"), shown(f"{job_id}_1", "ReqNodeList")) == (PARTITION, nodes[0])
    rest = await slurm.job(job_id)
    assert (rest.array_tasks, rest.partition, rest.required_nodes) == ((0, 2, 3), origin, "")


async def test_a_running_job_is_not_moved(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = await start(slurm, hold, *nodes)

    with pytest.raises(JobRefusesMove, match=rf"move job {job_id} to .* on {nodes[0]}: it is RUNNING"):
        await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes[:1])

    assert (await slurm.job(job_id)).nodes == nodes


async def test_a_job_that_starts_just_before_the_change_loses_no_node(
    slurm: SlurmController, hold: Submit, nodes: Nodes
) -> None:
    """slurmctld takes required nodes of a running job as the wish to give up the others."""
    job_id = hold("--ntasks=2", "--mem=10M")
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes)
    inside = Worker("burst_agent.slurm.jobs", name="libslurm")
    try:
        seen_pending = await inside.call("find", JobRef(job_id), "look", timeout_s=TIMEOUT_S)
        run("scontrol", "release", str(job_id))
        await running(slurm, job_id)
        place = Place(partition=PARTITION, req_nodes=nodes[0], min_nodes=1, max_nodes=1)
        refused = await inside.call("place_job", JobRef(job_id), seen_pending, place, timeout_s=TIMEOUT_S)
    finally:
        await inside.close()

    assert isinstance(refused, Refusal)
    assert refused.name == "ESLURM_JOB_NOT_PENDING"
    assert (await slurm.job(job_id)).nodes == nodes


async def test_a_refused_move_leaves_nothing_behind(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    """slurmctld changes partition and nodes before it finds that the node counts contradict each other."""
    job_id = hold("--mem=10M")
    before = await slurm.job(job_id)

    with pytest.raises(JobRefusesMove, match="ESLURM_INVALID_NODE_COUNT"):
        await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes[:1], min_nodes=3, max_nodes=1)

    after = await slurm.job(job_id)
    assert (after.partition, after.required_nodes) == (before.partition, "")
    assert (after.min_nodes, after.max_nodes) == (before.min_nodes, before.max_nodes)


async def test_wrong_names_are_named(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold()

    with pytest.raises(SlurmRefused, match=r"on no-such-node: .*ESLURM_INVALID_NODE_NAME"):
        await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=("no-such-node",))
    with pytest.raises(SlurmRefused, match=r"partition no-such-partition on .*ESLURM_INVALID_PARTITION_NAME"):
        await slurm.move_job(JobRef(job_id), partition="no-such-partition", nodes=nodes[:1])
    with pytest.raises(NoSuchJob, match=f"{NO_JOB}"):
        await slurm.move_job(JobRef(NO_JOB), partition=PARTITION, nodes=nodes[:1])


async def test_a_comment_on_a_running_job_is_set_and_on_an_ended_one_refused(
    slurm: SlurmController, hold: Submit, nodes: Nodes
) -> None:
    job_id = await start(slurm, hold, nodes[0])
    await slurm.set_admin_comment(JobRef(job_id), "k8s-burst=auto state=running")
    assert (await slurm.job(job_id)).admin_comment == "k8s-burst=auto state=running"

    run("scancel", str(job_id))
    await ended(slurm, job_id)

    with pytest.raises(JobRefusesMove, match="ESLURM_JOB_FINISHED"):
        await slurm.set_admin_comment(JobRef(job_id), "k8s-burst=auto")


async def ended(slurm: SlurmController, job_id: int) -> JobState:
    """Wait until a job has ended."""

    async def look() -> JobState | None:
        job = await slurm.job(job_id)
        return job.state if job.state.ended else None

    state = await until(f"job {job_id} to end", look)
    assert state is not None
    return state


async def test_a_requeued_job_pends_again_under_its_id(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = await start(slurm, hold, nodes[0])

    await slurm.requeue_job(job_id)

    async def pending() -> bool:
        job = await slurm.job(job_id)
        return job.state is JobState.PENDING and not job.completing

    await until(f"job {job_id} to pend again", pending)
    job = await slurm.job(job_id)
    assert (job.restart_count, job.nodes, job.partition) == (1, (), PARTITION)
    await slurm.requeue_job(job_id)
    assert (await slurm.job(job_id)).restart_count == 1


async def test_a_job_that_has_ended_is_not_run_again_by_a_late_requeue(
    slurm: SlurmController, hold: Submit, nodes: Nodes
) -> None:
    job_id = await start(slurm, hold, nodes[0])
    run("scancel", str(job_id))
    state = await ended(slurm, job_id)

    await slurm.requeue_job(job_id)

    assert (await slurm.job(job_id)).state is state


async def test_a_job_that_allows_no_requeue_says_so(slurm: SlurmController, hold: Submit, nodes: Nodes) -> None:
    job_id = hold("--no-requeue", "--ntasks=1", "--mem=10M")
    await slurm.move_job(JobRef(job_id), partition=PARTITION, nodes=nodes[:1])
    run("scontrol", "release", str(job_id))
    await running(slurm, job_id)

    with pytest.raises(SlurmRefused, match=rf"requeue job {job_id}: .*ESLURM_DISABLED"):
        await slurm.requeue_job(job_id)


async def test_a_killed_job_has_failed_and_killing_it_again_is_no_error(
    slurm: SlurmController, hold: Submit, nodes: Nodes
) -> None:
    job_id = await start(slurm, hold, nodes[0])

    await slurm.kill_job(job_id)

    assert await ended(slurm, job_id) is JobState.FAILED
    await slurm.kill_job(job_id)
    with pytest.raises(NoSuchJob, match=f"kill job {NO_JOB}"):
        await slurm.kill_job(NO_JOB)


async def test_a_pending_job_that_is_killed_is_cancelled(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold("--mem=10M")

    await slurm.kill_job(job_id)

    assert await ended(slurm, job_id) is JobState.CANCELLED


async def test_killing_a_task_whose_id_is_the_arrays_spares_the_others(
    slurm: SlurmController, hold: Submit, nodes: Nodes
) -> None:
    """The last task of an array keeps the array's id as its own job id, and scancel ID would end them all."""
    job_id = hold("--array=0-1", "--mem=10M")
    await slurm.set_admin_comment(JobRef(job_id, 0), "k8s-burst=auto")
    for task in range(2):
        await slurm.move_job(JobRef(job_id, task), partition=PARTITION, nodes=nodes[:1])
    run("scontrol", "release", str(job_id))
    last = await running(slurm, job_id)
    first = next(job for job in await slurm.flagged_jobs() if job.array_job_id == job_id and job.job_id != job_id)
    assert (last.array_task_id, first.array_task_id) == (1, 0)
    await running(slurm, first.job_id)

    await slurm.kill_job(job_id)

    assert await ended(slurm, job_id) is JobState.FAILED
    assert (await slurm.job(first.job_id)).state is JobState.RUNNING
