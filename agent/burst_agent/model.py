"""
The agent's values: what slurmctld and Kubernetes said, in our words. Frozen; no behaviour beyond reading themselves.

Units are in the names. Times are Unix seconds. ``None`` means that Slurm did not say, or that there is no limit.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class JobState(enum.StrEnum):
    """
    Slurm's base job states, by the names that squeue prints.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"

    @property
    def ended(self) -> bool:
        """Whether a job in this state can't run again under the same incarnation."""
        return self not in (JobState.PENDING, JobState.RUNNING, JobState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Tres:
    """
    Trackable resources, summed over a whole job or node.
    """

    cpus: int = 0
    memory_mib: int = 0
    nodes: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """
    One job record of slurmctld. A pending array is one record that stands for all its tasks not split off yet.
    """

    job_id: int
    #: Job id of the array, 0 for a job that is none.
    array_job_id: int
    #: Index within the array; ``None`` for a job that is none and for the record of the tasks not split off yet.
    array_task_id: int | None
    #: Indices of the tasks that a pending array record stands for, ascending; empty otherwise.
    array_tasks: tuple[int, ...]
    #: Non-zero for a component of a heterogeneous job.
    het_job_id: int
    uid: int
    gid: int
    user: str
    account: str
    name: str
    partition: str
    state: JobState
    #: Slurm's own word for why it is pending: Resources, Priority, Dependency, JobHeldUser, …
    reason: str
    #: Priority; 0 means held.
    priority: int
    #: COMPLETING flag: tasks are being ended, nodes are not free yet.
    completing: bool
    submit_time: int
    #: When the job could start at the earliest (begin time, dependency); 0 while unknown.
    eligible_time: int
    start_time: int
    #: Time limit in minutes; ``None`` for UNLIMITED or for the partition's default not set yet.
    time_limit_min: int | None
    min_nodes: int
    max_nodes: int
    #: What the job asks for (tres_req_str), over all its nodes.
    requested: Tres
    #: What slurmctld allocated (tres_alloc_str); empty while pending.
    allocated: Tres
    #: Nodes the job runs on, expanded; empty while pending.
    nodes: tuple[str, ...]
    #: Nodes the job requires (--nodelist), as written.
    required_nodes: str
    #: Features the job requires (--constraint), as written.
    features: str
    licenses: str
    reservation: str
    #: Whether there is a batch script.
    batch: bool
    #: Whether Slurm may requeue it.
    requeue: bool
    #: How often it has been requeued.
    restart_count: int
    exit_code: int
    work_dir: str
    admin_comment: str

    @property
    def held(self) -> bool:
        """Whether a user or an administrator holds the job."""
        return self.priority == 0


@dataclass(frozen=True, slots=True)
class VirtualNode:
    """
    One node of the burst partition.
    """

    name: str
    total: Tres
    allocated: Tres
    #: Whether slurmctld would place a job there: responding, not DOWN, DRAIN, FAIL, or reserved.
    usable: bool
    #: Slurm's words for its state, for messages: IDLE, MIXED, DOWN+DRAIN, …
    state: str


@dataclass(frozen=True, slots=True)
class JobRef:
    """
    Names what to change: a job, or one task of a pending array that is not split off yet.
    """

    job_id: int
    array_task_id: int | None = None

    def __str__(self) -> str:
        """Write it as scontrol takes it."""
        return f"{self.job_id}" if self.array_task_id is None else f"{self.job_id}_{self.array_task_id}"


@dataclass(frozen=True, slots=True)
class JobUsage:
    """
    What one finished burst job used, from slurmdbd.
    """

    job_id: int
    user: str
    account: str
    state: str
    elapsed_s: int
    gpus: int

    @property
    def gpu_hours(self) -> float:
        """GPUs times elapsed time, in hours."""
        return self.gpus * self.elapsed_s / 3600
