"""
Why Kueue has not admitted pods of ours yet: what the conditions of their Workloads say. Asked every so often while pods
are gated, of the namespaces that have some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import structlog

from burst_agent.errors import KubeRefused, KubeUnavailable
from burst_agent.kube.api import Api, JsonObject, Missing
from burst_agent.model import Pod

_GROUP = "kueue.x-k8s.io"

log = structlog.get_logger(__name__)


class Queue:
    """
    Keeps what Kueue says of the gated pods at one target.
    """

    def __init__(self, api: Api, *, every_s: float) -> None:
        """Nothing is known yet."""
        self._api = api
        self._every_s = every_s
        #: By uid of the pod.
        self._sentences: Mapping[str, str] = {}

    def told(self, pod: Pod) -> Pod:
        """Give a gated pod with Kueue's sentence about it, where there is one."""
        sentence = self._sentences.get(pod.uid, "") if pod.gated and not pod.terminating else ""
        return replace(pod, message=sentence) if sentence else pod

    async def follow(self, pods: Callable[[], Iterable[Pod]], changed: Callable[[], None]) -> None:
        """Look again and again, calling ``changed`` at each news, until cancelled."""
        while True:
            before = self._sentences
            gated = [pod for pod in pods() if pod.gated and not pod.terminating]
            self._sentences = await self._look(gated)
            if self._sentences != before:
                changed()
            await asyncio.sleep(self._every_s)

    async def _look(self, gated: list[Pod]) -> Mapping[str, str]:
        try:
            found: dict[str, str] = {}
            for namespace in sorted({pod.namespace for pod in gated}):
                path = f"/apis/{await api_version(self._api)}/namespaces/{namespace}/workloads"
                for workload in (await self._api.call("GET", path)).get("items", ()):
                    if said := waits_for(workload):
                        found.update(dict.fromkeys(_owners(workload), f"Kueue: {said}"))
        except KubeUnavailable as e:
            log.info("kueue_not_asked", error=str(e))
            return self._sentences
        except KubeRefused as e:
            # Without the right to see Workloads their pods are admitted all the same.
            return {pod.uid: f"Kueue has not admitted it yet (why is not known: {e})" for pod in gated}
        return found


async def api_version(api: Api) -> str:
    """
    Give the version of Kueue's API that the API server prefers: Kueue's releases differ in those that they have.

    Raises KubeUnavailable, and KubeRefused where the cluster has no Kueue.
    """
    try:
        group = await api.call("GET", f"/apis/{_GROUP}")
    except Missing as e:
        msg = f"the cluster has no Kueue: {e}"
        raise KubeRefused(msg) from e
    version = group.get("preferredVersion", {}).get("groupVersion")
    if not version:
        msg = f"the API server prefers no version of {_GROUP}: {group}"
        raise KubeUnavailable(msg)
    return str(version)


def _owners(workload: JsonObject) -> Iterator[str]:
    for owner in workload["metadata"].get("ownerReferences", ()):
        if owner.get("kind") == "Pod":
            yield owner["uid"]


def waits_for(workload: JsonObject) -> str:
    """
    Say what keeps a Workload from being admitted, in Kueue's words; empty where it does not say.
    """
    conditions = {one.get("type"): one for one in workload.get("status", {}).get("conditions", ())}
    if not workload.get("spec", {}).get("active", True):
        said = conditions.get("Evicted", {}).get("message", "")
        return said or "The workload is deactivated"
    for kind in ("QuotaReserved", "Admitted"):
        one = conditions.get(kind, {})
        if one.get("status") == "False" and one.get("message"):
            return str(one["message"])
    return ""
