"""
What happens when parts of ours are dead: nothing, to the job.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from sandbox import Sandbox

from tests.cluster.pods import JOB_LABEL, Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")
GATED = "echo ready; until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done; echo through; exit 5"


def test_agent_killed_while_jobs_run(
    alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods, agent_settings: Callable[..., None]
) -> None:
    """kill -9 of the agent under twenty jobs: all end right without it, and their pods go when it is back."""
    agent_settings("max_pods = 16", "max_pods = 24", "max_pods_per_user = 8", "max_pods_per_user = 24")
    gate = f"gate-{os.urandom(4).hex()}"
    small = ("--cpus-per-task=1", "--mem=20M", "--k8s-burst=now")
    jobs = [
        alice.submit(GATED.replace("gate-$SLURM_JOB_ID", gate), *small, "--output=killed-%j.out") for _ in range(20)
    ]
    paths = [f"killed-{job_id}.out" for job_id in jobs]
    until(
        "the jobs to be ready",
        lambda: alice.shell(f"cat {' '.join(paths)}", check=False).stdout.count("ready") == 20,
        patience_s=300,
    )
    sandbox.service("k8s-burst-agent").kill("KILL")
    alice.shell(f"touch {gate}")
    for job_id in jobs:
        job = alice.wait_end(job_id)
        assert (job["JobState"], job["ExitCode"]) == ("FAILED", "5:0")
        assert job["NodeList"].startswith("k8s-")
    assert alice.shell(f"cat {' '.join(paths)}").stdout.split() == ["ready", "through"] * 20
    assert {pod["metadata"]["labels"][JOB_LABEL] for pod in pods.all()} == {str(job_id) for job_id in jobs}, (
        "somebody else than the agent deleted the pods"
    )
    sandbox.service("k8s-burst-agent").start()
    until("the pods to be gone", lambda: not pods.all())


def test_agent_down_at_submit(alice: SlurmUser, full: int, sandbox: Sandbox) -> None:
    """One line on standard error, the job is queued and marked, and bursts once the agent is back."""
    sandbox.service("k8s-burst-agent").kill("KILL")
    submission = alice.sbatch("hostname", *BURST)
    assert submission.stderr.count("\n") == 1
    assert submission.stderr.startswith("k8s-burst: ")
    assert "queued" in submission.stderr
    assert (alice.state(submission.job_id), alice.comment(submission.job_id)) == ("PENDING", "k8s-burst=now nodes=1-0")
    sandbox.service("k8s-burst-agent").start()
    assert alice.wait_end(submission.job_id)["NodeList"].startswith("k8s-")


def test_gatewayd_killed_while_output_flows(alice: SlurmUser, full: int, sandbox: Sandbox) -> None:
    """kill -9 of gatewayd, twice: the output goes on without a gap or a repetition, and the exit code is right."""
    job_id = alice.submit(
        "i=0; until [ -e $HOME/gate-$SLURM_JOB_ID ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 6",
        *BURST,
        "--output=cut-%j.out",
    )
    path = f"cut-{job_id}.out"
    for _ in range(2):
        before = len(alice.read(path))
        until("the output to grow", lambda before=before: len(alice.read(path)) > before + 100)
        sandbox.service("k8s-burst-gatewayd").kill("KILL")
        sandbox.service("k8s-burst-gatewayd").start()
    before = len(alice.read(path))
    until("the output to go on", lambda: len(alice.read(path)) > before + 100)
    alice.shell(f"touch gate-{job_id}")
    assert alice.wait_end(job_id)["ExitCode"] == "6:0"
    numbers = [int(line) for line in alice.read(path).split()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_gatewayd_down_at_task_start(alice: SlurmUser, full: int, sandbox: Sandbox) -> None:
    """The launcher waits for gatewayd and says so on the job's standard error."""
    sandbox.service("k8s-burst-gatewayd").kill("KILL")
    job_id = alice.submit("echo done", *BURST, "--output=late-%j.out")
    alice.wait_state(job_id, "RUNNING")
    until("the launcher to say that it waits", lambda: "k8s-burst" in alice.read(f"late-{job_id}.out"))
    sandbox.service("k8s-burst-gatewayd").start()
    assert alice.wait_end(job_id)["JobState"] == "COMPLETED"
    assert alice.read(f"late-{job_id}.out").endswith("done\n")


def test_slurmctld_restarted_while_provisioning(alice: SlurmUser, full: int, sandbox: Sandbox) -> None:
    """The agent finds its way again after slurmctld comes back, from what slurmctld remembers."""
    job_id = alice.submit("hostname", *BURST)
    sandbox.service("slurmctld").kill("TERM")
    sandbox.service("slurmctld").start()
    assert alice.wait_end(job_id)["NodeList"].startswith("k8s-")
