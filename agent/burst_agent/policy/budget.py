"""
What may be granted at once: pods and GPUs, of all users and of each. It counts what it grants: one plan keeps all caps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from burst_agent.model import Pod
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
