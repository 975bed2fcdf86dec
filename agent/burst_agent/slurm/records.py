"""
From slurmctld's records to the agent's values: pure.

:class:`JobRecord` and :class:`NodeRecord` carry the fields of job_info_t and node_info_t under Slurm's names, copied to
Python's own strings and numbers, with what needs libslurm to tell (expanded nodes, the word for a reason) beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from burst_agent.model import Job, JobState, Tres, VirtualNode
from burst_agent.slurm.arrays import parse_array_tasks
from burst_agent.slurm.states import job_state, node_state, node_usable
from burst_agent.slurm.tres import gpu_type, parse_gres_gpus, parse_tres, requested_gpus

#: slurm.h: no value given, and no limit.
NO_VAL = 0xFFFFFFFE
INFINITE = 0xFFFFFFFF

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
    batch_flag: int
    eligible_time: int
    end_time: int
    exc_nodes: str
    exit_code: int
    features: str
    gres_total: str
    group_id: int
    het_job_id: int
    job_state: int
    licenses: str
    max_nodes: int
    name: str
    nodes: str
    num_nodes: int
    num_tasks: int
    partition: str
    priority: int
    qos: str
    req_nodes: str
    requeue: int
    restart_cnt: int
    resv_name: str
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


def to_job(record: JobRecord, *, job_id: int, user: str, nodes: tuple[str, ...], reason: str) -> Job:
    """Translate one job. Raises ValueError for a record that this agent can't read."""
    state = job_state(record.job_state & JOB_STATE_BASE)
    pending = state is JobState.PENDING
    is_task = record.array_task_id != NO_VAL
    return Job(
        job_id=job_id,
        array_job_id=record.array_job_id,
        array_task_id=record.array_task_id if is_task else None,
        array_tasks=() if is_task else parse_array_tasks(record.array_task_str),
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
        max_nodes=record.max_nodes,
        requested=requested(record),
        gpu_type=gpu_type(
            record.tres_alloc_str,
            record.gres_total,
            record.tres_req_str,
            record.tres_per_node,
            record.tres_per_job,
            record.tres_per_task,
        ),
        allocated=Tres() if pending else allocated(record),
        nodes=() if pending else nodes,
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
    )


def min_nodes(record: JobRecord) -> int:
    """Read how many nodes a job needs at least; while it pends, num_nodes is slurmctld's guess of what it will get."""
    asked = parse_tres(record.tres_req_str).nodes
    return asked if record.pending and asked else record.num_nodes


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


def exit_code(status: int) -> int:
    """Write a wait status as a shell does: the exit code, or 128 plus the signal."""
    signal = status & 0x7F
    return 128 + signal if signal else status >> 8 & 0xFF


def to_node(record: NodeRecord) -> VirtualNode:
    """Translate one node. CPUs and memory kept for the system (CoreSpecCount, MemSpecLimit) are not offered."""
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
    )
