"""
Whether a job bursts now: mode, time waited, caps, room. Pure; takes what it grants from the budget and the rooms.

Jobs are to be asked about in the queue's order: what one is granted, later ones don't have.
"""

from __future__ import annotations

from burst_agent import shapes
from burst_agent.model import BurstMode, Job, Tres
from burst_agent.policy.budget import Budget, Caps
from burst_agent.steps import Decision


def decide(job: Job, mode: BurstMode, caps: Caps, budget: Budget, rooms: shapes.Rooms, now: float) -> Decision:
    """
    Decide on one pending job, or on the tasks of one pending array record, taking budget and room for what is granted.
    """
    waited = _waited(job, mode, caps, now)
    if waited.reason:
        return waited
    size = shapes.request(job.requested)
    if not job.array_tasks:
        placement = _grant(job.uid, size, budget, rooms)
        return Decision(placement.nodes, (), placement.reason, (*waited.lines, *placement.lines))
    tasks = []
    for task in job.array_tasks:
        placement = _grant(job.uid, size, budget, rooms)
        if not placement.nodes:
            break
        tasks.append(task)
    count = f"{len(tasks)} of {len(job.array_tasks)} waiting array tasks can burst now"
    return Decision((), tuple(tasks), placement.reason, (*waited.lines, count, *placement.lines))


def _waited(job: Job, mode: BurstMode, caps: Caps, now: float) -> Decision:
    if mode is BurstMode.NOW:
        return Decision(lines=("mode now: no waiting for a local node",))
    since = max(job.submit_time, job.eligible_time)
    line = f"mode auto: waited {max(now - since, 0):.0f} of {caps.wait_s:.0f} s for a local node (wait_s)"
    if now < since + caps.wait_s:
        return Decision(reason=f"waits {caps.wait_s:.0f} s for a local node first", lines=(line,))
    return Decision(lines=(line,))


def _grant(uid: int, size: Tres, budget: Budget, rooms: shapes.Rooms) -> Decision:
    over = budget.exceeded(uid, size.gpus)
    if over is not None:
        return over
    placement = rooms.place(size)
    if not placement.node:
        return Decision(reason=placement.reason, lines=(placement.line,))
    budget.grant(uid, size.gpus)
    rooms.take(placement.node, size)
    return Decision(nodes=(placement.node,), lines=(placement.line,))
