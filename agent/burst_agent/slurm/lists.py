"""
Looks at all of slurmctld's jobs and at the nodes of a partition: what the worker for the long lists calls.

Arguments and results are plain values. Raises errors of :mod:`burst_agent.errors`; each names what was tried.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from burst_agent.errors import SlurmRefused
from burst_agent.model import Job, JobState, Partition, Unflagged, VirtualNode
from burst_agent.slurm.library import expand, failure, fields, job_value, libslurm, text
from burst_agent.slurm.records import NodeRecord, to_node

NODE_FIELDS = tuple(field.name for field in dataclasses.fields(NodeRecord) if not field.name.startswith("alloc_"))

log = logging.getLogger(__name__)


class Flagged:
    """
    The last list of flagged jobs, and how old it is.

    slurmctld counts not everything as a change: a pending job's reason, for one. So a list is not believed for ever.
    """

    BELIEVED_S = 5.0

    def __init__(self) -> None:
        """Begin with none."""
        self.asked: object = None
        self.since = 0
        self.jobs: tuple[Job, ...] = ()
        self.partitions: tuple[Partition, ...] = ()
        self.loaded = -math.inf


_flagged = Flagged()


def flagged_jobs(prefix: str, partition: str, also: tuple[Unflagged, ...]) -> tuple[Job, ...]:
    """
    Load every job whose admin_comment begins with the prefix or whose partitions name this one, and every pending job
    that ``also`` describes.
    """
    module = libslurm()
    young = time.monotonic() < _flagged.loaded + Flagged.BELIEVED_S
    asked = (prefix, partition, also)
    since = _flagged.since if young and _flagged.asked == asked else 0
    picked = module.ffi.new("struct burst_picked *")
    # The structs point to these: they live until the call is over.
    texts = [[module.ffi.new("char[]", name.encode()) for name in names] for names in patterns(also)]
    marks = [module.ffi.new("char[]", name.encode()) for name in (prefix, partition)]
    array = module.ffi.new("struct burst_unflagged[]", texts)
    wanted = module.ffi.new("struct burst_wanted *", [*marks, array, len(texts)])
    code = module.lib.burst_pick_jobs(since, wanted, picked)
    if code == module.lib.SLURM_NO_CHANGE_IN_DATA:
        return _flagged.jobs
    if code:
        raise failure(code, "load the flagged jobs")
    try:
        _flagged.jobs = tuple(with_queues(tuple(readable(picked)), picked))
        with loaded_partitions() as views:
            _flagged.partitions = tuple(partition_value(view, picked) for view in views)
        _flagged.asked, _flagged.since = asked, picked.last_update
        _flagged.loaded = time.monotonic()
    finally:
        module.lib.burst_picked_free(picked)
    return _flagged.jobs


def patterns(also: Sequence[Unflagged]) -> list[tuple[str, str, str]]:
    """Write them as triples of one pattern each."""
    triples = (itertools.product(one.partition or ("*",), one.account or ("*",), one.qos or ("*",)) for one in also)
    return list(dict.fromkeys(itertools.chain.from_iterable(triples)))


def readable(picked: Any) -> Iterator[Job]:
    """Translate the picked records; one that can't be read must not hide the others."""
    for i in range(picked.count):
        try:
            yield job_value(picked.jobs[i])
        except ValueError as e:
            log.error("job %d is left alone: %s", libslurm().lib.burst_job_id(picked.jobs[i]), e)


def with_queues(jobs: Sequence[Job], picked: Any) -> Iterator[Job]:
    """Tell jobs that wait for others, and that Slurm expects no start of, how the queue of their partition moves."""
    queues: dict[str, tuple[list[int], float]] = {}
    for job in jobs:
        waits = job.state is JobState.PENDING and job.reason == "Priority"
        if not waits or job.expected_start(time.time()) is not None:
            yield job
            continue
        name = job.partition.partition(",")[0]
        if name not in queues:
            queues[name] = queue(picked, name)
        priorities, starts_per_hour = queues[name]
        ahead = len(priorities) - bisect.bisect_right(priorities, job.priority)
        yield dataclasses.replace(job, ahead=ahead, starts_per_hour=starts_per_hour)


def queue(picked: Any, partition: str) -> tuple[list[int], float]:
    """Give the priorities of a partition's pending jobs, ascending, and how many jobs start there in an hour."""
    with counted(picked, partition) as found:
        priorities = sorted(libslurm().ffi.unpack(found.priorities, found.pending)) if found.pending else []
        return priorities, starts_per_hour(found)


@contextmanager
def counted(picked: Any, partition: str) -> Iterator[Any]:
    """Look at the queue of a partition."""
    module = libslurm()
    found = module.ffi.new("struct burst_queue *")
    if code := module.lib.burst_queue(picked, partition.encode(), int(time.time()), found):
        raise failure(code, f"look at the queue of {partition}")
    try:
        yield found
    finally:
        module.lib.burst_queue_free(found)


def starts_per_hour(found: Any) -> float:
    """Ended jobs are forgotten after some minutes: of a partition of short jobs, the hour tells too little."""
    return float(max(found.started_lately * 12, found.started_in_hour))


def partitions() -> tuple[Partition, ...]:
    """Give all partitions as they were when the jobs were loaded last."""
    return _flagged.partitions


def partition_value(view: Any, picked: Any) -> Partition:
    """Translate one partition_info_t. Where it has no DefaultTime, jobs get its MaxTime."""
    lib, name = libslurm().lib, text(libslurm().ffi, view.name)
    minutes = view.max_time if view.default_time == lib.NO_VAL else view.default_time
    with counted(picked, name) as found:
        return Partition(
            name=name,
            default=bool(view.flags & lib.PART_FLAG_DEFAULT),
            time_limit_min=None if minutes in (lib.INFINITE, lib.NO_VAL) else minutes,
            waiting=found.waiting,
            starts_per_hour=starts_per_hour(found),
        )


def virtual_nodes(partition: str) -> tuple[VirtualNode, ...]:
    """Load the nodes of a partition."""
    module = libslurm()
    members = set(expand(partition_nodes(partition)))
    pointer = module.ffi.new("node_info_msg_t **")
    flags = module.lib.SHOW_ALL | module.lib.SHOW_DETAIL | module.lib.SHOW_LOCAL | module.lib.SHOW_MIXED
    if module.lib.slurm_load_node(0, pointer, flags):
        raise failure(module.ffi.errno, "load the nodes")
    try:
        # Nodes that were deleted leave entries without a name.
        views = (pointer[0].node_array + i for i in range(pointer[0].record_count))
        return tuple(node_value(view) for view in views if text(module.ffi, view.name) in members)
    finally:
        module.lib.slurm_free_node_info_msg(pointer[0])


def node_value(view: Any) -> VirtualNode:
    """Translate one node_info_t."""
    module = libslurm()
    use = module.ffi.new("struct burst_node_use *")
    if code := module.lib.burst_node_use(view, use):
        raise failure(code, f"read what is allocated on node {text(module.ffi, view.name)}")
    known = fields(module.ffi, view, NODE_FIELDS)
    return to_node(NodeRecord(**known, alloc_cpus=use.cpus, alloc_memory_mib=use.memory_mib))


def partition_nodes(partition: str) -> str:
    """Give the node list of a partition."""
    with loaded_partitions() as views:
        for view in views:
            if text(libslurm().ffi, view.name) == partition:
                return text(libslurm().ffi, view.nodes)
    msg = f"slurmctld has no partition {partition}: add it to slurm.conf, or name the right one in the agent's settings"
    raise SlurmRefused(msg)


@contextmanager
def loaded_partitions() -> Iterator[list[Any]]:
    """Load the partitions, those hidden from users too."""
    module = libslurm()
    pointer = module.ffi.new("partition_info_msg_t **")
    if module.lib.slurm_load_partitions(0, pointer, module.lib.SHOW_ALL | module.lib.SHOW_LOCAL):
        raise failure(module.ffi.errno, "load the partitions")
    try:
        yield [pointer[0].partition_array[i] for i in range(pointer[0].record_count)]
    finally:
        module.lib.slurm_free_partition_info_msg(pointer[0])
