"""
Whether a job bursts now: mode, time waited, caps, room. Pure; counts what it grants, so that one plan keeps all caps.

Jobs are to be asked about in the queue's order: what one is granted, later ones don't have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from burst_agent import shapes
from burst_agent.model import BurstMode, Job, Pod, Tres
from burst_agent.steps import Decision


@dataclass(frozen=True, slots=True)
class Caps:
    """
    What the settings allow.
    """

    wait_s: float
    max_pods: int
    max_gpus: int
    max_pods_per_user: int
    max_gpus_per_user: int


class Budget:
    """
    The caps, less the pods that exist and those granted while one plan is made.
    """

    def __init__(self, caps: Caps, pods: Iterable[Pod]) -> None:
        """Count the pods that exist, those being deleted too: they hold their node until they are gone."""
        self._caps = caps
        self._pods: dict[int, int] = {}
        self._gpus: dict[int, int] = {}
        for pod in pods:
            self._count(pod.user_uid, 1, pod.gpus)

    def exceeded(self, uid: int, gpus: int) -> Decision | None:
        """Say which cap one more pod with so many GPUs would exceed; ``None``: none."""
        caps = self._caps
        checks = (
            ("pods of all users", sum(self._pods.values()), 1, caps.max_pods, "max_pods"),
            ("GPUs of all users", sum(self._gpus.values()), gpus, caps.max_gpus, "max_gpus"),
            ("pods of this user", self._pods.get(uid, 0), 1, caps.max_pods_per_user, "max_pods_per_user"),
            ("GPUs of this user", self._gpus.get(uid, 0), gpus, caps.max_gpus_per_user, "max_gpus_per_user"),
        )
        for what, used, more, cap, setting in checks:
            if more and used + more > cap:
                line = f"{what}: {used} in use, {more} more asked, {cap} allowed ({setting})"
                never = more > cap
                return Decision(
                    reason=f"asks for more {what} than allowed" if never else f"cap on {what} is reached", lines=(line,)
                )
        return None

    def grant(self, uid: int, gpus: int) -> None:
        """Count one more pod."""
        self._count(uid, 1, gpus)

    def _count(self, uid: int, pods: int, gpus: int) -> None:
        self._pods[uid] = self._pods.get(uid, 0) + pods
        self._gpus[uid] = self._gpus.get(uid, 0) + gpus


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
