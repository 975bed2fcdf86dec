"""
How long the agent thinks in one round: 10,000 jobs wait, 1,000 of them are flagged, 100 of those have their pods, and
200 more may get theirs; 50 rules, 5 targets.
"""

from __future__ import annotations

import statistics
import time

from burst_agent import plan, settings
from burst_agent.app import collect_rarely
from burst_agent.model import Job, JobState, Pod, PodPhase, Request, Tres, VirtualNode
from burst_agent.plan import World
from burst_agent.policy import Books, Past
from burst_agent.reconcile import site, terms
from burst_agent.steps import MakePods

PENDING, FLAGGED, RULES, NODES, TARGETS = 10_000, 1_000, 50, 100, 5
PODS, GRANTS = 100, 200
NOW = 2_000_000_000


def tick_ms(runs: int) -> list[float]:
    """
    Plan the same world so many times; milliseconds of each.

    The jobs that are not flagged are there too, as where a rule looks at a whole partition: in C, the picker leaves out
    those that no rule may flag.
    """
    collect_rarely()  # as the agent does
    table = "\n".join(
        f'[[policy.rules]]\nname = "r{number}"\naccount = "none{number}*"\nqos = ["a{number}", "b{number}"]\n'
        f'gpus = {{ min = {number} }}\nflag = "auto"'
        for number in range(RULES)
    )
    targets = "\n".join(
        f'[[targets]]\nname = "t{number}"\npreference = {number % 2}\nmax_gpus = {60 + number}\n'
        f"[[targets.shapes]]\ncpus = 64\nmemory_mib = 512000\ngpus = {number}\n"
        for number in range(TARGETS)
    )
    prices = "\n".join(f'[policy.prices.t{number}]\ngpu_hour = {{ "*" = {number} }}' for number in range(TARGETS))
    loaded = settings.parse(
        f"""
        [slurm]
        cluster = "bench"
        [pods]
        image = "a"
        supervisor_image = "b"
        [policy]
        max_pods = {PODS + GRANTS}
        max_pods_per_user = 4
        max_gpus = 400
        max_gpus_per_user = 8
        max_cost_per_month = 100000
        max_cost_per_account_per_month = {{ "*" = 5000 }}
        {prices}
        {table}
        {targets}
        """,
        source="bench",
    )
    nodes = [
        VirtualNode(f"k8s-{number}", Tres(64, 512_000, 1, 8), Tres(), usable=True, state="IDLE")
        for number in range(NODES)
    ]
    jobs = [_job(number) for number in range(1, PENDING + 1)]
    pods = [_pod(job) for job in jobs if "provisioning" in job.admin_comment]
    world = World(jobs, pods, nodes, float(NOW), past=Past(Books()))
    at, made_ready = site(loaded), terms(loaded)
    took = []
    for _ in range(runs):
        began = time.process_time()
        made = plan.make(world, at, made_ready)
        took.append((time.process_time() - began) * 1000)
        granted = sum(isinstance(action, MakePods) for entry in made.entries for action in entry.step.actions)
        # Else it would be another round that was measured.
        assert (len(made.entries), len(pods), granted) == (FLAGGED, PODS, GRANTS), granted
    return [statistics.median(took), max(took)]


def _job(number: int) -> Job:
    every = PENDING // FLAGGED
    flagged, has_pod = number % every == 0, number % (every * FLAGGED // PODS) == 0
    comment = "k8s-burst=auto from=gpu nodes=1-0"
    if has_pod:
        comment += f" state=provisioning restart=0 target=t{number // every % TARGETS}"
    return Job(
        job_id=number, array_job_id=0, array_task_id=None, array_tasks=(), het_job_id=0, uid=1000 + number // every % 300,
        gid=100, user=f"u{number // every % 300}", account=f"a{number // every % 40}", qos="normal", name="x", partition="gpu",
        state=JobState.PENDING, reason="Priority", priority=number % 977, completing=False, submit_time=NOW - 10_000,
        eligible_time=NOW - 10_000, start_time=NOW + number, end_time=0, time_limit_min=60 + number % 7,
        min_nodes=1, max_nodes=0, requested=Tres(4, 8192, 1, number % 3),
        request=Request(cpus=4, memory_mib_per_node=8192, gpus=number % 3), shares=(), gpu_type="", allocated=Tres(),
        nodes=(), required_nodes="", features="", licenses="", reservation="", batch=True, requeue=True,
        restart_count=0, exit_code=0, work_dir="/", admin_comment=comment if flagged else "",
    )  # fmt: skip


def _pod(job: Job) -> Pod:
    node = f"k8s-{job.job_id * PODS // PENDING % NODES}"
    return Pod(
        target=job.admin_comment.rpartition("=")[2], namespace=f"bench-u{job.uid}", name=f"k8s-burst-{job.job_id}-0-{node}",
        uid=str(job.job_id), job_id=job.job_id, restart=0, node=node, user_uid=job.uid, phase=PodPhase.PENDING,
        running=False, terminating=False, created=NOW - 10.0, address="", size=job.requested, nodes=(node,),
        gpus=job.requested.gpus, reason="", message="",
    )  # fmt: skip
