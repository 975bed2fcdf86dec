"""
Small real implementations of the ports, named by their failure, and a world in which they play together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from burst_agent import names, settings
from burst_agent.actor import Actor
from burst_agent.errors import JobRefusesMove, KubeRefused, KubeUnavailable, NoSuchJob, SlurmRefused, SlurmUnavailable
from burst_agent.metrics import Metrics
from burst_agent.model import (
    ApiEndpoint,
    Group,
    Job,
    JobRef,
    JobState,
    Pod,
    PodPhase,
    Token,
    Tres,
    User,
    VirtualNode,
)
from burst_agent.ports import Manifest
from burst_agent.reconcile import Reconciler
from burst_agent.settings import Settings

TEMPLATE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${namespace}\n"

SETTINGS = """
[slurm]
cluster = "c1"
[pods]
image = "site/user:1"
supervisor_image = "site/pod:1"
[policy]
wait_s = 60
backoff_min_s = 30
backoff_max_s = 100
provision_timeout_s = 300
start_timeout_s = 60
"""


def make_settings(more: str = "") -> Settings:
    """The settings of these tests, with more TOML at the end."""
    return settings.parse(SETTINGS + more, source="test.toml")


def make_job(job_id: int = 7, **changes: object) -> Job:
    """A flagged pending job that asks for one GPU."""
    job = Job(
        job_id=job_id,
        array_job_id=0,
        array_task_id=None,
        array_tasks=(),
        het_job_id=0,
        uid=1000,
        gid=1000,
        user="alice",
        account="physics",
        name="train",
        partition="gpu",
        state=JobState.PENDING,
        reason="Resources",
        priority=100,
        completing=False,
        submit_time=1000,
        eligible_time=1000,
        start_time=0,
        time_limit_min=60,
        min_nodes=1,
        max_nodes=0,
        requested=Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1),
        allocated=Tres(),
        nodes=(),
        required_nodes="",
        features="",
        licenses="",
        reservation="",
        batch=True,
        requeue=True,
        restart_count=0,
        exit_code=0,
        work_dir="/home/alice",
        admin_comment="k8s-burst=now",
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def make_node(name: str = "k8s-1", **changes: object) -> VirtualNode:
    """An idle virtual node with four GPUs."""
    node = VirtualNode(name, Tres(cpus=16, memory_mib=65536, nodes=1, gpus=4), Tres(), usable=True, state="IDLE")
    return replace(node, **changes)  # type: ignore[arg-type]


def make_pod(job: Job, node: str = "k8s-1", **changes: object) -> Pod:
    """A running pod of a job."""
    pod = Pod(
        namespace=names.namespace("c1", job.uid),
        name=names.pod_name(job.job_id, job.restart_count, node),
        uid=f"uid-{job.job_id}-{job.restart_count}-{node}",
        job_id=job.job_id,
        restart=job.restart_count,
        node=node,
        user_uid=job.uid,
        phase=PodPhase.RUNNING,
        running=True,
        terminating=False,
        created=1000.0,
        gpus=1,
        reason="",
        message="",
    )
    return replace(pod, **changes)  # type: ignore[arg-type]


class VirtualClock:
    """
    Time that passes only when told to.
    """

    def __init__(self, now: float = 2000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        await asyncio.sleep(0)
        if not event.is_set():
            self.time += timeout_s
        return event.is_set()


class FakeSlurm:
    """
    slurmctld with a burst partition: keeps jobs, splits arrays, refuses to move what does not pend.
    """

    def __init__(self, *nodes: VirtualNode) -> None:
        self.jobs: dict[int, Job] = {}
        self.nodes = {node.name: node for node in nodes}
        #: Every change that was asked for.
        self.calls: list[str] = []
        self._ids = itertools.count(1001)

    async def flagged_jobs(self) -> Sequence[Job]:
        return [job for job in self.jobs.values() if job.admin_comment.startswith("k8s-burst=") or self._in_burst(job)]

    async def job(self, job_id: int) -> Job:
        if job_id not in self.jobs:
            msg = f"no job {job_id}"
            raise NoSuchJob(msg)
        return self.jobs[job_id]

    async def virtual_nodes(self) -> Sequence[VirtualNode]:
        return [replace(node, allocated=self._allocated(node.name)) for node in self.nodes.values()]

    async def set_admin_comment(self, job: JobRef, text: str) -> None:
        self.calls.append(f"comment {job}")
        found = await self.job(job.job_id)
        if found.state.ended:
            msg = f"job {job} has ended"
            raise JobRefusesMove(msg)
        if job.array_task_id is not None and found.array_tasks:
            found = self._split(found, job.array_task_id)
        self.change(found.job_id, admin_comment=text)

    async def move_job(
        self,
        job: JobRef,
        *,
        partition: str,
        nodes: Sequence[str],
        min_nodes: int | None = None,
        max_nodes: int | None = None,
    ) -> None:
        self.calls.append(f"move {job} {partition}")
        if (await self.job(job.job_id)).state is not JobState.PENDING:
            msg = f"job {job} does not pend"
            raise JobRefusesMove(msg)
        count = len(nodes) or None
        self.change(
            job.job_id,
            partition=partition,
            required_nodes=",".join(nodes),
            min_nodes=min_nodes or count or self.jobs[job.job_id].min_nodes,
            max_nodes=count or 0 if max_nodes is None else max_nodes,
        )

    async def requeue_job(self, job_id: int) -> None:
        self.calls.append(f"requeue {job_id}")
        job = await self.job(job_id)
        if not job.requeue:
            msg = f"job {job_id} may not be requeued"
            raise SlurmRefused(msg)
        self.requeue(job_id)

    async def kill_job(self, job_id: int) -> None:
        self.calls.append(f"kill {job_id}")
        await self.job(job_id)
        self.end(job_id, JobState.CANCELLED)

    async def close(self) -> None:
        pass

    # What slurmctld and users do by themselves.

    def submit(self, job: Job) -> int:
        self.jobs[job.job_id] = job
        return job.job_id

    def change(self, job_id: int, **changes: object) -> Job:
        self.jobs[job_id] = replace(self.jobs[job_id], **changes)  # type: ignore[arg-type]
        return self.jobs[job_id]

    def schedule(self) -> None:
        """Start what pends in the burst partition and may start."""
        for job in list(self.jobs.values()):
            if job.state is JobState.PENDING and self._in_burst(job) and not job.held and job.required_nodes:
                nodes = tuple(job.required_nodes.split(","))
                self.change(job.job_id, state=JobState.RUNNING, nodes=nodes, allocated=job.requested, start_time=2000)

    def start_locally(self, job_id: int) -> None:
        job = self.jobs[job_id]
        assert job.state is JobState.PENDING
        assert not self._in_burst(job)
        self.change(job_id, state=JobState.RUNNING, nodes=("gpu0",), allocated=job.requested)

    def requeue(self, job_id: int) -> None:
        job = self.jobs[job_id]
        self.change(job_id, state=JobState.PENDING, nodes=(), allocated=Tres(), restart_count=job.restart_count + 1)

    def end(self, job_id: int, state: JobState = JobState.COMPLETED) -> None:
        self.change(job_id, state=state)

    def _split(self, array: Job, task: int) -> Job:
        """As slurmctld: the record of the rest keeps the array's id, the last task takes it."""
        rest = tuple(index for index in array.array_tasks if index != task)
        single = replace(array, array_tasks=(), array_task_id=task)
        if not rest:
            self.jobs[array.job_id] = single
            return single
        self.change(array.job_id, array_tasks=rest)
        single = replace(single, job_id=next(self._ids))
        self.jobs[single.job_id] = single
        return single

    def _in_burst(self, job: Job) -> bool:
        return job.partition == "k8s-burst"

    def _allocated(self, node: str) -> Tres:
        there = [job.allocated for job in self.jobs.values() if job.state is JobState.RUNNING and node in job.nodes]
        return Tres(
            cpus=sum(one.cpus for one in there),
            memory_mib=sum(one.memory_mib for one in there),
            gpus=sum(one.gpus for one in there),
        )


class SlurmIsAway(FakeSlurm):
    """
    Nobody answers while ``away``.
    """

    away = True

    async def flagged_jobs(self) -> Sequence[Job]:
        if self.away:
            msg = "slurmctld does not answer"
            raise SlurmUnavailable(msg)
        return await super().flagged_jobs()


class SlurmStartsJobAtTheMove(FakeSlurm):
    """
    A local node comes free in the moment in which the agent moves a job.
    """

    async def move_job(self, job: JobRef, *, partition: str, nodes: Sequence[str], **counts: int | None) -> None:
        if partition == "k8s-burst":
            self.start_locally(job.job_id)
        await super().move_job(job, partition=partition, nodes=nodes, **counts)


class SlurmRefusesMove(FakeSlurm):
    """
    The job may not go to the burst partition.
    """

    async def move_job(self, job: JobRef, *, partition: str, nodes: Sequence[str], **counts: int | None) -> None:
        if partition == "k8s-burst":
            self.calls.append(f"move {job} {partition}")
            msg = f"job {job} may not go to {partition}: its account is not allowed there"
            raise JobRefusesMove(msg)
        await super().move_job(job, partition=partition, nodes=nodes, **counts)


class FakeKube:
    """
    A Kubernetes cluster: pods stay Pending until :meth:`run_pods`.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.by_name: dict[tuple[str, str], Pod] = {}
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.namespaces: dict[str, Sequence[Manifest]] = {}
        self.calls: list[str] = []
        self.tokens = 0

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
            gpus=int(manifest["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)),
            reason="",
            message="",
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
        await asyncio.Event().wait()

    def endpoint(self) -> ApiEndpoint:
        return ApiEndpoint("https://kube:6443", b"CA", "")

    async def close(self) -> None:
        pass

    # What Kubernetes does by itself.

    def run_pods(self) -> None:
        for pod in list(self.by_name.values()):
            if pod.phase is PodPhase.PENDING and not pod.reason:
                self.change(pod, phase=PodPhase.RUNNING, running=True)

    def change(self, pod: Pod, **changes: object) -> None:
        self.by_name[pod.namespace, pod.name] = replace(pod, **changes)  # type: ignore[arg-type]

    def fail_pods(self, reason: str, **changes: object) -> None:
        for pod in list(self.by_name.values()):
            self.change(pod, reason=reason, **changes)


class KubeIsFull(FakeKube):
    """
    The quota is used up.
    """

    async def create_pod(self, manifest: Manifest) -> None:
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


class FakeUsers:
    """
    A directory in which everybody is called after their uid.
    """

    async def user(self, uid: int) -> User:
        return User(f"user{uid}", uid, uid, "", f"/home/user{uid}", "/bin/bash", (Group(f"user{uid}", uid),))


@dataclass
class House:
    """
    An agent between a Slurm and a Kubernetes.
    """

    slurm: FakeSlurm
    kube: FakeKube
    clock: VirtualClock
    settings: Settings = field(default_factory=make_settings)
    loop: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """kill -9 and start again: nothing survives but Slurm and Kubernetes."""
        actor = Actor(slurm=self.slurm, kube=self.kube, users=FakeUsers(), settings=self.settings, template=TEMPLATE)
        self.loop = Reconciler(
            slurm=self.slurm, kube=self.kube, actor=actor, clock=self.clock, settings=self.settings, metrics=Metrics()
        )

    async def settle(self) -> None:
        """Rounds until one does nothing."""
        for _ in range(20):
            if not await self.loop.tick():
                return
        msg = "the agent does not come to rest"
        raise AssertionError(msg)

    async def quiet(self) -> bool:
        """Whether one more round asks nothing of anybody."""
        before = len(self.slurm.calls), len(self.kube.calls)
        await self.loop.tick()
        return before == (len(self.slurm.calls), len(self.kube.calls))

    def state(self, job_id: int) -> str:
        """The state that admin_comment shows."""
        comment = names.parse_comment(self.slurm.jobs[job_id].admin_comment)
        return comment.state if comment else ""


def make_house(
    slurm: Callable[..., FakeSlurm] = FakeSlurm,
    kube: Callable[[VirtualClock], FakeKube] = FakeKube,
    more: str = "",
    nodes: Sequence[VirtualNode] | None = None,
) -> House:
    """A house with two virtual nodes."""
    clock = VirtualClock()
    return House(
        slurm(*(nodes if nodes is not None else (make_node("k8s-1"), make_node("k8s-2")))),
        kube(clock),
        clock,
        make_settings(more),
    )
