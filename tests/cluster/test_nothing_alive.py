"""
Everything of ours is dead and stays dead: the pods end by themselves, so the bill does too.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--time=1")
CONTAINERS = ("ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io", "tasks", "ls", "-q")


def test_pods_end_at_their_deadline(alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods, root: SlurmUser) -> None:
    """
    The deadline is the job's limit plus what the settings add; the kubelet keeps it, whoever lives. The script ignores
    TERM and leaves a process of its own session behind, and both are gone.
    """
    before = set(sandbox.run(CONTAINERS, host="node0", check=True).stdout.split())
    mark = "987654"
    job_id = alice.submit(
        f"trap '' TERM; setsid sleep {mark} & echo ready; while :; do sleep {mark}; done", *BURST, "--output=net-%j.out"
    )
    until("the job to be ready", lambda: "ready" in alice.read(f"net-{job_id}.out"))
    (pod,) = pods.running(job_id)
    settings = tomllib.loads(sandbox.path("gateway", "/etc/k8s-burst/agent.toml").read_text(encoding="utf-8"))
    grace_s, allowance_s = settings["pods"]["deadline_grace_s"], settings["policy"]["provision_timeout_s"] + 60
    assert pod["spec"]["activeDeadlineSeconds"] == 60 + grace_s + allowance_s
    for name in ("k8s-burst-agent", "k8s-burst-gatewayd", "slurmctld"):
        sandbox.service(name).kill("KILL")
    # A deadline may be lowered: the rest of the hour is not waited for.
    age_s = (datetime.now(UTC) - datetime.fromisoformat(pod["status"]["startTime"])).total_seconds()
    meta = pod["metadata"]
    sooner = f'{{"spec": {{"activeDeadlineSeconds": {int(age_s) + 2}}}}}'
    pods.kubectl("patch", "pod", "-n", meta["namespace"], meta["name"], "-p", sooner)
    until(
        "the containers to be gone",
        lambda: set(sandbox.run(CONTAINERS, host="node0", check=True).stdout.split()) <= before,
    )
    assert sandbox.run(["pgrep", "-f", f"sleep {mark}"], host="node0").returncode == 1
    status = pods.get("pod", "-n", meta["namespace"], meta["name"])["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert not any(sandbox.service(name).alive for name in ("k8s-burst-agent", "k8s-burst-gatewayd", "slurmctld"))
