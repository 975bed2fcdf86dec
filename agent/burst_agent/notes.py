"""
What the state table keeps in a job's admin_comment: where it comes from, where its pods are, its state and why. Pure.

Those that write give the action that does it, none where the same stands there already.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent.model import BurstState, Job, JobRef
from burst_agent.names import Comment, format_comment
from burst_agent.podstate import is_current
from burst_agent.steps import Action, Seen, WriteComment

#: How a reason begins that says why a job is not at a target that comes before its own.
PASSED = "not at "


def remember(seen: Seen, target: str, *, why: str = "") -> tuple[Action, ...]:
    """Write down where a flagged job comes from, and where its pods are to be, before anything is made for it."""
    return _write(seen, _origin(seen, target, why))


def split_off(seen: Seen, target: str, array_task_id: int) -> Action:
    """Write the same for one task of a flagged pending array: slurmctld gives it a record of its own for that."""
    return WriteComment(JobRef(seen.job.job_id, array_task_id), format_comment(_origin(seen, target, "")))


def stale(seen: Seen) -> bool:
    """Whether what is written down of a job in its own queue holds no more: its user has changed it meanwhile."""
    comment = seen.comment
    return comment is not None and (comment.origin, comment.asked_nodes) != (seen.job.partition, _nodes(seen.job))


def aim(seen: Seen) -> tuple[Action, ...]:
    """Write down where the pods of a job that started without any are made; nothing for a job that is not flagged."""
    if seen.comment is None or seen.comment.target == seen.target:
        return ()
    return _write(seen, replace(seen.comment, target=seen.target))


def say(seen: Seen, state: BurstState, reason: str, *, keep_origin: bool = False) -> tuple[Action, ...]:
    """Write state and reason into admin_comment; nothing for a job that is not flagged."""
    if seen.comment is None:
        return ()
    ran = state in (BurstState.RUNNING, BurstState.LOST)
    took = {BurstState.RUNNING: _pod_start_s(seen), BurstState.LOST: seen.comment.pod_start_s}
    changed = replace(
        seen.comment,
        state=state,
        reason=reason,
        origin=seen.comment.origin if keep_origin else "",
        target=seen.target if keep_origin else "",
        restart=seen.job.restart_count if ran else None,
        pod_start_s=took.get(state),
    )
    return _write(seen, changed, notice=not ran)


def tells(comment: Comment | None, state: BurstState, job: Job) -> bool:
    """Whether a job's admin_comment says this state of its present incarnation."""
    return comment is not None and comment.state == state and comment.restart == job.restart_count


def passed(comment: Comment | None) -> str:
    """Give why it is not where it was to go first: that stays with the job, for whoever looks at the bill."""
    return comment.reason if comment is not None and comment.reason.startswith(PASSED) else ""


def _origin(seen: Seen, target: str, why: str) -> Comment:
    assert seen.comment is not None  # callers looked at its mode
    return replace(
        seen.comment,
        origin=seen.job.partition,
        asked_nodes=_nodes(seen.job),
        state=BurstState.PROVISIONING,
        target=target,
        pod_start_s=None,
        restart=None,
        reason=why,
    )


def _nodes(job: Job) -> tuple[int, int]:
    return job.min_nodes, job.max_nodes


def _pod_start_s(seen: Seen) -> int | None:
    """Say how long the job's pods took to start: it is kept with the job, for later predictions."""
    pods = [pod for pod in seen.pods if is_current(pod, seen.job)]
    if not pods or not all(pod.started for pod in pods):
        return seen.comment.pod_start_s if seen.comment else None
    return round(max(max(pod.started for pod in pods) - min(pod.created for pod in pods), 0))


def _write(seen: Seen, comment: Comment, *, notice: bool = False) -> tuple[Action, ...]:
    text = format_comment(comment)
    return () if text == seen.job.admin_comment else (WriteComment(JobRef(seen.job.job_id), text, notice=notice),)
