"""
Replays a site's history through a policy, on a virtual clock: what would have burst, what it would have cost, and how
long jobs would have waited. Pure.

The same :class:`burst_agent.policy.Desk` decides as in the agent, and chooses among the same targets. Slurm's
expectation of a job's local start is the start that it had; a job that bursts runs as long as it ran. What is not
replayed: the local room that a burst job leaves to others (so waits are not shortened by it), room on virtual nodes
(caps alone limit), what else runs at a target (``idle_share``, quotas, Kueue), failures, and shared folders. What sacct
does not tell can't be replayed either: that a job asked for nodes by name (``--nodelist``) and so would be refused,
that it may not be requeued or has no batch script and so keeps off spot targets, how many tasks of its array may run at
once, and when a job that did burst would have started here: it counts as started here when its pod started it. The
clock goes by minutes, or other slots, and the order of jobs of one shape is kept among those that are asked about in
the same one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from burst_agent import eligibility
from burst_agent.amounts import SLOT_S, day_start, month_start, next_day_start
from burst_agent.model import BurstMode, Tres, VirtualNode
from burst_agent.names import Comment, parse_comment
from burst_agent.policy import Books, Budget, Claim, Desk, PodStarts, Terms, as_placed
from burst_agent.policy.forecast import quantile
from burst_agent.sacct import Ran
from burst_agent.shapes import Placement, Rooms
from burst_agent.steps import Decision

_NOBODY = -1
_LARGE = Tres(cpus=1 << 40, memory_mib=1 << 40, nodes=1, gpus=1 << 40)


@dataclass(slots=True)
class Sums:
    """
    What some jobs did.
    """

    jobs: int = 0
    burst: int = 0
    waited_s: float = 0.0
    gpu_hours: float = 0.0
    cost: float = 0.0

    @property
    def mean_wait_s(self) -> float:
        """Mean wait of all jobs."""
        return self.waited_s / self.jobs if self.jobs else 0.0


@dataclass(slots=True)
class Outcome:
    """
    What came of a history under one policy.
    """

    total: Sums = field(default_factory=Sums)
    by_account: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    #: By day of submission, as ISO date.
    by_day: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    #: Jobs that burst, by where they did.
    by_target: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    waits_s: list[float] = field(default_factory=list)
    #: By line of the history: when a job started, and whether in a pod.
    starts: dict[int, tuple[float, bool]] = field(default_factory=dict)
    #: Jobs that did not burst, by what was said of them last.
    reasons: Counter[str] = field(default_factory=Counter)

    def wait_s(self, share: float) -> float:
        """Give a quantile of the waits."""
        return quantile(self.waits_s, share) if self.waits_s else 0.0

    def add(
        self, ran: Ran, day: str, *, start: float, target: str = "", gpu_hours: float = 0.0, cost: float = 0.0
    ) -> None:
        """Count one job; without a target it ran here."""
        waited = max(start - ran.job.eligible_time, 0.0)
        self.waits_s.append(waited)
        self.starts[ran.job.job_id] = (start, bool(target))
        everywhere = (self.total, self.by_account[ran.job.account], self.by_day[day])
        for sums in (*everywhere, self.by_target[target]) if target else everywhere:
            sums.jobs += 1
            sums.burst += bool(target)
            sums.waited_s += waited
            sums.gpu_hours += gpu_hours
            sums.cost += cost


def unchanged(history: Iterable[Ran]) -> Outcome:
    """Give the history as it was."""
    outcome = Outcome()
    for ran in history:
        outcome.add(ran, _day(ran), start=ran.start)
    return outcome


#: Target, image as the user wrote it, and seconds until the pod ran.
Sample = tuple[str, str, float]


def pod_starts(history: Iterable[Ran]) -> list[Sample]:
    """Give what the agent noted with jobs that burst: how long their pods took, the oldest first."""
    comments = (parse_comment(ran.job.admin_comment) for ran in sorted(history, key=lambda ran: ran.start))
    return [(one.target, one.image, float(one.pod_start_s)) for one in comments if one and one.pod_start_s is not None]


def replay(
    history: Iterable[Ran],
    terms: Terms,
    assumed: BurstMode,
    slot_s: int = SLOT_S,
    starts: Sequence[Sample] = (),
) -> Outcome:
    """
    Replay a history. ``assumed`` is the mode of jobs that neither their user nor a rule flagged; never: they stay.
    ``slot_s`` is how often the clock ticks; ``starts`` is how long pods took, the oldest first.
    """
    return _Replay(terms, assumed, slot_s, starts).run(history)


def _day(ran: Ran) -> str:
    return datetime.fromtimestamp(ran.job.submit_time).date().isoformat()  # noqa: DTZ006 - as sacct printed it


#: Whose a job is and what it asks for: where one is held by a cap, so are those like it.
_Key = tuple[int, str, str, Tres, str, int | None, Comment]


#: What a job asks for: resources, the type of its GPUs, minutes.
_Size = tuple[Tres, str, int | None]


@dataclass(slots=True)
class _Waiting:
    """One job that may burst, while it waits."""

    ran: Ran
    comment: Comment
    reason: str = ""


@dataclass(frozen=True, slots=True, order=True)
class _Running:
    """One job in pods; the first to end is the least."""

    end: float
    job_id: int
    start: float = field(compare=False)
    #: Until its time limit, …
    claim: Claim = field(compare=False)
    #: … which is so many seconds.
    longest_s: float = field(compare=False)

    def share(self, since: float = 0.0) -> float:
        """Say how much of its claim it really used, from some moment on."""
        return max(self.end - max(self.start, since), 0) / self.longest_s


class _Replay:
    """The state of one replay; events are slots of some seconds."""

    def __init__(self, terms: Terms, assumed: BurstMode, slot_s: int, starts: Sequence[Sample]) -> None:
        self._slot_s = slot_s
        self._terms = terms
        self._assumed = assumed
        self._outcome = Outcome()
        #: What else runs there is not known, so no share of it is left.
        targets = [target.model_copy(update={"idle_share": 1.0}) for target in terms.targets]
        self._budget = Budget(terms.policy, (), (), Books(), targets=targets)
        self._rooms = Rooms([])
        self._market = terms.market(PodStarts(terms.policy.pod_start, starts), now=0)
        #: Unix seconds in which this day and this month began, and the next day will.
        self._day = self._month = self._next_day = 0.0
        #: (slot, order, job): when a job is to be asked about.
        self._asks: list[tuple[int, tuple[int, int, int], _Waiting]] = []
        #: A heap.
        self._running: list[_Running] = []
        #: By what jobs ask for: what they would take at each target, were they nobody's; …
        self._sizes: dict[_Size, tuple[Claim, ...]] = {}
        #: … and those that no target takes until a pod ends, with the reason.
        self._full: dict[_Size, str] = {}
        #: Jobs held by caps or by order, in the queue's order, by whose they are and what they ask for.
        self._held: defaultdict[_Key, list[tuple[tuple[int, int, int], _Waiting]]] = defaultdict(list)

    def run(self, history: Iterable[Ran]) -> Outcome:
        known = tuple(history)
        widest = max((ran.job.min_nodes for ran in known), default=1)
        names = (f"k8s-{number}" for number in range(widest))
        self._rooms = Rooms([VirtualNode(name, _LARGE, Tres(), usable=True, state="IDLE") for name in names])
        for ran in known:
            self._arrive(ran)
        while self._asks or self._held:
            self._slot(min(self._moments()))
        return self._outcome

    def _moments(self) -> Iterator[int]:
        if self._asks:
            yield self._asks[0][0]
        if self._held:
            yield int(self._next_day // self._slot_s) + 1
            if self._running:
                yield int(self._running[0].end // self._slot_s) + 1

    def _arrive(self, ran: Ran) -> None:
        job, policy = ran.job, self._terms.policy
        comment = self._terms.comment(job, job.submit_time)
        if comment is None and self._assumed is not BurstMode.NEVER:
            comment = Comment(self._assumed)
        why = eligibility.unwanted(comment) or self._terms.refusal(job, job.submit_time)
        waiting = _Waiting(ran, comment or Comment(BurstMode.NEVER), why)
        if why:
            self._local(waiting)
            return
        first = job.eligible_time + (0 if waiting.comment.mode is BurstMode.NOW else policy.wait_s)
        self._ask(first, waiting)

    def _ask(self, moment: float, waiting: _Waiting) -> None:
        if moment >= waiting.ran.start:
            self._local(waiting)
            return
        job = waiting.ran.job
        heapq.heappush(
            self._asks, (-int(-moment // self._slot_s), (-job.priority, job.submit_time, job.job_id), waiting)
        )

    def _local(self, waiting: _Waiting) -> None:
        self._outcome.reasons[waiting.reason or "it started here first"] += 1
        self._outcome.add(waiting.ran, _day(waiting.ran), start=waiting.ran.start)

    def _slot(self, slot: int) -> None:
        now = float(slot * self._slot_s)
        freed = self._settle(now)
        self._full.clear()
        desk = Desk(
            self._terms.policy, book=self._terms.book, tariff=self._terms.tariff, market=self._market,
            budget=self._budget, rooms=self._rooms, now=now,
        )  # fmt: skip
        keys = self._free(freed, now) if freed else set()
        while self._asks and self._asks[0][0] <= slot:
            _, order, waiting = heapq.heappop(self._asks)
            key = self._key(waiting)
            heapq.heappush(self._held[key], (order, waiting))
            keys.add(key)
        # In the queue's order over all keys; of one key, until one is held.
        heads = [(self._held[key][0][0], key) for key in keys]
        heapq.heapify(heads)
        while heads:
            _, key = heapq.heappop(heads)
            order, waiting = heapq.heappop(self._held[key])
            held = self._is_held(waiting, now) or not self._decided(desk, waiting, now)
            if held:
                heapq.heappush(self._held[key], (order, waiting))
            if not self._held[key]:
                del self._held[key]
            elif not held:
                heapq.heappush(heads, (self._held[key][0][0], key))

    def _free(self, freed: set[int], now: float) -> set[_Key]:
        """Name what may go now that pods have ended; what started here meanwhile is done with."""
        found = set()
        for key in list(self._held):
            queue = self._held[key]
            while queue and queue[0][1].ran.start <= now:
                self._local(heapq.heappop(queue)[1])
            if not queue:
                del self._held[key]
            elif key[0] in freed or not queue[0][1].reason.endswith("of this user is reached"):
                found.add(key)
        return found

    def _is_held(self, waiting: _Waiting, now: float) -> bool:
        """
        Whether a cap on all users is against a job at each target again, before the desk is asked at length: that it is
        expected to start here soon is found when the cap is free.
        """
        job = waiting.ran.job
        if not waiting.reason or waiting.ran.start <= now:
            return False
        size = (job.requested, job.gpu_type, job.time_limit_min)
        if size not in self._sizes:
            tariff, targets = self._terms.tariff, self._terms.targets
            at_each = (tariff.claim(job, target.name) for target in targets)
            self._sizes[size] = tuple(replace(claim, uid=_NOBODY, account="") for claim in at_each)
        if size not in self._full and (over := self._exceeded(self._sizes[size])):
            self._full[size] = over
        # By the reason it is asked about again: the cap on its user that held it before may be free by now.
        waiting.reason = self._full.get(size, waiting.reason)
        return size in self._full

    def _exceeded(self, at_each: Sequence[Claim]) -> str:
        """Say which cap is against a claim wherever it is made; empty where there is room."""
        everywhere = self._budget.exceeded_anywhere(at_each[0])
        found = [everywhere] if everywhere else [self._budget.exceeded_at(claim) for claim in at_each]
        return found[0].reason if found[0] and all(found) else ""

    def _decided(self, desk: Desk, waiting: _Waiting, now: float) -> bool:
        """Ask about one job; ``False``: it is held, by a cap or by those before it."""
        job, comment = waiting.ran.job, waiting.comment
        if waiting.ran.start <= now:
            self._local(waiting)
            return True
        decision = desk.decide(job, comment)
        waiting.reason = decision.reason
        if decision.nodes:
            self._burst(waiting, decision, now)
        elif decision.refused:
            self._local(waiting)
        elif (outlook := desk.outlook(job, comment)).why and outlook.at is not None:
            self._ask(max(outlook.at, now + self._slot_s), waiting)
        else:
            return False
        return True

    def _key(self, waiting: _Waiting) -> _Key:
        job = waiting.ran.job
        return (job.uid, job.account, job.partition, job.requested, job.gpu_type, job.time_limit_min, waiting.comment)

    def _burst(self, waiting: _Waiting, decision: Decision, now: float) -> None:
        ran, job = waiting.ran, waiting.ran.job
        offers = self._market.choice(job, waiting.comment, self._terms.book.first(job, now)).offers
        offer = next(offer for offer in offers if offer.target.name == decision.target)
        start = now + offer.start_s
        claim = self._terms.tariff.claim(as_placed(job, Placement(decision.shares).total), decision.target)
        if ran.start <= start:
            waiting.reason = "a local node came free first"
            self._budget.release(claim)
            self._full.clear()
            self._local(waiting)
            return
        running = _Running(start + ran.end - ran.start, job.job_id, start, claim, self._terms.tariff.longest_s(job))
        heapq.heappush(self._running, running)
        share = running.share()
        self._outcome.add(
            ran,
            _day(ran),
            start=start,
            target=claim.target,
            gpu_hours=claim.gpu_hours * share,
            cost=claim.cost * share,
        )

    def _settle(self, now: float) -> set[int]:
        """
        Begin new days and months; book what has ended, of it what was in this day and this month, as the agent does.
        Give the users whose pods have ended (0: a new day).
        """
        zone, books, freed = self._terms.policy.zone, self._budget.books, set[int]()
        if now >= self._next_day:
            self._day, self._next_day = day_start(now, zone), next_day_start(now, zone)
            books = replace(books, gpu_hours_day=0.0)
            freed.add(0)
            if (month := month_start(now, zone)) != self._month:
                self._month, books = month, replace(books, gpu_hours_month=0.0, cost_by_account={})
        while self._running and self._running[0].end <= now:
            one = heapq.heappop(self._running)
            self._budget.release(one.claim)
            freed.add(one.claim.uid)
            in_day, in_month, account = one.share(self._day), one.share(self._month), one.claim.account
            cost = books.cost_by_account.get(account, 0.0) + one.claim.cost * in_month
            books = replace(
                books,
                gpu_hours_day=books.gpu_hours_day + one.claim.gpu_hours * in_day,
                gpu_hours_month=books.gpu_hours_month + one.claim.gpu_hours * in_month,
                cost_by_account={**books.cost_by_account, account: cost},
            )
        self._budget.books = books
        return freed
