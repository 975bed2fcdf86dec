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
PENDING, own queue                     no pods; policy says go, pods  waiting       none: their names are taken
                                       of an earlier try still end
PENDING, own queue, array record       no pods; policy says go        waiting       split tasks off
PENDING, own queue                     pods not running yet, in time  provisioning  none
PENDING, own queue                     pods gated (Kueue)             provisioning  none, however long
PENDING, own queue                     some of the pods are gone      waiting       delete the others
PENDING, own queue, changed meanwhile  pods too small, limit longer   waiting       delete pods
PENDING, own queue                     all were deleted, not gone     waiting       none
PENDING, own queue                     a pod failed, back-off         waiting       back off, delete pods, say why
PENDING, own queue                     a pod can't start, late        waiting       pause the target, delete pods
PENDING, own queue, waiting            all its pods being deleted     (no pods)     as without pods
PENDING, own queue                     all pods running               moved         move it onto their nodes
PENDING, burst, we moved it            all pods running, in time      moved         none
PENDING, burst, we moved it            otherwise (requeued, held, …)  waiting       move it back, delete pods
PENDING, burst, went there itself      any                            waiting       delete failed pods
RUNNING, burst, of no other queue      pods gated (Kueue)             provisioning  none, however long
RUNNING, burst                         all pods running               running       say so once
RUNNING, burst                         some not made, or not running  provisioning  make what is missing
RUNNING, burst, not yet all            a pod smaller than allocated   provisioning  delete it; of a group, all
RUNNING, burst, not yet all            some of a group are gone       provisioning  delete the others
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

from collections.abc import Sequence
from dataclasses import replace

from burst_agent import notes
from burst_agent.eligibility import BAD_CONSTRAINTS, BEGIN_TIME, hold, refusal, unwanted
from burst_agent.model import BurstMode, BurstState, Job, JobState, Pod
from burst_agent.names import parse_comment
from burst_agent.podstate import (
    UNSCHEDULABLE,
    absent,
    all_run,
    being_ended,
    failure,
    hopeless,
    is_current,
    lingering,
    mine,
    progress,
    unfit,
    words,
)
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
)

#: How reasons end that tell what becomes of a job that has lost its run.
_REQUEUED = "; the job is requeued"
_WAS_REQUEUED = "it was requeued"
_KILLED = "; the job is killed"

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
            notes.say(seen, BurstState.LOCAL, "a local node came free first")
            if seen.comment and seen.comment.state
            else ()
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
        and not unwanted(seen.comment)
        and not refusal(job)
        and not hold(seen)
        and seen.backoff is None
        and not mine(seen)
    )


def has_started(job: Job, site: Site) -> bool:
    """
    Whether the table's next action depends on what slurmctld allocated: the job runs, and its pods may not all yet.
    """
    said = notes.tells(parse_comment(job.admin_comment), BurstState.RUNNING, job)
    return job.state is JobState.RUNNING and not job.completing and job.partition == site.partition and not said


def _delete(pods: Sequence[Pod], why: str) -> tuple[Action, ...]:
    doomed = tuple(pod for pod in pods if not pod.terminating)
    return (DeletePods(doomed, why),) if doomed else ()


def _in_own_queue(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job, comment = seen.job, seen.comment
    if comment is None or comment.mode is BurstMode.NEVER:
        return Step(BurstState.REFUSED, unwanted(comment), _delete(pods, "its job may not burst"))
    if comment.origin and seen.pinned:
        # Whoever moved it can't know that it requires nodes, and without a word it would never start there.
        why = f"it was moved to partition {job.partition} by hand"
        home = (MoveJob(job.partition, (), comment.asked_nodes), StartBackoff(why), *_delete(pods, why))
        return Step(BurstState.WAITING, why, (*home, *notes.say(seen, BurstState.WAITING, why)))
    if why := refusal(job):
        why = seen.refusal or why
        return Step(
            BurstState.REFUSED, why, (*_delete(pods, "its job can't burst"), *notes.say(seen, BurstState.REFUSED, why))
        )
    if why := hold(seen):
        # Why it runs again says more than that it doesn't yet.
        told = BEGIN_TIME in why and comment.reason.endswith((_REQUEUED, _WAS_REQUEUED))
        said = () if told else notes.say(seen, BurstState.WAITING, why)
        return Step(BurstState.WAITING, why, (*_delete(pods, "Slurm holds its job back"), *said))
    if pods:
        return _provisioning(seen, pods, site)
    if seen.backoff is not None:
        return Step(BurstState.WAITING, seen.backoff.reason, notes.say(seen, BurstState.WAITING, seen.backoff.reason))
    decision = seen.decision or Decision()
    if decision.tasks:
        splits = tuple(notes.split_off(seen, decision.target, task) for task in decision.tasks)
        return Step(BurstState.WAITING, decision.reason, splits)
    if decision.shares:
        if why := lingering(seen, decision):
            return Step(BurstState.WAITING, why, notes.say(seen, BurstState.WAITING, why))
        make = MakePods(decision.target, decision.nodes, decision.shares)
        return Step(
            BurstState.PROVISIONING,
            decision.reason,
            (*notes.remember(seen, decision.target, why=decision.passed), make),
        )
    if seen.away:
        return Step(BurstState.PROVISIONING, seen.away)
    state = BurstState.REFUSED if decision.refused else BurstState.WAITING
    return Step(state, decision.reason, notes.say(seen, state, decision.reason))


def _provisioning(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    assert seen.comment is not None  # its caller looked
    if seen.backoff is None and (why := absent(pods)):
        # The agent was ended while it made or deleted them, or somebody else deleted one: no fault of the job.
        return Step(BurstState.WAITING, why, _delete(pods, "pods are made all or none"))
    if seen.misfit and seen.backoff is None:
        # Rules and caps have agreed to other pods than it wants now: policy is asked anew once these are gone.
        return Step(BurstState.WAITING, seen.misfit, _delete(pods, seen.misfit))
    if seen.backoff is None and all(pod.terminating and not pod.reason for pod in pods):
        # While Slurm held the job back, or at somebody's wish: no fault either.
        return Step(BurstState.WAITING, hopeless(pods[0]), ())
    failed = StartBackoff(seen.backoff.reason) if seen.backoff else _failure(seen, pods, site)
    if failed:
        why = failed.why
        note: tuple[Action, ...] = () if seen.backoff else (failed,)
        actions = (*note, *notes.say(seen, BurstState.WAITING, why), *_delete(pods, "the try was given up"))
        return Step(BurstState.WAITING, why, actions)
    if not all_run(pods):
        word = notes.passed(seen.comment) or next((words(pod) for pod in pods if pod.reason), seen.comment.reason)
        return Step(
            BurstState.PROVISIONING, progress(pods), notes.say(seen, BurstState.PROVISIONING, word, keep_origin=True)
        )
    remembered = notes.remember(seen, seen.target) if notes.stale(seen) else ()
    nodes = tuple(sorted(pod.node for pod in pods))
    return Step(BurstState.MOVED, "", (*remembered, MoveJob(site.partition, nodes)))


def _failure(seen: Seen, pods: Sequence[Pod], site: Site) -> StartBackoff | PauseTarget | None:
    """Say what is wrong with pods that are not running yet, and whether the target is to blame for it."""
    if failed := _failed(pods):
        return failed
    if any(pod.gated for pod in pods):
        # Whoever gates a pod admits it when it is its turn: a try that is given up would lose its place there.
        return None
    patience_s = site.unschedulable_s.get(seen.target, site.provision_timeout_s)
    homeless = next((pod for pod in pods if not pod.running and pod.reason == UNSCHEDULABLE), None)
    if homeless is not None and seen.now > homeless.placeable + patience_s:
        return PauseTarget(f"target {seen.target} has no room: {homeless.message or UNSCHEDULABLE}", image=False)
    if not all_run(pods) and seen.now > max(pod.placeable for pod in pods) + site.provision_timeout_s:
        return PauseTarget(f"not running after {site.provision_timeout_s:.0f} s: {progress(pods)}", image=False)
    return None


def _failed(pods: Sequence[Pod]) -> StartBackoff | PauseTarget | None:
    return next((failed for pod in pods if (failed := failure(pod))), None)


def _in_burst(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job, comment = seen.job, seen.comment
    if comment is None or not comment.origin:
        bad = tuple(pod for pod in pods if hopeless(pod))
        return Step(BurstState.WAITING, f"in {site.partition} already: Slurm places it", _delete(bad, "they failed"))
    waited_s = 0.0 if seen.moved_since is None else seen.now - seen.moved_since
    backoff: tuple[Action, ...] = ()
    # slurmctld holds a job that it can't place there at all.
    misfit = job.held and job.reason == BAD_CONSTRAINTS
    if job.held and not misfit:
        why = hold(seen)
    elif seen.away and waited_s <= site.start_timeout_s:
        return Step(BurstState.MOVED, seen.away)
    elif seen.away:
        why = seen.away
        backoff = (StartBackoff(why),)
    elif not pods:
        requeued = comment.reason if comment.state == BurstState.LOST else _WAS_REQUEUED
        why = requeued if job.restart_count else "it has no pods"
    elif not all_run(pods) or absent(pods):
        failed = _failed(pods) or StartBackoff(progress(pods) or absent(pods))
        why, backoff = failed.why, (failed,)
    elif misfit or waited_s > site.start_timeout_s:
        why = f"Slurm did not start it on {','.join(sorted(pod.node for pod in pods))}: {job.reason}"
        backoff = (StartBackoff(why),)
    else:
        return Step(BurstState.MOVED, job.reason)
    actions = (
        MoveJob(comment.origin, (), comment.asked_nodes),
        *backoff,
        *_delete(pods, "its job went back to its own queue"),
    )
    return Step(BurstState.WAITING, why, (*actions, *notes.say(seen, BurstState.WAITING, why)))


def _running(seen: Seen, pods: tuple[Pod, ...], site: Site) -> Step:
    job = seen.job
    if job.uid == 0:
        return _lost(seen, "jobs of root get no pods", again=False)
    if seen.comment is not None and _was(seen, BurstState.LOST):
        return _end(seen.comment.reason, pods, seen.now)
    if seen.away:
        return Step(BurstState.RUNNING if _was(seen, BurstState.RUNNING) else BurstState.PROVISIONING, seen.away)
    strays = _delete([pod for pod in pods if pod.node not in job.nodes], "its job runs on other nodes")
    pods = tuple(pod for pod in pods if pod.node in job.nodes)
    missing = tuple(node for node in job.nodes if node not in {pod.node for pod in pods})
    why, doomed = ("", ()) if _was(seen, BurstState.RUNNING) else unfit(job, pods, missing)
    if doomed:
        return Step(BurstState.PROVISIONING, why, (*strays, *_delete(doomed, why)))
    # Without a queue of its own to go back to, a requeued job would only fail the same way again.
    origin = seen.comment is not None and bool(seen.comment.origin)
    if any(pod.finished for pod in pods):
        return Step(BurstState.RUNNING, "its tasks have ended: Slurm has yet to say so", strays)
    ended = next((pod for pod in pods if pod.ended), None)
    if ended is not None:
        return _lost_pod(seen, ended, origin=origin)
    if missing and _was(seen, BurstState.RUNNING):
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
        return Step(BurstState.PROVISIONING, "it started without pods", (*strays, *notes.aim(seen), make))
    if not all_run(pods):
        waiting = [pod for pod in pods if not pod.running]
        gated = any(pod.gated for pod in waiting)
        # Its time limit runs, but there is no other queue that it could wait in.
        late = seen.now > min(pod.placeable for pod in waiting) + site.provision_timeout_s
        if not late or (gated and not origin):
            return Step(BurstState.PROVISIONING, progress(pods), strays)
        why = f"not running after {site.provision_timeout_s:.0f} s: {progress(pods)}"
        step = _lost(seen, why, again=origin)
        return step if gated else replace(step, actions=(PauseTarget(why, image=False), *step.actions))
    return Step(
        BurstState.RUNNING,
        "",
        (*strays, *notes.say(seen, BurstState.RUNNING, notes.passed(seen.comment), keep_origin=True)),
    )


def _lost_pod(seen: Seen, pod: Pod, *, origin: bool) -> Step:
    failed = failure(pod)
    if isinstance(failed, PauseTarget):
        step = _lost(seen, failed.why, again=origin)
        return replace(step, actions=(failed, *step.actions))
    return _lost(seen, hopeless(pod), again=pod.reason not in _OWN_FAULT_REASONS)


def _lost(seen: Seen, why: str, *, again: bool) -> Step:
    """The pods stay until the job is requeued or has ended: while they are seen, this is what is decided."""
    sentence = f"{why}{_REQUEUED if again and seen.job.requeue and seen.job.batch else _KILLED}"
    step = _end(sentence, tuple(pod for pod in seen.pods if is_current(pod, seen.job)), seen.now)
    said = notes.say(seen, BurstState.LOST, sentence, keep_origin=True)
    return replace(step, actions=(*said, *step.actions))


def _end(sentence: str, pods: tuple[Pod, ...], now: float) -> Step:
    """End a job whose loss was decided: whatever is seen afterwards, what users were told is what happens."""
    if being_ended(pods, now):
        # The batch script may run in another pod than the one that goes: it is warned as well.
        alive = [pod for pod in pods if not pod.ended]
        return Step(BurstState.LOST, sentence, _delete(alive, "another pod of its job is being ended"))
    end = RequeueJob(sentence) if sentence.endswith(_REQUEUED) else KillJob(sentence)
    return Step(BurstState.LOST, sentence, (end,))


def _was(seen: Seen, state: BurstState) -> bool:
    return notes.tells(seen.comment, state, seen.job)
