"""
An agent between a Slurm and a Kubernetes, for scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from burst_agent import names
from burst_agent.actor import Actor
from burst_agent.attach import Attacher
from burst_agent.clusters import Clusters
from burst_agent.history import History
from burst_agent.metrics import Metrics
from burst_agent.model import Accounts, Group, JobUsage, User, VirtualNode
from burst_agent.reconcile import Reconciler
from burst_agent.settings import Settings

from .fake_kube import FakeKube
from .fake_slurm import FakeSlurm
from .fakes import TEMPLATE, VirtualClock, make_node, make_settings


class FakeUsers:
    """
    A directory in which everybody is called after their uid.
    """

    async def user(self, uid: int) -> User:
        return User(f"user{uid}", uid, uid, "", f"/home/user{uid}", "/bin/bash", (Group(f"user{uid}", uid),))


class FakeAccounting:
    """
    A slurmdbd with these ended jobs.
    """

    def __init__(self) -> None:
        self.jobs: list[JobUsage] = []
        #: By user, the default one first.
        self.may_charge: dict[str, list[str]] = {}
        self.asked_for: list[str] = []
        self.kept: Sequence[str] = ("cpu", "mem", "gres/gpu")

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        return [job for job in self.jobs if job.start + job.elapsed_s > since][:limit]

    async def kept_tres(self) -> Sequence[str]:
        return self.kept

    async def accounts(self, user: str) -> Accounts:
        self.asked_for.append(user)
        names = self.may_charge.get(user, [])
        return Accounts(frozenset(names), next(iter(names), ""))

    async def close(self) -> None:
        pass


@dataclass
class House:
    """
    An agent between a Slurm and a Kubernetes.
    """

    slurm: FakeSlurm
    kube: FakeKube
    clock: VirtualClock
    settings: Settings = field(default_factory=make_settings)
    #: Further targets, by name.
    others: dict[str, FakeKube] = field(default_factory=dict)
    accounting: FakeAccounting = field(default_factory=FakeAccounting)
    history: History = field(init=False)
    clusters: Clusters = field(init=False)
    loop: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """kill -9 and start again: nothing survives but Slurm and Kubernetes."""
        self.clusters = Clusters(
            {self.kube.target: self.kube, **self.others}, self.clock, patience_s=0.05, first_patience_s=0.2
        )
        actor = Actor(
            slurm=self.slurm, clusters=self.clusters, users=FakeUsers(), settings=self.settings, template=TEMPLATE
        )
        self.history = History(self.accounting, self.clock, partition=self.settings.slurm.partition)
        self.loop = Reconciler(
            slurm=self.slurm,
            clusters=self.clusters,
            history=self.history,
            actor=actor,
            clock=self.clock,
            settings=self.settings,
            metrics=Metrics(),
        )

    def attacher(self) -> Attacher:
        """Who answers gatewayd, beside the present loop."""
        return Attacher(
            slurm=self.slurm,
            clusters=self.clusters,
            clock=self.clock,
            cluster=self.settings.slurm.cluster,
            site=lambda: self.loop.site,
            wake=self.loop.wake,
        )

    async def settle(self) -> None:
        """Rounds until one does nothing."""
        for _ in range(20):
            if not await self.loop.tick():
                return
        msg = "the agent does not come to rest"
        raise AssertionError(msg)

    async def quiet(self) -> bool:
        """Whether one more round asks nothing of anybody."""
        before = len(self.slurm.calls), len(self.kube.calls)
        await self.loop.tick()
        return before == (len(self.slurm.calls), len(self.kube.calls))

    def state(self, job_id: int) -> str:
        """The state that admin_comment shows."""
        comment = names.parse_comment(self.slurm.jobs[job_id].admin_comment)
        return comment.state if comment else ""


def make_house(
    slurm: Callable[..., FakeSlurm] = FakeSlurm,
    kube: Callable[[VirtualClock], FakeKube] = FakeKube,
    more: str = "",
    nodes: Sequence[VirtualNode] | None = None,
) -> House:
    """A house with two virtual nodes."""
    clock = VirtualClock()
    return House(
        slurm(*(nodes if nodes is not None else (make_node("k8s-1"), make_node("k8s-2")))),
        kube(clock),
        clock,
        make_settings(more),
    )
