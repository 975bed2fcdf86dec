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
from burst_agent.names import parse_comment
from burst_agent.plan import Plan, World
from burst_agent.policy import Past
from burst_agent.reconcile import site, terms
from burst_agent.settings import Settings
from burst_agent.steps import MakePods, WriteComment
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from .fakes import make_job, make_node, make_pod, make_settings

HOUR, DAY = 3600, 86_400
AT_ONCE = """
max_pods = 4
max_gpus = 5
max_pods_per_user = 3
max_gpus_per_user = 4
time_zone = "UTC"
"""
GPU_HOURS, MONEY, PHYSICS, OTHERS = 9, 30, 13, 20
#: One at a time, so that no cap holds what another one lets through; and all of them.
OVER_TIME = (
    f"max_gpu_hours_per_day = {GPU_HOURS}",
    f"max_gpu_hours_per_month = {GPU_HOURS}",
    f"max_cost_per_month = {MONEY}",
    f"max_cost_per_account_per_month = {{ physics = {PHYSICS}, '*' = {OTHERS} }}",
)
#: What an hour costs: a pod, and a GPU of each type.
POD_HOUR = {"east": 1, "west": 2}
GPU_HOUR = {"east": {"a100": 1, "h100": 3}, "west": {"a100": 2, "h100": 1}}
PRICES = "".join(
    f"[policy.prices.{name}]\npod_hour = {POD_HOUR[name]}\n"
    f"gpu_hour = {{ h100 = {GPU_HOUR[name]['h100']}, '*' = {GPU_HOUR[name]['a100']} }}\n"
    for name in POD_HOUR
)
TARGETS = "[[targets]]\nname = 'east'\npreference = 1\nmax_pods = 2\n[[targets]]\nname = 'west'\n"
CAPPED = tuple(make_settings(f"{AT_ONCE}\n{caps}\n{PRICES}{TARGETS}") for caps in (*OVER_TIME, "\n".join(OVER_TIME)))
#: Noon of the first day of a month.
NOON = DAY // 2


class AnyOrderOfEvents(RuleBasedStateMachine):
    """
    Jobs come, get their pods at one of two targets, run on one of two types of GPU, end before their limit, are
    requeued, are forgotten, from one day to the next; slurmdbd tells of them at any time, within half a day.
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
        gpu_type=st.sampled_from(["", "a100", "h100"]),
        limit=st.integers(1, 180),
        priority=st.integers(1, 5),
    )
    def submit(self, uid: int, account: str, gpus: int, gpu_type: str, limit: int, priority: int) -> None:
        # slurmctld gives no id twice.
        self.last += 1
        number = self.last
        self.jobs[number] = make_job(
            number, uid=uid, account=account, priority=priority, time_limit_min=limit, submit_time=int(self.now),
            requested=Tres(cpus=1, nodes=1, gpus=gpus), gpu_type=gpu_type if gpus else "",
        )  # fmt: skip

    @rule(account=st.sampled_from(["physics", "chem"]), gpu_type=st.sampled_from(["", "a100", "h100"]))
    def rush(self, account: str, gpu_type: str) -> None:
        for uid in (1, 2, 3, 3):
            self.submit(uid, account, gpus=2, gpu_type=gpu_type, limit=180, priority=1)
        self.round()
        self.round()

    @rule()
    def round(self) -> None:
        for entry in self.plan().entries:
            for action in entry.step.actions:
                job = self.jobs[entry.seen.job.job_id]
                if isinstance(action, WriteComment):
                    self.jobs[job.job_id] = replace(job, admin_comment=action.text)
                elif isinstance(action, MakePods):
                    self.pods[job.job_id] = make_pod(
                        job, action.nodes[0], gpus=job.requested.gpus, created=self.now, target=action.target
                    )

    @rule(seconds=st.integers(1, 20 * HOUR), lands_on=st.sampled_from(["a100", "h100"]))
    def start_some(self, seconds: int, lands_on: str) -> None:
        """What runs has ended at its limit by then."""
        self.now += seconds
        while any(self.limit(job) <= self.now for job in self.running()):
            late = [self.limit(job) <= self.now for job in self.running()]
            self.end_one(1.0, late.index(True))
        for number in self.pods:
            job = self.jobs[number]
            if job.state is JobState.PENDING:
                self.jobs[number] = replace(
                    job, state=JobState.RUNNING, partition="k8s-burst", start_time=int(self.now),
                    allocated=job.requested, nodes=("k8s-1",), gpu_type=job.gpu_type or lands_on,
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
                restart_count=job.restart_count + 1, admin_comment="k8s-burst=now state=waiting",
            )  # fmt: skip

    def stop(self, which: int, share: float) -> Job | None:
        """End a run after some share of its limit, or now."""
        running = self.running()
        if not running:
            return None
        job = running[which % len(running)]
        elapsed = max(int((job.time_limit_min or 0) * 60 * share), min(int(self.now), self.limit(job)) - job.start_time)
        del self.pods[job.job_id]
        self.used.append(
            JobUsage(
                job.job_id, "u", job.account, "COMPLETED", elapsed, job.requested.gpus, start=job.start_time, cpus=1,
                gpu_type=job.gpu_type, admin_comment=job.admin_comment,
            )
        )  # fmt: skip
        self.now = max(self.now, job.start_time + elapsed)
        return replace(job, state=JobState.COMPLETED, end_time=job.start_time + elapsed)

    def running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state is JobState.RUNNING]

    def limit(self, job: Job) -> int:
        return job.start_time + (job.time_limit_min or 0) * 60

    @rule()
    def learn(self) -> None:
        self.learned = self.now
        self.known = list(self.used)
        self.past: Past = self.terms.past(self.known, self.now)

    @rule(account=st.sampled_from(["physics", "chem"]))
    def spend(self, account: str) -> None:
        """What fits runs to its limit, slurmdbd alone knows of it, and as much is asked for again."""
        self.rush(account, "")
        self.start_some(1, "h100")
        while self.running():
            self.end_one(1.0, 0)
        self.learn()
        self.slurmctld_forgets()
        self.rush(account, "")

    @rule(account=st.sampled_from(["physics", "chem"]))
    def lose(self, account: str) -> None:
        """What fits is lost at its limit's end and requeued, slurmdbd has yet to hear of it, and all is asked for anew."""
        self.rush(account, "")
        self.start_some(1, "a100")
        while self.running():
            self.requeue_one(1.0, 0)
        self.rush(account, "")

    @rule()
    def slurmctld_forgets(self) -> None:
        known = {usage.job_id for usage in self.known}
        self.jobs = {number: job for number, job in self.jobs.items() if not job.state.ended or number not in known}

    def look(self) -> None:
        if self.now > self.learned + DAY / 2:
            self.learn()
        self.hints.note(list(self.jobs.values()), "k8s-burst", self.now, self.past.books.counted)

    def plan(self) -> Plan:
        self.look()
        world = World(
            list(self.jobs.values()), list(self.pods.values()), [make_node(), make_node("k8s-2")], self.now,
            past=self.past, runs=self.hints.runs,
        )  # fmt: skip
        return plan.make(world, site(self.capped), self.terms)

    @invariant()
    def caps_are_kept(self) -> None:
        pods = [self.jobs[number] for number in self.pods]
        assert len(pods) <= 4
        assert sum(pod.target == "east" for pod in self.pods.values()) <= 2
        assert sum(job.requested.gpus for job in pods) <= 5
        for uid in {job.uid for job in pods}:
            mine = [job for job in pods if job.uid == uid]
            assert len(mine) <= 3
            assert sum(job.requested.gpus for job in mine) <= 4
        policy = self.capped.policy
        midnight = self.now // DAY * DAY
        if policy.max_gpu_hours_per_day is not None:
            assert self.gpu_hours(midnight) <= GPU_HOURS + 1e-6
        if policy.max_gpu_hours_per_month is not None:
            assert self.gpu_hours(0) <= GPU_HOURS + 1e-6
        costs = self.costs()
        if policy.max_cost_per_month is not None:
            assert sum(costs.values()) <= MONEY + 1e-6
        if policy.max_cost_per_account_per_month:
            assert costs["physics"] <= PHYSICS + 1e-6
            assert costs["chem"] <= OTHERS + 1e-6

    def gpu_hours(self, since: float) -> float:
        """Used since then, or what jobs with pods may use."""
        ended = [one.gpus * max(one.start + one.elapsed_s - max(one.start, since), 0) / HOUR for one in self.used]
        bound = [
            self.jobs[number].requested.gpus * (self.jobs[number].time_limit_min or 0) / 60 for number in self.pods
        ]
        return sum(ended) + sum(bound)

    def costs(self) -> dict[str, float]:
        """By account: spent, or what jobs with pods may spend, on whatever type of GPU they land."""
        found = {"physics": 0.0, "chem": 0.0}
        for one in self.used:
            comment = parse_comment(one.admin_comment)
            assert comment is not None
            hour = POD_HOUR[comment.target] + one.gpus * GPU_HOUR[comment.target].get(one.gpu_type, 0)
            found[one.account] += hour * one.elapsed_s / HOUR
        for number, pod in self.pods.items():
            job, prices = self.jobs[number], GPU_HOUR[pod.target]
            gpu = prices[job.gpu_type] if job.gpu_type else max(prices.values())
            found[job.account] += (POD_HOUR[pod.target] + job.requested.gpus * gpu) * (job.time_limit_min or 0) / 60
        return found


@pytest.mark.parametrize("capped", CAPPED, ids=[*(caps.partition(" ")[0] for caps in OVER_TIME), "all"])
def test_any_order_of_events(capped: Settings) -> None:
    """No cap is exceeded, by what ran nor by what still may."""
    machine = type("Capped", (AnyOrderOfEvents,), {"capped": capped})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=20))


@pytest.mark.parametrize("order", ["spend", "lose"])
@pytest.mark.parametrize("capped", CAPPED, ids=[*(caps.partition(" ")[0] for caps in OVER_TIME), "all"])
def test_what_was_spent_is_gone(capped: Settings, order: str) -> None:
    """The orders of events that tell whether what slurmdbd or the agent alone knows counts, each time."""
    machine = type("Capped", (AnyOrderOfEvents,), {"capped": capped})()
    machine.slurmdbd_answers()
    getattr(machine, order)("chem")
    assert machine.used, "nothing was granted: the caps are too low for this test"
    machine.caps_are_kept()


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 180), st.integers(1, 5)), max_size=8))
def test_the_same_world_has_the_same_plan(jobs: list[tuple[int, int, int, int]]) -> None:
    """Nothing of one plan is left in the next."""
    pending = [
        make_job(
            number, uid=uid, time_limit_min=limit, priority=priority, requested=Tres(cpus=1, nodes=1, gpus=gpus),
        )
        for number, (uid, gpus, limit, priority) in enumerate(jobs, 1)
    ]  # fmt: skip
    at, known = site(CAPPED[-1]), terms(CAPPED[-1])
    world = World(pending, [], [make_node(), make_node("k8s-2")], NOON, past=known.past([], NOON))
    assert plan.make(world, at, known) == plan.make(world, at, known)


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
