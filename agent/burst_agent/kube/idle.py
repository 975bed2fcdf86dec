"""
What nothing else at a target has asked for: allocatable of the nodes that take pods, less the requests of all pods
there that are not ours. For targets of which only a share may be taken; asked every so often, as the lists are long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog

from burst_agent import names
from burst_agent.errors import KubeRefused, KubeUnavailable
from burst_agent.kube.api import Api, JsonObject
from burst_agent.model import Idle, Tres

_PAGE = 500
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed"
_QUANTITY = re.compile(r"([0-9.]+)(?:[eE]([+-]?[0-9]+)|([numkKMGTPE]i?))?")
_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip

log = structlog.get_logger(__name__)


class IdleRoom:
    """
    Keeps what is idle at one target.
    """

    def __init__(
        self, api: Api, *, cluster: str, target: str, gpu_resource: str, cpu_request_fraction: float, every_s: float
    ) -> None:
        """Nothing is known yet."""
        self._api = api
        self._ours = {names.CLUSTER_LABEL: cluster, names.TARGET_LABEL: target}.items()
        self._gpu_resource = gpu_resource
        self._cpu_request_fraction = cpu_request_fraction
        self._every_s = every_s
        self.seen = Idle(Tres(), unknown="nodes have not been looked at yet")

    async def follow(self, changed: Callable[[], None]) -> None:
        """Look again and again, calling ``changed`` at each news, until cancelled."""
        while True:
            before = self.seen
            try:
                nodes = [thing async for thing in self._list("/api/v1/nodes", {})]
                pods = [thing async for thing in self._list("/api/v1/pods", {"fieldSelector": _ALIVE})]
                self.seen = Idle(self._sum(nodes, pods))
            except (KubeUnavailable, KubeRefused) as e:
                self.seen = Idle(Tres(), unknown=str(e))
            if self.seen != before:
                log.info("idle", size=self.seen.size, unknown=self.seen.unknown)
                changed()
            await asyncio.sleep(self._every_s)

    async def _list(self, path: str, query: Mapping[str, str]) -> Any:
        asked = {**query, "limit": str(_PAGE)}
        while True:
            page = await self._api.call("GET", path, query=asked)
            for thing in page.get("items", []):
                yield thing
            token = page["metadata"].get("continue", "")
            if not token:
                return
            asked["continue"] = token

    def _sum(self, nodes: Iterable[JsonObject], pods: Iterable[JsonObject]) -> Tres:
        free = {node["metadata"]["name"]: node["status"].get("allocatable", {}) for node in nodes if takes_pods(node)}
        others = [
            pod
            for pod in pods
            if pod["spec"].get("nodeName") in free and not self._ours <= pod["metadata"].get("labels", {}).items()
        ]

        def left(resource: str) -> float:
            has = sum(quantity(one.get(resource, "0")) for one in free.values())
            return max(has - sum(requested(pod["spec"], resource) for pod in others), 0.0)

        return Tres(
            # In CPUs of jobs, of which Kubernetes is asked for a fraction.
            cpus=int(left("cpu") / self._cpu_request_fraction),
            memory_mib=int(left("memory") / 2**20),
            nodes=len(free),
            gpus=int(left(self._gpu_resource)),
        )


def takes_pods(node: JsonObject) -> bool:
    """Whether Kubernetes would place a pod there, taints aside."""
    conditions = node.get("status", {}).get("conditions", ())
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not node.get("spec", {}).get("unschedulable", False)


def requested(spec: JsonObject, resource: str) -> float:
    """Give what the scheduler counts of one resource for a pod: its containers together, or one of its first ones."""

    def each(containers: Iterable[JsonObject]) -> Iterator[float]:
        for one in containers:
            resources = one.get("resources", {})
            yield quantity(resources.get("requests", {}).get(resource, resources.get("limits", {}).get(resource, "0")))

    together = sum(each(spec.get("containers", ())))
    first = max(each(spec.get("initContainers", ())), default=0.0)
    return max(together, first) + quantity(spec.get("overhead", {}).get(resource, "0"))


def quantity(text: object) -> float:
    """Read a quantity as Kubernetes writes it: 100m, 64Mi, 1e3; what can't be read counts nothing."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return 0.0
    return float(match[1]) * (10.0 ** int(match[2]) if match[2] else _UNITS.get(match[3] or "", 1.0))
