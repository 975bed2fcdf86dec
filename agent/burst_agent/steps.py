"""
The words of the state table: what it is told of a job, and what it answers. Values only.

:mod:`burst_agent.lifecycle` is the table itself; :mod:`burst_agent.actor` carries the actions out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from burst_agent.model import BurstState, Job, JobRef, Pod, Share, Tres
from burst_agent.names import Comment


@dataclass(frozen=True, slots=True)
class Site:
    """
    What the table needs of the settings.
    """

    #: Burst partition.
    partition: str
    #: Names of the Kubernetes clusters.
    targets: tuple[str, ...]
    provision_timeout_s: float
    start_timeout_s: float
    #: By target: seconds that a pod may find no node; as provision_timeout_s where it is not said.
    unschedulable_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    The job's last try failed.
    """

    #: Unix seconds.
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Away:
    """
    A target can't be asked for its pods.
    """

    why: str
    #: Unix seconds.
    since: float


@dataclass(frozen=True, slots=True)
class PodShape:
    """
    What a pause of a target is about: pods as large as this, or of this image, or of one user; nothing said: all pods.
    """

    size: Tres | None = None
    gpu_type: str = ""
    #: As users write it, empty for the site's default; ``None``: any.
    image: str | None = None
    uid: int | None = None


ALL_PODS = PodShape()


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What policy says of a job that could get pods now.
    """

    #: Nodes for its pods, and how large each is; empty: wait.
    shares: tuple[Share, ...] = ()
    #: Where its pods are to be made; empty: wait.
    target: str = ""
    #: Of an array record: the tasks to split off now.
    tasks: tuple[int, ...] = ()
    #: Why, in a few words without numbers that change by themselves.
    reason: str = ""
    #: The same without any part that varies, to be counted by; empty: as reason.
    kind: str = ""
    #: Why targets before the one that it goes to don't get it; empty where it is the first.
    passed: str = ""
    #: What was looked at last, with its numbers.
    own: tuple[str, ...] = ()
    #: Tells what was looked at before.
    tell: Callable[[], tuple[str, ...]] | None = field(default=None, compare=False, repr=False)
    #: No waiting helps: a rule, the user's own limit, or the whole of what is allowed or there is against it.
    refused: bool = False
    #: Seconds by which it starts earlier in Kubernetes; ``None``: not known.
    gain_s: float | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that was looked at, with its numbers."""
        return (*(self.tell() if self.tell else ()), *self.own)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes for its pods."""
        return tuple(share.node for share in self.shares)


@dataclass(frozen=True, slots=True)
class Seen:
    """
    Everything that is known of one job.
    """

    job: Job
    comment: Comment | None
    #: Its pods; of a job whose target can't be asked, none.
    pods: tuple[Pod, ...]
    now: float
    backoff: Backoff | None = None
    #: When the job was first seen pending in the burst partition; ``None``: not yet.
    moved_since: float | None = None
    decision: Decision | None = None
    #: Where its pods are, or are to be made if it runs; empty: nowhere.
    target: str = ""
    #: Why that target can't be asked for them; empty where it can.
    away: str = ""
    #: How many tasks of a pending record may start beside those of its array that run; ``None``: no limit.
    turns: int | None = None
    #: Why the pods of a job that pends are not what it asks for; empty where they will do.
    misfit: str = ""
    #: Whether it requires virtual nodes, as the agent's moves have it.
    pinned: bool = False
    #: Why it can't burst as it was submitted, where policy has words for it; empty: as eligibility says.
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class WriteComment:
    """Set admin_comment; splits an array task off."""

    ref: JobRef
    text: str
    #: It only informs: nothing depends on it, and it may come later.
    notice: bool = False


@dataclass(frozen=True, slots=True)
class MakePods:
    """Make the job's pods behind these nodes at a target, all or none of them."""

    target: str
    nodes: tuple[str, ...]
    #: How large each is, for a job that pends; for one that runs, it is what slurmctld allocated.
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Delete these pods."""

    pods: tuple[Pod, ...]
    why: str


@dataclass(frozen=True, slots=True)
class MoveJob:
    """Move the pending job to a partition, requiring these nodes; none lifts the requirement."""

    partition: str
    nodes: tuple[str, ...]
    #: Node count to restore, lowest and highest; ``None``: as many as there are nodes.
    asked_nodes: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StartBackoff:
    """Let some time pass before the next try."""

    why: str


@dataclass(frozen=True, slots=True)
class PauseTarget:
    """
    Leave the job's target alone for a while, for pods like the job's: of their size, or of their image.
    """

    why: str
    image: bool
    #: Only for those of the job's user.
    user: bool = False


@dataclass(frozen=True, slots=True)
class RequeueJob:
    """Requeue the running job; where slurmctld refuses, kill it."""

    why: str


@dataclass(frozen=True, slots=True)
class KillJob:
    """Kill the running job."""

    why: str


Action = WriteComment | MakePods | DeletePods | MoveJob | StartBackoff | PauseTarget | RequeueJob | KillJob


@dataclass(frozen=True, slots=True)
class Step:
    """
    What the table says: the state, why, and what to do, in order.
    """

    state: BurstState
    reason: str = ""
    actions: tuple[Action, ...] = ()
