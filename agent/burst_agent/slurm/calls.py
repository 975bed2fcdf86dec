"""
The calls themselves, made inside the worker process: the only module that touches libslurm.

Arguments and results are plain values. Raises errors of :mod:`burst_agent.errors`; each names what was tried, with
which job. Blocks for as long as libslurm does; libslurm may end the process (see worker.py).
"""

from __future__ import annotations

import bisect
import dataclasses
import errno
import functools
import importlib
import itertools
import logging
import math
import os
import pwd
import time
from collections.abc import Iterator, Sequence
from typing import Any

from burst_agent.errors import BurstError, JobRefusesMove, NoSuchJob, SlurmRefused
from burst_agent.model import Job, JobRef, JobState, Share, Unflagged, VirtualNode
from burst_agent.slurm.records import NO_VAL, AllocationRecord, JobRecord, NodeRecord, shares, to_job, to_node
from burst_agent.slurm.refusals import ERRORS, Refusal, error_of
from burst_agent.slurm.states import job_state

#: A slurmctld without slurmdbd finds no association for the job, and answers a move with whatever errno held before:
#: EAGAIN two times in five, each time anew, having changed nothing.
TRIES = 20
PAUSE_S = 0.02
#: slurmctld checks the limits of the job's partition after it made a change, whatever the change was.
CHECKED_AFTERWARDS = "ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE"
#: How long slurmctld's configuration is taken to be what it was.
CONFIGURATION_HOLDS_S = 60
#: The bit of select_type_param, which newer slurm.h call otherwise.
CR_MEMORY = 1 << 4
#: slurmctld's own words about a refusal, mostly one line of job_submit.lua.
TEXT_SIZE = 1024

log = logging.getLogger(__name__)


@functools.cache
def libslurm() -> Any:
    """Load libslurm, once, and give the compiled module."""
    # Array lists in full; libslurm reads this at the first list and would cut at 64 characters.
    os.environ["SLURM_BITSTR_LEN"] = "0"
    try:
        module = importlib.import_module("burst_agent.slurm._libslurm")
    except ImportError as e:
        msg = f"the agent was built without libslurm, install it where slurm/slurm.h and libslurm are: {e}"
        raise SlurmRefused(msg) from e
    module.lib.burst_init(module.ffi.NULL)
    return module


@functools.cache
def code_names() -> dict[int, str]:
    """Map the numbers of the codes that the agent knows to their names."""
    lib = libslurm().lib
    return {getattr(errno if name[0] == "E" and name[1] != "S" else lib, name): name for name in ERRORS}


def failure(code: int, tried: str, words: str = "") -> BurstError:
    """Make the error for a code other than 0."""
    return error_of(refusal(code, words), tried)


def refusal(code: int, words: str = "") -> Refusal:
    """Name a code."""
    module = libslurm()
    sentence = text(module.ffi, module.lib.burst_strerror(code))
    return Refusal(name=code_names().get(code, ""), code=code, sentence=sentence, words=words)


def text(ffi: Any, pointer: Any) -> str:
    """Copy a C string; NULL is empty."""
    return ffi.string(pointer).decode(errors="replace") if pointer else ""


def fields(ffi: Any, view: Any, names: Sequence[str]) -> dict[str, Any]:
    """Copy fields of a C record."""
    values = ((name, getattr(view, name)) for name in names)
    return {name: value if isinstance(value, int) else text(ffi, value) for name, value in values}


JOB_FIELDS = tuple(field.name for field in dataclasses.fields(JobRecord))
NODE_FIELDS = tuple(field.name for field in dataclasses.fields(NodeRecord) if not field.name.startswith("alloc_"))


def job_record(view: Any) -> JobRecord:
    """Copy one job_info_t."""
    return JobRecord(**fields(libslurm().ffi, view, JOB_FIELDS))


def job_value(view: Any) -> Job:
    """Translate one job_info_t. Raises ValueError for one that can't be read."""
    module = libslurm()
    record = job_record(view)
    return to_job(
        record,
        job_id=module.lib.burst_job_id(view),
        user=record.user_name or user_name(record.user_id),
        nodes=expand(record.nodes),
        excluded=expand(record.exc_nodes) if record.exc_nodes else (),
        reason=text(module.ffi, module.lib.burst_reason(view)),
        tracks_memory=tracks_memory(int(time.monotonic()) // CONFIGURATION_HOLDS_S),
    )


@functools.lru_cache(maxsize=1)
def tracks_memory(_period: int) -> bool:
    """Ask slurmctld, once in a period, whether memory is among what it shares out (SelectTypeParameters)."""
    module = libslurm()
    pointer = module.ffi.new("slurm_conf_t **")
    if module.lib.slurm_load_ctl_conf(0, pointer):
        raise failure(module.ffi.errno, "load slurmctld's configuration")
    try:
        return bool(pointer[0].select_type_param & CR_MEMORY)
    finally:
        module.lib.slurm_free_ctl_conf(pointer[0])


def user_name(uid: int) -> str:
    """Look a user's name up; slurmctld does not always send it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def expand(hosts: str) -> tuple[str, ...]:
    """Expand a Slurm host list."""
    module = libslurm()
    names = []
    hostlist = module.lib.slurm_hostlist_create(hosts.encode())
    while name := module.lib.slurm_hostlist_shift(hostlist):
        names.append(text(module.ffi, name))
        module.lib.free(name)
    module.lib.slurm_hostlist_destroy(hostlist)
    return tuple(names)


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
        if job.state is not JobState.PENDING or job.reason != "Priority" or job.start_time > time.time():
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
    module = libslurm()
    found = module.ffi.new("struct burst_queue *")
    if code := module.lib.burst_queue(picked, partition.encode(), int(time.time()), found):
        raise failure(code, f"look at the queue of {partition}")
    try:
        priorities = sorted(module.ffi.unpack(found.priorities, found.pending)) if found.pending else []
        # Ended jobs are forgotten after some minutes: of a partition of short jobs, the hour tells too little.
        return priorities, float(max(found.started_lately * 12, found.started_in_hour))
    finally:
        module.lib.burst_queue_free(found)


class Loaded:
    """
    The records of one job id, freed at the end of the ``with`` block.
    """

    def __init__(self, job_id: int, tried: str) -> None:
        """Load them. Raises NoSuchJob."""
        self._module = libslurm()
        pointer = self._module.ffi.new("job_info_msg_t **")
        if code := self._module.lib.burst_load_job(job_id, pointer):
            raise failure(code, tried)
        self._message = pointer[0]

    def __enter__(self) -> Sequence[Any]:
        """Give the job_info_t records."""
        return [self._message.job_array + i for i in range(self._message.record_count)]

    def __exit__(self, *_: object) -> None:
        """Free them."""
        self._module.lib.slurm_free_job_info_msg(self._message)


def job(job_id: int) -> Job:
    """Load one job."""
    with Loaded(job_id, f"load job {job_id}") as views:
        for view in views:
            if libslurm().lib.burst_job_id(view) == job_id:
                return job_value(view)
    msg = f"slurmctld has no job {job_id}; it has records of its array"
    raise NoSuchJob(msg)


def allocation(job_id: int) -> tuple[Share, ...]:
    """Load what a running job has of each of its nodes; nothing for a job that does not run."""
    tried = f"load the allocation of job {job_id}"
    with Loaded(job_id, tried) as views:
        view = next((view for view in views if libslurm().lib.burst_job_id(view) == job_id), None)
        if view is None or view.nodes == libslurm().ffi.NULL:
            return ()
        found = allocation_record(job_id, tried)
        details = tuple(text(libslurm().ffi, view.gres_detail_str[i]) for i in range(view.gres_detail_cnt))
        return () if found is None else shares(job_record(view), found, details)


def allocation_record(job_id: int, tried: str) -> AllocationRecord | None:
    """Load the CPUs by node; ``None`` for a job that has just ended."""
    module = libslurm()
    pointer = module.ffi.new("resource_allocation_response_msg_t **")
    if code := module.lib.burst_load_allocation(job_id, pointer):
        if refusal(code).name in ("ESLURM_ALREADY_DONE", "ESLURM_JOB_FINISHED", "ESLURM_JOB_PENDING"):
            return None
        raise failure(code, tried)
    found = pointer[0]
    try:
        groups = range(found.num_cpu_groups)
        return AllocationRecord(
            cpus_per_node=tuple(found.cpus_per_node[i] for i in groups),
            cpu_count_reps=tuple(found.cpu_count_reps[i] for i in groups),
            nodes=expand(text(module.ffi, found.node_list)),
        )
    finally:
        module.lib.slurm_free_resource_allocation_response_msg(found)


def find(ref: JobRef, tried: str) -> JobRecord:
    """Load the record that a change to ``ref`` would change, or split a task from."""
    with Loaded(ref.job_id, tried) as views:
        for view in views:
            record = job_record(view)
            if ref.array_task_id is None:
                if libslurm().lib.burst_job_id(view) == ref.job_id:
                    return record
            elif record.covers(ref.array_task_id):
                return record
    msg = f"could not {tried}: slurmctld has no such record (any more)"
    raise NoSuchJob(msg)


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
    module = libslurm()
    pointer = module.ffi.new("partition_info_msg_t **")
    if module.lib.slurm_load_partitions(0, pointer, module.lib.SHOW_ALL | module.lib.SHOW_LOCAL):
        raise failure(module.ffi.errno, "load the partitions")
    try:
        for i in range(pointer[0].record_count):
            view = pointer[0].partition_array[i]
            if text(module.ffi, view.name) == partition:
                return text(module.ffi, view.nodes)
    finally:
        module.lib.slurm_free_partition_info_msg(pointer[0])
    msg = f"slurmctld has no partition {partition}: add it to slurm.conf, or name the right one in the agent's settings"
    raise SlurmRefused(msg)


def set_admin_comment(ref: JobRef, comment: str) -> None:
    """Set the admin_comment."""
    tried = f"set the admin_comment of job {ref}"
    refused = update(ref, admin_comment=comment)
    if refused and not (refused.name == CHECKED_AFTERWARDS and find(ref, tried).admin_comment == comment):
        raise error_of(refused, tried)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """
    Where a pending job may start, as a change takes it.
    """

    partition: str
    req_nodes: str
    min_nodes: int
    max_nodes: int

    @classmethod
    def of(cls, record: JobRecord) -> Place:
        """Read a job's place."""
        return cls(record.partition, record.req_nodes, record.num_nodes, record.max_nodes)


def move_job(ref: JobRef, partition: str, nodes: Sequence[str], min_nodes: int | None, max_nodes: int | None) -> None:
    """Move a pending job, or say why it can't be moved and leave it as it was."""
    where = f" on {','.join(nodes)}" if nodes else ""
    tried = f"move job {ref} to partition {partition}{where}"
    before = find(ref, tried)
    if not before.pending:
        msg = f"could not {tried}: it is {job_state(before.job_state & 0xFF)}"
        raise JobRefusesMove(msg)
    place = Place(
        partition=partition,
        req_nodes=",".join(nodes),
        min_nodes=min_nodes if min_nodes is not None else len(nodes) or NO_VAL,
        max_nodes=max_nodes if max_nodes is not None else len(nodes) or NO_VAL,
    )
    refused = place_job(ref, before, place)
    if not refused or arrived(ref, place, refused, tried):
        return
    undo(ref, Place.of(before), tried)
    raise error_of(refused, tried)


def place_job(ref: JobRef, record: JobRecord, place: Place) -> Refusal | None:
    """
    Change partition, required nodes and node count in one update.

    For a job that runs, required nodes mean "give up all other nodes", and slurmctld looks at the state only where the
    partition changes. The excluded nodes, rewritten so that they mean the same, make it look at the state always.
    """
    excluded = record.exc_nodes
    same = excluded[:-1] if excluded.endswith(",") else f"{excluded}," if excluded else ""
    return update(ref, exc_nodes=same, **dataclasses.asdict(place))


def arrived(ref: JobRef, place: Place, refused: Refusal, tried: str) -> bool:
    """Whether a refused move happened all the same."""
    if refused.name != CHECKED_AFTERWARDS:
        return False
    now = find(ref, tried)
    return now.partition == place.partition and expand(now.req_nodes) == expand(place.req_nodes)


def undo(ref: JobRef, place: Place, tried: str) -> None:
    """Put back what a refused move changed before it was refused: slurmctld does not."""
    now = find(ref, tried)
    if not now.pending or Place.of(now) == place:
        return
    if (refused := place_job(ref, now, place)) and not arrived(ref, place, refused, tried):
        log.error("could not %s, nor undo what was changed: %s", tried, refused.sentence)


def update(ref: JobRef, **changes: str | int) -> Refusal | None:
    """Send one change of a pending job; try again where slurmctld says so."""
    module = libslurm()
    change = module.ffi.new("struct burst_change *", {"min_nodes": NO_VAL, "max_nodes": NO_VAL})
    change.job_id = ref.job_id
    change.task = NO_VAL if ref.array_task_id is None else ref.array_task_id
    # The struct points to these: they live until the call is over.
    values = {n: v if isinstance(v, int) else module.ffi.new("char[]", v.encode()) for n, v in changes.items()}
    for name, value in values.items():
        setattr(change, name, value)
    words = module.ffi.new("char[]", TEXT_SIZE)
    for _ in range(TRIES):
        code = module.lib.burst_update_job(change, words, TEXT_SIZE)
        if code != errno.EAGAIN:
            break
        time.sleep(PAUSE_S)
    return refusal(code, text(module.ffi, words)) if code else None


def requeue_job(job_id: int) -> None:
    """Requeue a running job; one that does not run is left alone."""
    if code := libslurm().lib.burst_requeue(job_id):
        raise failure(code, f"requeue job {job_id}")


def kill_job(job_id: int) -> None:
    """Kill a job: one that runs has FAILED, and was not CANCELLED by anybody. One that has ended is no error."""
    tried = f"kill job {job_id}"
    record = find(JobRef(job_id), tried)
    if job_state(record.job_state & 0xFF) is JobState.RUNNING and not record.het_job_id:
        ended(libslurm().lib.burst_fail(job_id), tried)
    else:
        ended(libslurm().lib.burst_kill(record.kill_id(job_id).encode()), tried)


def complete_out_of_memory(job_id: int) -> None:
    """End a running job as OUT_OF_MEMORY; one that has ended is no error."""
    ended(libslurm().lib.burst_complete_out_of_memory(job_id), f"end job {job_id} as out of memory")


def ended(code: int, tried: str) -> None:
    """Raise unless a job has ended: by this call, or before it."""
    if code and refusal(code).name not in ("ESLURM_ALREADY_DONE", "ESLURM_JOB_FINISHED"):
        raise failure(code, tried)
