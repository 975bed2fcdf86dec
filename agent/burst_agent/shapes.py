"""
From what a job asks for to the virtual node that its pod stands behind. Pure.

Room on a virtual node is what it declares, less what slurmctld allocated there, less what is promised to jobs whose
pods are there already and which have not started yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from burst_agent.model import Tres, VirtualNode


@dataclass(frozen=True, slots=True)
class Placement:
    """
    The node chosen, or why there is none.
    """

    node: str = ""
    #: In a few words, without numbers that change by themselves.
    reason: str = ""
    #: With the numbers.
    line: str = ""


class Rooms:
    """
    The room on all virtual nodes, less what is taken while one plan is made.
    """

    def __init__(self, nodes: Iterable[VirtualNode]) -> None:
        """Start from what slurmctld says."""
        self._nodes: dict[str, VirtualNode] = {node.name: node for node in nodes}
        #: A long queue asks for the same again and again.
        self._answers: dict[Tres, Placement] = {}
        self._free: dict[str, Tres] = {
            node.name: _minus(node.total, node.allocated) for node in self._nodes.values() if node.usable
        }

    def take(self, node: str, size: Tres) -> None:
        """Promise room on a node, even more than there is: pods that exist are facts."""
        self._answers.clear()
        if node in self._free:
            self._free[node] = _minus(self._free[node], size)

    def place(self, size: Tres) -> Placement:
        """
        Choose the node that such a job leaves fullest, so that room for large jobs stays whole.
        """
        if size not in self._answers:
            self._answers[size] = self._choose(size)
        return self._answers[size]

    def _choose(self, size: Tres) -> Placement:
        if not self._nodes:
            return Placement(reason="there is no virtual node", line="the burst partition has no node")
        fitting = {name: free for name, free in self._free.items() if _fits(size, free)}
        if fitting:
            name = min(
                fitting, key=lambda name: (fitting[name].gpus, fitting[name].cpus, fitting[name].memory_mib, name)
            )
            return Placement(node=name, line=f"{words(size)} fit on {name} ({words(fitting[name])} free)")
        if not any(_fits(size, node.total) for node in self._nodes.values()):
            return Placement(
                reason="no virtual node is that large",
                line=f"asks for {words(size)}; the virtual nodes have {_largest(self._nodes)}",
            )
        down = sorted(node.name for node in self._nodes.values() if not node.usable)
        states = f"; {', '.join(f'{name} is {self._nodes[name].state}' for name in down)}" if down else ""
        return Placement(
            reason="no room on the virtual nodes now",
            line=f"asks for {words(size)}; free: {_all_free(self._free)}{states}",
        )


def request(requested: Tres) -> Tres:
    """Read a request as one node's share: at least one CPU."""
    return Tres(cpus=max(requested.cpus, 1), memory_mib=requested.memory_mib, nodes=1, gpus=requested.gpus)


def share(total: Tres, nodes: int) -> Tres:
    """Divide what a job has by its nodes, rounding up: a pod that is too small would fail the job."""
    return Tres(
        cpus=max(-(-total.cpus // nodes), 1),
        memory_mib=-(-total.memory_mib // nodes),
        nodes=1,
        gpus=-(-total.gpus // nodes),
    )


def words(size: Tres) -> str:
    """Write a size for people."""
    memory = f", {size.memory_mib} MiB" if size.memory_mib else ""
    gpus = f", {size.gpus} GPUs" if size.gpus else ""
    return f"{size.cpus} CPUs{memory}{gpus}"


def _fits(size: Tres, room: Tres) -> bool:
    return size.cpus <= room.cpus and size.memory_mib <= room.memory_mib and size.gpus <= room.gpus


def _minus(a: Tres, b: Tres) -> Tres:
    return Tres(
        cpus=max(a.cpus - b.cpus, 0),
        memory_mib=max(a.memory_mib - b.memory_mib, 0),
        nodes=a.nodes,
        gpus=max(a.gpus - b.gpus, 0),
    )


def _largest(nodes: Mapping[str, VirtualNode]) -> str:
    return " or ".join(sorted({words(node.total) for node in nodes.values()}))


def _all_free(free: Mapping[str, Tres]) -> str:
    return "; ".join(f"{name} {words(size)}" for name, size in sorted(free.items())) or "none"
