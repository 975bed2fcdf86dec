"""
Whether a job bursts now: rules, what it may cost, whether waiting is worse, order of the queue, caps, room. Pure; takes
what it grants from the budget and the rooms.

Jobs are to be asked about in the queue's order: what one is granted, later ones don't have. A job that was granted pods
is not asked about again while it has them, so that a prediction that moves to and fro makes and deletes no pods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from burst_agent import shapes
from burst_agent.amounts import clock_time, duration
from burst_agent.model import BurstMode, Job
from burst_agent.names import Comment
from burst_agent.policy.budget import Budget
from burst_agent.policy.forecast import PodStarts, Start, local_start
from burst_agent.policy.money import Claim, Tariff
from burst_agent.policy.rules import RuleBook
from burst_agent.policy_file import Policy, Rule
from burst_agent.steps import Away, Decision
from burst_agent.target_file import Target


@dataclass(frozen=True, slots=True)
class Outlook:
    """
    What can be told of one job, whatever caps and room say.
    """

    rule: Rule | None
    claim: Claim
    local: Start
    #: Unix seconds: when it would run in Kubernetes, if its pod were made now.
    cloud: float
    #: What the time of a pod's start is learned from.
    cloud_basis: str
    min_gain_s: float
    #: When it bursts unless it has started, as far as can be told now; ``None``: never.
    at: float | None
    #: Why it never bursts; empty where it does.
    never: str
    #: Why it does not burst yet; empty where it may now.
    why: str
    lines: tuple[str, ...]

    @property
    def gain_s(self) -> float | None:
        """Seconds by which it starts earlier in Kubernetes; ``None``: no local start is expected."""
        return None if self.local.at is None else self.local.at - self.cloud


class Desk:
    """
    Decides on the jobs of one plan, one after the other.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        book: RuleBook,
        tariff: Tariff,
        targets: Sequence[Target],
        starts: PodStarts,
        budget: Budget,
        rooms: shapes.Rooms,
        now: float,
        away: Mapping[str, Away] | None = None,
    ) -> None:
        """
        Take what is known at one moment; ``book`` is of the same policy, ``away`` are targets that can't be asked.
        """
        self._policy = policy
        self._zone: tzinfo | None = policy.zone
        self._book = book
        self._tariff = tariff
        self._targets = targets
        self._away = away or {}
        self._starts = starts
        self._budget = budget
        self._rooms = rooms
        self._now = now
        #: By shape: when the jobs that wait for a better moment are expected to start here.
        self._waiting: defaultdict[Hashable, list[float | None]] = defaultdict(list)

    def decide(self, job: Job, comment: Comment) -> Decision:
        """Decide on one pending job, or on the tasks of one pending array record."""
        outlook = self.outlook(job, comment)
        if outlook.never:
            return Decision(reason=outlook.never, lines=outlook.lines, refused=True)
        shape = _shape(job, comment, outlook.rule)
        if outlook.why:
            self._waiting[shape].append(outlook.local.at)
            return Decision(reason=outlook.why, lines=outlook.lines)
        if any(start is None or start > outlook.cloud for start in self._waiting[shape]):
            line = "order: a job before it in the queue, of the same shape and rule, waits and would be overtaken"
            return Decision(reason="jobs of the same shape are before it in the queue", lines=(*outlook.lines, line))
        return self._placed(job, outlook)

    def outlook(self, job: Job, comment: Comment) -> Outlook:
        """Say what is known of one job before caps and room; changes nothing."""
        policy, now = self._policy, self._now
        rule, claim = self._book.first(job, now), self._tariff.claim(job, self._first())
        local = local_start(job, now)
        pod_s, basis = self._starts.expected(comment.image)
        min_gain_s = policy.min_gain if rule is None or rule.min_gain is None else rule.min_gain
        max_wait_s = policy.max_wait if rule is None or rule.max_wait is None else rule.max_wait
        lines = [f"rule: {rule.name}" if rule else "rule: none fits"]
        if self._policy.prices:
            longest = duration(self._tariff.longest_s(job))
            if comment.max_cost is not None:
                lines.append(f"cost: --k8s-burst-max-cost={comment.max_cost:.2f} {policy.currency}")
            lines.append(f"cost: up to {claim.cost:.2f} {policy.currency}, for {longest} in {claim.pods} pods")
        never = self._never(rule, claim, comment)
        since = max(job.submit_time, job.eligible_time)
        at, why = (None, never) if never else (now, "")
        if not never and comment.mode is BurstMode.NOW:
            lines.append("mode now: no waiting for a local node")
        elif not never:
            at, why = self._moment(since, local.at, now + pod_s, min_gain_s, max_wait_s, lines)
        here = clock_time(local.at, now, self._zone) if local.at is not None else "not known"
        there = clock_time(now + pod_s, now, self._zone)
        lines.append(f"start: here {here} ({local.basis}), in a pod {there} ({duration(pod_s)}, {basis})")
        why = "" if never else why
        return Outlook(rule, claim, local, now + pod_s, basis, min_gain_s, at, never, why, tuple(lines))

    def _never(self, rule: Rule | None, claim: Claim, comment: Comment) -> str:
        if rule is not None and rule.deny:
            return rule.deny
        if comment.max_cost is not None and claim.cost > comment.max_cost:
            return "may cost more than its --k8s-burst-max-cost allows"
        return ""

    def _moment(
        self, since: float, local: float | None, cloud: float, min_gain_s: float, max_wait_s: float, lines: list[str]
    ) -> tuple[float, str]:
        """Say when a job that bursts if waiting is worse does so, and why not now."""
        now, wait_s = self._now, self._policy.wait_s
        most = duration(max_wait_s)
        waited = f"waited {duration(max(now - since, 0))}"
        lines.append(f"mode auto: {waited}; at least {wait_s:.0f} s (wait_s), at most {most} (max_wait)")
        latest = since + max(max_wait_s, wait_s)
        if local is None:
            enough = True
            lines.append("gain: not known, so waiting is taken for worse")
        else:
            enough = local - cloud >= min_gain_s
            lines.append(f"gain: {duration(local - cloud)}, of at least {duration(min_gain_s)} (min_gain)")
        if now < since + wait_s:
            return (since + wait_s if enough else latest), f"waits {wait_s:.0f} s for a local node first"
        if enough or now >= latest:
            return now, ""
        return latest, "is expected to start here soon enough"

    def _placed(self, job: Job, outlook: Outlook) -> Decision:
        if not job.array_tasks:
            placement = self._grant(job, outlook.claim)
            return replace(placement, lines=(*outlook.lines, *placement.lines), gain_s=outlook.gain_s)
        tasks = []
        for task in job.array_tasks:
            placement = self._grant(job, outlook.claim)
            if not placement.shares:
                break
            tasks.append(task)
        count = f"{len(tasks)} of {len(job.array_tasks)} waiting array tasks can burst now"
        lines = (*outlook.lines, count, *placement.lines)
        return Decision(target=outlook.claim.target, tasks=tuple(tasks), reason=placement.reason, lines=lines)

    def _first(self) -> str:
        """The first target that can be asked."""
        names = [target.name for target in self._targets]
        return next((name for name in names if name not in self._away), names[0])

    def _grant(self, job: Job, least: Claim) -> Decision:
        """What a job gets may be more than it asks for: whole nodes, or more nodes than it must have."""
        if least.target in self._away:
            return Decision(reason="no target can be asked", lines=(self._away[least.target].why,))
        over = self._budget.exceeded(least)
        if over is not None:
            return over
        placement = self._rooms.place(job.request)
        if not placement.shares:
            return Decision(reason=placement.reason, lines=(placement.line,))
        claim = self._tariff.claim(
            replace(job, requested=placement.total, min_nodes=placement.total.nodes), least.target
        )
        over = self._budget.exceeded(claim)
        if over is not None:
            return over
        self._budget.grant(claim)
        for share in placement.shares:
            self._rooms.take(share.node, share.size)
        return Decision(shares=placement.shares, target=claim.target, lines=(placement.line,))


def _shape(job: Job, comment: Comment, rule: Rule | None) -> Hashable:
    """What makes two jobs alike enough that one must not overtake the other."""
    stated = (comment.mode, rule.name if rule else "", comment.max_cost)
    return (*stated, job.partition, job.request, job.gpu_type, job.time_limit_min)
