"""
From what a job asks for to the virtual nodes that its pods stand behind, and what it gets of each. Pure.

Room on a virtual node is what it declares, less what slurmctld allocated there, less what is promised to jobs whose
pods are there already and which have not started yet. A job gets as few nodes as it can do with, and of those the ones
that it leaves fullest. What slurmctld will allocate on them is foretold as its select/cons_tres does it: in the order
of its nodes, each as much as it has, less what the nodes after it must have. Where it allocates otherwise, pods follow.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from burst_agent.model import Job, Request, Share, Tres, VirtualNode


@dataclass(frozen=True, slots=True)
class Placement:
    """
    What was chosen, or why there is nothing.
    """

    #: In the order of slurmctld's nodes.
    shares: tuple[Share, ...] = ()
    #: In a few words, without numbers that change by themselves.
    reason: str = ""
    #: With the numbers.
    line: str = ""
    #: Whether no waiting helps.
    never: bool = False

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes chosen."""
        return tuple(share.node for share in self.shares)

    @property
    def total(self) -> Tres:
        """The sum of all shares."""
        sizes = [share.size for share in self.shares]
        return Tres(
            cpus=sum(size.cpus for size in sizes),
            memory_mib=sum(size.memory_mib for size in sizes),
            nodes=len(sizes),
            gpus=sum(size.gpus for size in sizes),
        )


@dataclass(frozen=True, slots=True)
class _Need:
    """
    A request with its units made plain: tasks of equal size, and how many of them a node must have.
    """

    tasks: int
    #: Tasks that each node has at least.
    floor: int
    cpus_per_task: int
    gpus_per_task: int

    @classmethod
    def of(cls, request: Request) -> _Need:
        tasks = max(request.tasks, request.min_nodes, 1)
        cpus_per_task = max(request.cpus_per_task, -(-request.cpus // tasks), 1)
        return cls(
            tasks=tasks,
            floor=max(-(-request.cpus_per_node // cpus_per_task), 1),
            cpus_per_task=cpus_per_task,
            gpus_per_task=request.gpus_per_task,
        )


class Rooms:
    """
    The room on all virtual nodes, less what is taken while one plan is made.
    """

    def __init__(self, nodes: Iterable[VirtualNode]) -> None:
        """Start from what slurmctld says, in its order."""
        self._nodes: dict[str, VirtualNode] = {node.name: node for node in nodes}
        self._order = {name: index for index, name in enumerate(self._nodes)}
        #: A long queue asks for the same again and again.
        self._answers: dict[Request, Placement] = {}
        self._free: dict[str, Tres] = {
            node.name: _minus(node.total, node.allocated) for node in self._nodes.values() if node.usable
        }
        self._empty = {name for name in self._free if not _any(self._nodes[name].allocated)}

    def take(self, node: str, size: Tres) -> None:
        """Promise room on a node, even more than there is: pods that exist are facts."""
        self._answers.clear()
        self._empty.discard(node)
        if node in self._free:
            self._free[node] = _minus(self._free[node], size)

    def place(self, request: Request) -> Placement:
        """
        Choose as few nodes as will do, those that such a job leaves fullest, so that room for large jobs stays whole.
        """
        if request not in self._answers:
            self._answers[request] = self._choose(request)
        return self._answers[request]

    def _choose(self, request: Request) -> Placement:
        if not self._nodes:
            return Placement(reason="there is no virtual node", line="the burst partition has no node")
        alone = request.whole_nodes or request.own_nodes
        allowed = [name for name in self._nodes if name not in request.excluded]
        if not allowed:
            return Placement(reason="it excludes all virtual nodes (--exclude)", line="excludes all virtual nodes")
        if request.gpu_type and not any(node.of_type(request.gpu_type)[0] for node in self._nodes.values()):
            never = f"no virtual node has GPUs of type {request.gpu_type}"
            return Placement(reason=never, line=f"{never}: slurm.conf and gres.conf say which have", never=True)
        free = {
            name: self._narrow(request, name, self._free[name])
            for name in allowed
            if name in self._free and (not alone or name in self._empty)
        }
        shares = self._pick(request, free)
        if shares:
            return Placement(shares=shares, line=f"{_plural(shares)} ({_all_free(free, shares)} free)")
        total = {name: self._narrow(request, name, self._nodes[name].total, empty=True) for name in allowed}
        if not self._pick(request, total):
            one = request.min_nodes == 1
            never = "no virtual node is that large" if one else "the virtual nodes are too small or too few"
            line = f"asks for {asked(request)}; there are {_largest(self._nodes)}"
            return Placement(reason=never, line=line, never=True)
        down = sorted(node.name for node in self._nodes.values() if not node.usable)
        states = f"; {', '.join(f'{name} is {self._nodes[name].state}' for name in down)}" if down else ""
        return Placement(
            reason="no room on the virtual nodes now",
            line=f"asks for {asked(request)}; free: {_all_free(free)}{states}",
        )

    def _narrow(self, request: Request, name: str, room: Tres, *, empty: bool = False) -> Tres:
        """Take the GPUs of other types than the job's out of a room; whole nodes come with them."""
        if not request.gpu_type:
            return room
        has, used = self._nodes[name].of_type(request.gpu_type)
        if has and request.whole_nodes:
            return room
        return replace(room, gpus=min(room.gpus, has if empty else has - used))

    def _pick(self, request: Request, free: Mapping[str, Tres]) -> tuple[Share, ...]:
        """The smallest set of nodes that will do, and among those of its size the fullest; nothing if none does."""
        need = _Need.of(request)
        caps = {name: self._cap(request, need, name, room) for name, room in free.items()}
        names = [name for name, cap in caps.items() if cap >= need.floor]
        most = min(len(names), need.tasks, request.max_nodes or len(names))
        for count in range(max(request.min_nodes, 1), most + 1):
            for chosen in _windows(names, caps, free, need, count):
                ordered = sorted(chosen, key=self._order.__getitem__)
                if shares := self._foretell(request, need, [(name, caps[name], free[name]) for name in ordered]):
                    return shares
        return ()

    def _cap(self, request: Request, need: _Need, name: str, room: Tres) -> int:
        """How many tasks a node can have."""
        cap = room.cpus // need.cpus_per_task
        if request.tasks_per_node:
            cap = min(cap, request.tasks_per_node)
        if need.gpus_per_task:
            cap = min(cap, room.gpus // need.gpus_per_task)
        if request.gpus_per_node > room.gpus or (request.gpus and not room.gpus):
            return 0
        if request.memory_mib_per_cpu:
            cap = min(cap, room.memory_mib // (request.memory_mib_per_cpu * need.cpus_per_task))
        if (request.memory_mib_per_node or 0) > room.memory_mib:
            return 0
        if request.memory_mib_per_node == 0 and room.memory_mib < self._nodes[name].total.memory_mib:
            return 0
        return cap

    def _foretell(self, request: Request, need: _Need, rooms: Sequence[tuple[str, int, Tres]]) -> tuple[Share, ...]:
        """What slurmctld will allocate on these nodes, in its order; nothing if they don't do."""
        shares, tasks, gpus = [], need.tasks, request.gpus
        for index, (name, cap, room) in enumerate(rooms):
            rest = len(rooms) - index - 1
            mine = min(cap, tasks - rest * need.floor)
            mine_gpus = request.gpus_per_node or mine * need.gpus_per_task or min(room.gpus, max(gpus - rest, 0))
            size = self._size(request, name, mine * need.cpus_per_task, mine_gpus)
            if mine < 1 or (request.gpus and mine_gpus < 1) or not _fits(size, room):
                return ()
            tasks, gpus = tasks - mine, gpus - mine_gpus
            shares.append(Share(name, size))
        return () if tasks > 0 or gpus > 0 else tuple(shares)

    def _size(self, request: Request, name: str, cpus: int, gpus: int) -> Tres:
        total = self._nodes[name].total
        if request.whole_nodes:
            cpus, gpus = total.cpus, total.gpus
        memory_mib = request.memory_mib_per_node or 0
        if request.memory_mib_per_cpu is not None:
            memory_mib = request.memory_mib_per_cpu * cpus
        elif request.memory_mib_per_gpu is not None:
            memory_mib = request.memory_mib_per_gpu * gpus
        elif request.memory_mib_per_node == 0:
            memory_mib = total.memory_mib
        return Tres(cpus=cpus, memory_mib=memory_mib, nodes=1, gpus=gpus)


def _windows(
    names: Sequence[str], caps: Mapping[str, int], free: Mapping[str, Tres], need: _Need, count: int
) -> Iterator[Sequence[str]]:
    """Sets of so many nodes that can hold all tasks, the fullest first, the one with the most room last."""
    most = need.tasks - (count - 1) * need.floor

    def fullness(name: str) -> tuple[int, int, int, int, str]:
        return min(caps[name], most), free[name].gpus, free[name].cpus, free[name].memory_mib, name

    ordered = sorted(names, key=fullness)
    held = sum(caps[name] for name in ordered[: count - 1])
    for first in range(len(ordered) - count + 1):
        held += caps[ordered[first + count - 1]]
        if held >= need.tasks:
            yield ordered[first : first + count]
        held -= caps[ordered[first]]


@functools.lru_cache(maxsize=1 << 12)
def holds(shares: tuple[Share, ...], request: Request) -> bool:
    """
    Whether what was given on these nodes is enough for what is asked for.
    """
    nodes = [VirtualNode(one.node, one.size, Tres(), usable=True, state="") for one in shares]
    return bool(Rooms(nodes).place(request).shares)


@functools.lru_cache(maxsize=1 << 12)
def least(request: Request) -> Tres:
    """
    Give what one of the job's pods has at least, wherever it is placed.
    """
    need = _Need.of(request)
    alone = request.max_nodes == 1
    cpus = need.cpus_per_task * (need.tasks if alone else need.floor)
    gpus = max(request.gpus_per_node, need.gpus_per_task, request.gpus if alone else min(request.gpus, 1))
    memory_mib = max(request.memory_mib_per_node or 0, (request.memory_mib_per_cpu or 0) * cpus)
    return Tres(cpus=cpus, memory_mib=memory_mib, nodes=1, gpus=gpus)


def share(job: Job, node: str) -> Share:
    """
    Give what a running job has of a node: what slurmctld says, else an even part, rounded up.
    """
    for known in job.shares:
        if known.node == node:
            return known
    nodes, total = max(len(job.nodes), 1), job.allocated
    return Share(
        node,
        Tres(
            cpus=max(-(-total.cpus // nodes), 1),
            memory_mib=-(-total.memory_mib // nodes),
            nodes=1,
            gpus=-(-total.gpus // nodes),
        ),
    )


def asked(request: Request) -> str:
    """Write a request for people."""
    nodes = f"{request.min_nodes} nodes, " if request.min_nodes > 1 else ""
    need = _Need.of(request)
    memory = next(
        (
            f", {amount} MiB a {unit}"
            for amount, unit in (
                (request.memory_mib_per_node, "node"),
                (request.memory_mib_per_cpu, "CPU"),
                (request.memory_mib_per_gpu, "GPU"),
            )
            if amount
        ),
        "",
    )
    gpus = [
        f", {count} GPUs{unit}"
        for count, unit in (
            (request.gpus, ""),
            (request.gpus_per_node, " a node"),
            (request.gpus_per_task, " a task"),
        )
        if count
    ]
    whole = ", whole nodes" if request.whole_nodes else ""
    return f"{nodes}{need.tasks * need.cpus_per_task} CPUs{memory}{''.join(gpus)}{whole}"


def words(size: Tres) -> str:
    """Write a size for people."""
    memory = f", {size.memory_mib} MiB" if size.memory_mib else ""
    gpus = f", {size.gpus} GPUs" if size.gpus else ""
    return f"{size.cpus} CPUs{memory}{gpus}"


def _plural(shares: Sequence[Share]) -> str:
    fit = "; ".join(f"{words(one.size)} on {one.node}" for one in shares)
    return f"fits: {fit}"


def _any(size: Tres) -> bool:
    return bool(size.cpus or size.memory_mib or size.gpus)


def _fits(size: Tres, room: Tres) -> bool:
    return size.cpus <= room.cpus and size.memory_mib <= room.memory_mib and size.gpus <= room.gpus


def _minus(a: Tres, b: Tres) -> Tres:
    return replace(
        a,
        cpus=max(a.cpus - b.cpus, 0),
        memory_mib=max(a.memory_mib - b.memory_mib, 0),
        gpus=max(a.gpus - b.gpus, 0),
    )


def _largest(nodes: Mapping[str, VirtualNode]) -> str:
    counts: dict[str, int] = {}
    for node in nodes.values():
        counts[words(node.total)] = counts.get(words(node.total), 0) + 1
    return " and ".join(f"{count} of {size}" for size, count in sorted(counts.items()))


def _all_free(free: Mapping[str, Tres], only: Sequence[Share] = ()) -> str:
    names = [share.node for share in only] or sorted(free)
    return "; ".join(f"{name} {words(free[name])}" for name in names) or "none"
