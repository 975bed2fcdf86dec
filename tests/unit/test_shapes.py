"""
Which virtual nodes a job gets, and how much of each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from burst_agent.model import JobState, Request, Share, Tres
from burst_agent.shapes import Rooms, holds, share
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_node

SMALL = Request(cpus=4, memory_mib_per_node=8192, gpus=1)
LARGE = Tres(cpus=64, memory_mib=256000, nodes=1, gpus=8)


def _sizes(request: Request, *rooms: Tres) -> list[tuple[int, int, int]]:
    """CPUs, MiB and GPUs on each node, by the nodes' order."""
    nodes = [make_node(f"k8s-{index}", total=LARGE) for index in range(4)]
    for index, used in enumerate(rooms):
        nodes[index] = replace(nodes[index], allocated=used)
    return [(one.size.cpus, one.size.memory_mib, one.size.gpus) for one in Rooms(nodes).place(request).shares]


def test_the_node_that_is_left_fullest() -> None:
    """A job without GPUs takes no room from those with; the smaller gap is filled first."""
    rooms = Rooms([make_node("k8s-1"), make_node("k8s-2", allocated=Tres(cpus=10, memory_mib=30000, gpus=2))])
    assert rooms.place(SMALL).nodes == ("k8s-2",)
    assert rooms.place(Request(cpus=12, memory_mib_per_node=1)).nodes == ("k8s-1",)


def test_room_is_taken() -> None:
    """Four jobs of one GPU fill a node of four."""
    rooms = Rooms([make_node()])
    for _ in range(4):
        placement = rooms.place(SMALL)
        assert placement.nodes == ("k8s-1",)
        rooms.take("k8s-1", placement.shares[0].size)
    assert rooms.place(SMALL).reason == "no room on the virtual nodes now"


def test_excluded_nodes_are_not_chosen() -> None:
    """Neither where they have the room, nor where they alone would."""
    rooms = Rooms([make_node("k8s-1"), make_node("k8s-2", total=LARGE)])
    assert rooms.place(replace(SMALL, excluded=("k8s-1", "gpu0"))).nodes == ("k8s-2",)
    assert rooms.place(replace(SMALL, excluded=("k8s-2",))).nodes == ("k8s-1",)
    assert rooms.place(replace(SMALL, gpus=8, excluded=("k8s-2",))).reason == "no virtual node is that large"
    assert (
        rooms.place(replace(SMALL, excluded=("k8s-1", "k8s-2"))).reason == "it excludes all virtual nodes (--exclude)"
    )


def test_gpus_of_the_type_that_is_asked_for() -> None:
    """Those of others are no room; slurmctld gives a job that names a type none that has no type."""
    a100 = replace(SMALL, gpu_type="a100")
    h100 = replace(SMALL, gpu_type="h100", gpus=3)
    plain = make_node("k8s-0", gpus={"": (4, 0)})
    mixed = make_node("k8s-1", gpus={"a100": (2, 1), "h100": (2, 0)}, allocated=Tres(cpus=1, gpus=1))
    rooms = Rooms([plain, mixed])
    assert rooms.place(replace(SMALL, gpus=4)).nodes == ("k8s-0",)
    assert rooms.place(a100).nodes == ("k8s-1",)
    assert rooms.place(replace(a100, gpus=2)).reason == "no room on the virtual nodes now"
    never = rooms.place(h100)
    assert (never.reason, never.never) == ("no virtual node is that large", True)
    whole = Rooms([plain, replace(mixed, gpus={"a100": (2, 0), "h100": (2, 0)}, allocated=Tres())])
    assert whole.place(replace(a100, whole_nodes=True)).shares[0].size.gpus == 4
    unknown = Rooms([plain]).place(a100)
    assert (unknown.reason, unknown.never) == ("no virtual node has GPUs of type a100", True)
    assert Rooms([make_node()]).place(a100).nodes == ("k8s-1",)


def test_why_not() -> None:
    """Never, not now, and nothing there are three different things."""
    assert Rooms([]).place(SMALL).reason == "there is no virtual node"
    large = Rooms([make_node()]).place(Request(cpus=4, gpus=5))
    assert large.reason == "no virtual node is that large"
    assert large.line == "asks for 4 CPUs, 5 GPUs; there are 1 of 16 CPUs, 65536 MiB, 4 GPUs"
    many = Rooms([make_node()]).place(Request(min_nodes=2, tasks=2, cpus=2, gpus_per_node=1))
    assert many.reason == "the virtual nodes are too small or too few"
    assert many.line.startswith("asks for 2 nodes, 2 CPUs, 1 GPUs a node; ")
    down = Rooms([make_node(usable=False, state="DOWN+DRAIN")]).place(SMALL)
    assert down.reason == "no room on the virtual nodes now"
    assert "k8s-1 is DOWN+DRAIN" in down.line


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        # What slurmctld 24.11 allocated on two virtual nodes of 64 CPUs and 8 GPUs.
        ({"min_nodes": 2, "max_nodes": 2, "tasks": 8, "cpus": 8}, [(7, 700, 0), (1, 100, 0)]),
        ({"min_nodes": 2, "max_nodes": 2, "tasks": 2, "cpus": 2}, [(1, 100, 0)] * 2),
        ({"min_nodes": 2, "max_nodes": 2, "tasks": 5, "cpus": 5}, [(4, 400, 0), (1, 100, 0)]),
        ({"min_nodes": 2, "max_nodes": 2, "tasks": 5, "cpus": 5, "gpus": 5}, [(4, 400, 4), (1, 100, 1)]),
        ({"tasks": 100, "cpus": 100}, [(64, 6400, 0), (36, 3600, 0)]),
        ({"min_nodes": 3, "tasks": 100, "cpus": 100}, [(64, 6400, 0), (35, 3500, 0), (1, 100, 0)]),
        (
            {"min_nodes": 2, "max_nodes": 2, "tasks": 4, "cpus": 4, "gpus_per_task": 2},
            [(3, 300, 6), (1, 100, 2)],
        ),
        ({"min_nodes": 2, "max_nodes": 2, "tasks": 2, "cpus": 2, "gpus": 3}, [(1, 100, 2), (1, 100, 1)]),
        (
            {"min_nodes": 2, "max_nodes": 4, "tasks": 16, "cpus": 16},
            [(15, 1500, 0), (1, 100, 0)],
        ),
        (
            {"min_nodes": 2, "tasks": 8, "cpus": 8, "tasks_per_node": 4, "cpus_per_node": 4},
            [(4, 400, 0)] * 2,
        ),
    ],
)
def test_shares_are_those_that_slurmctld_allocates(asked: dict[str, Any], sizes: list[tuple[int, int, int]]) -> None:
    """As many nodes as must be, in slurmctld's order, each filled before the next."""
    assert _sizes(Request(memory_mib_per_cpu=100, **asked)) == sizes


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        (
            {
                "min_nodes": 2,
                "tasks": 9,
                "cpus": 36,
                "cpus_per_task": 4,
                "cpus_per_node": 4,
                "memory_mib_per_cpu": 1024,
            },
            [(32, 32768, 0), (4, 4096, 0)],
        ),
        (
            {
                "min_nodes": 2,
                "tasks": 8,
                "cpus": 64,
                "cpus_per_task": 8,
                "cpus_per_node": 32,
                "tasks_per_node": 4,
                "memory_mib_per_node": 10240,
                "gpus_per_node": 2,
            },
            [(32, 10240, 2)] * 2,
        ),
        (
            {"min_nodes": 2, "tasks": 4, "cpus": 12, "gpus": 4, "memory_mib_per_gpu": 5120},
            [(9, 15360, 3), (3, 5120, 1)],
        ),
        ({"min_nodes": 2, "whole_nodes": True, "memory_mib_per_cpu": 100}, [(64, 6400, 8)] * 2),
        ({"whole_nodes": True, "memory_mib_per_node": 0}, [(64, 256000, 8)]),
        ({"cpus": 4}, [(4, 0, 0)]),  # Slurm does not track it: the settings say what a pod gets for each CPU
        ({"min_nodes": 2, "tasks": 2, "cpus": 2, "memory_mib_per_node": 0}, [(1, 256000, 0)] * 2),
    ],
)
def test_memory_and_whole_nodes(asked: dict[str, Any], sizes: list[tuple[int, int, int]]) -> None:
    """By node, CPU or GPU; whole nodes have all CPUs and GPUs, and memory as asked."""
    assert _sizes(Request(**asked)) == sizes


def test_few_nodes_before_full_ones() -> None:
    """One empty node rather than the rests of two."""
    half = Tres(cpus=40, memory_mib=1000)
    assert _sizes(Request(tasks=48, cpus=48, memory_mib_per_cpu=1), half, half) == [(48, 48, 0)]
    assert _sizes(Request(min_nodes=2, tasks=2, cpus=32, memory_mib_per_cpu=1), half, half) == [(16, 16, 0)] * 2


def test_whole_nodes_are_those_with_nothing_on_them() -> None:
    """Neither of Slurm's nor promised, however little it is."""
    nodes = [make_node("k8s-1", allocated=Tres(cpus=1)), make_node("k8s-2"), make_node("k8s-3")]
    rooms = Rooms(nodes)
    rooms.take("k8s-2", Tres(cpus=1))
    whole = Request(whole_nodes=True, memory_mib_per_cpu=1)
    assert rooms.place(whole).nodes == ("k8s-3",)
    assert rooms.place(Request(own_nodes=True, memory_mib_per_cpu=1)).nodes == ("k8s-3",)
    assert rooms.place(replace(whole, min_nodes=2)).reason == "no room on the virtual nodes now"


def test_a_running_jobs_share() -> None:
    """What slurmctld says; where it does not, an even part, rounded up."""
    job = make_job(state=JobState.RUNNING, nodes=("a", "b"), allocated=Tres(5, 1001, 2, 3))
    assert share(job, "a") == Share("a", Tres(cpus=3, memory_mib=501, nodes=1, gpus=2))
    known = Share("a", Tres(cpus=4, memory_mib=901, nodes=1, gpus=1), (5,))
    assert share(replace(job, shares=(known,)), "a") is known


REQUESTS = st.builds(
    Request,
    min_nodes=st.integers(1, 4),
    max_nodes=st.none(),
    tasks=st.integers(1, 40),
    tasks_per_node=st.none() | st.integers(1, 8),
    cpus=st.integers(1, 60),
    cpus_per_task=st.integers(1, 5),
    cpus_per_node=st.integers(1, 4),
    memory_mib_per_cpu=st.integers(0, 5000),
    gpus=st.integers(0, 6),
    gpus_per_node=st.integers(0, 2),
    whole_nodes=st.booleans(),
    memory_mib_per_node=st.sampled_from([None, 0, 4096]),
).map(lambda one: one if one.memory_mib_per_node is None else replace(one, memory_mib_per_cpu=None))  # as Slurm has it
USED = st.lists(st.builds(Tres, cpus=st.integers(0, 16), memory_mib=st.integers(0, 65536)), min_size=1, max_size=6)


@given(REQUESTS, USED)
def test_what_is_chosen_fits_and_is_enough(request: Request, used: list[Tres]) -> None:
    """Whatever is asked for; and no smaller number of nodes would have done, where nodes are alike."""
    nodes = [make_node(f"k8s-{index}", allocated=one) for index, one in enumerate(used)]
    rooms = Rooms(nodes)
    shares = rooms.place(request).shares
    for one in shares:
        node = next(node for node in nodes if node.name == one.node)
        assert one.size.cpus + node.allocated.cpus <= node.total.cpus
        assert one.size.memory_mib + node.allocated.memory_mib <= node.total.memory_mib
        assert one.size.gpus <= node.total.gpus
        assert one.size.gpus >= request.gpus_per_node
        rooms.take(one.node, one.size)
    if shares:
        assert holds(shares, request)
        assert holds(shares[::-1], request)
        assert len({one.node for one in shares}) == len(shares) >= request.min_nodes
        assert sum(one.size.cpus for one in shares) >= max(request.cpus, request.tasks * request.cpus_per_task)
        assert sum(one.size.gpus for one in shares) >= request.gpus
