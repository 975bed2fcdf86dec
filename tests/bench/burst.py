"""
Submit → first line of output: a burst job beside ``kubectl run`` of the same image and beside the same job on gpu0.

All three are run in turn in one sandbox, so that a ratio means something on whatever machine it was measured. The stages of the burst
come from what the parts themselves logged about that job; clocks are one, as all hosts are one machine.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from dataclasses import dataclass, field

from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

IMAGE = "localhost/k8s-burst/debian:13"
FIRST_LINE = "date +%s.%N"

#: What each stage ends with, in order: its name, the log of which service, and what to look for there.
STAGES = (
    ("announce: sbatch → agent", "k8s-burst-agent", "event=announced"),
    ("submit and poll: → agent has seen and marked the job", "k8s-burst-agent", "event=write_comment job_id={job}"),
    ("pod made: → the API server has it", "k8s-burst-agent", "event=make_pods job_id={job}"),
    ("pod runs: scheduler, kubelet, containerd, runc", "kubelet", "container=job-{job}"),
    ("move: watch → slurmctld has moved the job", "k8s-burst-agent", "event=move_job job_id={job}"),
    ("slurmctld, slurmd, slurmstepd, launcher, exec stream", "k8s-burst-gatewayd", 'msg="stream opened" job={job}'),
)
LAST_STAGE = "supervisor, script → first line"


@dataclass
class Run:
    """
    One burst job: seconds from before sbatch to the first line, and the seconds of each stage in order.
    """

    total_s: float
    stages: dict[str, float] = field(default_factory=dict)


def measure(sandbox: Sandbox, alice: SlurmUser, pods: Pods, runs: int) -> tuple[list[Run], list[float], list[float]]:
    """Give the burst runs, the seconds of kubectl run, and the seconds of the job on gpu0."""
    burst, bare, local = [], [], []
    for number in range(runs):
        local.append(local_run(alice))
        bare.append(kubectl_run(sandbox, number))
        burst.append(burst_run(sandbox, alice, pods))
    return burst, bare, local


def burst_run(sandbox: Sandbox, alice: SlurmUser, pods: Pods) -> Run:
    """Submit with --k8s-burst=now while gpu0 is taken, and read the stages from the logs."""
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    began = time.time()
    job_id = alice.submit(FIRST_LINE, "--gres=gpu:1", "--k8s-burst=now", "--output=bench-%j.out")
    alice.wait_state(job_id, "COMPLETED")
    first_line = float(alice.read(f"bench-{job_id}.out"))
    alice.run("scancel", str(blocker))
    until("the pod to be gone", lambda: not pods.of(job_id))
    run, last = Run(first_line - began), began
    for stage, service, pattern in STAGES:
        at = logged(sandbox, service, pattern.format(job=job_id), job_id, began)
        run.stages[stage], last = at - last, at
    run.stages[LAST_STAGE] = first_line - last
    return run


def logged(sandbox: Sandbox, service: str, pattern: str, job_id: int, began: float) -> float:
    """When a service first logged something after the beginning, in Unix seconds."""
    text = sandbox.service(service).log.read_text(encoding="utf-8", errors="replace")
    if service == "kubelet":
        # klog: I1124 19:29:49.489473 …; the last container of a pod to start is the job's.
        lines = re.findall(
            rf'^[IWE]\d{{4}} (\S+) .*"SyncLoop \(PLEG\): event for pod" pod="[^"]*k8s-burst-{job_id}-.*ContainerStarted',
            text,
            re.MULTILINE,
        )
        times = [dt.datetime.combine(dt.date.today(), dt.time.fromisoformat(line)).timestamp() for line in lines]
        return max(times)
    for line in text.splitlines():
        found = re.match(r"(?:timestamp|time)=(\S+)", line)
        if found and pattern in line:
            at = dt.datetime.fromisoformat(found.group(1)).timestamp()
            if at >= began:
                return at
    msg = f"the log of {service} has no line with {pattern!r} since the job was submitted"
    raise AssertionError(msg)


def kubectl_run(sandbox: Sandbox, number: int) -> float:
    """Seconds from before ``kubectl run`` to the first line that the container prints."""
    name = f"bench-{number}"
    began = time.time()
    sandbox.kubectl(
        "run",
        name,
        f"--image={IMAGE}",
        "--image-pull-policy=Never",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        FIRST_LINE,
    )
    text = until("the container's line", lambda: sandbox.kubectl("logs", name, check=False).stdout.strip())
    sandbox.kubectl("delete", "pod", name, "--wait=true", "--grace-period=0", "--force")
    return float(text) - began


def local_run(alice: SlurmUser) -> float:
    """Seconds from before sbatch to the first line on the free gpu0."""
    began = time.time()
    job_id = alice.submit(FIRST_LINE, "--gres=gpu:1", "--output=bench-%j.out")
    alice.wait_state(job_id, "COMPLETED")
    return float(alice.read(f"bench-{job_id}.out")) - began
