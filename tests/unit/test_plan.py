"""
One look at the world, planned.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent import plan
from burst_agent.model import BurstState, Job, JobState, Tres
from burst_agent.plan import World
from burst_agent.reconcile import site, terms
from burst_agent.steps import Backoff, MakePods, WriteComment
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_node, make_pod, make_settings

SETTINGS = make_settings("max_pods = 3\nmax_pods_per_user = 2")
PROVISIONING = "k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default"


def _make(world: World) -> plan.Plan:
    return plan.make(world, site(SETTINGS), terms(SETTINGS))


def _granted(made: plan.Plan) -> list[int]:
    return [
        entry.seen.job.job_id for entry in made.entries for action in entry.step.actions if isinstance(action, MakePods)
    ]


def test_priority_then_age() -> None:
    """As slurmctld's scheduler goes through the queue."""
    jobs = [make_job(1, priority=1), make_job(2, priority=9, submit_time=1500), make_job(3, priority=9)]
    assert _granted(_make(World(jobs, [], [make_node()], 2000.0))) == [3, 2]


def test_what_was_promised_comes_first() -> None:
    """A task split off for pods gets them, whoever came meanwhile; the rest of its array comes after it."""
    jobs = [
        make_job(50, array_job_id=50, array_tasks=(2, 3)),
        make_job(1001, array_job_id=50, array_task_id=0, admin_comment=PROVISIONING),
        make_job(1002, array_job_id=50, array_task_id=1, admin_comment=PROVISIONING),
        make_job(60, priority=999),
    ]
    assert _granted(_make(World(jobs, [], [make_node()], 2000.0))) == [1001, 1002]


def test_an_array_takes_its_turns() -> None:
    """Pods are made for as many tasks as may start beside those that run, the lowest index first, but none that is held."""
    array = [
        make_job(50, array_job_id=50, array_limit=3, array_tasks=(4, 5)),
        make_job(1003, array_job_id=50, array_task_id=3),
        make_job(1002, array_job_id=50, array_task_id=2),
        make_job(1001, array_job_id=50, array_task_id=1, priority=0),
        make_job(1000, array_job_id=50, array_task_id=0, state=JobState.RUNNING, partition="gpu"),
    ]
    settings = make_settings()

    def made(*jobs: Job) -> plan.Plan:
        return plan.make(World(jobs, [], [make_node()], 2000.0), site(settings), terms(settings))

    assert _granted(made(*array)) == [1002, 1003]
    waits = next(entry for entry in made(*array).entries if entry.seen.job.job_id == 50)
    assert waits.step.reason == "its array runs as many tasks at once as it may"
    # With one place more, the next task is split off; without a limit, all are.
    splits = [
        [action.ref.array_task_id for action in entry.step.actions if isinstance(action, WriteComment)]
        for limit in (4, 0)
        for entry in made(replace(array[0], array_limit=limit), *array[1:]).entries
        if entry.seen.job.job_id == 50
    ]
    assert splits == [[4], [4, 5]]


def test_pods_of_jobs_not_started_take_room() -> None:
    """slurmctld sees a free node there; it is promised."""
    node = make_node(total=Tres(cpus=4, memory_mib=8192, nodes=1, gpus=1))
    waiting = make_job(1, admin_comment=PROVISIONING)
    made = _make(World([waiting, make_job(2)], [make_pod(waiting, running=False)], [node], 1001.0))
    assert _granted(made) == []
    assert made.entries[1].step.reason == "no room on the virtual nodes now"


def test_a_node_that_can_name_no_pod_is_not_used() -> None:
    """It would be refused by Kubernetes."""
    made = _make(World([make_job()], [], [make_node("K8S_1")], 2000.0))
    assert _granted(made) == []
    assert any("K8S_1 is no name for a pod" in line for line in made.entries[0].reasons)


def test_back_off_ends() -> None:
    """With time, not with an event."""
    world = World([make_job()], [], [make_node()], 2000.0, {7: Backoff(2001.0, "refused")})
    assert _make(world).entries[0].step.reason == "refused"
    assert "next try in 1 s" in _make(world).entries[0].reasons
    assert _granted(_make(replace(world, now=2001.0))) == [7]


def test_orphans() -> None:
    """Pods whose job is not there; those that are going already are let go."""
    pods = [make_pod(make_job(8)), make_pod(make_job(9), terminating=True)]
    assert [pod.job_id for pod in _make(World([make_job()], pods, [], 2000.0)).orphans] == [8]


def test_notices_of_a_long_queue_come_by_and_by() -> None:
    """They must not hold up a move; the queue's order says who reads first."""
    jobs = [make_job(number, requested=Tres(cpus=99)) for number in range(1, 200)]
    made = _make(World(jobs, [], [make_node()], 2000.0))
    written = [entry.seen.job.job_id for entry in made.entries if entry.step.actions]
    assert written == list(range(1, plan.NOTICES_PER_ROUND + 1))
    assert all(entry.step.state is BurstState.REFUSED for entry in made.entries)


def test_reasons_have_it_all() -> None:
    """What explain shows: what Slurm says, the flag, every obstacle, the conclusion."""
    job = make_job(priority=0, reason="JobHeldUser", features="fast", admin_comment="k8s-burst=auto image=a:1")
    reasons = _make(World([job], [], [make_node()], 2000.0)).entries[0].reasons
    assert reasons == (
        "Slurm: PENDING in gpu (JobHeldUser)",
        "flagged auto, image a:1",
        "asks for features fast (--constraint), which virtual nodes don't have",
        "it is held (scontrol release ends that)",
        "refused: asks for features fast (--constraint), which virtual nodes don't have",
    )


def test_what_jobs_are_counted_by_has_no_sizes() -> None:
    """A series each for thousands of sizes would be of no use; what nobody wants to burst is not counted."""
    shape = "[[targets]]\nname = 'default'\n[[targets.shapes]]\ncpus = 2\nmemory_mib = 99999\ngpus = 8\n"
    rule = "[[policy.rules]]\nname = 'c'\nreservation = 'course*'\ndeny = 'courses stay here'\n"
    settings = make_settings(rule + shape)
    jobs = [
        make_job(1, requested=Tres(cpus=3, nodes=1)),
        make_job(2, requested=Tres(cpus=4, nodes=1)),
        make_job(3, features="fast"),
        make_job(4, reservation="course-7"),
        make_job(5, admin_comment="k8s-burst=never"),
        make_job(6, priority=0),
        make_job(7, requested=Tres(cpus=1, nodes=1)),
    ]
    made = plan.make(World(jobs, [], [make_node()], 2000.0), site(settings), terms(settings))
    assert {entry.seen.job.job_id: entry.kind for entry in made.entries} == {
        1: "no node of target default holds such pods",
        2: "no node of target default holds such pods",
        3: "asks for features (--constraint), which virtual nodes don't have",
        4: "courses stay here",
        5: None,
        6: None,
        7: "",
    }


QUEUES = st.lists(st.tuples(st.integers(1000, 1002), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=12)


@given(QUEUES)
def test_one_plan_keeps_the_caps(queue: list[tuple[int, int, int, bool]]) -> None:
    """With the pods that are there; and planning twice plans the same."""
    jobs, pods = [], []
    for number, (uid, priority, tasks, has_pod) in enumerate(queue, 1):
        job = make_job(number, uid=uid, priority=priority, array_tasks=tuple(range(tasks)))
        jobs.append(job)
        if has_pod and not tasks:
            pods.append(make_pod(job, running=False, created=2000.0))
    world = World(jobs, pods, [make_node("k8s-1"), make_node("k8s-2")], 2000.0)
    made = _make(world)
    assert made == _make(world)
    wanted: dict[int, int] = {}
    for entry in made.entries:
        uid = entry.seen.job.uid
        for action in entry.step.actions:
            split = isinstance(action, WriteComment) and action.ref.array_task_id is not None
            wanted[uid] = wanted.get(uid, 0) + (split or isinstance(action, MakePods))
    for uid, count in wanted.items():
        there = sum(pod.user_uid == uid for pod in pods)
        assert count == 0 or there + count <= 2
    assert not any(wanted.values()) or len(pods) + sum(wanted.values()) <= 3


def test_jobs_that_are_nobodys_business_are_not_there() -> None:
    """slurmctld may give more than was asked for."""
    made = _make(World([make_job(admin_comment="a ticket", state=JobState.RUNNING)], [], [make_node()], 2000.0))
    assert made.entries == ()


def test_a_moved_job_is_not_told_what_keeps_jobs_from_bursting() -> None:
    """The nodes that it requires now are those that its pods are on."""
    job = make_job(partition="k8s-burst", required_nodes="k8s-1", admin_comment=PROVISIONING)
    reasons = _make(World([job], [make_pod(job)], [make_node()], 2000.0)).entries[0].reasons
    assert reasons[-1].startswith("moved")
    assert not any("--nodelist" in line for line in reasons)


def test_a_rule_says_why_jobs_with_a_reservation_do_not_burst() -> None:
    """They never do; where a rule denies them, it is in its words."""
    rule = "[[policy.rules]]\nname = 'r'\nreservation = 'course-*'\ndeny = 'courses have nodes of their own'\n"
    settings = make_settings(rule)
    jobs = [make_job(1, reservation="course-7"), make_job(2, reservation="maint")]
    made = plan.make(World(jobs, [], [make_node()], 2000.0), site(settings), terms(settings))
    assert [(entry.step.state, entry.step.reason) for entry in made.entries] == [
        (BurstState.REFUSED, "courses have nodes of their own"),
        (BurstState.REFUSED, "asks for reservation maint (--reservation), which holds local nodes"),
    ]
