"""
What may be granted: pods and GPUs at once, GPU-hours in a day and a month, money in a month. It counts what it grants:
one plan keeps all caps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from burst_agent.model import Pod
from burst_agent.policy.money import Books, Claim
from burst_agent.policy_file import Policy
from burst_agent.steps import Decision


@dataclass(frozen=True, slots=True)
class Cap:
    """
    One cap, and how much of it is used.
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
    ) -> None:
        """
        Count pods that exist, those being deleted too: they hold their node until they are gone.

        ``commitments`` are the claims of jobs that have pods or are in the burst partition; of them, hours and money
        count. ``unseen`` are the claims of jobs whose pods can't be seen now: of them, pods and GPUs count. ``books``
        say what was spent.
        """
        self._policy = policy
        #: What was spent; the simulator replaces it as time goes by.
        self.books = books
        self._pods: defaultdict[int, int] = defaultdict(int)
        self._gpus: defaultdict[int, int] = defaultdict(int)
        self._gpu_hours = 0.0
        self._costs: defaultdict[str, float] = defaultdict(float)
        for pod in pods:
            self._pods[pod.user_uid] += 1
            self._gpus[pod.user_uid] += pod.gpus
        for claim in unseen:
            self._pods[claim.uid] += claim.pods
            self._gpus[claim.uid] += claim.gpus
        for claim in commitments:
            self._commit(claim)

    def exceeded(self, claim: Claim) -> Decision | None:
        """Say which cap a claim would exceed; ``None``: none."""
        policy = self._policy
        if self.books.unknown and ((policy.caps_gpu_hours and claim.gpus) or policy.caps_money):
            return Decision(reason="what was spent is not known", lines=(f"budget: {self.books.unknown}",))
        for cap, more in self._asked(claim):
            if more and cap.spent + cap.committed + more > cap.cap:
                used = f"{cap.amount(cap.committed)} in use"
                if cap.unit:
                    used = f"{cap.amount(cap.spent)} spent, {cap.amount(cap.committed)} committed"
                line = f"{cap.what}: {used}, {cap.amount(more)} more asked, {cap.amount(cap.cap)} allowed"
                never = more > cap.cap
                return Decision(
                    reason=f"asks for more {cap.what} than allowed" if never else f"cap on {cap.what} is reached",
                    lines=(f"{line} ({cap.setting})",),
                )
        return None

    def grant(self, claim: Claim) -> None:
        """Count a job that gets its pods."""
        self._pods[claim.uid] += claim.pods
        self._gpus[claim.uid] += claim.gpus
        self._commit(claim)

    def release(self, claim: Claim) -> None:
        """Take a grant back: what it really used belongs into the books."""
        self._pods[claim.uid] -= claim.pods
        self._gpus[claim.uid] -= claim.gpus
        self._gpu_hours -= claim.gpu_hours
        self._costs[claim.account] -= claim.cost

    def caps(self) -> list[Cap]:
        """List all caps that are not about one user, with what is used of each."""
        nobody = Claim(target="", uid=-1, account="", pods=0, gpus=0, gpu_hours=0, cost=0)
        found = [cap for cap, _ in self._asked(nobody) if "this user" not in cap.what]
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

    def _commit(self, claim: Claim) -> None:
        self._gpu_hours += claim.gpu_hours
        self._costs[claim.account] += claim.cost

    def _asked(self, claim: Claim) -> Iterator[tuple[Cap, float]]:
        policy, books = self._policy, self.books
        pods, gpus = self._pods, self._gpus
        yield Cap("pods of all users", 0, sum(pods.values()), policy.max_pods, "max_pods"), claim.pods
        yield Cap("GPUs of all users", 0, sum(gpus.values()), policy.max_gpus, "max_gpus"), claim.gpus
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
        if policy.max_cost_per_month is not None:
            committed = sum(self._costs.values())
            yield (
                Cap("money of a month", books.cost, committed, policy.max_cost_per_month, "max_cost_per_month",
                    policy.currency),
                claim.cost,
            )  # fmt: skip
        for money in self._account(claim.account) if claim.account else ():
            yield money, claim.cost

    def _account(self, account: str) -> Iterator[Cap]:
        allowed = self._policy.account_cap(account)
        if allowed is not None:
            spent, committed = self.books.cost_by_account.get(account, 0.0), self._costs.get(account, 0.0)
            yield Cap(
                f"money of account {account}", spent, committed, allowed, "max_cost_per_account_per_month",
                self._policy.currency,
            )  # fmt: skip
