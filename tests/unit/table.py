"""
The state table, asked of one job; and jobs in states that rows begin from.
"""

from __future__ import annotations

from typing import Any

from burst_agent import lifecycle
from burst_agent.model import Job, JobState, Pod, Share, Tres
from burst_agent.steps import Site, Step

from .fakes import make_job, make_seen

SITE = Site("k8s-burst", ("default",), provision_timeout_s=300, start_timeout_s=60)
SHARE = Share("k8s-1", Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1))
MOVED = "k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default"
RAN = "k8s-burst=now from=gpu nodes=1-0 state=running restart=0 target=default"


def step_of(job: Job, *pods: Pod, now: float = 1100.0, **more: object) -> Step:
    """What the table says of a job with these pods."""
    return lifecycle.apply(make_seen(job, *pods, now=now, **more), SITE)


def kinds(step: Step) -> list[str]:
    """The actions, by name."""
    return [type(action).__name__ for action in step.actions]


def moved(**changes: Any) -> Job:
    """A job that the agent has moved, and that slurmctld has not started."""
    settled: dict[str, Any] = {"partition": "k8s-burst", "admin_comment": MOVED, "required_nodes": "k8s-1"}
    return make_job(**{**settled, **changes})


def running(**changes: Any) -> Job:
    """A job that runs on a virtual node and has had its pod."""
    settled: dict[str, Any] = {
        "partition": "k8s-burst",
        "state": JobState.RUNNING,
        "nodes": ("k8s-1",),
        "admin_comment": RAN,
    }
    return make_job(**{**settled, **changes})
