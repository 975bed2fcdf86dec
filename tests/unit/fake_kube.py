"""
A Kubernetes cluster as the agent sees it, and the ways in which it disappoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from burst_agent import names
from burst_agent.errors import KubeRefused, KubeUnavailable
from burst_agent.model import ApiEndpoint, Idle, Pod, PodPhase, Token
from burst_agent.ports import Manifest

from .fakes import VirtualClock


class FakeKube:
    """
    A Kubernetes cluster: pods stay Pending until :meth:`run_pods`.
    """

    def __init__(self, clock: VirtualClock, target: str = "default") -> None:
        self.target = target
        self.clock = clock
        self.by_name: dict[tuple[str, str], Pod] = {}
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.namespaces: dict[str, Sequence[Manifest]] = {}
        self.calls: list[str] = []
        self.tokens = 0
        self.room: Idle | None = None
        self.watched = asyncio.Event()

    async def pods(self) -> Sequence[Pod]:
        return list(self.by_name.values())

    async def pod(self, namespace: str, name: str) -> Pod | None:
        return self.by_name.get((namespace, name))

    async def ensure_namespace(self, objects: Sequence[Manifest]) -> None:
        self.namespaces[objects[0]["metadata"]["name"]] = objects

    async def create_pod(self, manifest: Manifest) -> None:
        meta = manifest["metadata"]
        self.calls.append(f"create {meta['name']}")
        if meta["namespace"] not in self.namespaces:
            msg = "no such namespace"
            raise KubeUnavailable(msg)
        key, labels = (meta["namespace"], meta["name"]), meta["labels"]
        if key in self.by_name:
            return
        self.manifests[key] = manifest
        self.by_name[key] = Pod(
            target=labels[names.TARGET_LABEL],
            namespace=meta["namespace"],
            name=meta["name"],
            uid=f"uid-{meta['name']}-{len(self.calls)}",
            job_id=int(labels[names.JOB_LABEL]),
            restart=int(labels[names.RESTART_LABEL]),
            node=labels[names.NODE_LABEL],
            user_uid=int(labels[names.UID_LABEL]),
            phase=PodPhase.PENDING,
            running=False,
            terminating=False,
            created=self.clock.now(),
            address=f"10.0.0.{len(self.calls)}",
            size=names.parse_size(meta["annotations"][names.SIZE_ANNOTATION]),
            nodes=tuple(meta["annotations"][names.NODES_ANNOTATION].split(",")),
            gpus=int(manifest["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)),
            reason="",
            message="",
            terms=meta["annotations"][names.TERMS_ANNOTATION],
            limit_min=names.parse_limit(meta["annotations"].get(names.LIMIT_ANNOTATION, "")),
        )

    async def delete_pod(self, pod: Pod) -> None:
        self.calls.append(f"delete {pod.name}")
        there = self.by_name.get((pod.namespace, pod.name))
        if there is not None and there.uid == pod.uid:
            del self.by_name[pod.namespace, pod.name]

    async def pod_token(self, pod: Pod) -> Token:
        self.tokens += 1
        return Token(f"token-{self.tokens}-{pod.name}", self.clock.now() + 600)

    async def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.watched.set()
        await asyncio.Event().wait()

    def idle(self) -> Idle | None:
        return self.room

    def endpoint(self) -> ApiEndpoint:
        return ApiEndpoint("https://kube:6443", b"CA", "")

    async def close(self) -> None:
        pass

    # What Kubernetes does by itself.

    def run_pods(self) -> None:
        for pod in list(self.by_name.values()):
            if pod.phase is PodPhase.PENDING and not pod.reason:
                self.change(pod, phase=PodPhase.RUNNING, running=True, started=self.clock.now())

    def change(self, pod: Pod, **changes: object) -> None:
        self.by_name[pod.namespace, pod.name] = replace(pod, **changes)  # type: ignore[arg-type]

    def fail_pods(self, reason: str, **changes: object) -> None:
        for pod in list(self.by_name.values()):
            self.change(pod, reason=reason, **changes)


class KubeIsFull(FakeKube):
    """
    The quota is used up while ``full``.
    """

    full = True

    async def create_pod(self, manifest: Manifest) -> None:
        if not self.full:
            await super().create_pod(manifest)
            return
        self.calls.append(f"create {manifest['metadata']['name']}")
        msg = "exceeded quota: k8s-burst"
        raise KubeRefused(msg)


class KubeIsAway(FakeKube):
    """
    The API server does not answer while ``away``.
    """

    away = True

    async def pods(self) -> Sequence[Pod]:
        if self.away:
            msg = "the API server does not answer"
            raise KubeUnavailable(msg)
        return await super().pods()
