"""
Which virtual node a job gets.
"""

from __future__ import annotations

from burst_agent.model import Tres
from burst_agent.shapes import Rooms, request, share
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_node

SMALL = Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1)


def test_the_node_that_is_left_fullest() -> None:
    """A job without GPUs takes no room from those with; the smaller gap is filled first."""
    rooms = Rooms([make_node("k8s-1"), make_node("k8s-2", allocated=Tres(cpus=10, memory_mib=30000, gpus=2))])
    assert rooms.place(SMALL).node == "k8s-2"
    assert rooms.place(Tres(cpus=12)).node == "k8s-1"


def test_room_is_taken() -> None:
    """Four jobs of one GPU fill a node of four."""
    rooms = Rooms([make_node()])
    for _ in range(4):
        placement = rooms.place(SMALL)
        assert placement.node == "k8s-1"
        rooms.take(placement.node, SMALL)
    assert rooms.place(SMALL).reason == "no room on the virtual nodes now"


def test_why_not() -> None:
    """Never, not now, and nothing there are three different things."""
    assert Rooms([]).place(SMALL).reason == "there is no virtual node"
    large = Rooms([make_node()]).place(Tres(cpus=4, gpus=5))
    assert large.reason == "no virtual node is that large"
    assert large.line == "asks for 4 CPUs, 5 GPUs; the virtual nodes have 16 CPUs, 65536 MiB, 4 GPUs"
    down = Rooms([make_node(usable=False, state="DOWN+DRAIN")]).place(SMALL)
    assert down.reason == "no room on the virtual nodes now"
    assert "k8s-1 is DOWN+DRAIN" in down.line


def test_a_request_has_at_least_one_cpu() -> None:
    """Slurm gives one to a job that asks for none."""
    assert request(Tres(memory_mib=5)) == Tres(cpus=1, memory_mib=5, nodes=1)


@given(st.integers(0, 999), st.integers(0, 10**6), st.integers(0, 64), st.integers(1, 16))
def test_shares_are_never_too_small(cpus: int, memory_mib: int, gpus: int, nodes: int) -> None:
    """All nodes' shares together hold the whole."""
    part = share(Tres(cpus, memory_mib, nodes, gpus), nodes)
    assert part.cpus * nodes >= cpus
    assert part.memory_mib * nodes >= memory_mib
    assert part.gpus * nodes >= gpus
