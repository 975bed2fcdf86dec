"""
KubePort over one Kubernetes cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from burst_agent import names
from burst_agent.errors import BurstError, KubeRefused, NamespaceSettles
from burst_agent.kube.api import APPLY, MERGE, Api, Conflict, Missing, Timer
from burst_agent.kube.cache import PodCache
from burst_agent.kube.idle import IdleRoom
from burst_agent.kube.queue import Queue, api_version
from burst_agent.kube.read import read_pod
from burst_agent.model import ApiEndpoint, Idle, Pod, Token
from burst_agent.ports import Manifest
from burst_agent.settings import Settings
from burst_agent.target_file import Target

log = structlog.get_logger(__name__)

_MANAGER = "k8s-burst-agent"

#: A new namespace refuses pods until Kubernetes' own parts have seen its ServiceAccount and counted its quota.
_SETTLE_S = 10.0

#: What the agent never makes, and containers/kubernetes/fence.yaml forbids it: a volume of all that a node has.
_FORBIDDEN = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "k8s-burst-forbidden"},
    "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/"}},
}

#: Where the kinds live in the API that a template may have. Namespaced unless the path says otherwise.
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "ResourceQuota": "/api/v1/namespaces/{namespace}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{namespace}/limitranges",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "LocalQueue": "/apis/{version}/namespaces/{namespace}/localqueues",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
}


class Kube:
    """
    One Kubernetes cluster.
    """

    def __init__(self, settings: Settings, target: Target, timer: Timer) -> None:
        """Keep the settings; :meth:`open` connects."""
        self._api = Api(settings.kubernetes, target, timer)
        self._cluster = settings.slurm.cluster
        self._target = target.name
        self._gpu_resource = settings.pods_at(target.name).gpu_resource
        self._token_s = settings.kubernetes.token_s
        self._cache = PodCache(
            self._api,
            cluster=self._cluster,
            target=self._target,
            gpu_resource=self._gpu_resource,
            watch_s=settings.kubernetes.watch_s,
        )
        pods = settings.pods_at(target.name)
        room = IdleRoom(
            self._api,
            cluster=self._cluster,
            target=self._target,
            gpu_resource=self._gpu_resource,
            cpu_request_fraction=pods.cpu_request_fraction,
            every_s=settings.kubernetes.idle_poll_s,
        )
        self._room = room if target.idle_share < 1 else None
        self._queue = Queue(self._api, every_s=settings.kubernetes.queue_poll_s) if target.kueue_queue else None
        #: When each namespace was last made or looked after, by time.monotonic(), and with what.
        self._made: dict[str, tuple[float, Sequence[Manifest]]] = {}
        self._making: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        """Read the kubeconfig. Raises SettingsError; then each call tries again."""
        await self._api.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def look_at_fence(self) -> None:
        """Warn where the cluster would let the agent do what the fence forbids; does nothing, and raises nothing."""
        with contextlib.suppress(BurstError):
            await self._api.call("POST", PATHS["PersistentVolume"], query={"dryRun": "All"}, body=_FORBIDDEN)
            how = "apply containers/kubernetes/fence.yaml, and bind the agent to the role of agent.yaml"
            log.warning("no_fence", target=self._target, how=how)

    def endpoint(self) -> ApiEndpoint:
        """Say how gateways reach the API server."""
        return self._api.endpoint

    async def pods(self) -> Sequence[Pod]:
        """Give every pod that was made here for this Slurm cluster, in all namespaces."""
        pods = await self._cache.pods()
        return [self._queue.told(pod) for pod in pods] if self._queue is not None else pods

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a pod of ours changed, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cache.follow(changed))
            if self._room is not None:
                tasks.create_task(self._room.follow(changed))
            if self._queue is not None:
                tasks.create_task(self._queue.follow(self._cache.known, changed))

    def idle(self) -> Idle | None:
        """Say what nothing else here has asked for, as last seen; ``None`` where no share of it is to be left."""
        return self._room.seen if self._room is not None else None

    async def pod(self, namespace: str, name: str) -> Pod | None:
        """Ask the API server for one pod of ours."""
        try:
            thing = await self._api.call("GET", f"{_pods(namespace)}/{name}")
        except Missing:
            self._cache.drop(namespace, name)
            return None
        labels = thing["metadata"].get("labels", {})
        if (labels.get(names.CLUSTER_LABEL), labels.get(names.TARGET_LABEL)) != (self._cluster, self._target):
            return None
        self._cache.enter(thing)
        return read_pod(thing, self._target, self._gpu_resource)

    async def create_pod(self, manifest: Manifest) -> None:
        """Create a pod; one that is there already for the same job and node is success."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            self._cache.enter(await self._api.call("POST", _pods(namespace), body=manifest))
        except Missing as e:
            self._made.pop(namespace, None)
            msg = f"namespace {namespace} is gone and will be made anew"
            raise NamespaceSettles(msg) from e
        except Conflict as e:
            there = await self._api.call("GET", f"{_pods(namespace)}/{name}")
            # Others may have added labels: Kueue's webhook does.
            if not manifest["metadata"]["labels"].items() <= there["metadata"].get("labels", {}).items():
                msg = f"pod {namespace}/{name} exists and is not this job's"
                raise KubeRefused(msg) from e
            self._cache.enter(there)
        except KubeRefused as e:
            # Perhaps something of the namespace is missing: it is looked after before the next try.
            made = self._made.pop(namespace, (-math.inf, ()))
            if time.monotonic() < made[0] + _SETTLE_S:
                self._made[namespace] = made
                msg = f"namespace {namespace} was made a moment ago and refuses pods still: {e}"
                raise NamespaceSettles(msg) from e
            raise

    async def delete_pod(self, pod: Pod) -> None:
        """Delete this very pod (by uid), giving its processes their grace; one that is gone is success."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        try:
            answer = await self._api.call("DELETE", f"{_pods(pod.namespace)}/{pod.name}", body=body)
        except (Missing, Conflict):
            self._cache.bury({"uid": pod.uid, "namespace": pod.namespace, "name": pod.name})
            return
        if answer.get("kind") == "Pod" and "deletionTimestamp" in answer["metadata"]:
            self._cache.enter(answer)

    async def pod_token(self, pod: Pod) -> Token:
        """Ask for a token of the pod's ServiceAccount that dies with the pod."""
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
        answer = await self._api.call(
            "POST",
            f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{names.SERVICE_ACCOUNT}/token",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": self._token_s, "boundObjectRef": bound},
            },
        )
        status = answer["status"]
        return Token(status["token"], datetime.fromisoformat(status["expirationTimestamp"]).timestamp())

    async def ensure_namespace(self, objects: Sequence[Manifest]) -> None:
        """
        Make what is missing of a user's namespace, or is another than the last time; the first is the Namespace itself.

        Raises KubeRefused where a namespace of that name exists that is not ours.
        """
        namespace = objects[0]["metadata"]["name"]
        async with self._making.setdefault(namespace, asyncio.Lock()):
            if self._made.get(namespace, (0.0, ()))[1] == objects:
                return
            for thing in objects:
                await self._apply(thing, namespace)
            self._made[namespace] = (time.monotonic(), objects)
            log.info("namespace_ready", namespace=namespace)

    async def _refuse_foreign(self, path: str, wanted: Manifest) -> None:
        """What stands outside of our namespaces is taken over only where its labels say that it is ours."""
        try:
            there = await self._api.call("GET", path)
        except Missing:
            return
        labels = there["metadata"].get("labels", {})
        ours = {key: wanted["metadata"]["labels"][key] for key in (names.CLUSTER_LABEL, names.UID_LABEL)}
        if any(labels.get(key) != value for key, value in ours.items()):
            what = f"{wanted['kind']} {wanted['metadata']['name']}"
            msg = f"{what} exists and is not of Slurm cluster {self._cluster}: its labels lack {ours}"
            raise KubeRefused(msg)
        if "deletionTimestamp" in there["metadata"]:
            msg = f"{wanted['kind']} {wanted['metadata']['name']} is being deleted"
            raise NamespaceSettles(msg)

    async def _apply(self, thing: Manifest, namespace: str) -> None:
        """Server-side apply: makes what is missing, mends what differs, leaves what others added."""
        kind = thing["kind"]
        if kind == "LocalQueue":  # what it says is the same in all versions
            thing = {**thing, "apiVersion": await api_version(self._api)}
        where = PATHS[kind].format(namespace=namespace, version=thing["apiVersion"])
        path = f"{where}/{thing['metadata']['name']}"
        if kind in ("Namespace", "PersistentVolume"):
            await self._refuse_foreign(path, thing)
        query = {"fieldManager": _MANAGER, "force": "true"}
        made = await self._api.call("PATCH", path, query=query, body=thing, content_type=APPLY)
        if kind == "PersistentVolume" and made.get("status", {}).get("phase") == "Released":
            # Its claim went with an earlier namespace; a volume stays bound to that claim's uid until told otherwise.
            forget: Mapping[str, Any] = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            await self._api.call("PATCH", path, body=forget, content_type=MERGE)


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"
