"""
SlurmPort that times the calls of another one.
"""

from __future__ import annotations

from collections.abc import Sequence

from burst_agent.metrics import Metrics
from burst_agent.model import Job, JobRef, Partition, Share, Unflagged, VirtualNode
from burst_agent.ports import SlurmPort


class MeteredSlurm:
    """
    Passes every call on.
    """

    def __init__(self, inner: SlurmPort, metrics: Metrics) -> None:
        """Take the port that does the work."""
        self._inner = inner
        self._metrics = metrics

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        """Load flagged jobs."""
        with self._metrics.call("slurmctld", "flagged_jobs"):
            return await self._inner.flagged_jobs(also)

    async def job(self, job_id: int) -> Job:
        """Load one job."""
        with self._metrics.call("slurmctld", "job"):
            return await self._inner.job(job_id)

    async def allocation(self, job_id: int) -> Sequence[Share]:
        """Load a job's allocation."""
        with self._metrics.call("slurmctld", "allocation"):
            return await self._inner.allocation(job_id)

    async def virtual_nodes(self) -> Sequence[VirtualNode]:
        """Load the virtual nodes."""
        with self._metrics.call("slurmctld", "virtual_nodes"):
            return await self._inner.virtual_nodes()

    async def partitions(self) -> Sequence[Partition]:
        """Load the partitions."""
        with self._metrics.call("slurmctld", "partitions"):
            return await self._inner.partitions()

    async def set_admin_comment(self, job: JobRef, text: str) -> None:
        """Set an admin_comment."""
        with self._metrics.call("slurmctld", "set_admin_comment"):
            await self._inner.set_admin_comment(job, text)

    async def move_job(
        self,
        job: JobRef,
        *,
        partition: str,
        nodes: Sequence[str],
        min_nodes: int | None = None,
        max_nodes: int | None = None,
    ) -> None:
        """Move a job."""
        with self._metrics.call("slurmctld", "move_job"):
            await self._inner.move_job(job, partition=partition, nodes=nodes, min_nodes=min_nodes, max_nodes=max_nodes)

    async def requeue_job(self, job_id: int) -> None:
        """Requeue a job."""
        with self._metrics.call("slurmctld", "requeue_job"):
            await self._inner.requeue_job(job_id)

    async def kill_job(self, job_id: int) -> None:
        """Kill a job."""
        with self._metrics.call("slurmctld", "kill_job"):
            await self._inner.kill_job(job_id)

    async def complete_out_of_memory(self, job_id: int) -> None:
        """End a running job as OUT_OF_MEMORY."""
        with self._metrics.call("slurmctld", "complete_job"):
            await self._inner.complete_out_of_memory(job_id)

    async def close(self) -> None:
        """End the inner port."""
        await self._inner.close()
