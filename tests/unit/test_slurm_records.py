"""
From slurmctld's records to the agent's values.
"""

from dataclasses import replace

import pytest
from burst_agent.model import Job, JobState, Request, Share, Tres
from burst_agent.slurm.records import (
    INFINITE,
    JOB_COMPLETING,
    JOB_SHARED_NONE,
    JOB_SHARED_USER,
    MEM_PER_CPU,
    NO_VAL,
    NO_VAL16,
    AllocationRecord,
    JobRecord,
    NodeRecord,
    exit_code,
    request,
    shares,
    to_job,
    to_node,
)

PENDING = JobRecord(
    account="phys",
    admin_comment="k8s-burst=auto",
    array_job_id=0,
    array_task_id=NO_VAL,
    array_task_str="",
    array_max_tasks=0,
    batch_flag=1,
    end_time=0,
    cpus_per_task=1,
    dependency="afterok:5(unfulfilled)",
    eligible_time=20,
    exc_nodes="",
    exit_code=0,
    features="a100",
    fed_origin_str="",
    gres_total="",
    group_id=100,
    het_job_id=0,
    job_state=0,
    licenses="matlab:1",
    max_nodes=0,
    mem_per_tres="",
    name="train",
    nodes="",
    ntasks_per_node=0,
    num_cpus=16,
    num_nodes=3,
    num_tasks=16,
    partition="gpu",
    qos="normal",
    pn_min_cpus=1,
    pn_min_memory=MEM_PER_CPU | 2048,
    priority=4000,
    req_nodes="",
    requeue=1,
    restart_cnt=2,
    resv_name="",
    shared=NO_VAL16,
    start_time=0,
    submit_time=10,
    time_limit=INFINITE,
    tres_per_job="",
    tres_per_node="",
    tres_per_task="",
    tres_req_str="cpu=16,mem=32G,node=1,billing=16",
    tres_alloc_str="",
    user_id=2001,
    user_name="alice",
    work_dir="/home/alice",
)
RUNNING = replace(
    PENDING, job_state=1, nodes="k8s-[0-1]", num_nodes=2, time_limit=60, tres_alloc_str="cpu=16,mem=32G,node=2"
)
ARRAY = replace(PENDING, array_job_id=7, array_task_str="0-2,9%2", array_max_tasks=2)
TASK = replace(PENDING, array_job_id=7, array_task_id=9)


def job(record: JobRecord, nodes: tuple[str, ...] = ()) -> Job:
    return to_job(record, job_id=7, user="alice", nodes=nodes, excluded=("k8s-1",), reason="Resources")


def test_a_pending_job_has_no_nodes_and_no_allocation() -> None:
    seen = job(replace(PENDING, tres_alloc_str="cpu=1"), nodes=("left-over",))

    assert (seen.state, seen.nodes, seen.allocated) == (JobState.PENDING, (), Tres())
    assert seen.requested == Tres(cpus=16, memory_mib=32768, nodes=1)
    assert (seen.held, seen.batch, seen.requeue, seen.restart_count) == (False, True, True, 2)
    assert seen.request.excluded == ("k8s-1",)


def test_a_pending_jobs_least_node_count_is_what_it_asks_for_and_not_slurmctlds_guess() -> None:
    assert job(PENDING).min_nodes == 1
    assert job(replace(PENDING, tres_req_str="")).min_nodes == 3


@pytest.mark.parametrize(
    ("told", "comment", "most"),
    [
        (1, "k8s-burst=now nodes=1-0", 0),
        (1, "k8s-burst=now nodes=1-1", 1),
        (4, "k8s-burst=now nodes=1-4", 4),
        (0, "k8s-burst=now nodes=1-0 from=gpu", 0),
        (0, "k8s-burst=now nodes=1-1", 0),  # the marker never takes away what slurmctld says
        (2, "k8s-burst=now nodes=1-0", 2),  # changed since, or moved
        (1, "k8s-burst=now", 1),
        (1, "nodes=1-0", 1),
        (1, "", 1),
    ],
)
def test_what_was_submitted_says_that_slurmctld_may_choose_the_node_count(told: int, comment: str, most: int) -> None:
    seen = job(replace(PENDING, max_nodes=told, admin_comment=comment))

    assert (seen.min_nodes, seen.max_nodes, seen.request.max_nodes) == (1, most, most or None)
    assert job(replace(RUNNING, max_nodes=told, admin_comment=comment)).max_nodes == told


def test_a_running_job_has_its_nodes_and_its_allocation() -> None:
    seen = job(replace(RUNNING, job_state=1 | JOB_COMPLETING), nodes=("k8s-0", "k8s-1"))

    assert (seen.state, seen.completing, seen.nodes) == (JobState.RUNNING, True, ("k8s-0", "k8s-1"))
    assert seen.allocated == Tres(cpus=16, memory_mib=32768, nodes=2)
    assert seen.min_nodes == 2


@pytest.mark.parametrize(("limit", "minutes"), [(INFINITE, None), (NO_VAL, None), (90, 90)])
def test_no_time_limit_is_none(limit: int, minutes: int | None) -> None:
    assert job(replace(PENDING, time_limit=limit)).time_limit_min == minutes


def test_a_job_of_a_federation_has_a_cluster_of_origin() -> None:
    assert [job(replace(PENDING, fed_origin_str=name)).federated for name in ("", "east")] == [False, True]


def test_an_array_record_stands_for_its_tasks_and_a_task_for_itself() -> None:
    assert (job(ARRAY).array_task_id, job(ARRAY).array_tasks, job(ARRAY).array_limit) == (None, (0, 1, 2, 9), 2)
    assert (job(TASK).array_task_id, job(TASK).array_tasks) == (9, ())
    last = replace(ARRAY, array_task_str="9%2")
    assert (job(last).array_task_id, job(last).array_tasks, job(last).array_limit) == (9, (), 2)
    assert [ARRAY.covers(2), ARRAY.covers(3), TASK.covers(9), TASK.covers(2)] == [True, False, True, False]


def test_gpus_are_found_where_accounting_does_not_count_them() -> None:
    asked = replace(PENDING, tres_per_node="gres/gpu:2", tres_req_str="cpu=4,node=2")
    got = replace(RUNNING, gres_total="gpu:a100:4")

    assert job(asked).requested.gpus == 4
    assert job(got).allocated.gpus == 4


def test_killing_names_one_record_of_an_array_and_the_whole_of_a_het_job() -> None:
    assert PENDING.kill_id(7) == "7"
    assert TASK.kill_id(7) == "7_9"
    assert ARRAY.kill_id(7) == "7_[0-2,9]"
    assert replace(PENDING, het_job_id=5).kill_id(7) == "5"


def test_a_state_of_a_newer_slurm_is_an_error() -> None:
    with pytest.raises(ValueError, match="job state 40"):
        job(replace(PENDING, job_state=40))


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7 << 8, 7), (9, 137), (125, 253)])
def test_a_wait_status_is_written_as_a_shell_does(status: int, code: int) -> None:
    assert exit_code(status) == code


def test_a_node_offers_what_the_system_leaves_of_it() -> None:
    node = to_node(
        NodeRecord(
            name="k8s-0",
            node_state=5,
            cpus=8,
            cpus_efctv=7,
            real_memory=16384,
            mem_spec_limit=384,
            gres="gpu:a100:4(S:0)",
            gres_used="gpu:a100:1(IDX:2)",
            alloc_cpus=2,
            alloc_memory_mib=1000,
        )
    )

    assert node.total == Tres(cpus=7, memory_mib=16000, nodes=1, gpus=4)
    assert node.allocated == Tres(cpus=2, memory_mib=1000, nodes=1, gpus=1)
    assert node.gpus == {"a100": (4, 1)}
    assert (node.usable, node.state) == (True, "MIXED")


@pytest.mark.parametrize(("amount", "tracks_memory", "memory_mib"), [(0, True, 0), (0, False, None), (500, False, 500)])
def test_memory_that_slurm_does_not_track_is_not_all_memory(
    amount: int, tracks_memory: bool, memory_mib: int | None
) -> None:
    """--mem=0, the same where Slurm shares out no memory, and there a job that asks for some."""
    asked = request(replace(PENDING, pn_min_memory=amount), tracks_memory=tracks_memory)
    assert (asked.memory_mib_per_node, asked.memory_mib_per_cpu) == (memory_mib, None)


def test_a_request_is_read_in_detail() -> None:
    """By node, task, CPU and GPU; what was not said is left to Slurm's defaults."""
    for gres, gpu_type in (("gres/gpu:a100:2", "a100"), ("gres/gpu:a100:1,gres/gpu:h100:1", ""), ("gres/gpu:2", "")):
        assert request(replace(PENDING, tres_per_node=gres)).gpu_type == gpu_type
    plain = request(PENDING)
    assert plain == Request(tasks=16, cpus=16, memory_mib_per_cpu=2048)
    asked = replace(
        PENDING,
        cpus_per_task=8,
        max_nodes=2,
        ntasks_per_node=4,
        num_cpus=64,
        num_tasks=8,
        pn_min_cpus=32,
        pn_min_memory=10240,
        tres_per_job="gres/gpu:4",
        tres_per_node="gres/gpu:2",
        tres_per_task="cpu=8,gres/gpu=1",
        tres_req_str="cpu=64,mem=20G,node=2",
    )
    assert request(asked) == Request(
        min_nodes=2,
        max_nodes=2,
        tasks=8,
        tasks_per_node=4,
        cpus=64,
        cpus_per_task=8,
        cpus_per_node=32,
        memory_mib_per_node=10240,
        gpus=4,
        gpus_per_node=2,
        gpus_per_task=1,
    )
    by_gpu = request(replace(PENDING, mem_per_tres="gres/gpu:5120", pn_min_memory=0, num_tasks=NO_VAL))
    assert (by_gpu.memory_mib_per_gpu, by_gpu.memory_mib_per_node, by_gpu.tasks) == (5120, None, 1)


def test_how_a_job_shares_its_nodes() -> None:
    """--exclusive and --exclusive=user."""
    assert [
        (one.whole_nodes, one.own_nodes)
        for shared in (NO_VAL16, JOB_SHARED_NONE, JOB_SHARED_USER)
        for one in (request(replace(PENDING, shared=shared)),)
    ] == [(False, False), (True, False), (False, True)]


def test_shares_are_what_each_node_has() -> None:
    """CPUs as slurmctld counts them, GPUs by number, memory by what it was asked for."""
    record = replace(RUNNING, tres_alloc_str="cpu=5,mem=10G,node=2,gres/gpu=3")
    found = AllocationRecord(cpus_per_node=(4, 1), cpu_count_reps=(1, 1), nodes=("k8s-0", "k8s-1"))
    details = ("gpu:a100:2(IDX:0,3)", "gpu:a100:1(IDX:7)")
    assert shares(record, found, details) == (
        Share("k8s-0", Tres(cpus=4, memory_mib=8192, nodes=1, gpus=2), (0, 3)),
        Share("k8s-1", Tres(cpus=1, memory_mib=2048, nodes=1, gpus=1), (7,)),
    )
    by_node = shares(replace(record, pn_min_memory=5120), found, ())
    assert [(one.size.memory_mib, one.size.gpus, one.gpu_indices) for one in by_node] == [(5120, 0, ())] * 2
    by_gpu = shares(replace(record, mem_per_tres="gres/gpu:3000", tres_alloc_str="mem=9000M"), found, details)
    assert [one.size.memory_mib for one in by_gpu] == [6000, 3000]
    repeated = replace_counts(found)
    assert [one.size.cpus for one in shares(record, repeated, ())] == [4, 4]
    assert shares(record, replace(found, nodes=("k8s-0",)), ()) == ()


def replace_counts(found: AllocationRecord) -> AllocationRecord:
    """The same number of CPUs on both nodes."""
    return replace(found, cpus_per_node=(4,), cpu_count_reps=(2,))
