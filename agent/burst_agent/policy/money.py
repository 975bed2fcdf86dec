"""
What a job may still cost, and what has been spent.

Spent is what slurmdbd says of ended jobs of the burst partition; committed is what jobs that have pods or run there can
still use until their time limit. Both are read anew, so that a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from burst_agent.amounts import day_start, month_start
from burst_agent.model import Job, JobUsage, Tres
from burst_agent.names import parse_comment
from burst_agent.policy_file import OTHERS, Policy, Prices
from burst_agent.target_file import Target

NO_PRICES = Prices()
#: Slurm's name for GPUs as a trackable resource; with a type, it is gres/gpu:TYPE.
GPU = "gres/gpu"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What one job takes of the budget until its time limit.
    """

    #: Where; empty: not known.
    target: str
    uid: int
    account: str
    pods: int
    gpus: int
    gpu_hours: float
    cost: float
    cpus: int = 0
    memory_mib: int = 0


class Rates(NamedTuple):
    """
    What resources cost at one target.
    """

    prices: Prices
    #: Of one GPU for an hour where its type is not known: the dearest that it can be.
    any_gpu: float

    def cost(self, size: Tres, gpu_type: str, pods: int, seconds: float) -> float:
        """Give what resources cost for so long; ``size`` is over all pods."""
        gpu = gpu_price(self.prices, gpu_type) if gpu_type else self.any_gpu
        return (gpu * size.gpus + self.prices.cpu_hour * size.cpus + self.prices.pod_hour * pods) * seconds / 3600


def gpu_price(prices: Prices, gpu_type: str) -> float:
    """Give what a GPU of this type costs in an hour."""
    return prices.gpu_hour.get(gpu_type, prices.gpu_hour.get(OTHERS, 0.0))


def rates(prices: Prices, gpu_types: Collection[str] = ()) -> Rates:
    """Read prices; GPUs are of one of these types, of any where none is given."""
    return Rates(prices, max((gpu_price(prices, name) for name in gpu_types or prices.gpu_hour), default=0.0))


class Tariff:
    """
    Reads jobs as claims, at the prices of where they are: at the dearest where that is not known.
    """

    def __init__(self, policy: Policy, targets: Iterable[Target], unlimited_s: float) -> None:
        """``unlimited_s`` is how long a pod of a job without time limit may live at most."""
        self._rates = {
            target.name: (rates(policy.prices.get(target.name, NO_PRICES), target.gpu_types),) for target in targets
        }
        self._any = tuple(rates(prices) for prices in policy.prices.values())
        self._unlimited_s = unlimited_s

    def longest_s(self, job: Job) -> float:
        """Give how long a job may run at most."""
        return self._unlimited_s if job.time_limit_min is None else job.time_limit_min * 60.0

    def _cost(self, target: str, size: Tres, gpu_type: str, pods: int, seconds: float) -> float:
        known = self._rates.get(target, self._any)
        return max((one.cost(size, gpu_type, pods, seconds) for one in known), default=0.0)

    def used(self, job: Job, target: str) -> Claim:
        """Give what an ended job took at a target."""
        seconds = max(job.end_time - job.start_time, 0)
        cost = self._cost(target, job.allocated, job.gpu_type, len(job.nodes), seconds)
        return Claim(target, job.uid, job.account, 0, 0, job.allocated.gpus * seconds / 3600, cost)

    def claim(self, job: Job, target: str) -> Claim:
        """Give what a job takes at a target if it runs to its limit."""
        size = job.allocated if job.nodes else job.requested
        size = Tres(cpus=max(size.cpus, 1), memory_mib=size.memory_mib, nodes=size.nodes, gpus=size.gpus)
        pods, seconds = len(job.nodes) or max(job.min_nodes, 1), self.longest_s(job)
        return Claim(
            target=target,
            uid=job.uid,
            account=job.account,
            pods=pods,
            gpus=size.gpus,
            gpu_hours=size.gpus * seconds / 3600,
            cost=self._cost(target, size, job.gpu_type, pods, seconds),
            cpus=size.cpus,
            memory_mib=size.memory_mib,
        )

    def cost(self, usage: JobUsage, seconds: float) -> float:
        """Give what an ended job cost in so many of its seconds."""
        comment = parse_comment(usage.admin_comment)
        target = comment.target if comment else ""
        return self._cost(target, Tres(cpus=usage.cpus, gpus=usage.gpus), usage.gpu_type, usage.nodes, seconds)


@dataclass(frozen=True, slots=True)
class Books:
    """
    What was spent, as of one moment.
    """

    #: Why it is not known; empty where it is.
    unknown: str = ""
    #: Why it may have been less; empty where it was not.
    rough: str = ""
    gpu_hours_day: float = 0.0
    gpu_hours_month: float = 0.0
    #: In this month, by account.
    cost_by_account: Mapping[str, float] = field(default_factory=dict)
    #: (job id, start) of what slurmdbd told of, in this month or before.
    counted: frozenset[tuple[int, int]] = frozenset()

    @property
    def cost(self) -> float:
        """Money spent in this month."""
        return sum(self.cost_by_account.values())


def books(
    finished: Iterable[JobUsage], policy: Policy, tariff: Tariff, now: float, kept: Collection[str] = (GPU,)
) -> Books:
    """
    Sum up what ended jobs used in this day and this month; one that began before counts from their begin.

    ``kept`` names the resources that slurmdbd keeps of jobs.
    """
    day, month = day_start(now, policy.zone), month_start(now, policy.zone)
    in_day = in_month = 0.0
    costs: dict[str, float] = {}
    counted = set()
    for usage in finished:
        counted.add((usage.job_id, usage.start))
        end = usage.start + usage.elapsed_s
        if end < month:
            continue
        in_day += usage.gpus * max(end - max(usage.start, day), 0) / 3600
        seconds = max(end - max(usage.start, month), 0)
        in_month += usage.gpus * seconds / 3600
        costs[usage.account] = costs.get(usage.account, 0.0) + tariff.cost(usage, seconds)
    return Books(*_untold(policy, kept), in_day, in_month, costs, frozenset(counted))


def _untold(policy: Policy, kept: Collection[str]) -> tuple[str, str]:
    """Say why slurmdbd can't tell what GPUs of ended jobs cost, and why only roughly; empty where it can."""
    types = {name for prices in policy.prices.values() for name in prices.gpu_hour}
    if not types and not policy.caps_gpu_hours:
        return "", ""
    if not any(name == GPU or name.startswith(f"{GPU}:") for name in kept):
        return f"slurmdbd keeps no GPUs of jobs: add {GPU} to AccountingStorageTRES in slurm.conf", ""
    missing = ",".join(f"{GPU}:{name}" for name in sorted(types - {OTHERS}) if f"{GPU}:{name}" not in kept)
    if not missing:
        return "", ""
    return "", (
        "jobs that have ended count at the dearest price of a GPU, since slurmdbd does not keep which it was: add "
        f"{missing} to AccountingStorageTRES in slurm.conf"
    )
