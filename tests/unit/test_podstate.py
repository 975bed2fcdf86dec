"""
What pods tell of themselves: in sentences where something is amiss, in silence where nothing is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from burst_agent import podstate
from burst_agent.model import PodPhase, Share, Tres
from burst_agent.steps import PauseTarget, StartBackoff

from .fakes import make_job, make_pod, make_seen

JOB = make_job()


def test_pods_of_the_present_run_count() -> None:
    """Not those of an earlier run, of a job of the same number that somebody else had, or at another target."""
    pod = make_pod(JOB)
    others = (replace(pod, restart=1), replace(pod, user_uid=1001), replace(pod, target="other"))
    assert podstate.mine(make_seen(JOB, pod, *others)) == (pod,)


def test_pods_of_a_try_that_was_given_up_do_not_count() -> None:
    """Once all are being deleted; before that their end is still to be asked for."""
    waits = make_job(admin_comment="k8s-burst=now state=waiting reason=x")
    stays, going = make_pod(waits), make_pod(waits, node="k8s-2", terminating=True)
    assert podstate.mine(make_seen(waits, stays, going)) == (stays, going)
    assert podstate.mine(make_seen(waits, going)) == ()
    assert podstate.mine(make_seen(JOB, going)) == (going,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"running": False, "phase": PodPhase.PENDING, "reason": "Unschedulable"}, ""),
        ({"reason": "ImagePullBackOff", "message": "no such tag"}, "can't start (ImagePullBackOff: no such tag)"),
        ({"phase": PodPhase.FAILED, "reason": "OOMKilled"}, "ended (OOMKilled)"),
        ({"phase": PodPhase.FAILED, "reason": "ImageGrantsGroups"}, "can't start (ImageGrantsGroups)"),
        ({"terminating": True, "phase": PodPhase.FAILED}, "was deleted"),
    ],
)
def test_hopeless(changes: dict[str, Any], said: str) -> None:
    """With Kubernetes' own words; a pod that waits for a node has hope."""
    pod = make_pod(JOB, **changes)
    assert podstate.hopeless(pod) == (f"pod {pod.name} {said}" if said else "")


@pytest.mark.parametrize(
    ("changes", "user"),
    [
        ({"reason": "ImagePullBackOff", "message": "registry/a:1: not found"}, False),
        ({"reason": "ImagePullBackOff", "message": "ErrImagePull: 401 Unauthorized"}, True),
        ({"reason": "ImagePullBackOff", "message": "pull access denied"}, True),
        ({"reason": "ImagePullBackOff", "message": "no basic auth credentials"}, True),
        ({"phase": PodPhase.FAILED, "reason": "ImageGrantsGroups", "message": "group 5000"}, True),
    ],
)
def test_whose_image_is_left_alone(changes: dict[str, Any], *, user: bool) -> None:
    """Of one who may not have it, or is in other groups by it, his own; of one that is not there, everybody's."""
    failed = podstate.failure(make_pod(JOB, **changes))
    assert isinstance(failed, PauseTarget)
    assert (failed.image, failed.user) == (True, user)


def test_a_pod_that_was_deleted_or_ended_blames_no_image() -> None:
    """Its job tries again, in time."""
    for changes in ({"terminating": True, "reason": "ImagePullBackOff"}, {"phase": PodPhase.FAILED, "reason": "Error"}):
        assert isinstance(podstate.failure(make_pod(JOB, **changes)), StartBackoff)
    assert podstate.failure(make_pod(JOB)) is None


def test_all_or_none() -> None:
    """Each names the nodes of all."""
    one, two = (make_pod(JOB, node=node, nodes=("k8s-1", "k8s-2")) for node in ("k8s-1", "k8s-2"))
    assert podstate.absent((one, two)) == ""
    assert podstate.absent((two,)) == "the pod behind k8s-1 is not there: all are made anew"
    other = replace(one, nodes=("k8s-1",))
    assert podstate.absent((other, two)) == "its pods were made for different sets of nodes: all are made anew"
    assert podstate.all_run((one, two))
    late = replace(two, running=False, phase=PodPhase.PENDING)
    assert not podstate.all_run((one, late))
    assert podstate.progress((one, late)) == "pod k8s-burst-7-0-k8s-2 is Pending"


@pytest.mark.parametrize(
    ("made", "fits"),
    [
        (None, True),
        (Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1), True),
        (Tres(cpus=8, memory_mib=9000, nodes=1, gpus=1), True),
        (Tres(cpus=3, memory_mib=8192, nodes=1, gpus=1), False),
        (Tres(cpus=4, memory_mib=8191, nodes=1, gpus=1), False),
        (Tres(cpus=4, memory_mib=8192, nodes=1, gpus=2), False),
    ],
)
def test_a_pod_fits_what_slurmctld_allocated(made: Tres | None, *, fits: bool) -> None:
    """It may be larger, but GPUs are numbered: they must be as many."""
    job = make_job(shares=(Share("k8s-1", Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1)),))
    why = podstate.misfit(make_pod(job, size=made), job)
    assert (why == "") is fits
    assert podstate.misfit(make_pod(job, node="k8s-2", size=made), job) == ""
