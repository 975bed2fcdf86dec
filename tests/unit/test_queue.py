"""
What Kueue says of pods that it has not admitted.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from burst_agent.kube.api import Api
from burst_agent.kube.queue import Queue, waits_for

from .fake_api import FakeApi, serving
from .fakes import make_job, make_pod
from .test_kube import _settings

POD = make_pod(make_job(), running=False, gated=True, reason="SchedulingGated", message="Kueue has not admitted it yet")
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/c1-u1000/workloads"
NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"


def _workload(*conditions: tuple[str, str, str], active: bool = True) -> dict[str, Any]:
    said = [{"type": kind, "status": status, "message": message} for kind, status, message in conditions]
    owners = [{"kind": "Pod", "uid": POD.uid}, {"kind": "Job", "uid": "another"}]
    return {"metadata": {"ownerReferences": owners}, "spec": {"active": active}, "status": {"conditions": said}}


@pytest.mark.parametrize(
    ("workload", "sentence"),
    [
        (_workload(), ""),
        (_workload(("QuotaReserved", "False", NO_QUOTA)), NO_QUOTA),
        (_workload(("QuotaReserved", "True", "ok"), ("Admitted", "False", "The check waits")), "The check waits"),
        (_workload(("QuotaReserved", "True", "ok"), ("Admitted", "True", "ok")), ""),
        (
            _workload(("Evicted", "True", "The workload is deactivated by X"), active=False),
            "The workload is deactivated by X",
        ),
        (_workload(("QuotaReserved", "False", NO_QUOTA), active=False), "The workload is deactivated"),
    ],
)
def test_what_a_workload_waits_for(workload: dict[str, Any], sentence: str) -> None:
    """In Kueue's words."""
    assert waits_for(workload) == sentence


async def test_a_look(tmp_path: Path) -> None:
    """Gated pods get the sentence of their Workload; an API server that forbids it, or that has no Kueue, is said."""
    api = FakeApi()
    pods = [POD]
    api.put(WORKLOADS, {"items": [_workload(("QuotaReserved", "False", NO_QUOTA))]})
    async with serving(api) as url:
        settings = _settings(tmp_path, url)
        client = Api(settings.kubernetes, settings.targets[0], lambda _: nullcontext())
        await client.open()
        queue = Queue(client, every_s=0.001)
        assert queue.told(POD) is POD
        news = asyncio.Queue[None]()
        task = asyncio.create_task(queue.follow(lambda: pods, lambda: news.put_nowait(None)))
        try:
            await news.get()
            assert "the cluster has no Kueue" in queue.told(POD).message
            api.put("/apis/kueue.x-k8s.io", {"preferredVersion": {"groupVersion": "kueue.x-k8s.io/v1beta2"}})
            await news.get()
            assert queue.told(POD).message == f"Kueue: {NO_QUOTA}"
            for other in (make_pod(make_job(8), gated=True), make_pod(make_job(), terminating=True, gated=True)):
                assert queue.told(other) is other
            api.broken["GET /apis/kueue.x-k8s.io"] = (200, {})
            api.broken[f"GET {WORKLOADS}"] = (403, {"message": "workloads is forbidden"})
            assert await queue._look([POD]) == {POD.uid: f"Kueue: {NO_QUOTA}"}, "what it said last"
            del api.broken["GET /apis/kueue.x-k8s.io"]
            await news.get()
            assert "workloads is forbidden" in queue.told(POD).message
            pods.clear()
            await news.get()
            assert queue.told(POD) is POD
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
