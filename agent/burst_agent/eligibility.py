"""
What keeps a pending job from pods, whatever policy says: nobody wants it to burst, it can't, or Slurm would not start
it even on a free node. Pure; each function gives a sentence for the user, empty where nothing is in the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from burst_agent.model import BurstMode, BurstState, Job
from burst_agent.names import Comment
from burst_agent.steps import Seen

#: Slurm's pending reasons that more nodes would end; any other one holds in the burst partition as well.
CAPACITY_REASONS = frozenset(
    {"", "None", "Priority", "Resources", "PartitionDown", "PartitionInactive", "ReqNodeNotAvail", "NodeDown"}
)

#: Slurm's reasons that pass by a time or another job, which are seen in the job's record itself.
BEGIN_TIME = "BeginTime"
_DEPENDENCY = "Dependency"

#: Slurm's reason where no node of the partition is what a job asks for.
BAD_CONSTRAINTS = "BadConstraints"

#: How a reason begins that is slurmctld's own.
_HELD_BACK = "Slurm holds it back"


def unwanted(comment: Comment | None) -> str:
    """
    Say why a job is not to burst at all; empty where its user or a rule wants it to.
    """
    if comment is None:
        return "it is not flagged"
    return "--k8s-burst=never" if comment.mode is BurstMode.NEVER else ""


def refusal(job: Job) -> str:
    """
    Say why a pending job can't burst as it was submitted; empty where it can.
    """
    return next((sentence for _, sentence in _refusals(job)), "")


def refusal_kind(job: Job) -> str:
    """
    Say the same without any part that varies.
    """
    return next((kind for kind, _ in _refusals(job)), "")


def _refusals(job: Job) -> Iterator[tuple[str, str]]:
    if job.uid == 0:
        yield ("jobs of root never burst",) * 2
    if job.het_job_id:
        kind = "components of heterogeneous jobs can't burst"
        yield kind, f"{kind}: Slurm starts all of them together, in their own queues"
    if job.federated:
        kind = "jobs of a federation can't burst"
        yield kind, f"{kind}: another cluster may start them at any moment"
    for what, value, option, why in (
        ("node", job.required_nodes, "--nodelist", "which is not in Kubernetes"),
        ("features", job.features, "--constraint", "which virtual nodes don't have"),
        ("licences", job.licenses, "--licenses", "which are local"),
        ("reservation", job.reservation, "--reservation", "which holds local nodes"),
    ):
        if value:
            yield f"asks for {what} ({option}), {why}", f"asks for {what} {value} ({option}), {why}"


def hold(seen: Seen) -> str:
    """
    Say why a pending job would not start even on a free node; empty where it would.
    """
    job = seen.job
    if job.eligible_time > seen.now and not job.held:
        return f"{_HELD_BACK} ({BEGIN_TIME})"
    if job.held:
        return "it is held (scontrol release ends that)"
    if job.dependency:
        return f"{_HELD_BACK} ({_DEPENDENCY})"
    if seen.turns == 0:
        return "its array runs as many tasks at once as it may"
    word = job.reason.split(",")[0].split(" ")[0].strip("()")
    if word not in CAPACITY_REASONS and not job.reason.startswith("Nodes required"):
        return f"{_HELD_BACK} ({word})"
    # slurmctld forgets the reason at each change of a job, that of its admin_comment too, until it looks at it again.
    told = seen.comment.reason if seen.comment is not None and seen.comment.state == BurstState.WAITING else ""
    looked_at = word not in ("", "None")
    by_itself = told.endswith((f"({BEGIN_TIME})", f"({_DEPENDENCY})"))
    return told if told.startswith(_HELD_BACK) and not looked_at and not by_itself else ""
