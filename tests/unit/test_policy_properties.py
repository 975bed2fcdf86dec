"""
What holds whatever comes, in whatever order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from burst_agent import plan
from burst_agent.hints import Hints
from burst_agent.model import OVERDUE_S, BurstState, Job, JobState, JobUsage, Pod, Tres
from burst_agent.plan import Plan, World
from burst_agent.policy import Past
from burst_agent.reconcile import site, terms
from burst_agent.settings import Settings
from burst_agent.steps import MakePods
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from .fakes import make_job, make_node, make_pod, make_settings

HOUR = 3600
AT_ONCE = """
max_pods = 4
max_gpus = 5
max_pods_per_user = 3
max_gpus_per_user = 4
time_zone = "UTC"
"""
#: One at a time, so that no cap holds what another one lets through; and all of them.
OVER_TIME = (
    "max_gpu_hours_per_day = 9",
    "max_gpu_hours_per_month = 9",
    "max_cost_per_month = 16",
    "max_cost_per_account_per_month = { physics = 7, '*' = 9 }",
)
PRICES = """
[policy.prices.default]
gpu_hour = { '*' = 1 }
pod_hour = 1
"""
CAPPED = tuple(make_settings(f"{AT_ONCE}\n{caps}\n{PRICES}") for caps in (*OVER_TIME, "\n".join(OVER_TIME)))
#: Noon: hours of one test don't come to the next day.
NOON = 43_200


class AnyOrderOfEvents(RuleBasedStateMachine):
    """
    Jobs come, get their pods, run, end before their limit, are requeued, are forgotten; slurmdbd tells of them at any
    time.
    """

    capped: ClassVar[Settings]

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, Job] = {}
        self.last = 0
        self.pods: dict[int, Pod] = {}
        self.known: list[JobUsage] = []
        self.used: list[JobUsage] = []
        self.now = float(NOON)
        self.terms = terms(self.capped)
        self.hints = Hints()

    @initialize()
    def slurmdbd_answers(self) -> None:
        self.learn()

    @rule(
        uid=st.integers(1, 3),
        account=st.sampled_from(["physics", "chem"]),
        gpus=st.integers(0, 3),
        limit=st.integers(1, 180),
        priority=st.integers(1, 5),
    )
    def submit(self, uid: int, account: str, gpus: int, limit: int, priority: int) -> None:
        # slurmctld gives no id twice.
        self.last += 1
        number = self.last
        self.jobs[number] = make_job(
            number, uid=uid, account=account, priority=priority, time_limit_min=limit, submit_time=int(self.now),
            requested=Tres(cpus=1, nodes=1, gpus=gpus),
        )  # fmt: skip

    @rule(account=st.sampled_from(["physics", "chem"]))
    def rush(self, account: str) -> None:
        for uid in (1, 2, 3, 3):
            self.submit(uid, account, gpus=2, limit=180, priority=1)
        self.round()
        self.round()

    @rule()
    def round(self) -> None:
        for entry in self.plan().entries:
            for action in entry.step.actions:
                if isinstance(action, MakePods):
                    job = entry.seen.job
                    self.pods[job.job_id] = make_pod(job, action.nodes[0], gpus=job.requested.gpus, created=self.now)

    @rule(seconds=st.integers(1, 1200))
    def start_some(self, seconds: int) -> None:
        self.now = min(self.now + seconds, NOON * 1.9)
        for number in self.pods:
            if self.jobs[number].state is JobState.PENDING:
                self.jobs[number] = replace(
                    self.jobs[number], state=JobState.RUNNING, partition="k8s-burst", start_time=int(self.now),
                    allocated=self.jobs[number].requested, nodes=("k8s-1",),
                )  # fmt: skip
        self.look()

    @rule(share=st.floats(0.1, 1), which=st.integers(0, 5))
    def end_one(self, share: float, which: int) -> None:
        if job := self.stop(which, share):
            self.jobs[job.job_id] = job

    @rule(share=st.floats(0.1, 1), which=st.integers(0, 5))
    def requeue_one(self, share: float, which: int) -> None:
        """Its pods are gone, and it is back in its own queue."""
        if job := self.stop(which, share):
            self.jobs[job.job_id] = replace(
                job, state=JobState.PENDING, partition="gpu", start_time=0, end_time=0, allocated=Tres(), nodes=(),
                restart_count=job.restart_count + 1,
            )  # fmt: skip

    def stop(self, which: int, share: float) -> Job | None:
        """End a run after some share of its limit."""
        running = [job for job in self.jobs.values() if job.state is JobState.RUNNING]
        if not running:
            return None
        job = running[which % len(running)]
        elapsed = int((job.time_limit_min or 0) * 60 * share)
        del self.pods[job.job_id]
        self.used.append(
            JobUsage(
                job.job_id, "u", job.account, "COMPLETED", elapsed, job.requested.gpus, start=job.start_time, cpus=1
            )
        )
        self.now = max(self.now, job.start_time + elapsed)
        return replace(job, state=JobState.COMPLETED, end_time=job.start_time + elapsed)

    @rule()
    def learn(self) -> None:
        self.known = list(self.used)
        self.past: Past = self.terms.past(self.known, self.now)

    @rule(account=st.sampled_from(["physics", "chem"]))
    def spend(self, account: str) -> None:
        """What fits runs to its limit, slurmdbd alone knows of it, and as much is asked for again."""
        self.rush(account)
        self.start_some(1)
        while any(job.state is JobState.RUNNING for job in self.jobs.values()):
            self.end_one(1.0, 0)
        self.learn()
        self.slurmctld_forgets()
        self.rush(account)

    @rule()
    def slurmctld_forgets(self) -> None:
        known = {usage.job_id for usage in self.known}
        self.jobs = {number: job for number, job in self.jobs.items() if not job.state.ended or number not in known}

    def look(self) -> None:
        self.hints.note(list(self.jobs.values()), "k8s-burst", self.now, self.past.books.counted)

    def plan(self) -> Plan:
        self.look()
        world = World(
            list(self.jobs.values()), list(self.pods.values()), [make_node(), make_node("k8s-2")], self.now,
            past=self.past, runs=self.hints.runs,
        )  # fmt: skip
        made = plan.make(world, site(self.capped), self.terms)
        assert made == plan.make(world, site(self.capped), self.terms)
        return made

    @invariant()
    def caps_are_kept(self) -> None:
        pods = [self.jobs[number] for number in self.pods]
        assert len(pods) <= 4
        assert sum(job.requested.gpus for job in pods) <= 5
        for uid in {job.uid for job in pods}:
            mine = [job for job in pods if job.uid == uid]
            assert len(mine) <= 3
            assert sum(job.requested.gpus for job in mine) <= 4
        spent = [(usage.account, usage.elapsed_s / HOUR, usage.gpus) for usage in self.used]
        bound = [(job.account, (job.time_limit_min or 0) / 60, job.requested.gpus) for job in pods]
        policy = self.capped.policy
        if policy.caps_gpu_hours:
            assert sum(hours * gpus for _, hours, gpus in spent + bound) <= 9 + 1e-6
        if policy.max_cost_per_month is not None:
            assert sum(hours * (gpus + 1) for _, hours, gpus in spent + bound) <= 16 + 1e-6
        for account, cap in (("physics", 7), ("chem", 9)) if policy.max_cost_per_account_per_month else ():
            costs = [hours * (gpus + 1) for name, hours, gpus in spent + bound if name == account]
            assert sum(costs) <= cap + 1e-6


@pytest.mark.parametrize("capped", CAPPED, ids=[*(caps.partition(" ")[0] for caps in OVER_TIME), "all"])
def test_any_order_of_events(capped: Settings) -> None:
    """No cap is exceeded, by what ran nor by what still may."""
    machine = type("Capped", (AnyOrderOfEvents,), {"capped": capped})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=15))


@pytest.mark.parametrize("capped", CAPPED, ids=[*(caps.partition(" ")[0] for caps in OVER_TIME), "all"])
def test_what_was_spent_is_gone(capped: Settings) -> None:
    """The one order of events that tells whether what slurmdbd alone knows counts, each time."""
    machine = type("Capped", (AnyOrderOfEvents,), {"capped": capped})()
    machine.slurmdbd_answers()
    machine.spend("chem")
    assert machine.used, "nothing was granted: the caps are too low for this test"
    machine.caps_are_kept()


AUTO = make_settings("min_gain = '5 min'\npod_start = '1 min'")
QUEUE = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 400), st.integers(-500, 2000), st.sampled_from([30, 60])), max_size=12
)


@given(QUEUE)
def test_the_queue_is_not_overtaken(queue: list[tuple[int, int, int, int]]) -> None:
    """No job gets pods while one of its shape before it waits for a start that is later than the pod's."""
    now = 10_000.0
    jobs = [
        make_job(
            number, priority=priority, submit_time=int(now) - waited, eligible_time=int(now) - waited,
            start_time=int(now) + expected, time_limit_min=limit, admin_comment="k8s-burst=auto",
        )
        for number, (priority, waited, expected, limit) in enumerate(queue, 1)
    ]  # fmt: skip
    world = World(jobs, [], [make_node(f"k8s-{number}") for number in range(12)], now)
    entries = plan.make(world, site(AUTO), terms(AUTO)).entries
    for place, later in enumerate(entries):
        if later.step.state is not BurstState.PROVISIONING:
            continue
        for before in entries[:place]:
            alike = before.seen.job.time_limit_min == later.seen.job.time_limit_min
            waits = (
                before.step.state is BurstState.WAITING and before.step.reason != "cap on pods of this user is reached"
            )
            starts_later = not now - OVERDUE_S < before.seen.job.start_time <= now + 60
            assert not (alike and waits and starts_later)


@given(st.lists(st.integers(-600, 3000), min_size=1, max_size=20))
def test_no_flapping(expectations: list[int]) -> None:
    """Once pods are made, no prediction takes them back; before, a job goes at most once."""
    job = make_job(submit_time=0, eligible_time=0, admin_comment="k8s-burst=auto")
    pods: list[Pod] = []
    made = 0
    for look, expected in enumerate(expectations):
        now = 1000.0 + look
        seen = replace(job, start_time=int(now) + expected)
        world = World([seen], pods, [make_node()], now)
        (entry,) = plan.make(world, site(AUTO), terms(AUTO)).entries
        names = [type(action).__name__ for action in entry.step.actions]
        assert "DeletePods" not in names
        if "MakePods" in names:
            made += 1
            pods = [make_pod(seen, running=False, created=now)]
    assert made <= 1
