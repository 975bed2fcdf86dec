"""
A target whose pods go through Kueue, the real one: it says which may run, and takes them away again; and nothing of a
job is left in its books.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox import Sandbox

from tests.cluster.conftest import empty
from tests.cluster.kueue import Kueue, cluster_queue
from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--output=kueue-%j.out")
BURSTCTL = "/opt/k8s-burst/bin/burstctl"
TARGET = 'name = "default"                            # what'
QUEUE = f'kueue_queue = "slurm"\nkueue_cluster_queue = "hpc"\n{TARGET}'
QUICK = ("[pods]\n", "[kubernetes]\nqueue_poll_s = 0.5\n\n[pods]\n")
GROUP = "kueue.x-k8s.io/pod-group-name"
HELD = "until [ -e $HOME/go-$SLURM_JOB_ID ]; do sleep 0.1; done"


@pytest.fixture
def kueue(sandbox: Sandbox, root: SlurmUser, pods: Pods, clean: None) -> Iterator[Kueue]:
    """Kueue runs, and the agent has all the rights that agent.yaml has for the asking."""
    rights = (sandbox.checkout / "containers/kubernetes/agent.yaml").read_text()
    with Kueue(sandbox, pods).running() as kueue:
        sandbox.kubectl("apply", "-f", "-", input=re.sub(r"^  # (?=- |  )", "  ", rights, flags=re.MULTILINE))
        yield kueue
        sandbox.kubectl("apply", "-f", "-", input=rights)
        empty(sandbox, root, pods)


def gated(pod: dict[str, Any]) -> bool:
    """Whether a pod has Kueue's gate."""
    return {"name": "kueue.x-k8s.io/admission"} in pod["spec"].get("schedulingGates", ())


def test_kueue(
    alice: SlurmUser,
    kueue: Kueue,
    full: int,
    pods: Pods,
    sandbox: Sandbox,
    agent_settings: Callable[..., None],
) -> None:
    """
    Kueue admits the pods of a job together, and their job waits with its reason until then: also while the agent is
    killed, and again after Slurm held it. Those of a job that is cancelled, or that a local node takes first, give their
    place back. A job whose pods Kueue takes away is requeued, and queues anew. Nothing of any job is left.
    """
    agent_settings(TARGET, QUEUE, *QUICK)

    def waits_for(job_id: int, words: str) -> None:
        until(
            f"job {job_id} to wait for: {words}",
            lambda: f"reason=SchedulingGated: Kueue: {words}" in alice.comment(job_id),
        )
        assert all(map(gated, pods.of(job_id)))

    def go(job_id: int) -> None:
        alice.shell(f"touch go-{job_id}")

    pair = alice.submit(f"srun hostname; {HELD}", "-N2", "-n2", *BURST)
    waits_for(pair, "ClusterQueue hpc doesn't exist")
    kueue.create(cluster_queue("hpc", **{"cpu": "100", "memory": "1Ti", "nvidia.com/gpu": "2"}))
    alice.wait_state(pair, "RUNNING")
    workload = kueue.workload_of(pods.of(pair)[0])
    assert sum(one["count"] for one in workload["spec"]["podSets"]) == len(workload["metadata"]["ownerReferences"]) == 2

    jobs = [alice.submit(f"hostname; {HELD}", *BURST, *nodes) for nodes in (("-N2",), (), (), ())]
    for job_id in jobs:
        waits_for(job_id, "insufficient unused quota for nvidia.com/gpu in flavor any")
    group, cancelled, *others = jobs
    assert "2 more needed" in alice.run(BURSTCTL, "explain", str(group)).stdout
    first = {pod["metadata"]["labels"][GROUP] for pod in pods.of(group)}
    alice.run("scontrol", "hold", str(group))
    alice.run("scancel", str(cancelled), str(full))
    local = until(
        "a job to start locally", lambda: next((one for one in others if alice.state(one) == "RUNNING"), None)
    )
    (held,) = set(others) - {local}
    until("the pods of those that need none to be gone", lambda: not pods.of(local) + pods.of(cancelled))
    until("the others' deletion", lambda: all("deletionTimestamp" in pod["metadata"] for pod in pods.of(group)))
    agent = sandbox.service("k8s-burst-agent")
    agent.kill("KILL")
    agent.start()
    alice.run("scontrol", "release", str(group))

    (waiting,) = pods.of(held)
    go(pair)
    alice.wait_state(pair, "COMPLETED")
    assert sorted(alice.read(f"kueue-{pair}.out").split()) == sorted(alice.expand(alice.job(pair)["NodeList"]))
    alice.wait_state(held, "RUNNING")
    (runs,) = pods.of(held)
    assert runs["metadata"]["uid"] == waiting["metadata"]["uid"]
    meta = kueue.workload_of(runs)["metadata"]
    stop = ("--type=merge", "--patch", '{"spec": {"active": false}}')
    pods.kubectl("patch", "workload", "-n", meta["namespace"], meta["name"], *stop)
    until("the job to be requeued", lambda: alice.job(held).get("Restarts") == "1")
    words = re.compile(
        rf"event=requeue_job job_id={held} .*WorkloadEvictedDueToDeactivated: The workload is deactivated"
    )
    until("the reason", lambda: words.search(agent.log.read_text()))

    # Kubernetes takes up to twenty seconds to fail deleted pods that had a gate: Kueue's finalizer keeps them until then.
    until("the group's next pods", lambda: {pod["metadata"]["labels"][GROUP] for pod in pods.of(group)} - first)
    for job_id in (group, held):
        go(job_id)
    for job_id in (group, held):
        alice.wait_state(job_id, "COMPLETED")
        assert all(host.startswith("k8s-") for host in alice.read(f"kueue-{job_id}.out").split())
    go(local)
    alice.wait_state(local, "COMPLETED")
    until("Kueue's books to be empty", lambda: not kueue.workloads() and not pods.all())
