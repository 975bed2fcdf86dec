"""
One look at the world, and everything that is to be done about it. Pure.

Jobs are taken in the queue's order (priority, then age), as slurmctld's scheduler takes them, so that caps and room go
to whom they would go there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from burst_agent import eligibility, lifecycle, names, notes, podstate, policy, shapes
from burst_agent.model import BurstState, Idle, Job, JobState, Pod, Share, Tres, VirtualNode
from burst_agent.steps import Away, Backoff, PodShape, Seen, Site, Step, WriteComment

#: admin_comments that only inform, in one round.
NOTICES_PER_ROUND = 50


@dataclass(frozen=True, slots=True)
class World:
    """
    What slurmctld and Kubernetes say at one moment, with the hints that the agent keeps.
    """

    jobs: Sequence[Job]
    pods: Sequence[Pod]
    nodes: Sequence[VirtualNode]
    now: float
    #: By job id; past ones may be among them.
    backoffs: Mapping[int, Backoff] = field(default_factory=dict)
    #: By job id: since when it pends in the burst partition.
    moved_since: Mapping[int, float] = field(default_factory=dict)
    past: policy.Past = field(default_factory=policy.Past)
    #: Runs that are over and that neither the jobs nor the past tell of, as jobs that have ended.
    runs: Sequence[Job] = ()
    #: Targets that can't be asked for their pods, by name.
    away: Mapping[str, Away] = field(default_factory=dict)
    #: Pauses of targets; past ones, which one job may try, are among them.
    pauses: Mapping[tuple[str, PodShape], policy.Pause] = field(default_factory=dict)
    #: What is idle at targets that are to be left a share of it, by name.
    idle: Mapping[str, Idle] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One job: what is seen of it, and what follows.
    """

    seen: Seen
    step: Step

    @property
    def kind(self) -> str | None:
        """What policy says of it, or why it can't burst, without any part that varies; ``None``: nobody asked."""
        seen = self.seen
        if seen.decision is not None:
            return seen.decision.kind or seen.decision.reason
        if self.step.state is not BurstState.REFUSED or eligibility.unwanted(seen.comment):
            return None
        by_rule = seen.refusal not in ("", eligibility.refusal(seen.job))
        return seen.refusal if by_rule else eligibility.refusal_kind(seen.job)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that was looked at, one line each, the conclusion last."""
        seen, step = self.seen, self.step
        lines = [
            f"Slurm: {seen.job.state} in {seen.job.partition}" + (f" ({seen.job.reason})" if seen.job.reason else "")
        ]
        if seen.comment is not None:
            by = f" by rule {seen.comment.flagged_by}" if seen.comment.flagged_by else ""
            lines.append(f"flagged {seen.comment.mode}{by}, image {seen.comment.image or 'the default'}")
        if seen.job.state is JobState.PENDING and step.state is not BurstState.MOVED:
            lines.extend(why for why in (eligibility.refusal(seen.job), eligibility.hold(seen)) if why)
        if seen.decision is not None:
            lines.extend(seen.decision.lines)
        if seen.pods or seen.away:
            passed = notes.passed(seen.comment)
            lines.append(f"at target {seen.target}" + (f" ({passed})" if passed else ""))
        if seen.backoff is not None:
            lines.append(f"next try in {max(seen.backoff.until - seen.now, 0):.0f} s")
        lines.extend(f"pod {pod.name}: {pod.phase} {pod.reason}".rstrip() for pod in seen.pods)
        return (*lines, f"{step.state}: {step.reason}" if step.reason else str(step.state))


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What to do: for each job, and about pods that belong to no job.
    """

    entries: tuple[Entry, ...]
    orphans: tuple[Pod, ...]
    #: Decides as this plan did, with what it left of caps and room.
    desk: policy.Desk = field(compare=False)
    budget: policy.Budget = field(compare=False)
    starts: policy.PodStarts = field(compare=False)
    market: policy.Market = field(compare=False)


def make(world: World, site: Site, terms: policy.Terms) -> Plan:
    """
    Plan one round. Two rounds on the same world give the same plan.

    Of the steps that only inform, the first ones in the queue's order are taken: a long queue must not hold up a move.
    """
    pods: dict[int, list[Pod]] = {}
    for pod in world.pods:
        pods.setdefault(pod.job_id, []).append(pod)
    flagged = [
        (job, comment, tuple(sorted(pods.get(job.job_id, []), key=_pod_order)))
        for job in world.jobs
        if (comment := terms.comment(job, world.now)) or job.partition == site.partition or job.job_id in pods
        or names.parse_comment(job.admin_comment)
    ]  # fmt: skip
    ours = [job for job, _, _ in flagged]
    starts = terms.pod_starts(ours, world.past)
    market = terms.market(starts, now=world.now, away=world.away, paused=world.pauses)
    turns = _turns(ours, world.now)
    virtual = frozenset(node.name for node in world.nodes)
    seen = [
        _compared(_seen(job, comment, there, world, site, market, turns.get(job.job_id)), virtual)
        for job, comment, there in flagged
    ]
    for one in seen:
        if waiting := [pod for pod in podstate.mine(one) if not pod.running]:
            market.trying(one.target, one.job, one.comment, [pod.size for pod in waiting if pod.size])
    homes = {one.job.job_id: one.target for one in seen if one.pods or one.away}
    commitments = terms.commitments([*ours, *world.runs], site.partition, homes, world.past)
    unseen = [terms.tariff.claim(one.job, one.target) for one in seen if one.away]
    budget = policy.Budget(terms.policy, world.pods, commitments, world.past.books, unseen, terms.targets, world.idle)
    desk = policy.Desk(
        terms.policy,
        book=terms.book,
        tariff=terms.tariff,
        market=market,
        budget=budget,
        rooms=_rooms(world, seen),
        now=world.now,
    )
    entries: list[Entry] = []
    notices = 0
    for one in sorted(seen, key=_turn):
        if lifecycle.asks_policy(one, site) and one.comment is not None and not _patient(one, world, site):
            job = one.job if one.turns is None else replace(one.job, array_tasks=one.job.array_tasks[: one.turns])
            decided = replace(one, decision=desk.decide(job, one.comment, _leaving(one)))
        else:
            pends = one.job.state is JobState.PENDING
            decided = replace(one, refusal=terms.refusal(one.job, world.now)) if pends else one
        step = lifecycle.apply(decided, site)
        if step.actions and all(isinstance(action, WriteComment) and action.notice for action in step.actions):
            notices += 1
            step = step if notices <= NOTICES_PER_ROUND else replace(step, actions=())
        entries.append(Entry(decided, step))
    known = {job.job_id for job in ours}
    orphans = tuple(pod for pod in world.pods if pod.job_id not in known and not pod.terminating)
    return Plan(tuple(entries), orphans, desk, budget, starts, market)


def _turn(seen: Seen) -> tuple[bool, int, int, int, float]:
    """The queue's order, but first jobs that were promised pods: a task that was split off must not lose its place."""
    job = seen.job
    promised = seen.comment is not None and seen.comment.state == BurstState.PROVISIONING
    # The record that stands for the rest of an array comes after the tasks that were split off it.
    task = math.inf if job.array_task_id is None else job.array_task_id
    return (not promised, -job.priority, job.submit_time, job.array_job_id or job.job_id, task)


def _turns(jobs: Sequence[Job], now: float) -> Mapping[int, int]:
    """
    Say how many tasks of a pending record may start now, by job id, where its array has a limit.

    As slurmctld does: those that run count, and then the lowest indices come first. A task that started out of turn
    would have the others wait for it, and one that waits for its turn needs no pod.
    """
    limits = {job.array_job_id: job.array_limit for job in jobs if job.array_limit}
    pending = [job for job in jobs if job.array_job_id in limits and job.state is JobState.PENDING]
    free = dict(limits)
    for job in jobs:
        if job.array_job_id in limits and job.state in (JobState.RUNNING, JobState.SUSPENDED):
            free[job.array_job_id] -= 1
    turns: dict[int, int] = {}
    for job in sorted(pending, key=_first_task):
        if job.held or job.dependency or job.eligible_time > now:
            continue
        turns[job.job_id] = min(max(free[job.array_job_id], 0), max(len(job.array_tasks), 1))
        free[job.array_job_id] -= turns[job.job_id]
    return turns


def _first_task(job: Job) -> int:
    return min(job.array_tasks, default=job.array_task_id or 0)


def _pod_order(pod: Pod) -> tuple[str, str]:
    return pod.name, pod.target


def _seen(
    job: Job,
    comment: names.Comment | None,
    pods: tuple[Pod, ...],
    world: World,
    site: Site,
    market: policy.Market,
    turns: int | None,
) -> Seen:
    backoff = world.backoffs.get(job.job_id)
    target, away = _home(job, comment, pods, world, site, market)
    return Seen(
        job=job,
        comment=comment,
        pods=pods,
        now=world.now,
        backoff=backoff if backoff is not None and world.now < backoff.until else None,
        moved_since=world.moved_since.get(job.job_id),
        target=target,
        away=away,
        turns=turns,
    )


def _home(
    job: Job, comment: names.Comment | None, pods: Sequence[Pod], world: World, site: Site, market: policy.Market
) -> tuple[str, str]:
    """
    Say where the pods of a job are or belong, and why that can't be seen now; empty where there is nothing to say.

    admin_comment names the target before pods are made; only jobs that nobody flagged have none.
    """
    there = sorted(pod.target for pod in pods if podstate.is_current(pod, job))
    said = comment.target if comment is not None else ""
    target = said or next(iter(there), "")
    runs = job.partition == site.partition and not job.state.ended
    if runs and job.state is not JobState.PENDING and not there and not _belongs(job, comment):
        # It started without pods: wherever some can be made.
        hidden = "" if comment is not None else next((away.why for away in world.away.values()), "")
        return market.first(job, comment, [shapes.share(job, node).size for node in job.nodes]), hidden
    provisions = comment is not None and comment.state == BurstState.PROVISIONING and job.state is JobState.PENDING
    if not target or not (runs or provisions):
        return target, ""
    if target not in site.targets:
        return target, f"target {target} is not in the settings"
    away = world.away.get(target)
    return target, away.why if away else ""


def _compared(seen: Seen, virtual: frozenset[str]) -> Seen:
    """Add what of a pending job's request goes together with its pods, and with the names of the virtual nodes."""
    required = seen.job.required_nodes
    # The agent's moves write them one by one.
    pinned = bool(required) and virtual.issuperset(required.split(","))
    misfit = _misfit(seen)
    return replace(seen, pinned=pinned, misfit=misfit) if pinned or misfit else seen


def _misfit(seen: Seen) -> str:
    """Say why pods that are there are not those that policy would agree to now: users may change a job that pends."""
    job, pods = seen.job, podstate.mine(seen)
    if job.state is not JobState.PENDING or not pods:
        return ""
    shares = tuple(Share(pod.node, pod.size) for pod in pods if pod.size)
    if len(shares) == len(pods) and not shapes.holds(shares, job.request):
        return "it asks for more, or for other nodes, than its pods were made for: policy is asked anew"
    if any(pod.terms and pod.terms != names.terms(job) for pod in pods):
        return "its account, QOS, partition or type of GPU has changed since its pods were made: policy is asked anew"
    agreed_min = min(math.inf if pod.limit_min is None else pod.limit_min for pod in pods)
    if (math.inf if job.time_limit_min is None else job.time_limit_min) > agreed_min:
        return "its time limit is longer than when its pods were made: policy is asked anew"
    return ""


def _belongs(job: Job, comment: names.Comment | None) -> bool:
    """Whether pods were made for this very incarnation at the target that admin_comment names."""
    if comment is None or not comment.target:
        return False
    return comment.state == BurstState.PROVISIONING or comment.restart == job.restart_count


def _leaving(seen: Seen) -> frozenset[str]:
    """Name the targets where pods of this very incarnation are still being deleted: new ones would have their names."""
    return frozenset(pod.target for pod in seen.pods if podstate.is_current(pod, seen.job))


def _patient(seen: Seen, world: World, site: Site) -> bool:
    """A target that is away for a moment keeps the jobs that wait for their pods there."""
    away = world.away.get(seen.target)
    return bool(seen.away) and away is not None and world.now < away.since + site.start_timeout_s


def _rooms(world: World, seen: Sequence[Seen]) -> shapes.Rooms:
    """What pods promise to jobs that slurmctld has not started yet is no room, though slurmctld doesn't know."""
    nodes = [
        node if names.valid_node(node.name) else replace(node, usable=False, state="no name for a pod")
        for node in world.nodes
    ]
    rooms = shapes.Rooms(nodes)
    for one in seen:
        if one.job.state is JobState.PENDING:
            for pod in one.pods:
                if podstate.is_current(pod, one.job):
                    rooms.take(pod.node, pod.size or Tres(cpus=1))
    return rooms
