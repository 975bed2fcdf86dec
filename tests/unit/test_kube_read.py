"""
What a pod's status means.
"""

from __future__ import annotations

from typing import Any

import pytest
from burst_agent import names
from burst_agent.kube.read import read_pod

LABELS = names.labels(cluster="c1", target="default", job_id=7, restart=0, node="k8s-1", uid=1000)


def _thing(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    base = {"name": "p", "namespace": "n", "uid": "u", "labels": LABELS, "creationTimestamp": "2026-01-02T03:04:05Z"}
    return {"metadata": {**base, **meta}, "status": status}


def _container(name: str = "job", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ({}, "", ""),
        ({"containerStatuses": [_container(waiting={"reason": "ContainerCreating"})]}, "", ""),
        ({"initContainerStatuses": [_container("install", waiting={"reason": "PodInitializing"})]}, "", ""),
        (
            {"containerStatuses": [_container(waiting={"reason": "ImagePullBackOff", "message": 'pull  "x"\nfailed'})]},
            "ImagePullBackOff",
            'pull "x" failed',
        ),
        (
            {"initContainerStatuses": [_container("install", waiting={"reason": "ErrImageNeverPull"})]},
            "ErrImageNeverPull",
            "",
        ),
        (
            {"initContainerStatuses": [_container("install", terminated={"exitCode": 2, "reason": "Error"})]},
            "Error",
            "container install ended with exit code 2",
        ),
        (
            {"containerStatuses": [_container(terminated={"exitCode": 137, "reason": "OOMKilled"})]},
            "OOMKilled",
            "container job ended with exit code 137",
        ),
        (
            {"containerStatuses": [_container(terminated={"exitCode": 77, "reason": "Error", "message": "group 5"})]},
            "ImageGrantsGroups",
            "group 5",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "Unschedulable",
            "0/3",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "Evicted", "disk"),
        (
            {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}],
                "containerStatuses": [_container(terminated={"exitCode": 143, "reason": "Error"})],
            },
            "PreemptionByScheduler",
            "",
        ),
        ({"initContainerStatuses": [_container("install", terminated={"exitCode": 0})]}, "", ""),
        ({"containerStatuses": [_container(terminated={"exitCode": 143, "reason": "Error"})]}, "", ""),
    ],
)
def test_reasons(status: dict[str, Any], reason: str, message: str) -> None:
    """The most telling one, in Kubernetes' words, on one line."""
    pod = read_pod(_thing(status), "east", "nvidia.com/gpu")
    assert pod is not None
    assert (pod.reason, pod.message) == (reason, message)


def test_running_is_the_jobs_container() -> None:
    """Not a side car, not the init container."""
    others = {
        "initContainerStatuses": [_container("install", running={})],
        "containerStatuses": [_container("x", running={})],
    }
    pod = read_pod(_thing(others), "east", "g")
    assert pod is not None
    assert not pod.running
    pod = read_pod(
        _thing({"containerStatuses": [_container(running={"startedAt": "2026-01-01T00:00:07Z"})]}), "east", "g"
    )
    assert pod is not None
    assert pod.running


@pytest.mark.parametrize("labels", [{}, {**LABELS, names.JOB_LABEL: "x"}, {names.CLUSTER_LABEL: "c1"}])
def test_pods_that_are_none_of_ours(labels: dict[str, str]) -> None:
    """Whoever labelled them."""
    assert read_pod(_thing({}, labels=labels), "east", "g") is None


def test_terminating() -> None:
    """From the moment in which its deletion was asked for."""
    pod = read_pod(_thing({}, deletionTimestamp="2026-01-02T03:04:05Z"), "east", "g")
    assert pod is not None
    assert pod.terminating
    assert pod.ends_by > 0
    assert pod.ended


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (["kueue.x-k8s.io/admission"], "Kueue has not admitted it yet"),
        (["a.example/x", "b.example/y"], "waits for a.example/x, b.example/y"),
    ],
)
def test_scheduling_gates(gates: list[str], message: str) -> None:
    """Who holds it is said, in place of Kubernetes' own sentence that there is a gate."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "blocked"}
    thing = _thing({"phase": "Pending", "conditions": [scheduled]})
    thing["spec"] = {"schedulingGates": [{"name": name} for name in gates]}
    pod = read_pod(thing, "default", "nvidia.com/gpu")
    assert pod is not None
    assert (pod.gated, pod.reason, pod.message) == (True, "SchedulingGated", message)
    free = read_pod(_thing({"phase": "Pending", "conditions": [scheduled]}), "default", "nvidia.com/gpu")
    assert free is not None
    assert (free.gated, free.reason) == (False, ""), "the scheduler has yet to see that it is free"
    thing["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    going = read_pod(thing, "default", "nvidia.com/gpu")
    assert going is not None
    assert (going.gated, going.reason, going.message) == (True, "", ""), "that is not why it goes"


def test_kueue_takes_it_away() -> None:
    """Why is in a condition of Kueue's own."""
    said = {"type": "TerminationTarget", "status": "True", "reason": "WorkloadEvicted", "message": "Preempted"}
    pod = read_pod(_thing({"phase": "Running", "conditions": [said]}), "default", "nvidia.com/gpu")
    assert pod is not None
    assert (pod.reason, pod.message) == ("WorkloadEvicted", "Preempted")
