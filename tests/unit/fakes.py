"""
Values that tests begin with, and a clock. The ports are in fake_slurm and fake_kube, all together in house.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from burst_agent import names, settings
from burst_agent.model import (
    Job,
    JobState,
    Pod,
    PodPhase,
    Request,
    Tres,
    VirtualNode,
)
from burst_agent.settings import Settings
from burst_agent.steps import Seen

TEMPLATE = """
apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  annotations: {max-pods: "${max_pods}"}
"""

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
        qos="normal",
        name="train",
        partition="gpu",
        state=JobState.PENDING,
        reason="Resources",
        priority=100,
        completing=False,
        submit_time=1000,
        eligible_time=1000,
        start_time=0,
        end_time=0,
        time_limit_min=60,
        min_nodes=1,
        max_nodes=0,
        requested=Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1),
        gpu_type="",
        request=Request(),
        allocated=Tres(),
        nodes=(),
        shares=(),
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
    job = replace(job, **changes)  # type: ignore[arg-type]
    return job if "request" in changes else replace(job, request=make_request(job))


def make_request(job: Job) -> Request:
    """What a job asks for in detail, where a test says it in sum."""
    wanted = job.requested
    return Request(
        min_nodes=job.min_nodes,
        max_nodes=job.max_nodes or None,
        cpus=max(wanted.cpus, 1),
        memory_mib_per_node=wanted.memory_mib or 1,
        gpus_per_node=wanted.gpus,
        gpu_type=job.gpu_type,
    )


def make_node(name: str = "k8s-1", **changes: object) -> VirtualNode:
    """An idle virtual node with four GPUs."""
    node = VirtualNode(name, Tres(cpus=16, memory_mib=65536, nodes=1, gpus=4), Tres(), usable=True, state="IDLE")
    return replace(node, **changes)  # type: ignore[arg-type]


def make_pod(job: Job, node: str = "k8s-1", **changes: object) -> Pod:
    """A running pod of a job."""
    pod = Pod(
        target="default",
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
        address="10.0.0.1",
        size=None,
        nodes=(),
        gpus=1,
        reason="",
        message="",
    )
    return replace(pod, **changes)  # type: ignore[arg-type]


def make_seen(job: Job, *pods: Pod, now: float = 1100.0, **more: object) -> Seen:
    """What is known of a job with these pods, at the target of the first."""
    known = {"target": pods[0].target if pods else "default", **more}
    return Seen(job, names.parse_comment(job.admin_comment), pods, now, **known)  # type: ignore[arg-type]


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
