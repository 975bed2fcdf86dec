"""
What may be granted: pods and GPUs at once, GPU-hours in a day and a month, money in a month. It counts what it grants:
one plan keeps all caps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from burst_agent.model import Idle, Pod, Tres
from burst_agent.policy.money import Books, Claim
from burst_agent.policy_file import Policy
from burst_agent.steps import Decision
from burst_agent.target_file import Target

#: What fits exactly fits: sums of cents are not exact.
_ROUNDING = 1e-6


class Cap(NamedTuple):
    """
    One cap, and how much of it is used. Many are made for each job.
    """

    what: str
    #: What has been used and is over; 0 where only the present counts.
    spent: float
    #: What is used, or can still be used by jobs that were granted it.
    committed: float
    cap: float
    setting: str
    #: Empty for a plain number.
    unit: str = ""
    #: Whether it comes and goes by itself; otherwise the site's settings alone move it.
    passing: bool = False

    def amount(self, value: float) -> str:
        """Write an amount of what this cap is about."""
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.0f}"


class Budget:
    """
    The caps, less what is spent, what is committed, and what is granted while one plan is made.
    """

    def __init__(
        self,
        policy: Policy,
        pods: Iterable[Pod],
        commitments: Iterable[Claim],
        books: Books,
        unseen: Iterable[Claim] = (),
        targets: Iterable[Target] = (),
        idle: Mapping[str, Idle] | None = None,
    ) -> None:
        """
        Count pods that exist, those being deleted too: they hold their node until they are gone.

        ``commitments`` are the claims of jobs that have pods or are in the burst partition; of them, hours and money
        count. ``unseen`` are the claims of jobs whose pods can't be seen now: of them, pods and GPUs count. ``books``
        say what was spent. ``targets`` may have caps of their own; ``idle`` is what those are to share that have such a
        cap.
        """
        self._policy = policy
        #: What was spent; the simulator replaces it as time goes by.
        self.books = books
        self._all_pods = self._all_gpus = 0
        self._pods: defaultdict[int, int] = defaultdict(int)
        self._gpus: defaultdict[int, int] = defaultdict(int)
        self._targets = {one.name: one for one in targets if _is_capped(one)}
        self._idle = idle or {}
        self._size_at: defaultdict[str, Tres] = defaultdict(Tres)
        self._pods_at: defaultdict[str, int] = defaultdict(int)
        self._gpus_at: defaultdict[str, int] = defaultdict(int)
        self._gpu_hours = 0.0
        self._costs: defaultdict[str, float] = defaultdict(float)
        for pod in pods:
            self._hold(pod.target, pod.user_uid, 1, pod.gpus)
            self._fill(pod.target, pod.size or Tres(), 1)
        for claim in unseen:
            self._hold(claim.target, claim.uid, claim.pods, claim.gpus)
            self._fill(claim.target, _size(claim), 1)
        for claim in commitments:
            self._commit(claim)

    def exceeded(self, claim: Claim) -> Decision | None:
        """Say which cap a claim would exceed; ``None``: none."""
        return self.exceeded_anywhere(claim) or self.exceeded_at(claim)

    def exceeded_anywhere(self, claim: Claim) -> Decision | None:
        """The same, of the caps that don't depend on the target."""
        policy = self._policy
        if self.books.unknown and ((policy.caps_gpu_hours and claim.gpus) or policy.caps_money):
            return Decision(reason="what was spent is not known", own=(f"budget: {self.books.unknown}",))
        return _first(self._asked_anywhere(claim))

    def exceeded_at(self, claim: Claim) -> Decision | None:
        """The same, of those that do: the target's own, and money."""
        target, idle = self._targets.get(claim.target), self._idle.get(claim.target)
        if target is not None and target.idle_share < 1 and (idle is None or idle.unknown):
            why = idle.unknown if idle is not None else "it has not been looked at yet"
            return Decision(reason=f"what is idle at target {claim.target} is not known", own=(f"idle_share: {why}",))
        return _first(self._asked_at(claim))

    def grant(self, claim: Claim) -> None:
        """Count a job that gets its pods."""
        self._hold(claim.target, claim.uid, claim.pods, claim.gpus)
        self._fill(claim.target, _size(claim), 1)
        self._commit(claim)

    def release(self, claim: Claim) -> None:
        """Take a grant back: what it really used belongs into the books."""
        self._hold(claim.target, claim.uid, -claim.pods, -claim.gpus)
        self._fill(claim.target, _size(claim), -1)
        self._gpu_hours -= claim.gpu_hours
        self._costs[claim.account] -= claim.cost

    def caps(self) -> list[Cap]:
        """List all caps that are not about one user, with what is used of each."""
        nobody = Claim(target="", uid=-1, account="", pods=0, gpus=0, gpu_hours=0, cost=0)
        found = [cap for cap, _ in self._asked(nobody) if "this user" not in cap.what]
        found += [cap for target in self._targets for cap, _ in self._target(target, nobody)]
        known = set(self._costs) | set(self.books.cost_by_account)
        known |= set(self._policy.max_cost_per_account_per_month) - {"*"}
        return [*found, *(cap for account in sorted(known) for cap in self._account(account))]

    def caps_on(self, uid: int, accounts: Iterable[str]) -> list[Cap]:
        """List the caps on one user and on these accounts, with what is used of each."""
        user = Claim(target="", uid=uid, account="", pods=0, gpus=0, gpu_hours=0, cost=0)
        found = [cap for cap, _ in self._asked(user) if "this user" in cap.what]
        return [*found, *(cap for account in sorted(accounts) for cap in self._account(account))]

    def spending(self) -> list[tuple[str, float, float]]:
        """List accounts with what they spent this month and what their jobs can still cost."""
        names = sorted(set(self._costs) | set(self.books.cost_by_account))
        return [(name, self.books.cost_by_account.get(name, 0.0), self._costs.get(name, 0.0)) for name in names]

    def gpu_hours(self) -> tuple[float, float]:
        """Give GPU-hours spent this month, and committed."""
        return self.books.gpu_hours_month, self._gpu_hours

    def _hold(self, target: str, uid: int, pods: int, gpus: int) -> None:
        self._all_pods += pods
        self._all_gpus += gpus
        self._pods[uid] += pods
        self._gpus[uid] += gpus
        self._pods_at[target] += pods
        self._gpus_at[target] += gpus

    def _fill(self, target: str, size: Tres, times: int) -> None:
        has = self._size_at[target]
        self._size_at[target] = Tres(
            cpus=has.cpus + times * size.cpus,
            memory_mib=has.memory_mib + times * size.memory_mib,
            gpus=has.gpus + times * size.gpus,
        )

    def held(self, target: str) -> tuple[int, int]:
        """Give pods and GPUs at a target."""
        return self._pods_at[target], self._gpus_at[target]

    def _commit(self, claim: Claim) -> None:
        self._gpu_hours += claim.gpu_hours
        self._costs[claim.account] += claim.cost

    def _asked(self, claim: Claim) -> Iterator[tuple[Cap, float]]:
        yield from self._asked_anywhere(claim)
        yield from self._asked_at(claim)

    def _asked_anywhere(self, claim: Claim) -> Iterator[tuple[Cap, float]]:
        policy, books = self._policy, self.books
        pods, gpus = self._pods, self._gpus
        yield Cap("pods of all users", 0, self._all_pods, policy.max_pods, "max_pods"), claim.pods
        yield Cap("GPUs of all users", 0, self._all_gpus, policy.max_gpus, "max_gpus"), claim.gpus
        mine = pods.get(claim.uid, 0)
        yield Cap("pods of this user", 0, mine, policy.max_pods_per_user, "max_pods_per_user"), claim.pods
        mine = gpus.get(claim.uid, 0)
        yield Cap("GPUs of this user", 0, mine, policy.max_gpus_per_user, "max_gpus_per_user"), claim.gpus
        for what, spent, cap, setting in (
            ("GPU-hours in a day", books.gpu_hours_day, policy.max_gpu_hours_per_day, "max_gpu_hours_per_day"),
            ("GPU-hours in a month", books.gpu_hours_month, policy.max_gpu_hours_per_month, "max_gpu_hours_per_month"),
        ):
            if cap is not None:
                yield Cap(what, spent, self._gpu_hours, cap, setting, "GPU-h"), claim.gpu_hours

    def _asked_at(self, claim: Claim) -> Iterator[tuple[Cap, float]]:
        policy, books = self._policy, self.books
        if claim.target in self._targets:
            yield from self._target(claim.target, claim)
        if policy.max_cost_per_month is not None:
            committed = sum(self._costs.values())
            yield (
                Cap("money of a month", books.cost, committed, policy.max_cost_per_month, "max_cost_per_month",
                    policy.currency),
                claim.cost,
            )  # fmt: skip
        for money in self._account(claim.account) if claim.account else ():
            yield money, claim.cost

    def _target(self, name: str, claim: Claim) -> Iterator[tuple[Cap, float]]:
        target = self._targets[name]
        setting = f"targets, {name}: max_"
        if target.max_pods is not None:
            pods = Cap(f"pods at target {name}", 0, self._pods_at[name], target.max_pods, f"{setting}pods")
            yield pods, claim.pods
        if target.max_gpus is not None:
            gpus = Cap(f"GPUs at target {name}", 0, self._gpus_at[name], target.max_gpus, f"{setting}gpus")
            yield gpus, claim.gpus
        idle = self._idle.get(name)
        if target.idle_share < 1 and idle is not None:
            mine, share = self._size_at[name], target.idle_share
            for what, unit, used, free, more in (
                ("GPUs", "", mine.gpus, idle.size.gpus, claim.gpus),
                ("CPUs", "", mine.cpus, idle.size.cpus, claim.cpus),
                ("memory", "MiB", mine.memory_mib, idle.size.memory_mib, claim.memory_mib),
            ):
                setting = f"targets, {name}: idle_share"
                yield Cap(f"idle {what} at target {name}", 0, used, share * free, setting, unit, passing=True), more

    def _account(self, account: str) -> Iterator[Cap]:
        allowed = self._policy.account_cap(account)
        if allowed is not None:
            spent, committed = self.books.cost_by_account.get(account, 0.0), self._costs.get(account, 0.0)
            yield Cap(
                f"money of account {account}", spent, committed, allowed, "max_cost_per_account_per_month",
                self._policy.currency,
            )  # fmt: skip


def _is_capped(target: Target) -> bool:
    return target.max_pods is not None or target.max_gpus is not None or target.idle_share < 1


def _size(claim: Claim) -> Tres:
    return Tres(cpus=claim.cpus, memory_mib=claim.memory_mib, gpus=claim.gpus)


def _first(asked: Iterable[tuple[Cap, float]]) -> Decision | None:
    """Say which cap is the first to be exceeded; refused where it always will be."""
    for cap, more in asked:
        if more and cap.spent + cap.committed + more > cap.cap + _ROUNDING:
            used = f"{cap.amount(cap.committed)} in use"
            if cap.unit:
                used = f"{cap.amount(cap.spent)} spent, {cap.amount(cap.committed)} committed"
            line = f"{cap.what}: {used}, {cap.amount(more)} more asked, {cap.amount(cap.cap)} allowed"
            never = more > cap.cap + _ROUNDING
            return Decision(
                reason=f"asks for more {cap.what} than allowed" if never else f"cap on {cap.what} is reached",
                own=(f"{line} ({cap.setting})",),
                refused=never and not cap.passing,
            )
    return None
