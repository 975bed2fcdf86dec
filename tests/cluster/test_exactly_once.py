"""
Two hundred jobs that local nodes and the cloud race for: each runs, and each runs once.
"""

from __future__ import annotations

import random
import re

import pytest

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

SMALL = "--cpus-per-task=1 --mem=50M --output=/dev/null"
ARRAYS, TASKS, PLAIN, BLOCKERS = 4, 30, 80, 8
#: So many run in pods before the local node takes the first one: on a busy machine pods would lose every race.
HEAD_START = 16
#: Seconds after the last job's end by which no pod is left.
PODS_GO_S = 30
#: A job that is lost once in two runs is lost.
pytestmark = pytest.mark.flaky(reruns=0)
#: Under the name that squeue and sacct give it, a job says where it runs.
RAN = "echo ${SLURM_ARRAY_TASK_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID} $SLURMD_NODENAME"


def test_two_hundred_jobs_run_exactly_once(alice: SlurmUser, pods: Pods) -> None:
    """Arrays and plain jobs while the local node comes free at random: one line of each job, one end, no pod left."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    path = f"ran-{seed}"
    flagged = f"sbatch --parsable {SMALL} --k8s-burst=now --wrap '{RAN} >> $HOME/{path}; sleep 1'"
    lines = [f"{flagged} --array=1-{TASKS}"] * ARRAYS + [flagged] * PLAIN
    # The local node takes no other job beside one of these: the cloud has the time that it runs.
    blocker = f"sbatch {SMALL} --exclusive --wrap '{{}}'"
    lines += [blocker.format(f"sleep {dice.randint(1, 6)}") for _ in range(BLOCKERS)]
    dice.shuffle(lines)
    first = blocker.format(f"until [ $(cat $HOME/{path} | wc -l) -ge {HEAD_START} ]; do sleep 0.1; done")
    answers = alice.shell("\n".join([f"touch {path}", first, *lines])).stdout.splitlines()
    wanted = set()
    for line, answer in zip(lines, answers[1:], strict=True):
        if line.startswith(flagged):
            assert re.fullmatch(r"\d+", answer), answer
            wanted |= {f"{answer}_{task}" for task in range(1, TASKS + 1)} if "--array" in line else {answer}
    assert len(wanted) == ARRAYS * TASKS + PLAIN
    until("all jobs to end", lambda: not alice.run("squeue", "-h").stdout.strip(), patience_s=400)
    until("the pods to be gone", lambda: not pods.all(), patience_s=PODS_GO_S)
    ran = [line.split() for line in alice.read(path).splitlines()]
    assert sorted(name for name, _ in ran) == sorted(wanted), f"a job is missing, or ran twice (seed {seed})"
    assert {node.split("-")[0] for _, node in ran} == {"gpu0", "k8s"}, f"one of the two took no job (seed {seed})"

    def accounted() -> bool:
        jobs = ",".join(sorted({name.split("_")[0] for name in wanted}))
        text = alice.run("sacct", "-X", "-n", "-P", "-D", "-j", jobs, "-o", "JobID,State,ExitCode,NodeList").stdout
        return sorted(text.split()) == sorted(f"{name}|COMPLETED|0:0|{node}" for name, node in ran)

    until("the accounting to say the same", accounted)
