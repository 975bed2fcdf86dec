"""
From slurmctld's records to the agent's values: pure.

:class:`JobRecord` and :class:`NodeRecord` carry the fields of job_info_t and node_info_t under Slurm's names, copied to
Python's own strings and numbers, with what needs libslurm to tell (expanded nodes, the word for a reason) beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from burst_agent.model import Job, JobState, Request, Share, Tres, VirtualNode
from burst_agent.names import parse_comment
from burst_agent.slurm.arrays import parse_array_tasks
from burst_agent.slurm.states import job_state, node_state, node_usable
from burst_agent.slurm.tres import gpu_indices, gpu_type, gpus_by_type, parse_gres_gpus, parse_tres, requested_gpus

#: slurm.h: no value given, and no limit.
NO_VAL = 0xFFFFFFFE
INFINITE = 0xFFFFFFFF
NO_VAL16 = 0xFFFE
INFINITE16 = 0xFFFF

#: slurm.h: pn_min_memory counts by CPU.
MEM_PER_CPU = 1 << 63
#: slurm.h: how a job shares its nodes.
JOB_SHARED_NONE = 0
JOB_SHARED_USER = 2

JOB_STATE_BASE = 0xFF
JOB_COMPLETING = 1 << 15


@dataclass(frozen=True, slots=True)
class JobRecord:
    """
    What the agent reads of one job_info_t; absent strings are empty.
    """

    account: str
    admin_comment: str
    array_job_id: int
    array_task_id: int
    array_task_str: str
    array_max_tasks: int
    batch_flag: int
    cpus_per_task: int
    dependency: str
    eligible_time: int
    end_time: int
    exc_nodes: str
    exit_code: int
    features: str
    fed_origin_str: str
    gres_total: str
    group_id: int
    het_job_id: int
    job_state: int
    licenses: str
    max_nodes: int
    mem_per_tres: str
    name: str
    nodes: str
    ntasks_per_node: int
    num_cpus: int
    num_nodes: int
    num_tasks: int
    partition: str
    pn_min_cpus: int
    pn_min_memory: int
    priority: int
    qos: str
    req_nodes: str
    requeue: int
    restart_cnt: int
    resv_name: str
    shared: int
    start_time: int
    submit_time: int
    time_limit: int
    tres_per_job: str
    tres_per_node: str
    tres_per_task: str
    tres_req_str: str
    tres_alloc_str: str
    user_id: int
    user_name: str
    work_dir: str

    @property
    def pending(self) -> bool:
        """Whether the job is PENDING, its flags aside."""
        return self.job_state & JOB_STATE_BASE == 0

    def kill_id(self, job_id: int) -> str:
        """Write what scancel takes to end this record and no other of its array; a het job ends as a whole."""
        if self.het_job_id:
            return str(self.het_job_id)
        if self.array_task_id != NO_VAL:
            return f"{self.array_job_id}_{self.array_task_id}"
        if self.array_task_str:
            return f"{job_id}_[{self.array_task_str.partition('%')[0]}]"
        return str(job_id)

    def covers(self, task: int) -> bool:
        """Whether this record is, or stands for, an array task."""
        if self.array_task_id == NO_VAL:
            return task in parse_array_tasks(self.array_task_str)
        return self.array_task_id == task


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """
    What the agent reads of one node_info_t, and what is allocated there.
    """

    name: str
    node_state: int
    cpus: int
    cpus_efctv: int
    real_memory: int
    mem_spec_limit: int
    gres: str
    gres_used: str
    alloc_cpus: int
    alloc_memory_mib: int


def to_job(
    record: JobRecord,
    *,
    job_id: int,
    user: str,
    nodes: tuple[str, ...],
    excluded: tuple[str, ...],
    reason: str,
    tracks_memory: bool = True,
) -> Job:
    """Translate one job. Raises ValueError for a record that this agent can't read."""
    state = job_state(record.job_state & JOB_STATE_BASE)
    pending = state is JobState.PENDING
    task, tasks = array_place(record)
    return Job(
        job_id=job_id,
        array_job_id=record.array_job_id,
        array_task_id=task,
        array_tasks=tasks,
        array_limit=record.array_max_tasks,
        het_job_id=record.het_job_id,
        uid=record.user_id,
        gid=record.group_id,
        user=user,
        account=record.account,
        qos=record.qos,
        name=record.name,
        partition=record.partition,
        state=state,
        reason=reason,
        priority=record.priority,
        completing=bool(record.job_state & JOB_COMPLETING),
        submit_time=record.submit_time,
        eligible_time=record.eligible_time,
        start_time=record.start_time,
        end_time=record.end_time,
        time_limit_min=None if record.time_limit in (NO_VAL, INFINITE) else record.time_limit,
        min_nodes=min_nodes(record),
        max_nodes=max_nodes(record),
        requested=requested(record),
        gpu_type=gpu_type(
            record.tres_alloc_str,
            record.gres_total,
            record.tres_req_str,
            record.tres_per_node,
            record.tres_per_job,
            record.tres_per_task,
        ),
        request=request(record, excluded, tracks_memory=tracks_memory),
        allocated=Tres() if pending else allocated(record),
        nodes=() if pending else nodes,
        shares=(),
        required_nodes=record.req_nodes,
        features=record.features,
        licenses=record.licenses,
        reservation=record.resv_name,
        batch=bool(record.batch_flag),
        requeue=bool(record.requeue),
        restart_count=record.restart_cnt,
        exit_code=exit_code(record.exit_code),
        work_dir=record.work_dir,
        admin_comment=record.admin_comment,
        dependency=record.dependency,
        federated=bool(record.fed_origin_str),
    )


def array_place(record: JobRecord) -> tuple[int | None, tuple[int, ...]]:
    """
    Read which task a record is, or which tasks it stands for.

    A record that one task is left of is that task: slurmctld splits nothing off it, and it keeps its id when it starts.
    """
    if record.array_task_id != NO_VAL:
        return record.array_task_id, ()
    tasks = parse_array_tasks(record.array_task_str)
    return (tasks[0], ()) if len(tasks) == 1 else (None, tasks)


def min_nodes(record: JobRecord) -> int:
    """Read how many nodes a job needs at least; while it pends, num_nodes is slurmctld's guess of what it will get."""
    asked = parse_tres(record.tres_req_str).nodes
    return asked if record.pending and asked else record.num_nodes


def max_nodes(record: JobRecord) -> int:
    """
    Read how many nodes a job takes at most, 0 for no limit.

    Where slurmctld may choose their number, it says that there is no limit only once it has tried to place the job, and
    until then that it is the least; job_submit.lua has written down which it is.
    """
    marker = parse_comment(record.admin_comment) if record.pending else None
    chosen = marker is not None and marker.asked_nodes == (min_nodes(record), 0)
    return 0 if chosen and record.max_nodes == min_nodes(record) else record.max_nodes


def request(record: JobRecord, excluded: tuple[str, ...] = (), *, tracks_memory: bool = True) -> Request:
    """
    Read what the job asks for, in detail.

    Where Slurm does not track memory, a record of a job that asks for none looks like that of one that asks for all.
    """
    per_gpu = parse_gres_gpus(record.mem_per_tres)
    per_cpu = record.pn_min_memory & MEM_PER_CPU
    amount = record.pn_min_memory & ~MEM_PER_CPU
    tasks = 1 if record.num_tasks == NO_VAL else max(record.num_tasks, 1)
    per_task = parse_gres_gpus(record.tres_per_task)
    return Request(
        min_nodes=max(min_nodes(record), 1),
        max_nodes=max_nodes(record) or None,
        tasks=tasks,
        tasks_per_node=said16(record.ntasks_per_node) or None,
        cpus=max(record.num_cpus, 1),
        cpus_per_task=said16(record.cpus_per_task) or 1,
        cpus_per_node=said16(record.pn_min_cpus) or 1,
        memory_mib_per_node=None if per_gpu or per_cpu or not (amount or tracks_memory) else amount,
        memory_mib_per_cpu=amount if per_cpu and not per_gpu else None,
        memory_mib_per_gpu=per_gpu or None,
        gpus=parse_gres_gpus(record.tres_per_job),
        gpus_per_node=parse_gres_gpus(record.tres_per_node),
        gpus_per_task=per_task,
        gpu_type=only_gpu_type(record),
        whole_nodes=record.shared == JOB_SHARED_NONE,
        own_nodes=record.shared == JOB_SHARED_USER,
        excluded=excluded,
    )


def only_gpu_type(record: JobRecord) -> str:
    """Name the type of GPU that a job asks for; empty where it names none, or several."""
    asked = gpus_by_type(f"{record.tres_per_job},{record.tres_per_node},{record.tres_per_task}")
    return next(iter(asked)) if len(asked) == 1 else ""


def said16(value: int) -> int:
    """Read a number that Slurm keeps in 16 bits; what was not said counts 0."""
    return 0 if value in (NO_VAL16, INFINITE16) else value


def requested(record: JobRecord) -> Tres:
    """Read what the job asks for."""
    tres = parse_tres(record.tres_req_str)
    if tres.gpus:
        return tres
    gpus = requested_gpus(
        per_job=record.tres_per_job,
        per_node=record.tres_per_node,
        per_task=record.tres_per_task,
        nodes=max(tres.nodes, 1),
        tasks=0 if record.num_tasks == NO_VAL else record.num_tasks,
    )
    return replace(tres, gpus=gpus)


def allocated(record: JobRecord) -> Tres:
    """Read what slurmctld allocated."""
    tres = parse_tres(record.tres_alloc_str)
    return tres if tres.gpus else replace(tres, gpus=parse_gres_gpus(record.gres_total))


@dataclass(frozen=True, slots=True)
class AllocationRecord:
    """
    What the agent reads of one resource_allocation_response_msg_t.
    """

    cpus_per_node: tuple[int, ...]
    cpu_count_reps: tuple[int, ...]
    #: The nodes of node_list, expanded.
    nodes: tuple[str, ...]


def shares(record: JobRecord, allocation: AllocationRecord, gres_detail: tuple[str, ...]) -> tuple[Share, ...]:
    """
    Read what a running job has of each node; ``gres_detail`` is gres_detail_str, one for each node or nothing.
    """
    cpus = [
        count
        for count, times in zip(allocation.cpus_per_node, allocation.cpu_count_reps, strict=True)
        for _ in range(times)
    ]
    nodes, total = allocation.nodes, allocated(record)
    if len(cpus) != len(nodes):
        return ()
    gpus = [gpu_indices(detail) for detail in gres_detail] or [()] * len(nodes)
    counts = [parse_gres_gpus(detail) for detail in gres_detail] or [0] * len(nodes)
    sizes = [Tres(cpus=cpu, memory_mib=0, nodes=1, gpus=gpu) for cpu, gpu in zip(cpus, counts, strict=True)]
    return tuple(
        Share(node, replace(size, memory_mib=memory), indices)
        for node, size, memory, indices in zip(nodes, sizes, memories(record, total, sizes), gpus, strict=True)
    )


def memories(record: JobRecord, total: Tres, sizes: Sequence[Tres]) -> list[int]:
    """
    Divide a running job's memory among its nodes, in MiB; slurmctld tells the sum, and by what it was asked for.
    """
    per_gpu, per_cpu = parse_gres_gpus(record.mem_per_tres), record.pn_min_memory & MEM_PER_CPU
    weights = [size.gpus if per_gpu else size.cpus if per_cpu else 1 for size in sizes]
    return [-(-total.memory_mib * weight // max(sum(weights), 1)) for weight in weights]


def exit_code(status: int) -> int:
    """Write a wait status as a shell does: the exit code, or 128 plus the signal."""
    signal = status & 0x7F
    return 128 + signal if signal else status >> 8 & 0xFF


def to_node(record: NodeRecord) -> VirtualNode:
    """Translate one node. CPUs and memory kept for the system (CoreSpecCount, MemSpecLimit) are not offered."""
    used = gpus_by_type(record.gres_used)
    return VirtualNode(
        name=record.name,
        total=Tres(
            cpus=record.cpus_efctv or record.cpus,
            memory_mib=record.real_memory - record.mem_spec_limit,
            nodes=1,
            gpus=parse_gres_gpus(record.gres),
        ),
        allocated=Tres(
            cpus=record.alloc_cpus,
            memory_mib=record.alloc_memory_mib,
            nodes=int(record.alloc_cpus > 0),
            gpus=parse_gres_gpus(record.gres_used),
        ),
        usable=node_usable(record.node_state),
        state=node_state(record.node_state),
        gpus={name: (count, used.get(name, 0)) for name, count in gpus_by_type(record.gres).items()},
    )
