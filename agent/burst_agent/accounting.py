"""
AccountingPort over pyslurm.db, in a worker process: pyslurm holds the GIL while slurmdbd answers, its libslurm may end
the process, and it fits one Slurm minor only.

pyslurm is an extra. Without it, or with one of another Slurm, calls raise AccountingMissing and all else works.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from burst_agent.errors import AccountingMissing, SlurmUnavailable
from burst_agent.model import JobUsage
from burst_agent.worker import Worker, WorkerLost

#: slurmdbd is asked for one span at a time, newest first, so that a long history is never in memory as a whole.
SPAN_S = 86400


class Accounting:
    """
    The slurmdbd of this host's slurm.conf.
    """

    def __init__(self, *, deadline_s: float) -> None:
        """Describe it; ``deadline_s`` is the deadline of each call."""
        self._deadline_s = deadline_s
        self._worker = Worker(__name__, name="pyslurm")

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        """Load finished jobs, newest first. Raises AccountingMissing, SlurmUnavailable."""
        arguments = (partition, since, int(time.time()), limit)
        try:
            jobs = await self._worker.call("load_finished", *arguments, timeout_s=self._deadline_s)
        except WorkerLost as e:
            msg = f"slurmdbd can't be asked for finished jobs: {e}"
            raise SlurmUnavailable(msg) from e
        return cast("Sequence[JobUsage]", jobs)

    async def close(self) -> None:
        """End the worker."""
        await self._worker.close()


def load_finished(partition: str, since: int, until: int, limit: int) -> tuple[JobUsage, ...]:
    """Load them; runs in the worker. Raises AccountingMissing, SlurmUnavailable."""
    return newest(functools.partial(_load_span, pyslurm(), partition), since, until, limit)


def newest(
    load_span: Callable[[int, int], Iterable[tuple[int, JobUsage]]], since: int, until: int, limit: int
) -> tuple[JobUsage, ...]:
    """Gather jobs that ended in (since, until], newest first, from a loader of (end time, job) by span."""
    found: list[JobUsage] = []
    for start, end in spans(since, until):
        # A span gives all jobs that were alive in it, so a job is counted in the span in which it ended.
        ended = [(when, job) for when, job in load_span(start, end) if start < when <= end]
        ended.sort(key=lambda entry: (entry[0], entry[1].job_id), reverse=True)
        found.extend(job for _, job in ended)
        if len(found) >= limit:
            break
    return tuple(found[:limit])


def spans(since: int, until: int) -> Iterator[tuple[int, int]]:
    """Cut (since, until] into spans, newest first."""
    end = until
    while end > since:
        start = max(since, end - SPAN_S)
        yield start, end
        end = start


@functools.cache
def pyslurm() -> Any:
    """Import pyslurm, which reads slurm.conf as it loads. Raises AccountingMissing."""
    try:
        return importlib.import_module("pyslurm")
    except ImportError as e:
        msg = (
            "finished jobs can't be read: pyslurm is not installed, or is one for another Slurm. Install the agent "
            "with its extra, pip install 'slurm-k8s-burst[accounting]', and pin pyslurm to this Slurm's release, e.g. "
            f"'pyslurm==25.11.*' ({e})"
        )
        raise AccountingMissing(msg) from e


def _load_span(module: Any, partition: str, start: int, end: int) -> Iterator[tuple[int, JobUsage]]:
    """Ask slurmdbd for the jobs of a partition that were alive in a span, and give those that have ended."""
    try:
        chosen = module.db.JobFilter(partitions=[partition], start_time=start, end_time=end + 1)
        clusters = module.db.Jobs.load(chosen).data.values()
    except module.PyslurmError as e:
        msg = f"slurmdbd does not give the finished jobs of partition {partition}: {e}"
        raise SlurmUnavailable(msg) from e
    except IndexError as e:
        msg = f"pyslurm can't read the jobs of partition {partition}: one has a step without statistics"
        raise SlurmUnavailable(msg) from e
    for job in (job for jobs in clusters for job in jobs.values()):
        if job.end_time:
            yield job.end_time, usage(job)


def usage(job: Any) -> JobUsage:
    """Translate one pyslurm.db.Job."""
    return JobUsage(
        job_id=job.id,
        user=job.user_name or str(job.user_id),
        account=job.account or "",
        state=job.state,
        # pyslurm has None for 0.
        elapsed_s=job.elapsed_time or 0,
        gpus=gpus(job),
        start=job.start_time or 0,
        cpus=job.cpus or 0,
        nodes=job.num_nodes or 1,
        gpu_type=next((kind for name in sorted(job.gpus) if (kind := name.partition(":")[2])), ""),
        admin_comment=job.admin_comment or "",
    )


def gpus(job: Any) -> int:
    """Count a job's GPUs; where a site accounts for types too, the untyped entry is their sum."""
    counts = {name: gpu.count for name, gpu in job.gpus.items()}
    return int(counts["gpu"] if "gpu" in counts else sum(counts.values()))
