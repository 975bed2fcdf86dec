"""
What one task costs on a gateway: the launcher's start-up beside ``true``, and memory, of a batch task and of each of many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sandbox import Sandbox

from tests.cluster.user import SlurmUser, until

LAUNCHER = "/usr/libexec/k8s-burst/k8s-burst-run"
TASKS = 100


def start_ms(sandbox: Sandbox, runs: int) -> tuple[float, float]:
    """Milliseconds to start and end the launcher's program, and ``true``: each the mean of a loop on the gateway."""
    return _loop_ms(sandbox, f"{LAUNCHER} --version", runs), _loop_ms(sandbox, "/bin/true", runs)


def _loop_ms(sandbox: Sandbox, command: str, runs: int) -> float:
    script = f"began=$EPOCHREALTIME; for i in $(seq {runs}); do {command} > /dev/null; done; echo $began $EPOCHREALTIME"
    began, ended = sandbox.run(["bash", "-c", script], host="gateway", check=True).stdout.split()
    return (float(ended) - float(began)) / runs * 1000


def memory_kib(sandbox: Sandbox, alice: SlurmUser) -> dict[str, int]:
    """PSS in KiB of what stands on the gateway for one waiting batch task: launcher, sentinel, slurmstepd."""
    patterns = {
        "launcher": r"k8s-burst-run launch .*--job JOB ",
        "sentinel": r" sentinel ",
        "slurmstepd": r"slurmstepd: \[JOB\.batch\]",
    }
    return _pss_kib(sandbox, alice, "echo ready; sleep infinity", 1, patterns)


def task_memory_kib(sandbox: Sandbox, alice: SlurmUser) -> dict[str, float]:
    """
    PSS in KiB on the gateway for each task of a step of TASKS tasks: its launcher, and its share of the step's
    slurmstepd, of srun, and of gatewayd.
    """
    script = f"srun --overcommit -n{TASKS} sh -c 'echo ready; sleep infinity'"
    patterns = {
        "launcher": r"k8s-burst-run launch .*--job JOB --step 0 ",
        "slurmstepd": r"slurmstepd: \[JOB\.0\]",
        "srun": rf"srun .*-n{TASKS} ",
        "gatewayd": r"^/usr/libexec/k8s-burst/k8s-burst-gatewayd",
    }
    return {what: kib / TASKS for what, kib in _pss_kib(sandbox, alice, script, TASKS, patterns).items()}


def _pss_kib(
    sandbox: Sandbox, alice: SlurmUser, script: str, ready: int, patterns: Mapping[str, str]
) -> dict[str, int]:
    """
    The PSS in KiB of the gateway's processes whose command lines have each of the patterns, where JOB is the job's id, once
    a job in Kubernetes has said so often that it is ready.
    """
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    job_id = alice.submit(script, "--gres=gpu:1", "--k8s-burst=now", "--output=bench-%j.out")
    until("the tasks to run", lambda: alice.read(f"bench-{job_id}.out").count("ready") == ready)
    listing = "for p in /proc/[0-9]*; do echo $(tr '\\0' ' ' < $p/cmdline) $(sed -n 's/^Pss:/PSS/p' $p/smaps_rollup); done 2>/dev/null"
    lines = sandbox.run(["bash", "-c", listing], host="gateway").stdout.splitlines()
    alice.run("scancel", str(job_id), str(blocker))
    sizes = dict.fromkeys(patterns, 0)
    for line in lines:
        for what, pattern in patterns.items():
            size = re.search(r"PSS (\d+)", line)
            if size and re.search(pattern.replace("JOB", str(job_id)), line):
                sizes[what] += int(size.group(1))
    return sizes
