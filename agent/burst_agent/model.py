"""
The agent's values: what slurmctld and Kubernetes said, in our words. Frozen; no behaviour beyond reading themselves.

Units are in the names. Times are Unix seconds. ``None`` means that Slurm did not say, or that there is no limit.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

#: Slurm looks for new starts now and then, and lists of its jobs are some seconds old: an expected start that has
#: passed for less than so many seconds is about to come true.
OVERDUE_S = 300


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


class BurstMode(enum.StrEnum):
    """
    How eagerly a job bursts: the value of ``--k8s-burst``.
    """

    AUTO = "auto"
    NOW = "now"
    NEVER = "never"


class BurstState(enum.StrEnum):
    """
    Where a job stands on its way; :mod:`burst_agent.lifecycle` alone decides which.
    """

    WAITING = "waiting"
    PROVISIONING = "provisioning"
    MOVED = "moved"
    RUNNING = "running"
    LOST = "lost"
    LOCAL = "local"
    REFUSED = "refused"
    DONE = "done"


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
class Request:
    """
    What a pending job asks for, as far as it decides how many nodes it needs and what it gets of each.

    0: not said; ``None``: no limit, or not said where 0 means something.
    """

    min_nodes: int = 1
    max_nodes: int | None = None
    tasks: int = 1
    #: At most so many on one node.
    tasks_per_node: int | None = None
    #: Over all nodes.
    cpus: int = 1
    cpus_per_task: int = 1
    #: At least.
    cpus_per_node: int = 1
    #: 0: all that the node has. One of the three is given, the others are ``None``; none is where Slurm does not track
    #: memory (SelectTypeParameters without Memory): a pod gets what the settings say for each CPU.
    memory_mib_per_node: int | None = None
    memory_mib_per_cpu: int | None = None
    memory_mib_per_gpu: int | None = None
    #: Over all nodes.
    gpus: int = 0
    gpus_per_node: int = 0
    gpus_per_task: int = 0
    #: Their type, where it names one and no other.
    gpu_type: str = ""
    #: Nothing else may run on its nodes (--exclusive): it gets all their CPUs and GPUs.
    whole_nodes: bool = False
    #: No other user may have its nodes (--exclusive=user).
    own_nodes: bool = False
    #: Nodes that it must not get (--exclude), expanded.
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Idle:
    """
    What nothing but our pods has asked for at a target whose idle room is to be shared.
    """

    #: CPUs are those of jobs.
    size: Tres
    #: Why it is not known; empty where it is.
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """
    What a job gets, or has, of one node.
    """

    node: str
    size: Tres
    #: Slurm's numbers of the job's GPUs on this node, ascending; empty while pending, or where Slurm does not say.
    gpu_indices: tuple[int, ...] = ()


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
    #: Indices of the tasks that a pending array record stands for, two at least, ascending; empty otherwise.
    array_tasks: tuple[int, ...]
    #: Non-zero for a component of a heterogeneous job.
    het_job_id: int
    uid: int
    gid: int
    user: str
    account: str
    qos: str
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
    #: Of a pending job: when Slurm's backfill expects to start it; 0 while it expects nothing.
    start_time: int
    #: Of a running job: when its time limit ends it.
    end_time: int
    #: Time limit in minutes; ``None`` for UNLIMITED or for the partition's default not set yet.
    time_limit_min: int | None
    min_nodes: int
    max_nodes: int
    #: What the job asks for (tres_req_str), over all its nodes.
    requested: Tres
    #: Type of its GPUs (gpu:TYPE:2), the first one where it asks for several; empty where it names none.
    gpu_type: str
    #: The same in detail; of use while pending.
    request: Request
    #: What slurmctld allocated (tres_alloc_str); empty while pending.
    allocated: Tres
    #: Nodes the job runs on, expanded; empty while pending.
    nodes: tuple[str, ...]
    #: What it has of each of them, where that was asked for (SlurmPort.allocation).
    shares: tuple[Share, ...]
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
    #: As a shell has it: the batch script's exit code, or 128 plus the signal that ended it.
    exit_code: int
    work_dir: str
    admin_comment: str
    #: Of the record that an array began as: at most so many of its tasks run at once (``%N``); 0: no limit.
    array_limit: int = 0
    #: Jobs that a pending job waits for and that have not ended as it wants, as Slurm writes them; empty: none.
    dependency: str = ""
    #: Whether it is a job of a federation: other clusters may have it as well, and the first to start it runs it.
    federated: bool = False
    #: Where Slurm expects no start of a job that waits for others: jobs of its partition with a higher priority, …
    ahead: int = 0
    #: … and how many start there in an hour; 0: none did.
    starts_per_hour: float = 0.0

    @property
    def held(self) -> bool:
        """Whether a user or an administrator holds the job."""
        return self.priority == 0

    def expected_start(self, now: float) -> float | None:
        """When Slurm expects to start a pending job, not before now; ``None``: it expects nothing."""
        return max(float(self.start_time), now) if self.start_time > max(now - OVERDUE_S, 0) else None


@dataclass(frozen=True, slots=True)
class Unflagged:
    """
    Pending jobs that no user flagged and that a rule of the site may flag: shell patterns; an empty tuple fits all.
    """

    partition: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()


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
    #: Its GPUs by type, the empty one for those that have none: how many, and how many are allocated; ``None``: they
    #: are of whatever type is asked for.
    gpus: Mapping[str, tuple[int, int]] | None = None

    def of_type(self, gpu_type: str) -> tuple[int, int]:
        """Give how many GPUs of a type it has, and how many of them are allocated."""
        return (self.total.gpus, self.allocated.gpus) if self.gpus is None else self.gpus.get(gpu_type, (0, 0))


@dataclass(frozen=True, slots=True)
class Partition:
    """
    A partition as those who submit to it find it.
    """

    name: str
    #: Whether jobs that name none get into it.
    default: bool
    #: The time limit of jobs that state none, in minutes; ``None``: no limit.
    time_limit_min: int | None
    #: Jobs there that wait for nodes, …
    waiting: int = 0
    #: … and how many start there in an hour; 0: none did.
    starts_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Accounts:
    """
    What slurmdbd says of a user's accounts.
    """

    #: Those that the user may charge.
    names: frozenset[str] = frozenset()
    #: The one that is charged where a job names none; empty: not known.
    default: str = ""


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
class EndWarning:
    """
    A job's ``--signal``: what its tasks get some time before it is ended.
    """

    #: Number of the signal.
    signal: int
    #: How long before.
    before_s: int
    #: For the batch script's shell alone (``B:``); otherwise for the tasks of steps alone, as in Slurm.
    batch_only: bool


class PodPhase(enum.StrEnum):
    """
    Kubernetes' pod phases, in its own words.
    """

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Pod:
    """
    One pod of ours, as the API server last described it.
    """

    #: Name of the target that it was made at.
    target: str
    namespace: str
    name: str
    #: uid of the object: a pod of the same name made later is another one.
    uid: str
    job_id: int
    #: Restart count of the job's incarnation that the pod was made for.
    restart: int
    #: Virtual node that the pod stands behind.
    node: str
    #: uid of the job's user.
    user_uid: int
    phase: PodPhase
    #: Whether the container that holds the job runs.
    running: bool
    #: Whether it is being deleted.
    terminating: bool
    created: float
    #: Its address, IPv4 where it has one; empty until Kubernetes gave it one.
    address: str
    #: What it was made for; ``None`` where it does not say.
    size: Tres | None
    #: Nodes of all pods that were to be made with it, its own among them; empty where it does not say.
    nodes: tuple[str, ...]
    gpus: int
    #: Kubernetes' own word for why it does not run: Unschedulable, ImagePullBackOff, Evicted, …; may be empty.
    reason: str
    #: Kubernetes' sentence about it; may be empty.
    message: str
    #: When the container that holds the job began to run; 0 where it does not run.
    started: float = 0.0
    #: Time limit in minutes that its job had when it was made; ``None``: none.
    limit_min: int | None = None
    #: What else of its job policy looked at then (names.terms); empty where it does not say.
    terms: str = ""
    #: Whether a scheduling gate holds it: somebody else, such as Kueue, says when it may be placed.
    gated: bool = False
    #: When the last gate was seen to be gone; 0: it had none.
    admitted: float = 0.0
    #: Name of the group that Kueue admits it with, once and as a whole; empty where it is alone or Kueue is not asked.
    group: str = ""
    #: When its processes are killed at the latest; 0 where it is not being deleted.
    ends_by: float = 0.0

    @property
    def placeable(self) -> float:
        """Since when Kubernetes may place it."""
        return max(self.created, self.admitted)

    @property
    def ended(self) -> bool:
        """Whether its containers have ended or are being ended."""
        return self.terminating or self.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)

    @property
    def finished(self) -> bool:
        """Whether it ended because its job's batch script or interactive step had, and the launcher knows how."""
        return self.phase is PodPhase.SUCCEEDED and not self.terminating


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """
    How gateways reach the API server.
    """

    #: https URL without a path.
    url: str
    #: PEM certificates that sign the API server's certificate; empty: the system's.
    ca_pem: bytes
    #: Name to verify in the API server's certificate; empty: the URL's host.
    tls_server_name: str


@dataclass(frozen=True, slots=True)
class Token:
    """
    A ServiceAccount token that is bound to one pod.
    """

    secret: str
    #: Unix seconds.
    expires: float

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"Token(expires={self.expires})"


@dataclass(frozen=True, slots=True)
class Group:
    """
    One entry of the group database.
    """

    name: str
    gid: int


@dataclass(frozen=True, slots=True)
class User:
    """
    One entry of the passwd database, with the user's groups.
    """

    name: str
    uid: int
    gid: int
    full_name: str
    home: str
    shell: str
    #: All groups of the user, the primary one among them, by ascending gid.
    groups: tuple[Group, ...]


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
    #: Unix seconds.
    start: int = 0
    cpus: int = 0
    nodes: int = 1
    gpu_type: str = ""
    admin_comment: str = ""

    @property
    def gpu_hours(self) -> float:
        """GPUs times elapsed time, in hours."""
        return self.gpus * self.elapsed_s / 3600
