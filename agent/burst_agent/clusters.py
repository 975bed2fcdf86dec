"""
All targets together: each is looked at by itself, so that one that does not answer holds up no other.

Of a target that can't be asked nothing is known: its pods are neither there nor gone. Not for several tasks at once,
but for :meth:`Clusters.watch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from burst_agent.errors import BurstError, KubeUnavailable
from burst_agent.model import Idle, Pod
from burst_agent.ports import Clock, KubePort
from burst_agent.steps import Away

log = structlog.get_logger(__name__)

#: Seconds that one look waits for a target; its answer then comes with a later look.
PATIENCE_S = 1.0
#: The same for the very first look, whose answer decides where jobs go that a restart of the agent has kept waiting.
FIRST_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Sight:
    """
    What one look saw.
    """

    pods: tuple[Pod, ...]
    #: Targets that can't be asked, by name.
    away: Mapping[str, Away]
    #: What is idle at targets that are to be left a share of it, by name.
    idle: Mapping[str, Idle] = field(default_factory=dict)


class Clusters:
    """
    The targets by name, in the order of the settings.
    """

    def __init__(
        self,
        kubes: Mapping[str, KubePort],
        clock: Clock,
        *,
        patience_s: float = PATIENCE_S,
        first_patience_s: float = FIRST_PATIENCE_S,
    ) -> None:
        """Take the ports; nothing is called yet."""
        self._kubes = dict(kubes)
        self._clock = clock
        self._patience_s = patience_s
        self._next_patience_s = first_patience_s
        self._asking: dict[str, asyncio.Task[Sequence[Pod]]] = {}
        self._away: dict[str, Away] = {}
        self._wake: Callable[[], None] = lambda: None

    def __getitem__(self, target: str) -> KubePort:
        """Give one. Raises KubeUnavailable for a target that is not in the settings."""
        kube = self._kubes.get(target)
        if kube is None:
            msg = f"target {target} is not in the agent's settings; there are {', '.join(self._kubes)}"
            raise KubeUnavailable(msg)
        return kube

    @property
    def names(self) -> tuple[str, ...]:
        """All targets."""
        return tuple(self._kubes)

    async def look(self) -> Sight:
        """Give the pods of all targets that answer. Raises nothing but what a bug raises."""
        fresh = []
        for name, kube in self._kubes.items():
            if name not in self._asking:
                self._asking[name] = asyncio.create_task(_pods(kube))
                fresh.append(self._asking[name])
        if fresh:
            await asyncio.wait(fresh, timeout=self._next_patience_s)
            self._next_patience_s = self._patience_s
        pods: list[Pod] = []
        for name in self._kubes:
            pods.extend(self._answer(name))
        idle = {name: room for name, kube in self._kubes.items() if (room := kube.idle()) is not None}
        return Sight(tuple(pods), dict(self._away), idle)

    def _answer(self, name: str) -> Sequence[Pod]:
        """Take a target's answer, or note why there is none."""
        task = self._asking[name]
        if not task.done():
            task.add_done_callback(lambda _: self._wake())
            self._miss(name, f"target {name} does not answer")
            return ()
        del self._asking[name]
        try:
            found = task.result()
        except BurstError as e:
            self._miss(name, f"target {name} can't be asked: {e}")
            return ()
        if self._away.pop(name, None):
            log.info("target_back", target=name)
        return found

    def _miss(self, name: str, why: str) -> None:
        before = self._away.get(name)
        if before is None:
            log.warning("target_away", target=name, why=why)
        self._away[name] = Away(why, before.since if before else self._clock.now())

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a pod of ours changed anywhere, until cancelled."""
        self._wake = changed
        async with asyncio.TaskGroup() as tasks:
            for kube in self._kubes.values():
                tasks.create_task(kube.watch(changed))

    async def close(self) -> None:
        """Leave what is still being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)


async def _pods(kube: KubePort) -> Sequence[Pod]:
    return await kube.pods()
