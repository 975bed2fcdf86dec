"""
What a job in a pod prints while it runs, and its end before it runs. How it ends otherwise is in cases/ends.toml.
"""

from __future__ import annotations

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")


def wait_gone(pods: Pods, job_id: int) -> None:
    """Wait until no pod of the job is left."""
    until(f"the pods of job {job_id} to be gone", lambda: not pods.of(job_id))


def test_output_is_live_and_complete(alice: SlurmUser, full: int) -> None:
    """Lines are in the output file while the job runs, standard error goes where it should, and nothing is missing."""
    job_id = alice.submit(
        "echo first; echo oops >&2; until [ -e $HOME/go-$SLURM_JOB_ID ]; do sleep 0.1; done; seq 200000; echo last",
        *BURST,
        "--output=live-%j.out",
        "--error=live-%j.err",
    )
    until("the first line", lambda: alice.read(f"live-{job_id}.out") == "first\n")
    until("the line on standard error", lambda: alice.read(f"live-{job_id}.err") == "oops\n")
    assert alice.state(job_id) == "RUNNING"
    alice.shell(f"touch go-{job_id}")
    alice.wait_state(job_id, "COMPLETED")
    expected = "first\n" + "".join(f"{number}\n" for number in range(1, 200001)) + "last\n"
    assert alice.read(f"live-{job_id}.out") == expected


def test_cancel_while_pending(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Cancelled before it bursts: CANCELLED, and no pod ever."""
    job_id = alice.submit("true", "--gres=gpu:1", "--k8s-burst", "--begin=now+3600")
    alice.run("scancel", str(job_id))
    assert alice.wait_end(job_id)["JobState"] == "CANCELLED"
    assert not pods.of(job_id)


def test_cancel_while_provisioning(alice: SlurmUser, full: int, pods: Pods) -> None:
    """
    Cancelled while its pod comes up: as any pending job, and the pod goes. No job on a node is in that state; only why
    it waited is another thing.
    """
    pending = alice.submit("true", "--hold", "--output=cancelled-%j.out")
    job_id = alice.submit("true", *BURST, "--k8s-burst-image=localhost/no/such", "--output=cancelled-%j.out")
    until("the pod to be made", lambda: pods.of(job_id))
    alice.run("scancel", str(pending), str(job_id))
    ends = [alice.wait_end(one) for one in (pending, job_id)]
    native, burst = ([end.get(key) for key in ("JobState", "ExitCode", "DerivedExitCode", "NodeList")] for end in ends)
    assert burst == native == ["CANCELLED", "0:0", native[2], native[3]]
    assert not any(alice.has(f"cancelled-{one}.out") for one in (pending, job_id))
    wait_gone(pods, job_id)
