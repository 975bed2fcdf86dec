"""
Whether a job bursts now: rules, what it may cost, whether waiting is worse, order of the queue, caps, room. Pure; takes
what it grants from the budget and the rooms.

Jobs are to be asked about in the queue's order: what one is granted, later ones don't have. A job that was granted pods
is not asked about again while it has them, so that a prediction that moves to and fro makes and deletes no pods.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import NamedTuple

from burst_agent import shapes
from burst_agent.amounts import clock_time, duration
from burst_agent.model import BurstMode, Job, Tres
from burst_agent.names import Comment
from burst_agent.notes import PASSED
from burst_agent.policy.budget import Budget
from burst_agent.policy.forecast import Start, local_start
from burst_agent.policy.money import Claim, Tariff
from burst_agent.policy.rules import RuleBook
from burst_agent.policy.where import Market, Offer, kind_of, none_of
from burst_agent.policy_file import Policy, Rule
from burst_agent.steps import Decision

_NONE = "no target takes it now"
#: A target that does not get a job, and why.
_Against = tuple[Offer, Decision]


@dataclass(frozen=True, slots=True)
class Outlook:
    """
    What can be told of one job, whatever caps and room say.
    """

    rule: Rule | None
    #: What it takes at the target that it would go to.
    claim: Claim
    local: Start
    #: Unix seconds: when it would run there, if its pod were made now.
    cloud: float
    #: What the time of a pod's start is learned from.
    cloud_basis: str
    min_gain_s: float
    #: When it bursts unless it has started, as far as can be told now; ``None``: never.
    at: float | None
    #: Why it never bursts; empty where it does.
    never: str
    #: The same without any part that varies from job to job.
    kind: str
    #: Why it does not burst yet; empty where it may now.
    why: str
    #: Targets, the one to be tried first first, those among them that can't have it now.
    offers: tuple[Offer, ...]
    #: Whether those are all that can have it at all.
    every: bool
    tell: Callable[[], tuple[str, ...]] = field(compare=False, repr=False)

    @property
    def lines(self) -> tuple[str, ...]:
        """What was looked at, with its numbers."""
        return self.tell()

    @property
    def gain_s(self) -> float | None:
        """Seconds by which it starts earlier in Kubernetes; ``None``: no local start is expected."""
        return None if self.local.at is None else self.local.at - self.cloud


class _Found(NamedTuple):
    """
    Where a job can go now.
    """

    offer: Offer
    placement: shapes.Placement
    claim: Claim
    #: Targets before it that don't get the job.
    against: list[_Against]


@dataclass(frozen=True, slots=True)
class Foretold:
    """
    What would become of a job if it were decided on now, by its outlook, caps and room.
    """

    outlook: Outlook
    #: Where it would go; ``None``: nowhere now.
    offer: Offer | None
    #: What it costs there at most; where it would go nowhere, at the dearest target.
    cost: float
    #: What caps and room have against it now; ``None``: nothing.
    held: Decision | None

    @property
    def never(self) -> str:
        """Why it never bursts; empty where it does."""
        return self.outlook.never or (self.held.reason if self.held is not None and self.held.refused else "")

    @property
    def lines(self) -> tuple[str, ...]:
        """What was looked at, with its numbers."""
        return (*self.outlook.lines, *(self.held.own if self.held is not None else ()))


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
        market: Market,
        budget: Budget,
        rooms: shapes.Rooms,
        now: float,
    ) -> None:
        """Take what is known at one moment; ``book`` is of the same policy."""
        self._policy = policy
        self._zone: tzinfo | None = policy.zone
        self._book = book
        self._tariff = tariff
        #: Where jobs may go.
        self.market = market
        self._budget = budget
        self._rooms = rooms
        self._now = now
        #: By shape: when the jobs that wait for a better moment are expected to start here.
        self._waiting: defaultdict[Hashable, list[float | None]] = defaultdict(list)

    def decide(self, job: Job, comment: Comment, avoid: frozenset[str] = frozenset()) -> Decision:
        """
        Decide on one pending job, or on the tasks of one pending array record. It goes to none of the targets to avoid.
        """
        outlook = self.outlook(job, comment)
        if outlook.never:
            return Decision(reason=outlook.never, kind=outlook.kind, tell=outlook.tell, refused=True)
        shape = _shape(job, comment, outlook.rule)
        if outlook.why:
            self._waiting[shape].append(outlook.local.at)
            return Decision(reason=outlook.why, tell=outlook.tell)
        if any(start is None or start > outlook.cloud for start in self._waiting[shape]):
            line = "order: a job before it in the queue, of the same shape and rule, waits and would be overtaken"
            return Decision(reason="jobs of the same shape are before it in the queue", own=(line,), tell=outlook.tell)
        return self._placed(job, comment, outlook, avoid)

    def foretell(self, job: Job, comment: Comment) -> Foretold:
        """Say what would become of one job now; changes nothing."""
        outlook = self.outlook(job, comment)
        if outlook.never:
            return Foretold(outlook, None, outlook.claim.cost, None)
        found = self._find(job, comment, outlook, frozenset())
        if isinstance(found, Decision):
            return Foretold(outlook, None, max(offer.cost for offer in outlook.offers), found)
        return Foretold(outlook, found.offer, found.claim.cost, None)

    def outlook(self, job: Job, comment: Comment) -> Outlook:
        """Say what is known of one job before caps and room; changes nothing."""
        policy, now = self._policy, self._now
        rule = self._book.first(job, now)
        choice = self.market.choice(job, comment, rule)
        local = local_start(job, now)
        min_gain_s = policy.min_gain if rule is None or rule.min_gain is None else rule.min_gain
        max_wait_s = policy.max_wait if rule is None or rule.max_wait is None else rule.max_wait
        since = max(job.submit_time, job.eligible_time)
        latest = since + max(max_wait_s, policy.wait_s)
        never, kind = (rule.deny, rule.deny) if rule is not None and rule.deny else (choice.never, choice.kind)
        possible, best = choice.possible, choice.best
        if comment.mode is BurstMode.AUTO and now < latest and local.at is not None:
            # A target where it would start soon enough comes before one that is preferred.
            worth = tuple(one for one in possible if local.at - now - one.start_s >= min_gain_s)
            if worth and worth != possible:
                possible = worth
                best = next((one for one in possible if not one.held), possible[0])
        claim = best.claim(job)
        at, why = (None, never) if never else (now, "")
        if not never and comment.mode is BurstMode.AUTO:
            at, why = self._moment(since, local.at, now + best.start_s, min_gain_s, latest)
        tell = functools.partial(
            self._tell, job, comment, rule, choice.offers, best, claim, local, since, min_gain_s, max_wait_s, never
        )
        why = "" if never else why
        every = len(possible) == len(choice.possible)
        cloud = now + best.start_s
        return Outlook(rule, claim, local, cloud, best.basis, min_gain_s, at, never, kind, why, possible, every, tell)

    def _moment(
        self, since: float, local: float | None, cloud: float, min_gain_s: float, latest: float
    ) -> tuple[float, str]:
        """Say when a job that bursts if waiting is worse does so, and why not now."""
        now, wait_s = self._now, self._policy.wait_s
        enough = local is None or local - cloud >= min_gain_s
        if now < since + wait_s:
            return (since + wait_s if enough else latest), f"waits {wait_s:.0f} s for a local node first"
        if enough or now >= latest:
            return now, ""
        return latest, "is expected to start here soon enough"

    def _tell(
        self, job: Job, comment: Comment, rule: Rule | None, offers: Sequence[Offer], best: Offer, claim: Claim,
        local: Start, since: float, min_gain_s: float, max_wait_s: float, never: str,
    ) -> tuple[str, ...]:  # fmt: skip
        """Write what was looked at: for those who ask, and few do."""
        policy, now = self._policy, self._now
        lines = [f"rule: {rule.name}" if rule else "rule: none fits"]
        if policy.prices:
            longest = duration(self._tariff.longest_s(job))
            if comment.max_cost is not None:
                lines.append(f"cost: --k8s-burst-max-cost={comment.max_cost:.2f} {policy.currency}")
            lines.append(f"cost: up to {claim.cost:.2f} {policy.currency}, for {longest} in {claim.pods} pods")
        if not never and comment.mode is BurstMode.NOW:
            lines.append("mode now: no waiting for a local node")
        elif not never:
            waited, most = f"waited {duration(max(now - since, 0))}", duration(max_wait_s)
            lines.append(f"mode auto: {waited}; at least {policy.wait_s:.0f} s (wait_s), at most {most} (max_wait)")
            gain = "not known, so waiting is taken for worse"
            if local.at is not None:
                gain = f"{duration(local.at - now - best.start_s)}, of at least {duration(min_gain_s)} (min_gain)"
            lines.append(f"gain: {gain}")
        lines += [self.market.line(one, claim, policy.currency if policy.prices else "") for one in offers]
        here = clock_time(local.at, now, self._zone) if local.at is not None else "not known"
        there = clock_time(now + best.start_s, now, self._zone)
        lines.append(f"start: here {here} ({local.basis}), in a pod {there} ({duration(best.start_s)}, {best.basis})")
        return tuple(lines)

    def _placed(self, job: Job, comment: Comment, outlook: Outlook, avoid: frozenset[str]) -> Decision:
        if not job.array_tasks:
            placement = self._grant(job, comment, outlook, avoid)
            return Decision(
                shares=placement.shares,
                target=placement.target,
                reason=placement.reason,
                kind=placement.kind,
                passed=placement.passed,
                own=placement.own,
                tell=outlook.tell,
                refused=placement.refused,
                gain_s=outlook.gain_s,
            )
        tasks, target = [], ""
        for task in job.array_tasks:
            placement = self._grant(job, comment, outlook, avoid)
            if not placement.shares:
                break
            tasks.append(task)
            target = target or placement.target
        count = f"{len(tasks)} of {len(job.array_tasks)} waiting array tasks can burst now"
        own = (count, *placement.own)
        return Decision(
            target=target,
            tasks=tuple(tasks),
            reason=placement.reason,
            kind=placement.kind,
            own=own,
            tell=outlook.tell,
            refused=placement.refused,
        )

    def _grant(self, job: Job, comment: Comment, outlook: Outlook, avoid: frozenset[str]) -> Decision:
        """Give a job its pods, where it can have them."""
        found = self._find(job, comment, outlook, avoid)
        if isinstance(found, Decision):
            return found
        name, shares = found.offer.target.name, found.placement.shares
        self._budget.grant(found.claim)
        self.market.trying(name, job, comment, [share.size for share in shares])
        for share in shares:
            self._rooms.take(share.node, share.size)
        passed = "; ".join(f"{PASSED}{one.target.name}: {decision.reason}" for one, decision in found.against)
        own = (*_lines(found.against), found.placement.line)
        return Decision(shares=shares, target=name, passed=passed, own=own)

    def _find(self, job: Job, comment: Comment, outlook: Outlook, avoid: frozenset[str]) -> _Found | Decision:
        """
        Say where a job can go now, or what is against that; changes nothing.

        What a job gets may be more than it asks for: whole nodes, or more nodes than it must have.
        """
        if over := self._budget.exceeded_anywhere(outlook.claim):
            return over
        against: list[_Against] = []
        placement: shapes.Placement | None = None
        for offer in outlook.offers:
            if not self._is_open(offer, outlook.claim, against):
                continue
            if placement is None:
                placement = self._rooms.place(job.request)
                if not placement.shares:
                    return Decision(reason=placement.reason, own=(placement.line,), refused=placement.never)
                sizes = [share.size for share in placement.shares]
                placed = as_placed(job, placement.total)
            name = offer.target.name
            claim = self._tariff.claim(placed, name)
            why = self.market.against(offer, job, comment, sizes)
            if not why and name in avoid:
                why = f"its pods at target {name} are still being deleted"
            if why:
                against.append((offer, Decision(reason=why, kind=_NONE, own=(f"target {name}: {why}",))))
            elif over := self._budget.exceeded(claim):
                # Other nodes than these may suit it.
                against.append((offer, replace(over, refused=False)))
            else:
                return _Found(offer, placement, claim, against)
        return _held(against, every=outlook.every)

    def _is_open(self, offer: Offer, claim: Claim, against: list[_Against]) -> bool:
        """Whether nothing is against a target, whatever the job's pods will be; else that is noted."""
        why = Decision(reason=offer.held, kind=_NONE) if offer.held else self._budget.exceeded_at(_at(claim, offer))
        if why is not None:
            against.append((offer, why))
        return why is None


def as_placed(job: Job, total: Tres) -> Job:
    """Give the job as if it asked for what its pods are, in all: that is what it costs."""
    if (job.requested, job.min_nodes) == (total, total.nodes):
        return job  # a copy of a job takes as long as all else
    return replace(job, requested=total, min_nodes=total.nodes)


def _at(claim: Claim, offer: Offer) -> Claim:
    """The same claim at another target."""
    if claim.target == offer.target.name:
        return claim
    return Claim(offer.target.name, claim.uid, claim.account, claim.pods, claim.gpus, claim.gpu_hours, offer.cost)


def _lines(against: Sequence[_Against]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for _, decision in against for line in decision.own))


def _held(against: Sequence[_Against], *, every: bool) -> Decision:
    """Sum up why no target can have a job now; refused where each of all there are never can."""
    reason = none_of([(offer.target.name, decision.reason) for offer, decision in against])
    return Decision(
        reason=reason,
        kind=kind_of((decision.kind or decision.reason for _, decision in against), several=_NONE),
        own=_lines(against),
        refused=every and all(decision.refused for _, decision in against),
    )


def _shape(job: Job, comment: Comment, rule: Rule | None) -> Hashable:
    """What makes two jobs alike enough that one must not overtake the other."""
    stated = (comment.mode, rule.name if rule else "", comment.max_cost)
    return (*stated, job.partition, job.request, job.gpu_type, job.time_limit_min)
