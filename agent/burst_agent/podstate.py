"""
What the pods of one job tell: which of them count, whether they run, what they wait for, what is wrong with them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from burst_agent.model import BurstState, Job, JobState, Pod
from burst_agent.names import FOREIGN_GROUPS
from burst_agent.steps import Decision, PauseTarget, Seen, StartBackoff

#: Reasons of pods that no waiting mends.
HOPELESS_REASONS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
        FOREIGN_GROUPS,
    }
)

#: What registries and kubelets say to those who have no right to an image.
_NO_RIGHT = re.compile(r"authori[sz]|forbidden|denied|credential|basic auth", re.IGNORECASE)

#: Kubernetes' reason for a pod that no node holds.
UNSCHEDULABLE = "Unschedulable"

#: What Kueue says of amounts changes with them; its name for pods of one kind tells users nothing.
_DETAILS = re.compile(r",? [0-9]| \(")
_POD_SET = re.compile(r"couldn't assign flavors to pod set \S+: ")

#: Seconds after which a pod that was to be killed is taken for ended, though nobody says so.
_UNCONFIRMED_S = 15.0


def mine(seen: Seen) -> tuple[Pod, ...]:
    """
    Give the pods that were made for the job's present incarnation at its target.

    Those of a try that was given up don't count once all are being deleted: the next one need not wait for their end.
    """
    if not seen.pods:
        return ()
    job, comment = seen.job, seen.comment
    found = tuple(pod for pod in seen.pods if is_current(pod, job) and pod.target == seen.target)
    waits = job.state is JobState.PENDING and comment is not None and comment.state == BurstState.WAITING
    return () if waits and all(pod.terminating for pod in found) else found


def is_current(pod: Pod, job: Job) -> bool:
    """Whether a pod was made for the present incarnation of this job."""
    return pod.restart == job.restart_count and pod.user_uid == job.uid


def all_run(pods: Sequence[Pod]) -> bool:
    """Whether the container that holds the job runs in each of them."""
    return all(pod.running and not pod.ended for pod in pods)


def progress(pods: Sequence[Pod]) -> str:
    """
    Say what pods that don't run yet wait for.
    """
    late = next((pod for pod in pods if not pod.running), None)
    return "" if late is None else f"pod {late.name} is {late.phase}{_because(late)}"


def words(pod: Pod) -> str:
    """
    Say in a few steady words, for admin_comment, why a pod does not run.

    A message may count something and change by itself: of a pod that waits in a queue, what comes before is told.
    """
    waits_for = _DETAILS.split(_POD_SET.sub("", pod.message), maxsplit=1)[0] if pod.gated else ""
    return f"{pod.reason}: {waits_for}" if waits_for else pod.reason


def lingering(seen: Seen, decision: Decision) -> str:
    """
    Say which pod of an earlier try has the name of one to be made: a finalizer, as Kueue's, keeps it for a while.
    """
    taken = (
        pod
        for pod in seen.pods
        if is_current(pod, seen.job) and pod.target == decision.target and pod.node in decision.nodes
    )
    return next((f"pod {pod.name} of an earlier try is still being ended" for pod in taken), "")


def hopeless(pod: Pod) -> str:
    """
    Say why a pod will never run its job; empty while it may.
    """
    if pod.terminating:
        return f"pod {pod.name} was deleted{_because(pod)}"
    if pod.reason in HOPELESS_REASONS:
        return f"pod {pod.name} can't start{_because(pod)}"
    if pod.ended:
        return f"pod {pod.name} ended{_because(pod)}"
    return ""


def failure(pod: Pod) -> StartBackoff | PauseTarget | None:
    """
    Say what follows from a pod that will never run its job: an image that can't be used there is left alone, by its
    user alone where others may be in other groups, or have the secret that he lacks. ``None`` while it may.
    """
    why = hopeless(pod)
    if pod.reason in HOPELESS_REASONS and not pod.terminating:
        return PauseTarget(why, image=True, user=pod.reason == FOREIGN_GROUPS or bool(_NO_RIGHT.search(pod.message)))
    return StartBackoff(why) if why else None


def _because(pod: Pod) -> str:
    words = ": ".join(part for part in (pod.reason, pod.message) if part)
    return f" ({words})" if words else ""


def absent(pods: Sequence[Pod]) -> str:
    """
    Say why these are not the pods that were to be made together: one is not there, or they are of two decisions, as two
    agents make them; empty where they are.
    """
    if len({pod.nodes for pod in pods if pod.nodes}) > 1:
        return "its pods were made for different sets of nodes: all are made anew"
    missing = {node for pod in pods for node in pod.nodes} - {pod.node for pod in pods}
    return f"the pod behind {min(missing)} is not there: all are made anew" if missing else ""


def misfit(pod: Pod, job: Job) -> str:
    """
    Say why a pod is too small for what slurmctld allocated on its node, or has other GPUs; empty where it will do.
    """
    has = next((share.size for share in job.shares if share.node == pod.node), None)
    made = pod.size
    if has is None or made is None:
        return ""
    if made.cpus >= has.cpus and made.memory_mib >= has.memory_mib and made.gpus == has.gpus:
        return ""
    return (
        f"pod {pod.name} is made anew: it has {made.cpus} CPUs, {made.memory_mib} MiB, {made.gpus} GPUs; "
        f"slurmctld allocated {has.cpus} CPUs, {has.memory_mib} MiB, {has.gpus} GPUs"
    )


def unfit(job: Job, pods: tuple[Pod, ...], missing: Sequence[str]) -> tuple[str, tuple[Pod, ...]]:
    """
    Say why pods of a job that has started are to be made anew before their first task, and which: those that are too
    small; all of a group where one of it is, or has gone without a word, as Kueue takes none in another's place.
    """
    group = tuple(pod for pod in pods if pod.group)
    small = tuple(pod for pod in pods if misfit(pod, job))
    if small:
        return misfit(small[0], job), group or small
    if group and missing and not any(pod.finished or (pod.ended and pod.reason) for pod in group):
        return f"the pod behind {missing[0]} is not there: Kueue admits a group once, so all are made anew", group
    return "", ()


def being_ended(pods: Sequence[Pod], now: float) -> bool:
    """
    Whether tasks have TERM and their grace still: what they save, and what the launcher says, would be lost with them.

    A node that does not answer never confirms the end.
    """
    return any(pod.terminating and pod.running and now < pod.ends_by + _UNCONFIRMED_S for pod in pods)
