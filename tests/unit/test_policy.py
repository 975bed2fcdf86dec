"""
Whether a job bursts now.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from burst_agent.model import BurstMode, Pod, Tres
from burst_agent.policy import Budget, Caps, decide
from burst_agent.shapes import Rooms
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_node, make_pod

CAPS = Caps(wait_s=60, max_pods=4, max_gpus=8, max_pods_per_user=2, max_gpus_per_user=4)


def _budget(*pods: Pod) -> Budget:
    return Budget(CAPS, pods)


def test_auto_waits_and_says_for_how_long() -> None:
    """From the moment in which it could have started, not from its submission."""
    job = make_job(submit_time=1000, eligible_time=1500)
    early = decide(job, BurstMode.AUTO, CAPS, _budget(), Rooms([make_node()]), 1559)
    assert (early.nodes, early.reason) == ((), "waits 60 s for a local node first")
    assert early.lines == ("mode auto: waited 59 of 60 s for a local node (wait_s)",)
    assert decide(job, BurstMode.AUTO, CAPS, _budget(), Rooms([make_node()]), 1560).nodes == ("k8s-1",)


def test_now_does_not_wait() -> None:
    """Within the caps, at once."""
    decision = decide(make_job(), BurstMode.NOW, CAPS, _budget(), Rooms([make_node()]), 1000)
    assert decision.nodes == ("k8s-1",)
    assert decision.lines[-1] == "4 CPUs, 8192 MiB, 1 GPUs fit on k8s-1 (16 CPUs, 65536 MiB, 4 GPUs free)"


@pytest.mark.parametrize(
    ("uids", "gpus", "asked", "reason"),
    [
        ([1000, 1000], 0, 0, "cap on pods of this user is reached"),
        ([1, 2, 3, 4], 0, 0, "cap on pods of all users is reached"),
        ([1000], 4, 1, "cap on GPUs of this user is reached"),
        ([1, 2], 4, 1, "cap on GPUs of all users is reached"),
        ([], 0, 5, "asks for more GPUs of this user than allowed"),
        ([], 0, 9, "asks for more GPUs of all users than allowed"),
    ],
)
def test_caps(uids: list[int], gpus: int, asked: int, reason: str) -> None:
    """Pods and GPUs, per user and in all; the line has the numbers."""
    pods = [make_pod(make_job(uid=uid), gpus=gpus) for uid in uids]
    job = make_job(requested=Tres(cpus=1, gpus=asked))
    decision = decide(job, BurstMode.NOW, CAPS, _budget(*pods), Rooms([make_node()]), 0)
    assert (decision.nodes, decision.reason) == ((), reason)
    assert "allowed (max_" in decision.lines[-1]


def test_a_job_without_gpus_is_not_held_by_a_cap_on_gpus() -> None:
    """The caps bind what is asked for."""
    pod = make_pod(make_job(), gpus=4)
    job = make_job(requested=Tres(cpus=1))
    assert decide(job, BurstMode.NOW, CAPS, _budget(pod), Rooms([make_node()]), 0).nodes


def test_array_tasks_as_many_as_fit() -> None:
    """The first ones, in order; the reason says why not more."""
    job = make_job(array_tasks=(3, 5, 8))
    decision = decide(job, BurstMode.NOW, CAPS, _budget(), Rooms([make_node()]), 0)
    assert (decision.tasks, decision.nodes) == ((3, 5), ())
    assert decision.reason == "cap on pods of this user is reached"
    assert "2 of 3 waiting array tasks can burst now" in decision.lines


JOBS = st.lists(
    st.tuples(st.integers(1000, 1003), st.integers(1, 20), st.integers(0, 5), st.integers(0, 4)), max_size=30
)


@given(JOBS)
def test_caps_and_room_hold_whatever_comes(asked: list[tuple[int, int, int, int]]) -> None:
    """Over any queue of jobs and arrays of any users."""
    nodes = [make_node("k8s-1"), make_node("k8s-2", total=Tres(cpus=4, memory_mib=4096, gpus=2))]
    budget, rooms = _budget(), Rooms(nodes)
    granted: list[tuple[int, Tres]] = []
    for uid, cpus, gpus, tasks in asked:
        job = make_job(uid=uid, requested=Tres(cpus=cpus, gpus=gpus), array_tasks=tuple(range(tasks)))
        decision = decide(job, BurstMode.NOW, CAPS, budget, rooms, 0)
        assert decision.nodes or decision.tasks or decision.reason
        granted += [(uid, job.requested)] * (len(decision.nodes) + len(decision.tasks))
    for uid in {uid for uid, _ in granted}:
        mine = [size for owner, size in granted if owner == uid]
        assert len(mine) <= CAPS.max_pods_per_user
        assert sum(size.gpus for size in mine) <= CAPS.max_gpus_per_user
    assert len(granted) <= CAPS.max_pods
    assert sum(size.gpus for _, size in granted) <= min(CAPS.max_gpus, sum(node.total.gpus for node in nodes))
    assert sum(size.cpus for _, size in granted) <= sum(node.total.cpus for node in nodes)


@given(st.integers(0, 3), st.integers(0, 8), st.integers(0, 6))
def test_no_pods_beyond_those_that_exist(pods: int, gpus: int, asked: int) -> None:
    """What exists counts as what was granted."""
    existing = [make_pod(make_job(), gpus=gpus, name=f"p{index}") for index in range(pods)]
    job = replace(make_job(), requested=Tres(cpus=1, gpus=asked))
    decision = decide(job, BurstMode.NOW, CAPS, _budget(*existing), Rooms([make_node()]), 0)
    if decision.nodes:
        assert pods + 1 <= CAPS.max_pods_per_user
        assert asked == 0 or pods * gpus + asked <= CAPS.max_gpus_per_user
