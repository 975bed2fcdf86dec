"""
The state table: what is seen of one job decides its state and the next actions. Pure and idempotent.

=====================================  =============================  ============  ==============================
slurmctld says                         Kubernetes says                state         actions
=====================================  =============================  ============  ==============================
any                                    pods of an earlier run, or at  (as below)    delete those
                                       another target than its own
PENDING, provisioning                  its target can't be asked      provisioning  none; elsewhere if policy says so
PENDING, burst, we moved it            its target can't be asked      moved         none, in time
RUNNING, burst                         its target can't be asked      (as it was)   none: nothing is known of its pods
PENDING, own queue, never, unflagged   any                            refused       delete pods
PENDING, own queue, can't burst        any                            refused       delete pods, say why
PENDING, own queue, policy denies it   no pods                        refused       say why
PENDING, elsewhere, requires our nodes any                            waiting       lift that, back off, delete pods
PENDING, own queue, Slurm holds it     any                            waiting       delete pods
PENDING, own queue                     no pods; back-off, or policy   waiting       none
PENDING, own queue                     no pods; policy says go        provisioning  remember its queue, make pods
PENDING, own queue, array record       no pods; policy says go        waiting       split tasks off
PENDING, own queue                     pods not running yet, in time  provisioning  none
PENDING, own queue                     pods gated (Kueue)             provisioning  none, however long
PENDING, own queue                     some of the pods are gone      waiting       delete the others
PENDING, own queue                     all were deleted, not gone     waiting       none
PENDING, own queue                     a pod failed, back-off         waiting       back off, delete pods, say why
PENDING, own queue                     a pod can't start, late        waiting       pause the target, delete pods
PENDING, own queue, waiting            all its pods being deleted     (no pods)     as without pods
PENDING, own queue                     all pods running               moved         move it onto their nodes
PENDING, burst, we moved it            all pods running, in time      moved         none
PENDING, burst, we moved it            otherwise (requeued, held, …)  waiting       move it back, delete pods
PENDING, burst, went there itself      any                            waiting       delete failed pods
RUNNING, burst                         all pods running               running       say so once
RUNNING, burst                         some not made, or not running  provisioning  make what is missing
RUNNING, burst, not yet all            a pod smaller than allocated   provisioning  delete it
RUNNING, burst                         a pod has succeeded            running       none: Slurm will say that it ended
RUNNING, burst                         a pod is being ended           lost          say why; end the others too: the
                                                                                    tasks of all have their warning
                                                                                    and their grace
RUNNING, burst                         a pod lost, late, not makable  lost          requeue where allowed, or kill
RUNNING, elsewhere                     any                            local         delete pods
COMPLETING                             any                            done          none: output may still drain
ended                                  any                            done          delete pods
=====================================  =============================  ============  ==============================

Nothing is remembered but what the job's admin_comment and its pods say; the back-off and the time of a move are hints
that may be lost. Actions are carried out in order, and the first that fails ends the round: whatever is left is
decided anew from what is seen then. So an action that remembers something stands before the one that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from burst_agent.model import BurstMode, BurstState, Job, JobRef, JobState, Pod
from burst_agent.names import Comment, format_comment, parse_comment
from burst_agent.steps import (
    Action,
    Decision,
    DeletePods,
    KillJob,
    MakePods,
    MoveJob,
    PauseTarget,
    RequeueJob,
    Seen,
    Site,
    StartBackoff,
    Step,
    WriteComment,
)

#: Slurm's pending reasons that more nodes would end; any other one holds in the burst partition as well.
CAPACITY_REASONS = frozenset(
    {"", "None", "Priority", "Resources", "PartitionDown", "PartitionInactive", "ReqNodeNotAvail", "NodeDown"}
)

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
    }
)

#: How a reason begins that says why a job is not at a target that comes before its own.
PASSED = "not at "

#: Kubernetes' reason for a pod that no node holds.
UNSCHEDULABLE = "Unschedulable"

#: How a reason begins that is slurmctld's own.
_HELD_BACK = "Slurm holds it back"
_BEGIN_TIME = "BeginTime"
_DEPENDENCY = "Dependency"
_REQUEUED = "; the job is requeued"
_WAS_REQUEUED = "it was requeued"
_KILLED = "; the job is killed"

#: Seconds after which a pod that was to be killed is taken for ended, though nobody says so.
_UNCONFIRMED_S = 15.0

#: Ends of pods that a second try would only meet again.
_OWN_FAULT_REASONS = frozenset({"OOMKilled", "DeadlineExceeded"})


def apply(seen: Seen, site: Site) -> Step:
    """
    Look a job up in the table.
    """
    job = seen.job
    if job.completing:
        return Step(BurstState.DONE if job.state.ended else BurstState.WAITING, "Slurm is ending its tasks")
    current = mine(seen)
    stale = tuple(pod for pod in seen.pods if pod not in current and not pod.terminating)
    if job.state.ended:
        step = Step(BurstState.DONE, "", _delete(current, "its job has ended"))
    elif job.state is JobState.PENDING:
        step = _in_burst(seen, current, site) if job.partition == site.partition else _in_own_queue(seen, current, site)
    elif job.partition == site.partition:
        step = _running(seen, current, site)
    else:
        comment = (
            _said(seen, BurstState.LOCAL, "a local node came free first") if seen.comment and seen.comment.state else ()
        )
        step = Step(BurstState.LOCAL, "", (*_delete(current, "its job started on local nodes"), *comment))
    if not stale:
        return step
    return replace(
        step, actions=(*_delete(stale, "they belong to an earlier run of the job, or to another target"), *step.actions)
    )


def asks_policy(seen: Seen, site: Site) -> bool:
    """
    Whether the table's next action depends on what policy says.
    """
    job = seen.job
    return (
        job.state is JobState.PENDING
        and not job.completing
        and job.partition != site.partition
        and _flagged(seen.comment)
        and not refusal(job)
        and not hold(seen)
        and seen.backoff is None
        and not mine(seen)
    )


def has_started(job: Job, site: Site) -> bool:
    """
    Whether the table's next action depends on what slurmctld allocated: the job runs, and its pods may not all yet.
    """
    comment = parse_comment(job.admin_comment)
    said = comment is not None and comment.state == BurstState.RUNNING and comment.restart == job.restart_count
    return job.state is JobState.RUNNING and not job.completing and job.partition == site.partition and not said


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


def refusal(job: Job) -> str:
    """
    Say why a pending job can't burst as it was submitted; empty where it can.
    """
    return next(_refusals(job), "")


def _refusals(job: Job) -> Iterator[str]:
    if job.uid == 0:
        yield "jobs of root never burst"
    if job.het_job_id:
        yield "components of heterogeneous jobs can't burst: Slurm starts all of them together, in their own queues"
    if job.required_nodes:
        yield f"asks for node {job.required_nodes} (--nodelist), which is not in Kubernetes"
    if job.features:
        yield f"asks for features {job.features} (--constraint), which virtual nodes don't have"
    if job.licenses:
        yield f"asks for licences {job.licenses} (--licenses), which are local"
    if job.reservation:
        yield f"asks for reservation {job.reservation} (--reservation), which holds local nodes"


def hold(seen: Seen) -> str:
    """
    Say why a pending job would not start even on a free node; empty where it would.
    """
    job = seen.job
    if job.eligible_time > seen.now and not job.held:
        return f"{_HELD_BACK} ({_BEGIN_TIME})"
    if job.held:
        return "it is held (scontrol release ends that)"
    if job.dependency:
        return f"{_HELD_BACK} ({_DEPENDENCY})"
    if seen.turns == 0:
        return "its array runs as many tasks at once as it may"
    word = job.reason.split(",")[0].split(" ")[0].strip("()")
    if word not in CAPACITY_REASONS and not job.reason.startswith("Nodes required"):
        return f"{_HELD_BACK} ({word})"
    # slurmctld forgets the reason at each change of a job, that of its admin_comment too, until it looks at it again.
    told = seen.comment.reason if seen.comment is not None and seen.comment.state == BurstState.WAITING else ""
    looked_at = word not in ("", "None")
    by_itself = told.endswith((f"({_BEGIN_TIME})", f"({_DEPENDENCY})"))
    return told if told.startswith(_HELD_BACK) and not looked_at and not by_itself else ""


def hopeless(pod: Pod) -> str:
    """
    Say why a pod will never run its job; empty while it may.
    """
    if pod.terminating:
        return f"pod {pod.name} was deleted{_because(pod)}"
    if pod.ended:
        return f"pod {pod.name} ended{_because(pod)}"
    if pod.reason in HOPELESS_REASONS:
        return f"pod {pod.name} can't start{_because(pod)}"
    return ""


def _because(pod: Pod) -> str:
    words = ": ".join(part for part in (pod.reason, pod.message) if part)
    return f" ({words})" if words else ""


def absent(pods: Sequence[Pod]) -> str:
    """
    Say which of the pods that were to be made together is not there; empty where all are.
    """
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


def progress(pods: Sequence[Pod]) -> str:
    """
    Say what pods that don't run yet wait for.
    """
    late = next((pod for pod in pods if not pod.running), None)
    return "" if late is None else f"pod {late.name} is {late.phase}{_because(late)}"


def _flagged(comment: Comment | None) -> bool:
    return comment is not None and comment.mode is not BurstMode.NEVER


def _delete(pods: Sequence[Pod], why: str) -> tuple[Action, ...]:
    doomed = tuple(pod for pod in pods if not pod.terminating)
    return (DeletePods(doomed, why),) if doomed else ()


def _said(seen: Seen, state: BurstState, reason: str, *, keep_origin: bool = False) -> tuple[Action, ...]:
    """Write state and reason into admin_comment unless they stand there; nothing for a job that is not flagged."""
    if seen.comment is None:
        return ()
    ran = state in (BurstState.RUNNING, BurstState.LOST)
    took = {BurstState.RUNNING: _pod_start_s(seen), BurstState.LOST: seen.comment.pod_start_s}
    text = format_comment(
        replace(
            seen.comment,
            state=state,
            reason=reason,
            origin=seen.comment.origin if keep_origin else "",
            target=seen.target if keep_origin else "",
            restart=seen.job.restart_count if ran else None,
            pod_start_s=took.get(state),
        )
    )
    return () if text == seen.job.admin_comment else (WriteComment(JobRef(seen.job.job_id), text, notice=not ran),)


def _passed(seen: Seen) -> str:
    """Why it is not where it was to go first: that stays with the job, for whoever looks at the bill."""
    comment = seen.comment
    return comment.reason if comment is not None and comment.reason.startswith(PASSED) else ""


def _pod_start_s(seen: Seen) -> int | None:
    """How long the job's pods took to start: it is kept with the job, for later predictions."""
    pods = [pod for pod in seen.pods if is_current(pod, seen.job)]
    if not pods or not all(pod.started for pod in pods):
        return seen.comment.pod_start_s if seen.comment else None
    return round(max(max(pod.started for pod in pods) - min(pod.created for pod in pods), 0))


def _remembered(seen: Seen, target: str, *, ref: JobRef | None = None, why: str = "") -> tuple[Action, ...]:
    """Write down where the job comes from, before anything is made for it."""
    assert seen.comment is not None  # callers looked at its mode
    text = format_comment(
        replace(
            seen.comment,
            origin=seen.job.partition,
            asked_nodes=(seen.job.min_nodes, seen.job.max_nodes),
            state=BurstState.PROVISIONING,
            target=target,
            pod_start_s=None,
            restart=None,
            reason=why,
        )
    )
    return (
        () if ref is None and text == seen.job.admin_comment else (WriteComment(ref or JobRef(seen.job.job_id), text),)
    )


def _aimed(seen: Seen) -> tuple[Action, ...]:
    """Write down where the pods of a job that started without any are made."""
    if seen.comment is None or seen.comment.target == seen.target:
        return ()
    return (WriteComment(JobRef(seen.job.job_id), format_comment(replace(seen.comment, target=seen.target))),)


def _in_own_queue(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job, comment = seen.job, seen.comment
    if comment is None or comment.mode is BurstMode.NEVER:
        why = "it is not flagged" if comment is None else "--k8s-burst=never"
        return Step(BurstState.REFUSED, why, _delete(pods, "its job may not burst"))
    if comment.origin and job.required_nodes and job.required_nodes == ",".join(sorted(pod.node for pod in pods)):
        # Whoever moved it can't know that it requires nodes, and without a word it would never start there.
        why = f"it was moved to partition {job.partition} by hand"
        home = (MoveJob(job.partition, (), comment.asked_nodes), StartBackoff(why), *_delete(pods, why))
        return Step(BurstState.WAITING, why, (*home, *_said(seen, BurstState.WAITING, why)))
    if why := refusal(job):
        return Step(
            BurstState.REFUSED, why, (*_delete(pods, "its job can't burst"), *_said(seen, BurstState.REFUSED, why))
        )
    if why := hold(seen):
        # Why it runs again says more than that it doesn't yet.
        told = _BEGIN_TIME in why and comment.reason.endswith((_REQUEUED, _WAS_REQUEUED))
        said = () if told else _said(seen, BurstState.WAITING, why)
        return Step(BurstState.WAITING, why, (*_delete(pods, "Slurm holds its job back"), *said))
    if pods:
        return _provisioning(seen, pods, site)
    if seen.backoff is not None:
        return Step(BurstState.WAITING, seen.backoff.reason, _said(seen, BurstState.WAITING, seen.backoff.reason))
    decision = seen.decision or Decision()
    if decision.tasks:
        splits = [_remembered(seen, decision.target, ref=JobRef(job.job_id, task)) for task in decision.tasks]
        return Step(BurstState.WAITING, decision.reason, tuple(action for split in splits for action in split))
    if decision.shares:
        make = MakePods(decision.target, decision.nodes, decision.shares)
        return Step(
            BurstState.PROVISIONING, decision.reason, (*_remembered(seen, decision.target, why=decision.passed), make)
        )
    if seen.away:
        return Step(BurstState.PROVISIONING, seen.away)
    state = BurstState.REFUSED if decision.refused else BurstState.WAITING
    return Step(state, decision.reason, _said(seen, state, decision.reason))


def _provisioning(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    assert seen.comment is not None  # its caller looked
    if seen.backoff is None and (why := absent(pods)):
        # The agent was ended while it made or deleted them, or somebody else deleted one: no fault of the job.
        return Step(BurstState.WAITING, why, _delete(pods, "pods are made all or none"))
    if seen.backoff is None and all(pod.terminating and not pod.reason for pod in pods):
        # While Slurm held the job back, or at somebody's wish: no fault either.
        return Step(BurstState.WAITING, hopeless(pods[0]), ())
    failed = StartBackoff(seen.backoff.reason) if seen.backoff else _failure(seen, pods, site)
    if failed:
        why = failed.why
        note: tuple[Action, ...] = () if seen.backoff else (failed,)
        actions = (*note, *_said(seen, BurstState.WAITING, why), *_delete(pods, "the try was given up"))
        return Step(BurstState.WAITING, why, actions)
    if not _all_run(pods):
        # The message of a reason may count something and change by itself: the word alone goes into admin_comment.
        word = _passed(seen) or next((pod.reason for pod in pods if pod.reason), seen.comment.reason)
        return Step(
            BurstState.PROVISIONING, progress(pods), _said(seen, BurstState.PROVISIONING, word, keep_origin=True)
        )
    remembered = _remembered(seen, seen.target) if seen.comment.origin != seen.job.partition else ()
    nodes = tuple(sorted(pod.node for pod in pods))
    return Step(BurstState.MOVED, "", (*remembered, MoveJob(site.partition, nodes)))


def _failure(seen: Seen, pods: Sequence[Pod], site: Site) -> StartBackoff | PauseTarget | None:
    """Say what is wrong with pods that are not running yet, and whether the target is to blame for it."""
    for pod in pods:
        if why := hopeless(pod):
            return StartBackoff(why) if pod.ended else PauseTarget(why, image=True)
    if any(pod.gated for pod in pods):
        # Whoever gates a pod admits it when it is its turn: a try that is given up would lose its place there.
        return None
    patience_s = site.unschedulable_s.get(seen.target, site.provision_timeout_s)
    homeless = next((pod for pod in pods if not pod.running and pod.reason == UNSCHEDULABLE), None)
    if homeless is not None and seen.now > homeless.placeable + patience_s:
        return PauseTarget(f"target {seen.target} has no room: {homeless.message or UNSCHEDULABLE}", image=False)
    if not _all_run(pods) and seen.now > max(pod.placeable for pod in pods) + site.provision_timeout_s:
        return PauseTarget(f"not running after {site.provision_timeout_s:.0f} s: {progress(pods)}", image=False)
    return None


def _in_burst(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job, comment = seen.job, seen.comment
    if comment is None or not comment.origin:
        failed = tuple(pod for pod in pods if hopeless(pod))
        return Step(BurstState.WAITING, f"in {site.partition} already: Slurm places it", _delete(failed, "they failed"))
    waited_s = 0.0 if seen.moved_since is None else seen.now - seen.moved_since
    backoff: tuple[Action, ...] = ()
    if job.held:
        why = hold(seen)
    elif seen.away and waited_s <= site.start_timeout_s:
        return Step(BurstState.MOVED, seen.away)
    elif seen.away:
        why = seen.away
        backoff = (StartBackoff(why),)
    elif not pods:
        requeued = comment.reason if comment.state == BurstState.LOST else _WAS_REQUEUED
        why = requeued if job.restart_count else "it has no pods"
    elif not _all_run(pods) or absent(pods):
        why = next((why for pod in pods if (why := hopeless(pod))), progress(pods) or absent(pods))
        backoff = (StartBackoff(why),)
    elif waited_s > site.start_timeout_s:
        why = f"Slurm did not start it on {','.join(sorted(pod.node for pod in pods))}: {job.reason}"
        backoff = (StartBackoff(why),)
    else:
        return Step(BurstState.MOVED, job.reason)
    actions = (
        MoveJob(comment.origin, (), comment.asked_nodes),
        *backoff,
        *_delete(pods, "its job went back to its own queue"),
    )
    return Step(BurstState.WAITING, why, (*actions, *_said(seen, BurstState.WAITING, why)))


def _running(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job = seen.job
    if job.uid == 0:
        return _lost(seen, "jobs of root get no pods", again=False)
    if seen.comment is not None and _was(BurstState.LOST, seen):
        return _end(seen.comment.reason, pods, seen.now)
    if seen.away:
        return Step(BurstState.RUNNING if _was(BurstState.RUNNING, seen) else BurstState.PROVISIONING, seen.away)
    strays = _delete([pod for pod in pods if pod.node not in job.nodes], "its job runs on other nodes")
    pods = tuple(pod for pod in pods if pod.node in job.nodes)
    misfits = () if _was(BurstState.RUNNING, seen) else tuple(pod for pod in pods if misfit(pod, job))
    if misfits:
        others = _delete(misfits, "slurmctld allocated more than it was made for")
        return Step(BurstState.PROVISIONING, misfit(misfits[0], job), (*strays, *others))
    missing = tuple(node for node in job.nodes if node not in {pod.node for pod in pods})
    # Without a queue of its own to go back to, a requeued job would only fail the same way again.
    origin = seen.comment is not None and bool(seen.comment.origin)
    if any(pod.finished for pod in pods):
        return Step(BurstState.RUNNING, "its tasks have ended: Slurm has yet to say so", strays)
    ended = next((pod for pod in pods if pod.ended), None)
    if ended is not None:
        return _lost(seen, hopeless(ended), again=ended.reason not in _OWN_FAULT_REASONS)
    if missing and _was(BurstState.RUNNING, seen):
        return _lost(seen, f"the pod behind {missing[0]} is gone", again=True)
    if missing and seen.backoff is not None:
        late = seen.now > job.start_time + site.provision_timeout_s
        return (
            _lost(seen, seen.backoff.reason, again=origin)
            if late
            else Step(BurstState.PROVISIONING, seen.backoff.reason, strays)
        )
    if missing:
        if not seen.target:
            return Step(BurstState.PROVISIONING, "it started without pods, and no target can be asked for some", strays)
        make = MakePods(seen.target, missing)
        return Step(BurstState.PROVISIONING, "it started without pods", (*strays, *_aimed(seen), make))
    if not _all_run(pods):
        if seen.now <= min(pod.created for pod in pods if not pod.running) + site.provision_timeout_s:
            return Step(BurstState.PROVISIONING, progress(pods), strays)
        why = f"not running after {site.provision_timeout_s:.0f} s: {progress(pods)}"
        step = _lost(seen, why, again=origin)
        return replace(step, actions=(PauseTarget(why, image=False), *step.actions))
    return Step(BurstState.RUNNING, "", (*strays, *_said(seen, BurstState.RUNNING, _passed(seen), keep_origin=True)))


def _lost(seen: Seen, why: str, *, again: bool) -> Step:
    """The pods stay until the job is requeued or has ended: while they are seen, this is what is decided."""
    sentence = f"{why}{_REQUEUED if again and seen.job.requeue and seen.job.batch else _KILLED}"
    step = _end(sentence, tuple(pod for pod in seen.pods if is_current(pod, seen.job)), seen.now)
    said = _said(seen, BurstState.LOST, sentence, keep_origin=True)
    return replace(step, actions=(*said, *step.actions))


def _being_ended(pods: Sequence[Pod], now: float) -> bool:
    """
    Whether tasks have TERM and their grace still: what they save, and what the launcher says, would be lost with them.

    A node that does not answer never confirms the end.
    """
    return any(pod.terminating and pod.running and now < pod.ends_by + _UNCONFIRMED_S for pod in pods)


def _end(sentence: str, pods: tuple[Pod, ...], now: float) -> Step:
    """End a job whose loss was decided: whatever is seen afterwards, what users were told is what happens."""
    if _being_ended(pods, now):
        # The batch script may run in another pod than the one that goes: it is warned as well.
        alive = [pod for pod in pods if not pod.ended]
        return Step(BurstState.LOST, sentence, _delete(alive, "another pod of its job is being ended"))
    end = RequeueJob(sentence) if sentence.endswith(_REQUEUED) else KillJob(sentence)
    return Step(BurstState.LOST, sentence, (end,))


def _was(state: BurstState, seen: Seen) -> bool:
    """Whether admin_comment says this state of the present incarnation."""
    comment = seen.comment
    return comment is not None and comment.state == state and comment.restart == seen.job.restart_count


def _all_run(pods: Sequence[Pod]) -> bool:
    return all(pod.running and not pod.ended for pod in pods)
