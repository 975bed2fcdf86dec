"""
Looks single jobs up and changes them: what the worker for jobs calls.

Arguments and results are plain values. Raises errors of :mod:`burst_agent.errors`; each names what was tried, and the
job.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import time
from collections.abc import Sequence
from typing import Any

from burst_agent.errors import JobRefusesMove, NoSuchJob
from burst_agent.model import Job, JobRef, JobState, Share
from burst_agent.slurm.library import expand, failure, job_record, job_value, libslurm, refusal, text
from burst_agent.slurm.records import NO_VAL, AllocationRecord, JobRecord, shares
from burst_agent.slurm.refusals import Refusal, error_of
from burst_agent.slurm.states import job_state

#: A slurmctld without slurmdbd finds no association for the job, and answers a move with whatever errno held before:
#: EAGAIN two times in five, each time anew, having changed nothing.
TRIES = 20
PAUSE_S = 0.02
#: slurmctld checks the limits of the job's partition after it made a change, whatever the change was.
CHECKED_AFTERWARDS = "ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE"
#: slurmctld's own words about a refusal, mostly one line of job_submit.lua.
TEXT_SIZE = 1024

log = logging.getLogger(__name__)


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
