"""
Whether a job bursts now.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from burst_agent import settings
from burst_agent.model import BurstMode, Job, JobUsage, Pod, Request, Tres
from burst_agent.names import Comment
from burst_agent.policy import Books, Budget, Claim, Desk, Outlook, PodStarts, Terms
from burst_agent.shapes import Rooms
from burst_agent.steps import Decision
from burst_agent.target_file import Shape, Target
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_node, make_pod

NOW = Comment(BurstMode.NOW)
AUTO = Comment(BurstMode.AUTO)
CAPS = "wait_s = 60\nmax_pods = 4\nmax_gpus = 8\nmax_pods_per_user = 2\nmax_gpus_per_user = 4\ntime_zone = 'UTC'\n"
PRICES = "[policy.prices.default]\ngpu_hour = { '*' = 1 }\ncpu_hour = 0.1\npod_hour = 0.6\n"
TYPED = PRICES.replace("{ '*' = 1 }", "{ a100 = 3, '*' = 1 }")


def make_terms(more: str = "") -> Terms:
    """A policy with these caps, UTC, and more TOML."""
    policy = settings.parse_policy(f"[policy]\n{CAPS}{more}", source="p.toml")
    return Terms(policy, targets=(Target(name="default"),), unlimited_s=86400)


def make_desk(
    terms: Terms,
    *pods: Pod,
    now: float = 2000,
    books: Books | None = None,
    nodes: int = 1,
    samples: tuple[tuple[str, float], ...] = (),
) -> Desk:
    """One plan's desk, with so many idle nodes."""
    budget = Budget(terms.policy, pods, (), books or Books())
    rooms = Rooms([make_node(f"k8s-{number}") for number in range(1, nodes + 1)])
    starts = PodStarts(terms.policy.pod_start, [("default", *sample) for sample in samples])
    return Desk(
        terms.policy, book=terms.book, tariff=terms.tariff, market=terms.market(starts, now=now), budget=budget,
        rooms=rooms, now=now,
    )  # fmt: skip


def decide(job: Job, comment: Comment = NOW, more: str = "", **desk: object) -> Decision:
    """Decide on one job alone."""
    return make_desk(make_terms(more), **desk).decide(job, comment)  # type: ignore[arg-type]


def look(job: Job, comment: Comment = AUTO, more: str = "", **desk: object) -> Outlook:
    """What is known of one job."""
    return make_desk(make_terms(more), **desk).outlook(job, comment)  # type: ignore[arg-type]


def test_auto_waits_and_says_for_how_long() -> None:
    """From the moment in which it could have started, not from its submission."""
    job = make_job(submit_time=1000, eligible_time=1500)
    early = decide(job, AUTO, now=1559)
    assert (early.nodes, early.reason) == ((), "waits 60 s for a local node first")
    assert "mode auto: waited 59 s; at least 60 s (wait_s), at most 1 h (max_wait)" in early.lines
    assert decide(job, AUTO, now=1560).nodes == ("k8s-1",)


def test_now_does_not_wait() -> None:
    """Within the caps, at once."""
    decision = decide(make_job(start_time=2001))
    assert decision.nodes == ("k8s-1",)
    assert decision.lines[-1] == "fits: 4 CPUs, 8192 MiB, 1 GPUs on k8s-1 (k8s-1 16 CPUs, 65536 MiB, 4 GPUs free)"


@pytest.mark.parametrize(
    ("expected_in_s", "waited_s", "goes"),
    [
        (61 + 300, 100, True),  # a pod takes 60 s: the gain is 301 s
        (60 + 299, 100, False),
        (60 + 300, 100, True),
        (10, 3599, False),
        (10, 3600, True),  # max_wait
        (-10, 100, False),  # it has passed: about to come true
        (-299, 1000, False),
        (-300, 1000, True),  # it did not: Slurm knows nothing
    ],
)
def test_auto_bursts_when_waiting_is_worse(expected_in_s: int, waited_s: int, goes: bool) -> None:
    """By min_gain at least, or after max_wait."""
    job = make_job(submit_time=10_000, eligible_time=10_000, start_time=10_000 + waited_s + expected_in_s)
    decision = decide(job, AUTO, now=10_000 + waited_s)
    assert bool(decision.nodes) is goes
    assert decision.reason == ("" if goes else "is expected to start here soon enough")


def test_without_slurms_word_the_queue_tells() -> None:
    """How many are before it, at the pace of the last hour; where nothing moves, nothing is known."""
    behind = make_job(submit_time=1900, eligible_time=1900, reason="Priority", ahead=5, starts_per_hour=12.0)
    outlook = look(behind)
    assert (outlook.local.at, outlook.local.basis) == (
        2000 + 1800,
        "5 jobs are before it, and 12 start in an hour",
    )
    assert decide(behind, AUTO).nodes
    soon = replace(behind, starts_per_hour=600.0)
    assert decide(soon, AUTO).reason == "is expected to start here soon enough"
    assert look(replace(behind, starts_per_hour=0.0)).local.at is None


def test_what_pods_took_before_counts() -> None:
    """Four of five pods of the image had started by then; of other images where there was none of it."""
    samples = tuple(("slow:1", float(seconds)) for seconds in range(100, 1100, 100))
    assert look(make_job(), replace(AUTO, image="slow:1"), samples=samples).cloud == 2900
    other = look(make_job(), replace(AUTO, image="other:1"), samples=samples)
    assert (other.cloud, other.cloud_basis) == (2900, "10 pods of other images")
    assert look(make_job()).cloud_basis == "pod_start, none measured yet"


def test_the_moment_of_bursting_is_told() -> None:
    """After wait_s where the gain is enough, after max_wait where it is not, never where a rule denies."""
    job = make_job(submit_time=1990, eligible_time=1990)
    assert look(job).at == 2050
    assert look(replace(job, start_time=2100)).at == 1990 + 3600
    assert look(job, NOW).at == 2000
    assert look(job, more="[[policy.rules]]\nname = 'x'\ndeny = 'no'\n").at is None


def test_a_rule_denies_with_its_reason() -> None:
    """The user reads the site's own words, and the state says that waiting does not help."""
    rule = "[[policy.rules]]\nname = 'no-bio'\naccount = 'bio*'\ndeny = 'biology has its own cluster'\n"
    decision = decide(make_job(account="biology"), more=rule)
    assert (decision.reason, decision.refused, decision.nodes) == ("biology has its own cluster", True, ())
    assert decide(make_job(account="physics"), more=rule).nodes


def test_a_rules_own_numbers_come_before_the_sites() -> None:
    """min_gain and max_wait; what the rule leaves out is the site's."""
    job = make_job(submit_time=1000, eligible_time=1000, start_time=2000 + 60 + 100)
    eager = "[[policy.rules]]\nname = 'eager'\nqos = 'normal'\nmin_gain = '100 s'\n"
    assert not decide(job, AUTO).nodes
    assert decide(job, AUTO, eager).nodes
    assert decide(job, AUTO, "[[policy.rules]]\nname = 'short'\nuser = 'alice'\nmax_wait = '1000 s'\n").nodes


def test_a_jobs_own_limit_on_its_cost() -> None:
    """An hour of one GPU and four CPUs in one pod costs 1 + 0.4 + 0.6."""
    assert look(make_job(), more=PRICES).claim.cost == pytest.approx(2.0)
    assert decide(make_job(), replace(NOW, max_cost=2.0), PRICES).nodes
    refused = decide(make_job(), replace(NOW, max_cost=1.99), PRICES)
    assert refused.reason == "may cost more than its --k8s-burst-max-cost allows"
    assert "cost: --k8s-burst-max-cost=1.99 EUR" in refused.lines
    assert "cost: up to 2.00 EUR, for 1 h in 1 pods" in refused.lines
    assert refused.refused


@pytest.mark.parametrize(
    ("shapes", "gpu_type", "cost"),
    [
        ((), "a100", 3),
        ((), "v100", 2),
        ((), "", 6),
        (("a100", "v100"), "", 3),
        (("v100",), "", 2),
        (("v100",), "h100", 6),
        (("v100", ""), "", 6),
    ],
)
def test_gpus_of_no_type_cost_what_the_dearest_cost(shapes: tuple[str, ...], gpu_type: str, cost: float) -> None:
    """Of all, or of those that the target has: the job may land on them, and once it has ended nobody may know."""
    policy = settings.parse_policy(
        "[policy]\n[policy.prices.default]\ngpu_hour = { h100 = 6, a100 = 3, '*' = 2 }\n", source="p.toml"
    )
    kinds = tuple(Shape(cpus=9, memory_mib=99999, gpus=8, gpu_type=name) for name in shapes)
    terms = Terms(policy, targets=(Target(name="default", shapes=kinds),), unlimited_s=86400)
    job = make_job(gpu_type=gpu_type)
    assert terms.tariff.claim(job, "default").cost == cost
    ended = JobUsage(
        7, "alice", "physics", "COMPLETED", 3600, 1, gpu_type=gpu_type, admin_comment="k8s-burst=now target=default"
    )
    assert terms.tariff.cost(ended, 3600) == cost


@pytest.mark.parametrize(
    ("caps", "books", "reason"),
    [
        ("max_cost_per_month = 10\n", Books(cost_by_account={"chem": 8.1}), "cap on money of a month is reached"),
        ("max_cost_per_month = 10\n", Books(cost_by_account={"chem": 8}), ""),
        ("max_cost_per_month = 1.9\n", Books(), "asks for more money of a month than allowed"),
        (
            "max_cost_per_account_per_month = { physics = 3 }\n",
            Books(cost_by_account={"physics": 1.5}),
            "cap on money of account physics is reached",
        ),
        ("max_cost_per_account_per_month = { physics = 3 }\n", Books(cost_by_account={"chem": 99}), ""),
        ("max_cost_per_account_per_month = { '*' = 1 }\n", Books(), "asks for more money of account physics than"),
        ("max_gpu_hours_per_day = 2\n", Books(gpu_hours_day=1.5), "cap on GPU-hours in a day is reached"),
        ("max_gpu_hours_per_month = 2\n", Books(gpu_hours_month=1.5), "cap on GPU-hours in a month is reached"),
        ("max_gpu_hours_per_month = 2\n", Books(gpu_hours_day=9), ""),
        ("max_cost_per_month = 10\n", Books(unknown="slurmdbd is away"), "what was spent is not known"),
        ("", Books(unknown="slurmdbd is away"), ""),
    ],
)
def test_budgets(caps: str, books: Books, reason: str) -> None:
    """Money of the site and of accounts, GPU-hours of the day and the month; what is not known is not spent."""
    decision = decide(make_job(), more=caps + PRICES, books=books)
    assert decision.reason.startswith(reason)
    assert bool(decision.nodes) is (reason == "")
    assert decision.refused is ("asks for more" in reason)


@pytest.mark.parametrize("jobs", [3, 7, 10, 60])
def test_a_budget_stops_at_the_cent(jobs: int) -> None:
    """As many as fit exactly, whatever their sums are in binary, and not one more, though it cost a cent."""
    caps = f"max_cost_per_month = {round(0.7 * jobs + 0.1, 2)}\n"
    budget = Budget(make_terms(caps + PRICES).policy, (), (), Books(cost_by_account={"chem": 0.1}))
    claim = Claim("default", 1000, "physics", pods=0, gpus=0, gpu_hours=0, cost=0.7)
    for _ in range(jobs):
        assert budget.exceeded(claim) is None
        budget.grant(claim)
    for cost in (0.7, 0.01):
        stopped = budget.exceeded(replace(claim, cost=cost))
        assert stopped is not None
        assert stopped.reason == "cap on money of a month is reached"
    budget.release(claim)
    assert budget.exceeded(claim) is None
    assert budget.exceeded(replace(claim, cost=0.71)) is not None


def test_what_is_granted_counts_for_the_next() -> None:
    """Within one plan, for money as for pods."""
    desk = make_desk(make_terms("max_cost_per_month = 3\n" + PRICES), nodes=2)
    assert desk.decide(make_job(1), NOW).nodes
    second = desk.decide(make_job(2, uid=1001), NOW)
    assert second.reason == "cap on money of a month is reached"
    assert (
        "0.00 EUR spent, 2.00 EUR committed, 2.00 EUR more asked, 3.00 EUR allowed (max_cost_per_month)"
        in (second.lines[-1])
    )


def test_the_queue_is_not_overtaken() -> None:
    """A job that waits a little longer keeps its place before those like it; unlike ones and stated wishes pass."""
    desk = make_desk(make_terms(), nodes=3)
    first = make_job(1, start_time=2000 + 60 + 200, priority=9)
    assert not desk.decide(first, AUTO).nodes
    like = desk.decide(make_job(2), AUTO)
    assert (like.nodes, like.reason) == ((), "jobs of the same shape are before it in the queue")
    assert desk.decide(make_job(3, time_limit_min=5, uid=1), AUTO).nodes
    assert desk.decide(make_job(4, uid=2), NOW).nodes


def test_a_job_that_starts_here_sooner_is_not_overtaken() -> None:
    """It starts within the time that a pod takes: those after it may go."""
    desk = make_desk(make_terms())
    assert not desk.decide(make_job(1, start_time=2059), AUTO).nodes
    assert desk.decide(make_job(2), AUTO).nodes


@pytest.mark.parametrize(
    ("uids", "gpus", "asked", "reason"),
    [
        ([1000, 1000], 0, 0, "cap on pods of this user is reached"),
        ([1, 2, 3, 4], 0, 0, "cap on pods of all users is reached"),
        ([1000], 4, 1, "cap on GPUs of this user is reached"),
        ([1, 2], 4, 1, "cap on GPUs of all users is reached"),
        ([], 0, 5, "asks for more GPUs of this user than allowed"),
        ([], 0, 9, "asks for more GPUs of all users than allowed"),
    ],
)
def test_caps(uids: list[int], gpus: int, asked: int, reason: str) -> None:
    """Pods and GPUs, per user and in all; the line has the numbers."""
    pods = [make_pod(make_job(uid=uid), gpus=gpus) for uid in uids]
    job = make_job(requested=Tres(cpus=1, gpus=asked))
    decision = make_desk(make_terms(), *pods).decide(job, NOW)
    assert (decision.nodes, decision.reason) == ((), reason)
    assert "allowed (max_" in decision.lines[-1]
    assert decision.refused is reason.endswith("than allowed")


def test_a_job_without_gpus_is_not_held_by_a_cap_on_gpus() -> None:
    """The caps bind what is asked for."""
    pod = make_pod(make_job(), gpus=4)
    assert make_desk(make_terms(), pod).decide(make_job(requested=Tres(cpus=1)), NOW).nodes


def test_array_tasks_as_many_as_fit() -> None:
    """The first ones, in order; the reason says why not more."""
    decision = decide(make_job(array_tasks=(3, 5, 8)))
    assert (decision.tasks, decision.nodes) == ((3, 5), ())
    assert decision.reason == "cap on pods of this user is reached"
    assert "2 of 3 waiting array tasks can burst now" in decision.lines


def test_caps_count_all_pods_of_a_job() -> None:
    """Two nodes are two pods with the GPUs of both: all or none of them."""
    two = make_job(request=Request(min_nodes=2, tasks=2, cpus=2, gpus_per_node=2), array_tasks=(1, 2), min_nodes=2)
    decision = decide(two, nodes=3)
    assert (decision.tasks, decision.reason) == ((1,), "cap on pods of this user is reached")
    three = make_job(request=Request(min_nodes=3, tasks=3, cpus=3), min_nodes=3)
    decision = decide(three, nodes=3)
    assert (decision.nodes, decision.reason) == ((), "asks for more pods of this user than allowed")
    assert decision.lines[-1] == "pods of this user: 0 in use, 3 more asked, 2 allowed (max_pods_per_user)"
    whole = make_job(request=Request(min_nodes=2, tasks=2, whole_nodes=True), requested=Tres(cpus=2), min_nodes=2)
    decision = decide(whole, nodes=3)
    assert decision.lines[-1] == "GPUs of this user: 0 in use, 8 more asked, 4 allowed (max_gpus_per_user)"
    assert not decision.refused  # other nodes may be smaller
    decision = decide(make_job(requested=Tres(cpus=99), array_tasks=(1, 2)))
    assert (decision.tasks, decision.reason, decision.refused) == ((), "no virtual node is that large", True)


@given(st.integers(0, 3), st.integers(0, 8), st.integers(0, 6))
def test_no_pods_beyond_those_that_exist(pods: int, gpus: int, asked: int) -> None:
    """What exists counts as what was granted."""
    existing = [make_pod(make_job(), gpus=gpus, name=f"p{index}") for index in range(pods)]
    job = make_job(requested=Tres(cpus=1, gpus=asked))
    if make_desk(make_terms(), *existing).decide(job, NOW).nodes:
        assert pods + 1 <= 2
        assert asked == 0 or pods * gpus + asked <= 4
