"""
What the agent needs of the outside, as Protocols in our own words; slurm, accounting, kube and munge fit them.

Every call has a deadline of its own (settings) and raises only errors of :mod:`burst_agent.errors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from burst_agent.model import (
    Accounts,
    ApiEndpoint,
    Idle,
    Job,
    JobRef,
    JobUsage,
    Partition,
    Pod,
    Share,
    Token,
    Unflagged,
    User,
    VirtualNode,
)

#: A Kubernetes object as JSON has it.
Manifest = Mapping[str, Any]


class SlurmPort(Protocol):
    """
    slurmctld, as operator. Raises SlurmUnavailable, SlurmRefused, and what each call names.
    """

    async def flagged_jobs(self, also: Sequence[Unflagged] = ()) -> Sequence[Job]:
        """
        Load every job whose admin_comment starts with ``k8s-burst=``, every job in the burst partition, and every
        pending one that ``also`` describes.

        Ended jobs are among them for as long as slurmctld keeps them (MinJobAge).
        """

    async def job(self, job_id: int) -> Job:
        """Load one job, by the id in SLURM_JOB_ID. Raises NoSuchJob."""

    async def allocation(self, job_id: int) -> Sequence[Share]:
        """Load what a running job has of each of its nodes; nothing where it does not run. Raises NoSuchJob."""

    async def virtual_nodes(self) -> Sequence[VirtualNode]:
        """Load the nodes of the burst partition."""

    async def partitions(self) -> Sequence[Partition]:
        """Give all partitions and how their queues move, as of the last list of jobs; nothing before the first."""

    async def set_admin_comment(self, job: JobRef, text: str) -> None:
        """Set the job's admin_comment; an array task is split off by it. Raises NoSuchJob, JobRefusesMove."""

    async def move_job(
        self,
        job: JobRef,
        *,
        partition: str,
        nodes: Sequence[str],
        min_nodes: int | None = None,
        max_nodes: int | None = None,
    ) -> None:
        """
        Move a pending job to a partition, requiring exactly these nodes; no nodes lifts the requirement.

        The node count becomes ``min_nodes`` to ``max_nodes`` (0: no limit). Not given, it becomes the number of nodes;
        without nodes it stays. slurmctld forgets what the job asked for, so a move back must bring Job.min_nodes and
        Job.max_nodes of before the first move. slurmctld checks that the job still pends, so a job can't be started
        twice. A refused move leaves the job as it was. Raises NoSuchJob, JobRefusesMove.
        """

    async def requeue_job(self, job_id: int) -> None:
        """Requeue a running job under the same id. Raises NoSuchJob, SlurmRefused where the job does not allow it."""

    async def kill_job(self, job_id: int) -> None:
        """Kill a job; one that runs ends FAILED. Raises NoSuchJob; a job that has ended is no error."""

    async def complete_out_of_memory(self, job_id: int) -> None:
        """End a running job as OUT_OF_MEMORY. Raises SlurmRefused; a job that has ended is no error."""

    async def close(self) -> None:
        """End the worker."""


class AccountingPort(Protocol):
    """
    slurmdbd. Raises SlurmUnavailable, AccountingMissing.
    """

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        """
        Load jobs of a partition that ended after ``since`` (Unix seconds), newest first; each run of a requeued one.
        """

    async def kept_tres(self) -> Collection[str]:
        """Name the resources that are kept of jobs, as AccountingStorageTRES does (cpu, gres/gpu, gres/gpu:a100)."""

    async def accounts(self, user: str) -> Accounts:
        """Name the accounts that a user may charge."""

    async def close(self) -> None:
        """End the worker."""


class MungePort(Protocol):
    """
    munged on the agent's host.
    """

    async def decode(self, credential: str) -> tuple[int, int, bytes]:
        """Check a credential and give uid, gid and payload. Raises NotAuthenticated (forged, expired, replayed)."""


class KubePort(Protocol):
    """
    One target: a Kubernetes cluster. Raises KubeUnavailable, KubeRefused.
    """

    async def pods(self) -> Sequence[Pod]:
        """Give every pod that was made here for this Slurm cluster, in all namespaces."""

    async def pod(self, namespace: str, name: str) -> Pod | None:
        """Ask the API server for one pod of ours."""

    async def ensure_namespace(self, objects: Sequence[Manifest]) -> None:
        """
        Make what is missing of a user's namespace; the first object is the Namespace itself.

        Raises KubeRefused where a namespace of that name exists that is not ours.
        """

    async def create_pod(self, manifest: Manifest) -> None:
        """Create a pod; one that is there already for the same job and node is success."""

    async def delete_pod(self, pod: Pod) -> None:
        """Delete this very pod (by uid), giving its processes their grace; one that is gone is success."""

    async def pod_token(self, pod: Pod) -> Token:
        """Ask for a token of the pod's ServiceAccount that dies with the pod."""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever a pod of ours changed, until cancelled."""

    def idle(self) -> Idle | None:
        """Say what nothing else there has asked for, as last seen; ``None`` where no share of it is to be left."""

    def endpoint(self) -> ApiEndpoint:
        """Say how gateways reach the API server."""

    async def close(self) -> None:
        """Close its connections."""


class UserDirectory(Protocol):
    """
    The passwd and group databases of this host.
    """

    async def user(self, uid: int) -> User:
        """Look a user up. Raises NoSuchUser, UsersUnavailable."""


class Clock(Protocol):
    """
    Time.
    """

    def now(self) -> float:
        """Unix seconds."""

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Wait until the event is set, at most this long; say whether it was set."""
