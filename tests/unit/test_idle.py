"""
The share of a cluster's idle room that pods may have.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from burst_agent import names
from burst_agent.kube.api import Api
from burst_agent.kube.idle import IdleRoom, quantity, requested, takes_pods
from burst_agent.model import Idle, Tres
from burst_agent.policy import Books, Budget
from burst_agent.target_file import Target

from .fake_api import FakeApi, serving
from .fakes import make_job, make_pod
from .test_kube import _settings
from .test_where import NOW, make_desk, make_terms

OURS = {names.CLUSTER_LABEL: "c1", names.TARGET_LABEL: "default"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2), ("100m", 0.1), ("1.5", 1.5), ("64Mi", 64 * 2**20), ("1Gi", 2**30), ("129e6", 129e6), ("1k", 1000),
        ("2E", 2e18), ("5n", 5e-9), ("1e-3", 0.001), (8, 8), ("", 0), ("many", 0), ("1Xi", 0),
    ],
)  # fmt: skip
def test_quantities(text: object, value: float) -> None:
    """As Kubernetes writes them."""
    assert quantity(text) == pytest.approx(value)


def _container(**amounts: str) -> dict[str, Any]:
    return {"resources": {"requests": amounts}}


def test_what_the_scheduler_counts() -> None:
    """Containers run together, the first ones one by one, limits where no request is said, and the runtime's own."""
    spec = {
        "containers": [_container(cpu="500m"), {"resources": {"limits": {"cpu": "1"}}}, {}],
        "initContainers": [_container(cpu="1"), _container(cpu="2")],
        "overhead": {"cpu": "250m"},
    }
    assert requested(spec, "cpu") == 2.25
    assert requested({"containers": spec["containers"]}, "cpu") == 1.5
    assert requested({}, "cpu") == 0


def _node(name: str, *, ready: str = "True", cordoned: bool = False) -> dict[str, Any]:
    allocatable = {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "8"}
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"allocatable": allocatable, "conditions": conditions},
    }


def test_which_nodes_count() -> None:
    """Those that take pods."""
    found = [takes_pods(node) for node in (_node("a"), _node("b", ready="Unknown"), _node("c", cordoned=True), {})]
    assert found == [True, False, False, False]


def _pod(name: str, node: str, labels: dict[str, str], **amounts: str) -> dict[str, Any]:
    gpus = {"nvidia.com/gpu": amounts.pop("gpus", "0")}
    spec = {"nodeName": node, "containers": [{"resources": {"requests": amounts, "limits": gpus}}]}
    return {"metadata": {"name": name, "namespace": "n", "labels": labels}, "spec": spec, "status": {}}


async def test_a_look(tmp_path: Any) -> None:
    """Others' pods are taken off what nodes have, ours are not; an API server that forbids it is said."""
    api = FakeApi()
    api.put("/api/v1/nodes", {"items": [_node("a"), _node("b", ready="False")], "metadata": {}})
    others = {"app": "x"}
    api.put("/api/v1/namespaces/n/pods/one", _pod("one", "a", others, cpu="4", memory="4Gi", gpus="2"))
    api.put("/api/v1/namespaces/n/pods/off", _pod("off", "b", others, cpu="4", gpus="2"))
    api.put("/api/v1/namespaces/n/pods/own", _pod("own", "a", {**OURS, "x": "y"}, cpu="8", gpus="4"))
    api.put("/api/v1/namespaces/n/pods/two", _pod("two", "a", {**OURS, names.CLUSTER_LABEL: "c2"}, gpus="1"))
    async with serving(api) as url:
        settings = _settings(tmp_path, url)
        client = Api(settings.kubernetes, settings.targets[0], lambda _: nullcontext())
        await client.open()
        room = IdleRoom(
            client,
            cluster="c1",
            target="default",
            gpu_resource="nvidia.com/gpu",
            cpu_request_fraction=0.5,
            every_s=0.001,
        )
        assert room.seen.unknown == "nodes have not been looked at yet"
        news = asyncio.Queue[None]()
        task = asyncio.create_task(room.follow(lambda: news.put_nowait(None)))
        try:
            await news.get()
            assert room.seen == Idle(Tres(cpus=24, memory_mib=60 * 1024, nodes=1, gpus=5))
            api.broken["GET /api/v1/nodes"] = (403, {"message": "nodes is forbidden"})
            await news.get()
            assert "nodes is forbidden" in room.seen.unknown
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()


def test_no_more_than_the_share() -> None:
    """Pods that are there count, whatever is idle now; what is not known is not taken."""
    known = make_terms(east="idle_share = 0.5", west="max_pods = 1")
    there = [make_pod(make_job(1), target="east", gpus=1, size=Tres(cpus=4, memory_mib=8192, gpus=1))]
    there.append(make_pod(make_job(2, uid=2), target="west"))

    def decide(gpus: int, cpus: int = 1000, memory_mib: int = 1 << 20, unknown: str = "") -> str:
        """Waits at most: what is idle comes and goes."""
        idle = {"east": Idle(Tres(cpus=cpus, memory_mib=memory_mib, gpus=gpus), unknown)}
        desk = make_desk(known)
        desk._budget = Budget(known.policy, there, (), Books(), targets=known.targets, idle=idle)
        decision = desk.decide(make_job(), NOW)
        assert not decision.refused
        return decision.target or decision.reason

    assert decide(gpus=4) == "east"
    assert "cap on idle GPUs at target east is reached" in decide(gpus=3)
    assert "cap on idle CPUs at target east is reached" in decide(gpus=4, cpus=15)
    assert decide(gpus=4, cpus=16) == "east"
    assert "cap on idle memory at target east is reached" in decide(gpus=4, memory_mib=32767)
    assert "asks for more idle GPUs at target east than allowed" in decide(gpus=1)
    assert "what is idle at target east is not known" in decide(gpus=9, unknown="nodes is forbidden")


def test_a_target_of_ones_own_is_not_looked_at() -> None:
    """By default all that is idle may be had, and nothing is asked for."""
    assert Target(name="x").idle_share == 1
    target = Target(name="east", idle_share=0.5)
    budget = Budget(make_terms().policy, (), (), Books(), targets=(target,), idle={"east": Idle(Tres(gpus=5))})
    (cap,) = [cap for cap in budget.caps() if cap.what == "idle GPUs at target east"]
    assert (cap.cap, cap.setting) == (2.5, "targets, east: idle_share")
