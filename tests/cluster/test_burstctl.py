"""
burstctl: what an administrator and a user see.
"""

from __future__ import annotations

import json

from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")
BURSTCTL = "/opt/k8s-burst/bin/burstctl"


def test_status_shows_jobs_and_what_finished_ones_cost(alice: SlurmUser, full: int, root: SlurmUser) -> None:
    """A running burst job with its pod; once it has ended, its GPU-hours from accounting."""
    job_id = alice.submit("sleep 2; until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done", *BURST)
    alice.wait_state(job_id, "RUNNING")

    def seen() -> dict[str, object] | None:
        status = json.loads(root.run(BURSTCTL, "status", "--json").stdout)
        return next(
            (job for job in status["jobs"] if job["job_id"] == job_id and job["burst_state"] == "running"), None
        )

    job = until("burstctl to show the job", seen)
    assert job["job_state"] == "RUNNING"
    assert len(job["pods"]) == 1  # type: ignore[arg-type]
    alice.shell(f"touch gate-{job_id}")
    alice.wait_state(job_id, "COMPLETED")

    def used() -> dict[str, float] | None:
        status = json.loads(root.run(BURSTCTL, "status", "--json").stdout)
        return next((usage for usage in status["usage"] if usage["job_id"] == job_id), None)

    usage = until("burstctl to show what it used", used)
    assert (usage["user"], usage["job_state"], usage["gpus"]) == ("alice", "COMPLETED", 1)
    assert usage["elapsed_s"] >= 2
    assert abs(usage["gpu_hours"] - usage["elapsed_s"] / 3600) < 1e-6
    assert str(job_id) in root.run(BURSTCTL, "status").stdout


def test_explain_tells_the_user_why(alice: SlurmUser, bob: SlurmUser, full: int) -> None:
    """The owner reads the reasons from the login node; another user is refused."""
    job_id = alice.submit("true", "--gres=gpu:1", "--k8s-burst", "--hold", "--array=3-4")
    text = until("the explanation", lambda: alice.run(BURSTCTL, "explain", str(job_id), check=False).stdout)
    assert alice.run(BURSTCTL, "explain", f"{job_id}_4").stdout.startswith(f"job {job_id}: "), "as squeue names a task"
    assert str(job_id) in text
    assert "held" in text.lower()
    refused = bob.run(BURSTCTL, "explain", str(job_id), check=False)
    assert refused.returncode != 0
    assert "held" not in refused.stdout.lower()


def test_metrics_are_served_on_the_gateway_alone(alice: SlurmUser, root: SlurmUser, full: int) -> None:
    """/metrics tells Prometheus of jobs and rounds, on the gateway's own loopback address."""
    fetch = "import urllib.request; print(urllib.request.urlopen('http://{}:6823/metrics', timeout=5).read().decode())"
    text = root.run("python3", "-c", fetch.format("127.0.0.1")).stdout
    assert "k8s_burst" in text
    assert alice.run("python3", "-c", fetch.format("gateway"), check=False).returncode != 0
