"""
What Slurm's commands cost in a pod: the median in a burst job, beside the same job on gpu0, in turn in one sandbox.
"""

from __future__ import annotations

import statistics

from tests.cluster.user import SlurmUser

COMMANDS = ("srun -n1 true", "srun -n4 true", "squeue", "scontrol show hostnames")

_SCRIPT = """
measure() {
  "$@" &> /dev/null
  for i in $(seq RUNS); do echo $EPOCHREALTIME; "$@" &> /dev/null; echo $EPOCHREALTIME; done | xargs
}
"""


def measure(alice: SlurmUser, runs: int) -> dict[str, tuple[float, float]]:
    """Give the milliseconds of each command in a pod and on gpu0."""
    script = _SCRIPT.replace("RUNS", str(runs)) + "".join(f"measure {command}\n" for command in COMMANDS)
    options = ("-n4", "--gres=gpu:1", "--mem=400M", "--output=bench-%j.out")
    local = _medians(alice, alice.submit(script, *options))
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    burst = _medians(alice, alice.submit(script, *options, "--k8s-burst=now"))
    alice.run("scancel", str(blocker))
    return {command: (burst[i], local[i]) for i, command in enumerate(COMMANDS)}


def _medians(alice: SlurmUser, job_id: int) -> list[float]:
    alice.wait_state(job_id, "COMPLETED")
    medians = []
    for line in alice.read(f"bench-{job_id}.out").splitlines():
        times = [float(word) for word in line.split()]
        medians.append(statistics.median(b - a for a, b in zip(times[::2], times[1::2], strict=True)) * 1000)
    return medians
