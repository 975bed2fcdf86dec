"""
SlurmPort over libslurm in worker processes.

Two processes: one polls the long lists, the other looks single jobs up and changes them, so that a gateway that asks
for one job never waits for the list of all. Each call has a deadline; a worker that misses it or dies is replaced at
the next call, and the caller gets SlurmUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from burst_agent.errors import SlurmUnavailable
from burst_agent.model import Job, JobRef, Partition, Share, Unflagged, VirtualNode
from burst_agent.worker import Worker, WorkerLost

LISTS = "burst_agent.slurm.lists"
JOBS = "burst_agent.slurm.jobs"
#: How admin_comment marks a flagged job; job_submit.lua writes it.
MARK = "k8s-burst="


class SlurmController:
    """
    The slurmctld of this host's slurm.conf (or of SLURM_CONF), as the agent's own uid: root or SlurmUser.
    """

    def __init__(self, *, burst_partition: str, timeout_s: float) -> None:
        """
        Describe it; nothing is started before the first call.

        Args:
            burst_partition: partition of the virtual nodes.
            timeout_s: deadline of each call. Above MessageTimeout of slurm.conf (10 s by default), libslurm gives up
                by itself before and the worker lives on.
        """
        self._partition = burst_partition
        self._timeout_s = timeout_s
        self._lists = Worker(LISTS, name="libslurm (lists)")
        self._jobs = Worker(JOBS, name="libslurm (jobs)")

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        """Load the flagged jobs, those of the burst partition, and pending ones that a rule may flag."""
        arguments = (MARK, self._partition, tuple(also))
        return cast("Sequence[Job]", await self._call(self._lists, "flagged_jobs", *arguments))

    async def virtual_nodes(self) -> Sequence[VirtualNode]:
        """Load the nodes of the burst partition."""
        return cast("Sequence[VirtualNode]", await self._call(self._lists, "virtual_nodes", self._partition))

    async def partitions(self) -> Sequence[Partition]:
        """Give all partitions, as of the last list of jobs."""
        return cast("Sequence[Partition]", await self._call(self._lists, "partitions"))

    async def job(self, job_id: int) -> Job:
        """Load one job. Raises NoSuchJob."""
        return cast("Job", await self._call(self._jobs, "job", job_id))

    async def allocation(self, job_id: int) -> Sequence[Share]:
        """Load what a running job has of each node. Raises NoSuchJob."""
        return cast("Sequence[Share]", await self._call(self._jobs, "allocation", job_id))

    async def set_admin_comment(self, job: JobRef, text: str) -> None:
        """Set the admin_comment of a job that has not ended. Raises NoSuchJob, JobRefusesMove."""
        await self._call(self._jobs, "set_admin_comment", job, text)

    async def move_job(
        self,
        job: JobRef,
        *,
        partition: str,
        nodes: Sequence[str],
        min_nodes: int | None = None,
        max_nodes: int | None = None,
    ) -> None:
        """Move a pending job; see SlurmPort. Raises NoSuchJob, JobRefusesMove."""
        await self._call(self._jobs, "move_job", job, partition, tuple(nodes), min_nodes, max_nodes)

    async def requeue_job(self, job_id: int) -> None:
        """Requeue a running job. Raises NoSuchJob, SlurmRefused."""
        await self._call(self._jobs, "requeue_job", job_id)

    async def kill_job(self, job_id: int) -> None:
        """Kill a job. Raises NoSuchJob."""
        await self._call(self._jobs, "kill_job", job_id)

    async def complete_out_of_memory(self, job_id: int) -> None:
        """End a running job as OUT_OF_MEMORY."""
        await self._call(self._jobs, "complete_out_of_memory", job_id)

    async def close(self) -> None:
        """End both workers."""
        await self._lists.close()
        await self._jobs.close()

    async def _call(self, worker: Worker, function: str, *arguments: Any) -> Any:
        try:
            return await worker.call(function, *arguments, timeout_s=self._timeout_s)
        except WorkerLost as e:
            msg = f"slurmctld can't be asked: {e}"
            raise SlurmUnavailable(msg) from e
