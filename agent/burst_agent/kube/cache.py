"""
What the API server last said of our pods, kept current by a watch, so that looking costs no request.

While the watch is down, looking asks the API server. Own changes are entered at once: without it the next look could
come before their event and repeat them. The answer to an own change may also come after the pod's last event: what is
gone, by its uid, stays gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from burst_agent import names
from burst_agent.errors import KubeRefused, KubeUnavailable
from burst_agent.kube.api import Api, Expired, JsonObject
from burst_agent.kube.read import read_pod
from burst_agent.model import Pod

_PATH = "/api/v1/pods"
_PAGE = 500
#: uids of pods that are gone: more than there can be answers on their way.
_GONE_KEPT = 4096

log = structlog.get_logger(__name__)


class PodCache:
    """
    All pods of one Slurm cluster at one target.
    """

    def __init__(
        self, api: Api, *, cluster: str, target: str, gpu_resource: str, watch_s: float, retry_s: float = 1.0
    ) -> None:
        """Start empty: the first look lists."""
        self._api = api
        self._selector = names.selector({names.CLUSTER_LABEL: cluster, names.TARGET_LABEL: target})
        self._target = target
        self._gpu_resource = gpu_resource
        self._watch_s = watch_s
        self._retry_s = retry_s
        self._pods: dict[tuple[str, str], tuple[int, Pod]] = {}
        #: An ordered set.
        self._gone: dict[str, None] = {}
        #: By uid: pods that were seen gated, and when others were first seen without a gate.
        self._gated: set[str] = set()
        self._admitted: dict[str, float] = {}
        self._followed = False
        #: Of two lists at once the older answer could come last, and bring back what is gone.
        self._listing = asyncio.Lock()

    async def pods(self) -> Sequence[Pod]:
        """Give all pods. Raises KubeUnavailable, KubeRefused."""
        if not self._followed:
            async with self._listing:
                if not self._followed:
                    await self._list()
        return self.known()

    def known(self) -> Sequence[Pod]:
        """Give all pods as last seen, without asking."""
        return [pod for _, pod in self._pods.values()]

    def enter(self, thing: JsonObject) -> bool:
        """Take one object that the API server gave, unless it is older than what is known; say whether that is news."""
        pod = read_pod(thing, self._target, self._gpu_resource)
        if pod is None or pod.uid in self._gone:
            return False
        version, key = int(thing["metadata"]["resourceVersion"]), (pod.namespace, pod.name)
        known_version, known = self._pods.get(key, (0, None))
        if version < known_version:
            return False
        pod = self._noted(pod, queued=names.KUEUE_QUEUE_LABEL in thing["metadata"].get("labels", {}))
        self._pods[key] = (version, pod)
        return pod != known

    def _noted(self, pod: Pod, *, queued: bool) -> Pod:
        """
        Note when a pod's last gate was gone, which Kubernetes does not tell. One that has waited in a queue before it
        was first seen counts from then: an agent that was restarted must not take that time for the cluster's.
        """
        if pod.gated:
            self._gated.add(pod.uid)
            return pod
        if pod.uid not in self._admitted and (queued or pod.uid in self._gated):
            self._admitted[pod.uid] = time.time()
        return replace(pod, admitted=self._admitted.get(pod.uid, 0.0))

    def drop(self, namespace: str, name: str) -> bool:
        """Forget a pod that is gone; say whether it was known."""
        return self._pods.pop((namespace, name), None) is not None

    def bury(self, meta: JsonObject) -> bool:
        """Take a pod for gone for ever, by its metadata; say whether it was known."""
        self._gone[meta["uid"]] = None
        if len(self._gone) > _GONE_KEPT:
            del self._gone[next(iter(self._gone))]
        key = (meta["namespace"], meta["name"])
        _, known = self._pods.get(key, (0, None))
        return known is not None and known.uid == meta["uid"] and self.drop(*key)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Keep current, calling ``changed`` at each news, until cancelled."""
        while True:
            try:
                async with self._listing:
                    version = await self._list()
                    self._followed = True
                changed()
                while True:
                    version = await self._watch(version, changed)
            except Expired:
                log.info("watch_expired")
            except (KubeUnavailable, KubeRefused) as e:
                log.warning("watch_lost", error=str(e))
                self._followed = False
                changed()
                await asyncio.sleep(self._retry_s)
            finally:
                self._followed = False

    async def _list(self) -> str:
        query = {"labelSelector": self._selector, "limit": str(_PAGE)}
        things: list[JsonObject] = []
        before = dict(self._pods)
        while True:
            page = await self._api.call("GET", _PATH, query=query)
            things.extend(page.get("items", []))
            token = page["metadata"].get("continue", "")
            if not token:
                break
            query["continue"] = token
        version = str(page["metadata"]["resourceVersion"])
        # What was entered meanwhile may be newer than the list.
        self._pods = {key: one for key, one in self._pods.items() if one != before.get(key) and one[0] > int(version)}
        for thing in things:
            self.enter(thing)
        there = {pod.uid for _, pod in self._pods.values()}
        self._gated &= there
        self._admitted = {uid: when for uid, when in self._admitted.items() if uid in there}
        return version

    async def _watch(self, version: str, changed: Callable[[], None]) -> str:
        """Follow from a version on, and give the last one seen."""
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(self._watch_s)),
        }
        async for event in self._api.lines(_PATH, query, last_s=self._watch_s):
            kind, thing = event["type"], event["object"]
            if kind == "ERROR":
                if thing.get("code") == 410:
                    raise Expired(str(thing.get("message")))
                raise KubeUnavailable(f"watch {_PATH}: {thing.get('message')}")
            version = str(thing["metadata"]["resourceVersion"])
            if kind == "BOOKMARK":
                continue
            news = self.bury(thing["metadata"]) if kind == "DELETED" else self.enter(thing)
            if news:
                changed()
        return version
