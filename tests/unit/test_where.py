"""
At which target a job's pods are made, and which targets are left alone for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from burst_agent import settings
from burst_agent.model import BurstMode, Job, Tres
from burst_agent.names import Comment
from burst_agent.policy import Books, Budget, Desk, Pause, Pauses, PodStarts, Terms, shape_words, size_shape
from burst_agent.reconcile import terms
from burst_agent.shapes import Rooms
from burst_agent.steps import ALL_PODS, Away, Decision, PodShape
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_node, make_pod, make_settings

NOW = Comment(BurstMode.NOW)
TWO = """
[[targets]]
name = "east"
preference = 1
{east}
[[targets]]
name = "west"
{west}
"""
CAPS = "max_pods = 99\nmax_gpus = 99\nmax_pods_per_user = 99\nmax_gpus_per_user = 99\n"


def make_terms(east: str = "", west: str = "", policy: str = "") -> Terms:
    """Two targets, of which east is preferred."""
    return terms(make_settings(f"{CAPS}{policy}{TWO.format(east=east, west=west)}"))


def make_desk(
    known: Terms,
    *,
    samples: Sequence[tuple[str, str, float]] = (),
    away: Mapping[str, Away] | None = None,
    paused: Mapping[tuple[str, PodShape], Pause] | None = None,
    now: float = 2000,
    nodes: int = 4,
    pods: Sequence[Any] = (),
) -> Desk:
    """One plan's desk."""
    market = known.market(PodStarts(60, samples), now=now, away=away, paused=paused)
    budget = Budget(known.policy, pods, (), Books(), targets=known.targets)
    rooms = Rooms([make_node(f"k8s-{number}") for number in range(nodes)])
    return Desk(known.policy, book=known.book, tariff=known.tariff, market=market, budget=budget, rooms=rooms, now=now)


def decide(job: Job, comment: Comment = NOW, **more: Any) -> Decision:
    """Decide on one job alone."""
    given_terms = {name: more.pop(name) for name in ("east", "west", "policy") if name in more}
    return make_desk(make_terms(**given_terms), **more).decide(job, comment)


def test_the_preferred_one() -> None:
    """Whatever starts earlier elsewhere; every target is told with its numbers."""
    decision = decide(make_job(), samples=[("east", "", 300), ("west", "", 5)])
    assert (decision.target, decision.passed) == ("east", "")
    told = [line for line in decision.lines if line.startswith("target ")]
    assert told == [
        "target east: preference 1, starts in 5 min (1 pods of this image), 1 pod",
        "target west: preference 0, starts in 5 s (1 pods of this image), 1 pod",
    ]


def test_equally_preferred_the_earlier_start_wins() -> None:
    """Pods' starts there, and what data takes; then the price."""
    samples = [("east", "", 300.0), ("west", "", 200.0)]
    assert decide(make_job(), west="preference = 1", samples=samples).target == "west"
    assert decide(make_job(), west="preference = 1\nstaging = '5 min'", samples=samples).target == "east"
    prices = "[policy.prices.east]\npod_hour = 2\n[policy.prices.west]\npod_hour = 1\n"
    assert decide(make_job(), west="preference = 1", policy=prices).target == "west"


@pytest.mark.parametrize(
    ("east", "job", "why"),
    [
        ("spot = true", {"requeue": False}, "may take pods away at any time"),
        ("[[targets.shapes]]\ncpus = 2\nmemory_mib = 99999\ngpus = 8\n", {}, "holds a pod with 4 CPUs"),
        ("[[targets.shapes]]\ncpus = 9\nmemory_mib = 99999\n", {}, "holds a pod with 4 CPUs, 8192 MiB, 1 GPUs"),
        (
            "[[targets.shapes]]\ncpus = 9\nmemory_mib = 99999\ngpus = 8\ngpu_type = 'a100'\n",
            {"gpu_type": "h100"},
            "1 GPUs of type h100",
        ),
        ("max_pods = 0", {}, "more pods at target east than allowed"),
        ("max_gpus = 0", {}, "more GPUs at target east than allowed"),
        ("[targets.pods]\nvolumes = []\n", {"work_dir": "/home/alice"}, "can't reach /home, where the job works"),
    ],
)
def test_one_that_may_not_have_it(east: str, job: dict[str, Any], why: str) -> None:
    """The next one gets it, and why it is not the first is said."""
    volumes = "[[pods.volumes]]\npath = '/home'\nhostPath = { path = '/home' }\n"
    known = terms(make_settings(f"{CAPS}{volumes}{TWO.format(east=east, west='')}"))
    decision = make_desk(known).decide(make_job(**job), NOW)
    assert decision.target == "west"
    assert any(why in line for line in decision.lines) or why in decision.passed


def test_the_right_type_of_gpu() -> None:
    """A job that names none fits any; the pod gets onto such nodes by the shape's selector."""
    shape = "[[targets.shapes]]\ncpus = 9\nmemory_mib = 99999\ngpus = 8\ngpu_type = 'a100'\n"
    assert decide(make_job(gpu_type="a100"), east=shape).target == "east"
    assert decide(make_job(), east=shape).target == "east"
    assert decide(make_job(gpu_type="a100", requested=Tres(cpus=1, nodes=1)), east=shape).target == "east"


def test_what_the_user_would_pay() -> None:
    """The one that is cheap enough; refused where none is."""
    prices = "[policy.prices.east]\npod_hour = 3\n[policy.prices.west]\npod_hour = 1\n"
    limited = Comment(BurstMode.NOW, max_cost=2.0)
    assert decide(make_job(), limited, policy=prices).target == "west"
    poor = decide(make_job(), Comment(BurstMode.NOW, max_cost=0.5), policy=prices)
    assert (poor.refused, poor.reason) == (True, "may cost more than its --k8s-burst-max-cost allows")


def test_refused_where_no_target_ever_can() -> None:
    """One that is in the way for a while only, or that is not worth it yet, still may."""
    small = "max_gpus = 0"
    never = decide(make_job(), east=small, west=small)
    assert (never.target, never.refused) == ("", True)
    assert "target east than allowed" in never.reason
    assert "target west than allowed" in never.reason
    assert decide(make_job(), east=small).target == "west"
    paused = {("west", ALL_PODS): Pause(1990.0, 2990.0, "is away")}
    held = make_desk(make_terms(east=small), paused=paused).decide(make_job(), NOW)
    assert (held.target, held.refused) == ("", False)
    slow = [("east", "", 10.0), ("west", "", 900.0)]
    soon = make_job(start_time=2000 + 900)
    later = make_desk(make_terms(east=small), samples=slow).decide(soon, Comment(BurstMode.AUTO))
    assert (later.target, later.refused) == ("", False)


def test_a_budget_that_only_the_cheap_one_fits() -> None:
    """Money is counted at the target's own prices."""
    prices = "max_cost_per_month = 2\n[policy.prices.east]\npod_hour = 3\n[policy.prices.west]\npod_hour = 1\n"
    assert decide(make_job(), policy=prices).target == "west"


def test_a_rule_names_targets() -> None:
    """Jobs under it go nowhere else."""
    rule = "[[policy.rules]]\nname = 'bio'\naccount = 'bio*'\ntargets = 'w*'\n"
    assert decide(make_job(account="biology"), policy=rule).target == "west"
    assert decide(make_job(), policy=rule).target == "east"


def test_auto_goes_where_it_pays() -> None:
    """A target that would start it too late is no gain, though it is preferred; after max_wait it is."""
    job = make_job(start_time=2000 + 700, submit_time=1000, eligible_time=1000)
    auto = Comment(BurstMode.AUTO)
    samples = [("east", "", 600.0), ("west", "", 60.0)]
    assert decide(job, auto, samples=samples).target == "west"
    assert decide(job, auto, samples=samples, now=1000 + 3600 - 1).target == "east"  # Slurm expects nothing any more


def test_away_and_paused() -> None:
    """The next one; where there is none, the job waits and its reason is the target's."""
    away = {"east": Away("target east does not answer", 0)}
    decision = decide(make_job(), away=away)
    assert (decision.target, decision.passed) == ("west", "not at east: target east does not answer")
    paused = {("west", ALL_PODS): Pause(1990, 2020, "it failed")}
    nothing = decide(make_job(), away=away, paused=paused)
    assert (nothing.target, nothing.shares, nothing.refused) == ("", (), False)
    assert nothing.reason == "east: target east does not answer; west: it failed"
    assert nothing.kind == "no target takes it now"
    assert any("west" in line and "it failed (next try in 20 s)" in line for line in nothing.lines)


def test_a_pause_is_about_a_shape() -> None:
    """Smaller pods, other types, other images, other users go on; larger ones are another shape."""
    size = size_shape([make_job().requested], "")
    for shape, other in (
        (size, {"requested": Tres(cpus=1, memory_mib=8192, nodes=1, gpus=1)}),
        (PodShape(size=size.size, uid=1000), {"uid": 1001}),
        (PodShape(image=""), None),
        (PodShape(image="", uid=1000), {"uid": 1001}),
    ):
        paused = {("east", shape): Pause(1990, 2020, "stock-out")}
        assert decide(make_job(), paused=paused).target == "west"
        comment = Comment(BurstMode.NOW, image="a:1") if other is None else NOW
        assert decide(make_job(**(other or {})), comment, paused=paused).target == "east"


def test_one_job_tries_again() -> None:
    """Once the pause is over; the others go elsewhere until it is known what becomes of it."""
    paused = {("east", size_shape([make_job().requested], "")): Pause(1900, 1990, "stock-out")}
    desk = make_desk(make_terms(), paused=paused)
    targets = [desk.decide(make_job(number), NOW).target for number in (1, 2)]
    assert targets == ["east", "west"]
    waiting = make_desk(make_terms(), paused=paused)
    waiting.market.trying("east", make_job(1), NOW, [make_job().requested])
    assert waiting.decide(make_job(2), NOW).target == "west"


def test_pods_that_are_being_deleted() -> None:
    """Not there: the new ones would have the same names."""
    desk = make_desk(make_terms())
    assert desk.decide(make_job(), NOW, frozenset({"east"})).target == "west"
    assert "still being deleted" in desk.decide(make_job(), NOW, frozenset({"east", "west"})).reason


def test_pauses_double_up_to_a_maximum_and_end() -> None:
    """Failures of jobs that had begun before count once; a success of before says nothing."""
    pauses, shape = Pauses(), PodShape(image="a")
    lengths = []
    now = 100.0
    for _ in range(4):
        pause = pauses.fail("east", shape, "no", now, 30, 100)
        assert pauses.fail("east", shape, "no", now + 1, 30, 100) == pause
        lengths.append(pause.until - now)
        now = pause.until
    assert lengths == [30, 60, 100, 100]
    began = now - 100
    pauses.succeed("east", [shape], began - 1)
    assert pauses.known(now, 100)
    pauses.succeed("west", [shape], now)
    assert pauses.known(now, 100)
    pauses.succeed("east", [ALL_PODS, shape], now)
    assert not pauses.known(now, 100)
    pauses.fail("east", shape, "no", now, 30, 100)
    assert pauses.known(now + 129, 100)
    assert not pauses.known(now + 130, 100)


def test_words_of_shapes() -> None:
    """As administrators read them."""
    assert shape_words(ALL_PODS) == "all pods"
    assert shape_words(PodShape(image="")) == "pods of the default image"
    assert shape_words(PodShape(image="a:1", uid=7)) == "pods of image a:1, of uid 7"
    assert shape_words(PodShape(Tres(cpus=2, memory_mib=10, gpus=1), "a100", uid=7)) == (
        "pods with 2 CPUs, 10 MiB, 1 GPUs of type a100, of uid 7"
    )


JOBS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)), max_size=12)
TARGETS = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(0, 4), st.none() | st.integers(0, 6), st.booleans()),
    min_size=1,
    max_size=5,
)


@given(JOBS, TARGETS, st.sets(st.integers(0, 4)), st.integers(0, 6))
def test_whatever_comes(
    jobs: list[tuple[int, int, int]],
    targets: list[tuple[int, int | None, int | None, bool]],
    away: set[int],
    there: int,
) -> None:
    """All pods of a job at one target that can be asked, no target's cap exceeded, and the same again gives the same."""
    tables = []
    for number, (preference, max_pods, max_gpus, spot) in enumerate(targets):
        table = f"[[targets]]\nname = 't{number}'\npreference = {preference}\nspot = {str(spot).lower()}\n"
        table += "" if max_pods is None else f"max_pods = {max_pods}\n"
        table += "" if max_gpus is None else f"max_gpus = {max_gpus}\n"
        tables.append(table)
    known = terms(settings.parse("".join([_BASE, CAPS, *tables]), source="x"))
    gone = {f"t{number}": Away("away", 0) for number in away if number < len(targets)}
    pods = [make_pod(make_job(99), f"k8s-{number}", target=f"t{number % len(targets)}") for number in range(there)]
    answers = []
    for _ in range(2):
        desk = make_desk(known, away=gone, nodes=12, pods=pods)
        held = {target.name: [0, 0] for target in known.targets}
        for pod in pods:
            held[pod.target][0] += 1
            held[pod.target][1] += pod.gpus
        decisions = []
        for number, (uid, nodes, gpus) in enumerate(jobs, 1):
            job = make_job(
                number, uid=uid, min_nodes=nodes, requested=Tres(cpus=nodes, nodes=nodes, gpus=gpus), requeue=uid > 1
            )
            decision = desk.decide(job, NOW)
            decisions.append(decision)
            if decision.shares:
                assert len(decision.shares) >= nodes
                assert decision.target not in gone
                before = list(held[decision.target])
                held[decision.target][0] += len(decision.shares)
                held[decision.target][1] += sum(share.size.gpus for share in decision.shares)
                target = next(one for one in known.targets if one.name == decision.target)
                assert not (target.spot and not job.requeue)
                for now, was, cap in zip(held[target.name], before, (target.max_pods, target.max_gpus), strict=True):
                    assert cap is None or now <= cap or now == was
        answers.append([(decision, decision.lines) for decision in decisions])
    assert answers[0] == answers[1]


_BASE = """
[slurm]
cluster = "c1"
[pods]
image = "site/user:1"
supervisor_image = "site/pod:1"
[policy]
"""
