"""
What the agent reads of slurmctld.
"""

from __future__ import annotations

import asyncio

import pytest
from burst_agent.errors import NoSuchJob, SlurmRefused
from burst_agent.model import JobRef, JobState, Partition, Unflagged
from burst_agent.slurm import SlurmController

from tests.slurm.cluster import PARTITION, USER, run, until
from tests.slurm.conftest import TIMEOUT_S, Submit, running

NO_JOB = 2_000_000_000


async def test_flagged_jobs_are_picked_and_others_are_not(slurm: SlurmController, hold: Submit) -> None:
    plain, flagged, other = hold(), hold(), hold()
    run("scontrol", "update", f"JobId={flagged}", "AdminComment=k8s-burst=auto image=ubuntu")
    run("scontrol", "update", f"JobId={other}", "AdminComment=not k8s-burst=auto")

    found = {job.job_id: job for job in await slurm.flagged_jobs()}

    assert flagged in found
    assert not {plain, other} & set(found)
    assert found[flagged].admin_comment == "k8s-burst=auto image=ubuntu"


async def test_a_job_of_the_burst_partition_is_ours_without_a_flag(slurm: SlurmController, hold: Submit) -> None:
    alone, among = hold(), hold()
    ordinary = (await slurm.job(alone)).partition
    await slurm.move_job(JobRef(alone), partition=PARTITION, nodes=())
    await slurm.move_job(JobRef(among), partition=f"{ordinary},{PARTITION}", nodes=())

    assert {alone, among} <= {job.job_id for job in await slurm.flagged_jobs()}


async def test_jobs_that_a_rule_may_flag_are_picked(slurm: SlurmController, hold: Submit) -> None:
    """Pending ones, by patterns of partition, account and QOS, all of which must fit; others stay out of Python."""
    job_id = hold()
    job = await slurm.job(job_id)
    assert job.qos
    fitting = (
        Unflagged(partition=(job.partition,)),
        Unflagged(account=("none", f"{job.account[:2]}*")),
        Unflagged(partition=(f"{job.partition[0]}*",), qos=(job.qos,)),
    )
    for one in fitting:
        assert job_id in {found.job_id for found in await slurm.flagged_jobs((one,))}
    for one in (Unflagged(partition=("none",)), Unflagged(partition=(job.partition,), account=("none",))):
        assert job_id not in {found.job_id for found in await slurm.flagged_jobs((one,))}


async def test_a_change_is_seen_though_nothing_had_changed_before(slurm: SlurmController, hold: Submit) -> None:
    job = hold()
    await slurm.flagged_jobs()
    await slurm.flagged_jobs()
    await slurm.set_admin_comment(JobRef(job), "k8s-burst=now")

    assert "k8s-burst=now" in [seen.admin_comment for seen in await slurm.flagged_jobs() if seen.job_id == job]


async def test_a_job_is_read_as_it_was_submitted(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold("--job-name=train", "--ntasks=4", "--mem=100M", "--time=90", "--no-requeue", "--chdir=/tmp")

    job = await slurm.job(job_id)

    assert (job.job_id, job.user, job.name, job.state, job.held) == (job_id, USER, "train", JobState.PENDING, True)
    assert (job.reason, job.time_limit_min, job.requeue, job.batch) == ("JobHeldUser", 90, False, True)
    assert (job.requested.cpus, job.requested.memory_mib, job.min_nodes) == (4, 100, 1)
    assert (job.work_dir, job.nodes, job.allocated.cpus, job.restart_count) == ("/tmp", (), 0, 0)
    assert (job.array_job_id, job.array_task_id, job.array_tasks, job.het_job_id) == (0, None, (), 0)


@pytest.mark.parametrize("option", ["--gres=gpu:1", "--gpus=1", "--gpus-per-node=1", "--gpus-per-task=1"])
async def test_gpus_are_counted_however_they_are_asked_for(slurm: SlurmController, hold: Submit, option: str) -> None:
    assert (await slurm.job(hold("--ntasks=1", option))).requested.gpus == 1


async def test_an_array_is_one_record_with_all_its_indices(slurm: SlurmController, hold: Submit) -> None:
    # Longer than the 64 characters at which libslurm cuts by default.
    wanted = tuple(sorted({*range(0, 200, 7), *range(301, 700, 11), 5}))
    job_id = hold("--array=" + ",".join(map(str, wanted)) + "%3")

    job = await slurm.job(job_id)

    assert (job.array_job_id, job.array_task_id, job.array_tasks) == (job_id, None, wanted)


async def test_a_comment_splits_an_array_task_off(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold("--array=0-3")

    await slurm.set_admin_comment(JobRef(job_id, 2), "k8s-burst=auto")

    task = next(job for job in await slurm.flagged_jobs() if job.array_job_id == job_id)
    assert (task.array_task_id, task.array_tasks, task.admin_comment) == (2, (), "k8s-burst=auto")
    assert task.job_id != job_id
    assert (await slurm.job(task.job_id)) == task
    assert (await slurm.job(job_id)).array_tasks == (0, 1, 3)


async def test_a_comment_on_an_arrays_record_leaves_its_split_tasks_alone(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold("--array=0-3")
    await slurm.set_admin_comment(JobRef(job_id, 2), "k8s-burst=auto")
    await slurm.set_admin_comment(JobRef(job_id), "k8s-burst=auto reason=waiting")

    texts = {job.array_task_id: job.admin_comment for job in await slurm.flagged_jobs() if job.array_job_id == job_id}
    assert texts == {None: "k8s-burst=auto reason=waiting", 2: "k8s-burst=auto"}


async def test_virtual_nodes_are_those_of_the_burst_partition(slurm: SlurmController) -> None:
    expected = run("scontrol", "show", "hostnames", run("sinfo", "-h", "-p", PARTITION, "-o", "%N")).split()

    seen = await slurm.virtual_nodes()

    assert sorted(node.name for node in seen) == sorted(expected)
    for node in seen:
        assert node.total.cpus == int(run("sinfo", "-h", "-n", node.name, "-p", PARTITION, "-o", "%c"))
        assert node.total.memory_mib == int(run("sinfo", "-h", "-n", node.name, "-p", PARTITION, "-o", "%m"))
        assert node.total.gpus > 0


async def test_partitions_as_those_who_submit_find_them(slurm: SlurmController, hold: Submit) -> None:
    """Which is the default one, what time jobs get there that state none, and who waits for nodes."""

    async def look() -> dict[str, Partition]:
        await slurm.flagged_jobs()
        return {one.name: one for one in await slurm.partitions()}

    (default,) = [one for one in (await look()).values() if one.default]
    assert f"{default.name}*" in run("sinfo", "-h", "-o", "%P").split()
    hold()
    run("scontrol", "release", str(hold("--begin=now+1hour")))
    filler, waits = hold("--gres=gpu:1", "--exclusive"), hold("--gres=gpu:1")
    run("scontrol", "release", str(filler))
    await running(slurm, filler)
    run("scontrol", "create", "PartitionName=short", "Nodes=ALL", "DefaultTime=7", "MaxTime=30")
    run("scontrol", "create", "PartitionName=longer", "Nodes=ALL", "MaxTime=30")
    try:
        run("scontrol", "release", str(waits))

        async def all_seen() -> bool:
            seen = await look()
            queue = seen[default.name]
            limits = [seen[name].time_limit_min for name in ("short", "longer", PARTITION) if name in seen]
            return limits == [7, 30, None] and queue.waiting == default.waiting + 1 and queue.starts_per_hour > 0

        await until("the new partitions and the job that waits", all_seen)
    finally:
        for name in ("short", "longer"):
            run("scontrol", "delete", f"PartitionName={name}")


async def test_a_drained_node_is_not_usable(slurm: SlurmController, nodes: tuple[str, str]) -> None:
    run("scontrol", "update", f"NodeName={nodes[0]}", "State=DRAIN", "Reason=test")
    try:
        drained = {node.name: node for node in await slurm.virtual_nodes()}
    finally:
        run("scontrol", "update", f"NodeName={nodes[0]}", "State=RESUME")

    assert (drained[nodes[0]].usable, drained[nodes[0]].state) == (False, "IDLE+DRAIN")
    assert drained[nodes[1]].usable


async def test_a_job_that_does_not_exist_is_named(slurm: SlurmController) -> None:
    with pytest.raises(NoSuchJob, match=f"load job {NO_JOB}"):
        await slurm.job(NO_JOB)
    with pytest.raises(NoSuchJob, match=f"{NO_JOB}"):
        await slurm.set_admin_comment(JobRef(NO_JOB), "k8s-burst=auto")
    with pytest.raises(NoSuchJob, match=f"{NO_JOB}_3"):
        await slurm.set_admin_comment(JobRef(NO_JOB, 3), "k8s-burst=auto")


async def test_an_array_index_that_does_not_exist_is_named(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold("--array=0-3")

    with pytest.raises(NoSuchJob, match=f"{job_id}_9"):
        await slurm.set_admin_comment(JobRef(job_id, 9), "k8s-burst=auto")


async def test_a_partition_that_does_not_exist_is_named() -> None:
    controller = SlurmController(burst_partition="no-such-partition", timeout_s=TIMEOUT_S)
    try:
        with pytest.raises(SlurmRefused, match="no partition no-such-partition: add it to"):
            await controller.virtual_nodes()
    finally:
        await controller.close()


async def test_lists_and_single_jobs_are_asked_for_beside_each_other(slurm: SlurmController, hold: Submit) -> None:
    job_id = hold()
    await slurm.set_admin_comment(JobRef(job_id), "k8s-burst=auto")

    lists = asyncio.gather(slurm.flagged_jobs(), slurm.virtual_nodes())
    jobs = await asyncio.gather(*(slurm.job(job_id) for _ in range(10)))

    assert [job.job_id for job in jobs] == [job_id] * 10
    assert all(await lists)


async def test_whether_memory_is_shared_out(slurm: SlurmController, hold: Submit) -> None:
    """Where it is not, a job that says nothing of memory asks for none, instead of for all of its nodes'."""
    config = run("scontrol", "show", "config").splitlines()
    tracked = any("MEMORY" in line for line in config if line.startswith("SelectTypeParameters"))

    asked = (await slurm.job(hold())).request

    said = (asked.memory_mib_per_node, asked.memory_mib_per_cpu, asked.memory_mib_per_gpu)
    assert (said != (None, None, None)) == tracked
