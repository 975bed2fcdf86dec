"""
Carries out one action of the state table. Every action may be carried out twice: the second time changes nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

import structlog

from burst_agent import names, namespaces, podspec, podstate, shapes
from burst_agent.clusters import Clusters
from burst_agent.errors import NoSuchJob, NotAllowed, Retryable, SlurmRefused
from burst_agent.model import JobRef, Pod, Share
from burst_agent.names import parse_comment, parse_signal
from burst_agent.ports import SlurmPort, UserDirectory
from burst_agent.settings import Settings
from burst_agent.steps import Action, DeletePods, KillJob, MakePods, MoveJob, RequeueJob, Seen, WriteComment

log = structlog.get_logger(__name__)


class Actor:
    """
    Acts on slurmctld and Kubernetes. Raises what the ports raise.
    """

    def __init__(
        self, *, slurm: SlurmPort, clusters: Clusters, users: UserDirectory, settings: Settings, template: str
    ) -> None:
        """Take the ports; ``template`` is the text of the namespace template."""
        self._slurm = slurm
        self._clusters = clusters
        self._users = users
        self._template = template
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by these settings from the next action on."""
        self._settings = settings
        self._targets = {target.name: target for target in settings.targets}

    async def act(self, seen: Seen, action: Action) -> None:
        """Carry out one action on a job."""
        job = seen.job
        match action:
            case WriteComment(ref, text):
                await self._slurm.set_admin_comment(ref, text)
            case MakePods(target, nodes, shares):
                await self._make_pods(seen, target, shares or tuple(shapes.share(job, node) for node in nodes))
            case DeletePods(pods):
                for pod in pods:
                    await self._clusters[pod.target].delete_pod(pod)
            case MoveJob(partition, nodes, asked_nodes):
                low, high = asked_nodes or (None, None)
                await self._slurm.move_job(
                    JobRef(job.job_id), partition=partition, nodes=nodes, min_nodes=low, max_nodes=high
                )
            case RequeueJob():
                try:
                    await self._slurm.requeue_job(job.job_id)
                except SlurmRefused as e:
                    log.warning("requeue_refused", job_id=job.job_id, error=str(e))
                    await self._slurm.kill_job(job.job_id)
            case KillJob():
                await self._slurm.kill_job(job.job_id)
        log.info(kind(action), job_id=job.job_id, uid=job.uid, **_details(action))

    async def delete_orphan(self, pod: Pod) -> None:
        """Delete a pod that no job was seen for, unless slurmctld knows better when asked for that very job."""
        try:
            job = await self._slurm.job(pod.job_id)
        except NoSuchJob:
            pass
        else:
            burst = job.partition == self._settings.slurm.partition or parse_comment(job.admin_comment) is not None
            if job.completing or (burst and not job.state.ended and podstate.is_current(pod, job)):
                log.warning("orphan_has_a_job", job_id=pod.job_id, pod=pod.name)
                return
        await self._clusters[pod.target].delete_pod(pod)
        log.info("delete_orphan", job_id=pod.job_id, pod=pod.name, namespace=pod.namespace)

    async def _make_pods(self, seen: Seen, target: str, shares: Sequence[Share]) -> None:
        job, settings, kube = seen.job, self._settings, self._clusters[target]
        user = await self._users.user(job.uid)
        if user.uid == 0:
            msg = f"job {job.job_id}: jobs of root get no pods"
            raise NotAllowed(msg)
        nodes = job.nodes or tuple(share.node for share in shares)
        group = names.kueue_group(job.job_id, job.restart_count, secrets.token_hex(4)) if len(nodes) > 1 else ""
        manifests = [
            podspec.manifest(
                podspec.Order(
                    cluster=settings.slurm.cluster,
                    target=self._targets[target],
                    job=job,
                    node=share.node,
                    nodes=nodes,
                    size=share.size,
                    user=user,
                    has_script=job.batch and share.node == nodes[0],
                    group=group,
                    image=seen.comment.image if seen.comment else "",
                    warning=parse_signal(seen.comment.signal) if seen.comment else None,
                    start_allowance_s=settings.policy.provision_timeout_s + settings.policy.start_timeout_s,
                ),
                settings.pods_at(target),
            )
            for share in shares
        ]
        await kube.ensure_namespace(namespaces.objects(settings, job.uid, self._template, target))
        # Side by side: a job may have hundreds. None is on the way any more when one has failed.
        made = await asyncio.gather(*map(kube.create_pod, manifests), return_exceptions=True)
        failures = [one for one in made if isinstance(one, BaseException)]
        if failures:
            raise min(failures, key=lambda failure: isinstance(failure, Retryable))


def kind(action: Action) -> str:
    """Name an action in the log and in metrics."""
    return {
        "WriteComment": "write_comment",
        "MakePods": "make_pods",
        "DeletePods": "delete_pods",
        "MoveJob": "move_job",
        "StartBackoff": "back_off",
        "PauseTarget": "pause_target",
        "RequeueJob": "requeue_job",
        "KillJob": "kill_job",
    }[type(action).__name__]


def _details(action: Action) -> dict[str, str]:
    match action:
        case WriteComment(ref, text):
            return {"ref": str(ref), "text": text}
        case MakePods(target, nodes, shares):
            sizes = "; ".join(f"{share.node} {shapes.words(share.size)}" for share in shares)
            return {"target": target, "nodes": ",".join(nodes), "sizes": sizes}
        case DeletePods(pods, why):
            return {"pods": ",".join(pod.name for pod in pods), "why": why}
        case MoveJob(partition, nodes):
            return {"partition": partition, "nodes": ",".join(nodes)}
        case _:
            return {"why": action.why}
