"""
What was spent and learned, what is committed, and what a rule flags.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from burst_agent.amounts import day_start, month_start
from burst_agent.errors import AccountingMissing, SlurmUnavailable
from burst_agent.history import ACCOUNTS_S
from burst_agent.model import Accounts, BurstMode, JobState, JobUsage, Tres
from burst_agent.names import Comment
from burst_agent.policy import Past

from .fakes import make_job, make_settings
from .house import FakeAccounting, House, make_house
from .test_policy import PRICES, make_terms

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
HOUR = 3600


def used(job_id: int, ended_ago_s: float, elapsed_s: int, account: str = "physics", gpus: int = 2) -> JobUsage:
    """An ended job that ran on one GPU node with four CPUs."""
    start = int(NOON - ended_ago_s - elapsed_s)
    return JobUsage(job_id, "alice", account, "COMPLETED", elapsed_s, gpus, start=start, cpus=4)


def test_days_and_months_begin_at_midnight() -> None:
    """A job that ran over midnight counts from midnight; what ended before the month does not count."""
    jobs = [used(1, 11 * HOUR, 3 * HOUR), used(2, 0, HOUR), used(3, 24 * HOUR, HOUR), used(4, 11 * 24 * HOUR, HOUR)]
    books = make_terms(PRICES).past(jobs, NOON).books
    assert books.gpu_hours_day == pytest.approx(2 * 1 + 2 * 1)
    assert books.gpu_hours_month == pytest.approx(2 * (3 + 1 + 1))
    assert books.cost_by_account == {"physics": pytest.approx((2 * 1 + 4 * 0.1 + 0.6) * 5)}


@pytest.mark.parametrize(
    ("zone", "noon", "day_s", "month"),
    [
        ("Europe/Berlin", "2026-03-29T10:00", 11, "2026-02-28T23:00"),  # a day of 23 hours
        ("Europe/Berlin", "2026-10-25T11:00", 13, "2026-09-30T22:00"),  # and one of 25
        ("America/Santiago", "2026-09-06T15:00", 11, "2026-09-01T04:00"),  # whose midnight does not come
        ("UTC", "2026-01-01T00:00", 0, "2026-01-01T00:00"),
    ],
)
def test_a_day_may_have_23_or_25_hours(zone: str, noon: str, day_s: int, month: str) -> None:
    """What was used since the site's midnight, wherever the clocks went meanwhile."""
    now = datetime.fromisoformat(f"{noon}+00:00").timestamp()
    assert now - day_start(now, ZoneInfo(zone)) == day_s * HOUR
    assert month_start(now, ZoneInfo(zone)) == datetime.fromisoformat(f"{month}+00:00").timestamp()


def test_a_rules_flag_needs_no_user() -> None:
    """It flags what its user did not, unless he says never; what an operator wrote is kept."""
    terms = make_terms("[[policy.rules]]\nname = 'big'\npartition = 'gpu'\nflag = 'now'\n")
    assert terms.comment(make_job(admin_comment="note to self"), NOON) == Comment(
        BurstMode.NOW, flagged_by="big", extra=("note", "to", "self")
    )
    kept = terms.comment(make_job(admin_comment="note k8s-burst-signal=B:USR1@60"), NOON)
    assert kept == Comment(BurstMode.NOW, flagged_by="big", signal="B:USR1@60", extra=("note",))
    never = terms.comment(make_job(admin_comment="k8s-burst=never"), NOON)
    assert never is not None
    assert never.mode is BurstMode.NEVER
    assert terms.comment(make_job(admin_comment="", partition="cpu"), NOON) is None
    assert terms.comment(make_job(admin_comment="", state=JobState.RUNNING), NOON) is None
    assert terms.comment(make_job(admin_comment="k8s-burst=?"), NOON) is None


def test_what_a_rule_flagged_ends_with_the_rule() -> None:
    """While the job pends; one that runs goes on."""
    marked = make_job(admin_comment="k8s-burst=auto by=big state=waiting")
    assert make_terms().comment(marked, NOON) is None
    terms = make_terms("[[policy.rules]]\nname = 'other'\npartition = 'gpu'\nflag = 'auto'\n")
    assert terms.comment(marked, NOON)
    assert make_terms().comment(make_job(admin_comment=marked.admin_comment, state=JobState.RUNNING), NOON)


def test_commitments() -> None:
    """Jobs with pods or in the burst partition to their limit; those that ended a moment ago what they used."""
    terms, past = make_terms(PRICES), Past()
    alloc = Tres(cpus=4, nodes=1, gpus=1)
    waiting, provisioning = make_job(1), make_job(2)
    running = make_job(3, state=JobState.RUNNING, partition="k8s-burst", allocated=alloc, nodes=("k8s-1",))
    ended = make_job(
        4, state=JobState.COMPLETED, partition="k8s-burst", allocated=alloc, nodes=("k8s-1",), start_time=100,
        end_time=100 + HOUR // 2,
    )  # fmt: skip
    jobs = [waiting, provisioning, running, ended]
    claims = terms.commitments(jobs, "k8s-burst", {2: "default"}, past)
    assert [claim.cost for claim in claims] == [pytest.approx(cost) for cost in (2.0, 2.0, 1.0)]
    known = terms.past([JobUsage(4, "alice", "physics", "COMPLETED", HOUR // 2, 1, start=100)], 1000)
    assert len(terms.commitments(jobs, "k8s-burst", {2: "default"}, known)) == 2


def test_pods_starts_are_learned_from_both() -> None:
    """Ended jobs from slurmdbd, others from slurmctld, none twice."""
    terms = make_terms()
    old = JobUsage(
        1, "a", "b", "COMPLETED", 9, 0, start=50, admin_comment="k8s-burst=now image=i:1 target=default pod-start=100"
    )
    past = terms.past([old], 1000)
    live = [
        make_job(1, start_time=50, admin_comment=old.admin_comment),
        make_job(2, start_time=60, admin_comment="k8s-burst=now image=i:1 target=default pod-start=7"),
    ]
    assert terms.pod_starts(live, past).expected("i:1", "default") == (100.0, "2 pods of this image")
    assert terms.pod_starts(live, Past()).quantile(0.5) == 100.0


class SlurmdbdIsAway(FakeAccounting):
    """
    Nobody answers.
    """

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> list[JobUsage]:
        msg = "slurmdbd is away"
        raise SlurmUnavailable(msg)


BUDGET = "max_cost_per_month = 3\n[policy.prices.default]\npod_hour = 2\n"


async def test_a_restart_forgets_nothing() -> None:
    """What is spent comes from slurmdbd alone: the job waits before and after kill -9."""
    house = make_house(more=BUDGET)
    house.accounting.jobs = [
        JobUsage(1, "alice", "physics", "COMPLETED", HOUR, 0, start=int(house.clock.now()) - HOUR, cpus=1)
    ]
    job_id = house.slurm.submit(make_job())
    for _ in range(2):
        await house.history.read(house.loop.terms)
        await house.settle()
        assert "cap on money of a month is reached" in house.slurm.jobs[job_id].admin_comment
        house.restart()
    assert not house.kube.by_name


async def test_with_slurmdbd_away_nothing_is_spent() -> None:
    """Jobs with a budget wait, and status says why; without a budget nobody cares."""
    house = make_house(more=BUDGET)
    house.accounting = SlurmdbdIsAway()
    house.restart()
    await house.history.read(house.loop.terms)
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert "what was spent is not known" in house.slurm.jobs[job_id].admin_comment
    assert house.loop.view.problems == ("what was spent is not known, so jobs with a budget wait: slurmdbd is away",)
    free = make_house()
    free.slurm.submit(make_job())
    await free.settle()
    assert free.kube.by_name
    assert free.loop.view.problems == ()


@pytest.mark.parametrize(
    ("policy", "kept", "problem"),
    [
        ("max_gpu_hours_per_day = 9\n", "cpu,mem", "so jobs with a budget wait: slurmdbd keeps no GPUs of jobs: add gres/gpu"),
        ("max_gpu_hours_per_day = 9\n", "cpu,gres/gpu", ""),
        ("max_gpu_hours_per_day = 9\n", "gres/gpu:a100", ""),
        (BUDGET + "gpu_hour = { '*' = 1 }\n", "cpu", "so jobs with a budget wait: slurmdbd keeps no GPUs of jobs"),
        (BUDGET + "gpu_hour = { '*' = 1 }\n", "gres/gpu", ""),
        (BUDGET + "gpu_hour = { a100 = 3, '*' = 1 }\n", "gres/gpu", "at the dearest price of a GPU, since slurmdbd does"),
        (BUDGET + "gpu_hour = { a100 = 3, '*' = 1 }\n", "gres/gpu,gres/gpu:a100", ""),
        (BUDGET, "cpu", ""),
    ],
)  # fmt: skip
async def test_what_slurmdbd_must_keep(policy: str, kept: str, problem: str) -> None:
    """GPUs where hours or prices of GPUs count, or jobs wait; their types where prices differ, or it is said."""
    house = make_house(more=policy)
    house.accounting.kept = kept.split(",")
    await house.history.read(house.loop.terms)
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert problem in "".join(house.loop.view.problems)
    assert bool(house.loop.view.problems) is bool(problem)
    waits = "budget wait" in problem
    assert ("what was spent is not known" in house.slurm.jobs[job_id].admin_comment) is waits
    house.loop.use(make_settings())
    await house.settle()
    assert not house.loop.view.problems
    assert house.kube.by_name


class SlurmdbdTellsNoAccounts(FakeAccounting):
    """
    The agent was installed without pyslurm.
    """

    async def accounts(self, user: str) -> Accounts:
        await super().accounts(user)
        msg = "pyslurm is not installed"
        raise AccountingMissing(msg)


async def test_a_users_accounts_are_asked_for_once_in_a_while() -> None:
    """Those that he may charge, and those that his burst jobs were charged to: an account may have been closed."""
    house = make_house()
    house.clock.time = 11.0 * HOUR
    house.accounting.jobs = [JobUsage(1, "alice", "closed", "COMPLETED", HOUR, 1, start=10 * HOUR)]
    house.accounting.may_charge = {"alice": ["physics", "chem"]}
    await house.history.read(house.loop.terms)
    for _ in range(2):
        assert await house.history.accounts("alice") == {"closed", "physics", "chem"}
    assert await house.history.accounts("bob") == set()
    assert house.accounting.asked_for == ["alice", "bob"]
    house.accounting.may_charge = {}
    house.clock.time += ACCOUNTS_S
    assert await house.history.accounts("alice") == {"closed"}


async def test_without_pyslurm_accounts_come_from_jobs() -> None:
    """And nobody is asked again at once."""
    house = make_house()
    house.clock.time = 11.0 * HOUR
    house.accounting = SlurmdbdTellsNoAccounts()
    house.accounting.jobs = [JobUsage(1, "alice", "physics", "COMPLETED", HOUR, 1, start=10 * HOUR)]
    house.restart()
    await house.history.read(house.loop.terms)
    for _ in range(2):
        assert await house.history.accounts("alice") == {"physics"}
    assert house.accounting.asked_for == ["alice"]


async def test_each_run_of_a_requeued_job_has_cost_money() -> None:
    """Two runs of one job id, both counted."""
    house = make_house(more="time_zone = 'UTC'\n" + BUDGET)
    house.clock.time = 14.0 * HOUR
    house.accounting.jobs = [
        JobUsage(1, "alice", "physics", "REQUEUED", 2 * HOUR, 0, start=10 * HOUR, cpus=1),
        JobUsage(1, "alice", "physics", "COMPLETED", HOUR, 0, start=12 * HOUR + 60, cpus=1),
    ]
    await house.history.read(house.loop.terms)
    assert house.loop.past.books.cost == pytest.approx(6)


async def test_what_a_requeued_run_cost_counts_at_once() -> None:
    """slurmctld shows nothing of it once the job is back in its queue, and slurmdbd is read a minute later."""
    house = make_house(more="time_zone = 'UTC'\n" + BUDGET)
    await house.history.read(house.loop.terms)
    job_id = house.slurm.submit(make_job())
    await house.settle()
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    await house.settle()
    house.clock.time += HOUR
    house.slurm.requeue(job_id)
    await house.settle()
    job = house.slurm.jobs[job_id]
    assert (job.partition, job.state) == ("gpu", JobState.PENDING)
    house.clock.time += 600
    await house.settle()
    assert "cap on money of a month is reached" in house.slurm.jobs[job_id].admin_comment
    assert _spending(house) == [("physics", 0.0, 2.0)]
    house.accounting.jobs = [JobUsage(job_id, "alice", "physics", "REQUEUED", HOUR, 1, start=2000, cpus=4)]
    await house.history.read(house.loop.terms)
    await house.settle()
    assert _spending(house) == [("physics", 2.0, 0.0)]


def _spending(house: House) -> list[tuple[str, float, float]]:
    assert house.loop.view.made is not None
    return house.loop.view.made.budget.spending()


async def test_how_long_a_pod_took_stays_with_its_job() -> None:
    """From its creation until its container ran, in admin_comment, which slurmdbd keeps."""
    house = make_house()
    job_id = house.slurm.submit(make_job())
    await house.settle()
    house.clock.time += 42
    house.kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    await house.settle()
    assert "pod-start=42" in house.slurm.jobs[job_id].admin_comment


async def test_a_flag_by_rule_is_written_down() -> None:
    """An unflagged job of a flagged partition bursts, and its admin_comment says by which rule."""
    house = make_house(more="[[policy.rules]]\nname = 'all-gpu'\npartition = 'gpu'\nflag = 'now'\n")
    job_id = house.slurm.submit(make_job(admin_comment=""))
    await house.settle()
    assert house.slurm.jobs[job_id].admin_comment.startswith("k8s-burst=now by=all-gpu from=gpu")
    assert house.state(job_id) == "provisioning"


async def test_new_prices_hold_at_once() -> None:
    """What has been spent is reckoned anew when the policy is, not at the next look at slurmdbd."""
    house = make_house()
    used = JobUsage(1, "alice", "physics", "COMPLETED", HOUR, 1, start=10 * HOUR)
    house.clock.time = 11.0 * HOUR
    house.accounting.jobs = [used]
    await house.history.read(house.loop.terms)
    assert house.loop.past.books.cost == 0
    house.loop.use(make_settings("time_zone = 'UTC'\n[policy.prices.default]\npod_hour = 2\n"))
    assert house.loop.past.books.cost == pytest.approx(2)
