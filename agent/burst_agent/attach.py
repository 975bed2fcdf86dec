"""
Answers gatewayd: may this launcher into that pod, and how does it get there.

Who asks is checked with slurmctld itself at each call; what becomes of a pod is said by the state table, so that a
launcher hears what the loop is about to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from burst_agent import lifecycle, names, podstate
from burst_agent.clusters import Clusters
from burst_agent.errors import KubeUnavailable, NoSuchJob, NotAllowed
from burst_agent.model import ApiEndpoint, BurstState, Job, JobState, Pod, Token
from burst_agent.ports import Clock, SlurmPort
from burst_agent.steps import Seen, Site

#: A token is renewed when less than this is left of it: gatewayd needs it for one handshake.
_TOKEN_LEFT_S = 120.0
_RETRY_AFTER_MS = 500


@dataclass(frozen=True, slots=True)
class Ready:
    """The pod runs."""

    endpoint: ApiEndpoint
    pod: Pod
    token: Token
    #: Address and name of each of the job's pods, this one's first; empty for a job that has only one.
    hosts: tuple[tuple[str, str], ...]
    #: Slurm's numbers of the job's GPUs on this node, ascending; empty where there are none or Slurm does not say.
    gpu_indices: tuple[int, ...]
    #: Partition that the job was submitted to, the first where it was to several; empty: the one it runs in.
    partition: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pod is being made."""

    message: str
    retry_after_ms: int = _RETRY_AFTER_MS


@dataclass(frozen=True, slots=True)
class Gone:
    """The pod is gone, and the job goes to no other."""

    message: str


class Attacher:
    """
    Answers for one cluster; keeps tokens until shortly before they expire.
    """

    def __init__(
        self,
        *,
        slurm: SlurmPort,
        clusters: Clusters,
        clock: Clock,
        cluster: str,
        site: Callable[[], Site],
        wake: Callable[[], None],
    ) -> None:
        """
        Take the ports; ``site`` gives what the loop goes by now, and ``wake`` calls for a round of it: it alone makes
        pods.
        """
        self._slurm = slurm
        self._clusters = clusters
        self._clock = clock
        self._cluster = cluster
        self._site = site
        self._wake = wake
        self._tokens: dict[str, Token] = {}

    async def attach(self, *, job_id: int, node: str, uid: int) -> Ready | Waiting | Gone:
        """Answer one launcher. Raises NotAllowed, SlurmUnavailable, KubeUnavailable, KubeRefused."""
        job = await self._allowed(job_id, node, uid)
        comment = names.parse_comment(job.admin_comment)
        pod = await self._find(job, node, comment.target if comment else "")
        target = pod.target if pod else comment.target if comment else ""
        pods = (*((pod,) if pod else ()), *await self._peers(job, node, target))
        # Launchers of a job that Slurm is ending still fetch the last output, whichever of the other pods is gone.
        as_running = replace(
            job,
            nodes=(node,) if job.completing else job.nodes,
            shares=tuple(await self._slurm.allocation(job_id)),
            state=JobState.RUNNING,
            completing=False,
        )
        # Where pods of a job that has none are made, the loop decides.
        home = target or self._clusters.names[0]
        seen = Seen(as_running, comment, pods, self._clock.now(), target=home)
        step = lifecycle.apply(seen, self._site())
        if step.state is BurstState.LOST:
            self._wake()
            return Gone("the job is ending, and its pod is gone" if job.completing else step.reason)
        if pod is None or step.state is not BurstState.RUNNING:
            self._wake()
            return Waiting(step.reason or "waiting for the pod")
        hosts = tuple((one.address, one.node) for one in pods) if len(pods) > 1 else ()
        gpus = next((share.gpu_indices for share in as_running.shares if share.node == node), ())
        endpoint = self._clusters[pod.target].endpoint()
        return Ready(endpoint, pod, await self._token(pod), hosts, gpus, _own_partition(comment))

    async def _find(self, job: Job, node: str, target: str) -> Pod | None:
        """The pod behind a node, where admin_comment says, else wherever it is; nowhere only if all targets say so."""
        namespace, name = names.namespace(self._cluster, job.uid), names.pod_name(job.job_id, job.restart_count, node)
        unknown: KubeUnavailable | None = None
        for one in (target,) if target else self._clusters.names:
            try:
                if pod := await self._clusters[one].pod(namespace, name):
                    return pod
            except KubeUnavailable as e:
                unknown = e
        if unknown is not None:
            raise unknown
        return None

    async def _peers(self, job: Job, node: str, target: str) -> tuple[Pod, ...]:
        """The pods of the job's other nodes, in the order of the nodes."""
        if len(job.nodes) < 2 or job.completing or not target:
            return ()
        pods = {
            pod.node: pod
            for pod in await self._clusters[target].pods()
            if pod.job_id == job.job_id and podstate.is_current(pod, job) and pod.node != node
        }
        return tuple(pods[other] for other in job.nodes if other in pods)

    async def report(self, *, job_id: int, node: str, uid: int, task: str, out_of_memory: bool) -> None:
        """
        Tell slurmctld what a task's exit code can't say. Raises as attach.

        Only the batch script's end is the job's: a step that ran out of memory is the script's to judge.
        """
        await self._allowed(job_id, node, uid)
        if out_of_memory and task == "batch":
            await self._slurm.complete_out_of_memory(job_id)

    async def _allowed(self, job_id: int, node: str, uid: int) -> Job:
        try:
            job = await self._slurm.job(job_id)
        except NoSuchJob as e:
            raise NotAllowed(str(e)) from e
        if uid == 0 or job.uid != uid:
            msg = f"job {job_id} is not a job of uid {uid}"
            raise NotAllowed(msg)
        if job.state not in (JobState.RUNNING, JobState.SUSPENDED) and not job.completing:
            msg = f"job {job_id} does not run: it is {job.state}"
            raise NotAllowed(msg)
        if job.partition != self._site().partition or node not in job.nodes:
            msg = f"job {job_id} does not run on virtual node {node}"
            raise NotAllowed(msg)
        return job

    async def _token(self, pod: Pod) -> Token:
        now = self._clock.now()
        self._tokens = {uid: token for uid, token in self._tokens.items() if token.expires - now > _TOKEN_LEFT_S}
        if pod.uid not in self._tokens:
            self._tokens[pod.uid] = await self._clusters[pod.target].pod_token(pod)
        return self._tokens[pod.uid]


def _own_partition(comment: names.Comment | None) -> str:
    """The first of the partitions that the job was taken from; empty where it was submitted to the burst partition."""
    return comment.origin.partition(",")[0] if comment else ""
