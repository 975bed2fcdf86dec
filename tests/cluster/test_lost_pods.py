"""
Pods that go away under their jobs: requeued under the same id where the job allows it, else failed, with the reason
where users and administrators look.
"""

from __future__ import annotations

from sandbox import Sandbox

from tests.cluster.pods import Pods, evict
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--open-mode=append")
#: The first run waits for its end; a later one ends at once.
SCRIPT = 'echo "run ${SLURM_RESTART_COUNT:-0}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep infinity'
NODE = "node0"


def evicted(pods: Pods, job_id: int) -> None:
    """Have a drain take the pod."""
    evict(pods, pods.running(job_id)[0])


def delete(pods: Pods, job_id: int) -> None:
    """Delete the pod as somebody at Kubernetes may."""
    meta = pods.running(job_id)[0]["metadata"]
    pods.kubectl("delete", "pod", "-n", meta["namespace"], meta["name"], "--grace-period=1", "--wait=false")


def submit_pair(alice: SlurmUser) -> tuple[int, int]:
    """Have two jobs running: one that may be requeued, one that may not."""
    return submit_pairs(alice, 1)[0]


def submit_pairs(alice: SlurmUser, count: int) -> list[tuple[int, int]]:
    """Have so many such pairs running."""
    jobs = [
        alice.submit(SCRIPT, *BURST, may, "--output=gone-%j.out", "--error=gone-%j.err")
        for may in ("--requeue", "--no-requeue") * count
    ]
    for job_id in jobs:
        until("the job to run", lambda job_id=job_id: "run 0" in alice.read(f"gone-{job_id}.out"))
    return list(zip(jobs[::2], jobs[1::2], strict=True))


def check_pair(alice: SlurmUser, sandbox: Sandbox, pair: tuple[int, int]) -> None:
    """Both have met the loss of their pods as they should."""
    again, failed = pair
    assert alice.wait_end(failed)["JobState"] == "FAILED"
    assert "state=lost" in alice.comment(failed)
    assert "pod" in alice.comment(failed)
    until("the reason on standard error", lambda: "pod" in alice.read(f"gone-{failed}.err"))
    job = alice.wait_state(again, "COMPLETED", patience_s=240)
    assert job["Restarts"] == "1"
    assert alice.read(f"gone-{again}.out").split() == ["run", "0", "run", "1"]
    log = sandbox.service("k8s-burst-agent").log.read_text(encoding="utf-8")
    assert any(
        "event=requeue_job" in line and f"job_id={again} " in line and "pod" in line for line in log.splitlines()
    )
    assert any("event=kill_job" in line and f"job_id={failed} " in line and "pod" in line for line in log.splitlines())


def test_pods_taken_away(alice: SlurmUser, full: int, pods: Pods, sandbox: Sandbox) -> None:
    """A drain's eviction of two pods, and a deletion of two others by somebody."""
    losses = dict(zip((evicted, delete), submit_pairs(alice, 2), strict=True))
    for loss, pair in losses.items():
        for job_id in pair:
            loss(pods, job_id)
    for pair in losses.values():
        check_pair(alice, sandbox, pair)


def test_node_tainted(alice: SlurmUser, full: int, pods: Pods, sandbox: Sandbox) -> None:
    """A NoExecute taint, as spot reclaims and node failures set it: all pods go at once, and no new one comes before."""
    pair = submit_pair(alice)
    pods.kubectl("taint", "node", NODE, "example.org/reclaimed=now:NoExecute")
    try:
        until("the pods to be taken", lambda: not any(pods.running(job_id) for job_id in pair))
    finally:
        pods.kubectl("taint", "node", NODE, "example.org/reclaimed-")
    check_pair(alice, sandbox, pair)


def test_node_gone(alice: SlurmUser, full: int, pods: Pods, sandbox: Sandbox) -> None:
    """
    The node dies with all that runs on it, Kubernetes gives its pods up, and nobody confirms their end: the jobs don't
    wait for it.
    """
    pair = submit_pair(alice)
    sandbox.service("kubelet").kill("KILL")
    for job_id in pair:
        sandbox.run(["pkill", "-KILL", "-f", f"[k]8s-burst-pod supervise .*--job-id {job_id} "], host=NODE)
    for job_id in pair:
        delete(pods, job_id)
    assert alice.wait_end(pair[1])["JobState"] == "FAILED"
    until("the other job to be requeued", lambda: alice.job(pair[0]).get("Restarts") == "1")
    sandbox.ensure_services()
    check_pair(alice, sandbox, pair)
