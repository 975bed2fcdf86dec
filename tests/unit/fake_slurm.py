"""
slurmctld as the agent sees it, and the ways in which it disappoints.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from burst_agent.errors import JobRefusesMove, NoSuchJob, SlurmRefused, SlurmUnavailable
from burst_agent.model import Job, JobRef, JobState, Partition, Share, Tres, Unflagged, VirtualNode


class FakeSlurm:
    """
    slurmctld with a burst partition: keeps jobs, splits arrays, refuses to move what does not pend.
    """

    def __init__(self, *nodes: VirtualNode) -> None:
        self.jobs: dict[int, Job] = {}
        self.nodes = {node.name: node for node in nodes}
        #: What it allocated on each node, by job id, where a test cares.
        self.allocations: dict[int, tuple[Share, ...]] = {}
        self.queues: tuple[Partition, ...] = (Partition("gpu", default=True, time_limit_min=60),)
        #: Every change that was asked for.
        self.calls: list[str] = []
        self._ids = itertools.count(1001)

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        return [
            job
            for job in self.jobs.values()
            if job.admin_comment.startswith("k8s-burst=")
            or self._in_burst(job)
            or (job.state is JobState.PENDING and any(job.partition in one.partition for one in also))
        ]

    async def job(self, job_id: int) -> Job:
        if job_id not in self.jobs:
            msg = f"no job {job_id}"
            raise NoSuchJob(msg)
        return self.jobs[job_id]

    async def allocation(self, job_id: int) -> Sequence[Share]:
        return self.allocations.get(job_id, ())

    async def virtual_nodes(self) -> Sequence[VirtualNode]:
        return [replace(node, allocated=self._allocated(node.name)) for node in self.nodes.values()]

    async def partitions(self) -> Sequence[Partition]:
        return self.queues

    async def set_admin_comment(self, job: JobRef, text: str) -> None:
        self.calls.append(f"comment {job}")
        found = await self.job(job.job_id)
        if found.state.ended:
            msg = f"job {job} has ended"
            raise JobRefusesMove(msg)
        if job.array_task_id is not None and found.array_tasks:
            found = self._split(found, job.array_task_id)
        self.change(found.job_id, admin_comment=text)

    async def move_job(
        self,
        job: JobRef,
        *,
        partition: str,
        nodes: Sequence[str],
        min_nodes: int | None = None,
        max_nodes: int | None = None,
    ) -> None:
        self.calls.append(f"move {job} {partition}")
        if (await self.job(job.job_id)).state is not JobState.PENDING:
            msg = f"job {job} does not pend"
            raise JobRefusesMove(msg)
        count = len(nodes) or None
        self.change(
            job.job_id,
            partition=partition,
            required_nodes=",".join(nodes),
            min_nodes=min_nodes or count or self.jobs[job.job_id].min_nodes,
            max_nodes=count or 0 if max_nodes is None else max_nodes,
        )

    async def requeue_job(self, job_id: int) -> None:
        self.calls.append(f"requeue {job_id}")
        job = await self.job(job_id)
        if not job.requeue:
            msg = f"job {job_id} may not be requeued"
            raise SlurmRefused(msg)
        self.requeue(job_id)

    async def kill_job(self, job_id: int) -> None:
        self.calls.append(f"kill {job_id}")
        await self.job(job_id)
        self.end(job_id, JobState.CANCELLED)

    async def complete_out_of_memory(self, job_id: int) -> None:
        self.calls.append(f"complete_out_of_memory {job_id}")
        await self.job(job_id)
        self.end(job_id, JobState.OUT_OF_MEMORY)

    async def close(self) -> None:
        pass

    # What slurmctld and users do by themselves.

    def submit(self, job: Job) -> int:
        self.jobs[job.job_id] = job
        return job.job_id

    def change(self, job_id: int, **changes: object) -> Job:
        self.jobs[job_id] = replace(self.jobs[job_id], **changes)  # type: ignore[arg-type]
        return self.jobs[job_id]

    def schedule(self) -> None:
        """Start what pends in the burst partition and may start."""
        for job in list(self.jobs.values()):
            if job.state is JobState.PENDING and self._in_burst(job) and not job.held and job.required_nodes:
                nodes = tuple(job.required_nodes.split(","))
                self.change(job.job_id, state=JobState.RUNNING, nodes=nodes, allocated=job.requested, start_time=2000)

    def start_locally(self, job_id: int) -> None:
        job = self.jobs[job_id]
        assert job.state is JobState.PENDING
        assert not self._in_burst(job)
        self.change(job_id, state=JobState.RUNNING, nodes=("gpu0",), allocated=job.requested)

    def requeue(self, job_id: int) -> None:
        job = self.jobs[job_id]
        self.change(job_id, state=JobState.PENDING, nodes=(), allocated=Tres(), restart_count=job.restart_count + 1)

    def end(self, job_id: int, state: JobState = JobState.COMPLETED) -> None:
        self.change(job_id, state=state)

    def _split(self, array: Job, task: int) -> Job:
        """As slurmctld: the record of the rest keeps the array's id; the one task that is left is that record."""
        rest = tuple(index for index in array.array_tasks if index != task)
        if len(rest) > 1:
            self.change(array.job_id, array_tasks=rest)
        else:
            self.change(array.job_id, array_tasks=(), array_task_id=rest[0])
        single = replace(array, array_tasks=(), array_task_id=task, job_id=next(self._ids))
        self.jobs[single.job_id] = single
        return single

    def _in_burst(self, job: Job) -> bool:
        return job.partition == "k8s-burst"

    def _allocated(self, node: str) -> Tres:
        there = [job.allocated for job in self.jobs.values() if job.state is JobState.RUNNING and node in job.nodes]
        return Tres(
            cpus=sum(one.cpus for one in there),
            memory_mib=sum(one.memory_mib for one in there),
            gpus=sum(one.gpus for one in there),
        )


class SlurmIsAway(FakeSlurm):
    """
    Nobody answers while ``away``.
    """

    away = True

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        if self.away:
            msg = "slurmctld does not answer"
            raise SlurmUnavailable(msg)
        return await super().flagged_jobs(also)


class SlurmStartsJobAtTheMove(FakeSlurm):
    """
    A local node comes free in the moment in which the agent moves a job.
    """

    async def move_job(self, job: JobRef, *, partition: str, nodes: Sequence[str], **counts: int | None) -> None:
        if partition == "k8s-burst":
            self.start_locally(job.job_id)
        await super().move_job(job, partition=partition, nodes=nodes, **counts)


class SlurmRefusesMove(FakeSlurm):
    """
    The job may not go to the burst partition.
    """

    async def move_job(self, job: JobRef, *, partition: str, nodes: Sequence[str], **counts: int | None) -> None:
        if partition == "k8s-burst":
            self.calls.append(f"move {job} {partition}")
            msg = f"job {job} may not go to {partition}: its account is not allowed there"
            raise JobRefusesMove(msg)
        await super().move_job(job, partition=partition, nodes=nodes, **counts)
