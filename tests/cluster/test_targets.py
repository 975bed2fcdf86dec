"""
Two Kubernetes clusters, of which the preferred one has no room, then loses its API server, then has a wrong image: jobs
end on the other, and whoever asks is told why. What runs on the preferred one goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox import Sandbox, node

from tests.cluster.pods import JOB_LABEL, Pods
from tests.cluster.user import SlurmUser, until

BURSTCTL = "/opt/k8s-burst/bin/burstctl"
GATED = "echo begun; until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done; echo ended; exit 3"
BURST = ("--k8s-burst=now", "--output=targets-%j.out", "--error=targets-%j.err")
GPU = ("--gres=gpu:1", *BURST)
SMALL = ("--cpus-per-task=1", "--mem=20M", *BURST)
#: Pauses outlast the test; a pod in a new namespace waits some seconds for its volume before it counts as without a node.
SETTINGS = ("backoff_min_s = 15", "backoff_min_s = 600")
FIRST = '[[targets]]\nname = "default"'
PREFERRED = """
[[targets]]
name = "second"
kubeconfig = "/etc/k8s-burst/kubeconfig"
context = "second"
preference = 1
unschedulable = "10 s"
"""


@pytest.fixture
def second(sandbox: Sandbox) -> Iterator[Pods]:
    """The second cluster, up for this test."""
    sandbox.add_cluster()
    yield Pods(sandbox, node.SECOND)
    sandbox.crash_host(node.SECOND.host)


def seen(root: SlurmUser, name: str) -> dict[str, Any]:
    """What burstctl says of a target; of an agent that has not looked yet, nothing."""
    done = root.run(BURSTCTL, "targets", "--json", check=False)
    known = json.loads(done.stdout)["targets"] if done.returncode == 0 else ()
    return next((dict(target) for target in known if target["name"] == name), {})


def begun(user: SlurmUser, job_id: int) -> None:
    """Wait until a job's script has begun."""
    until(f"job {job_id} to begin", lambda: "begun" in user.read(f"targets-{job_id}.out"))


def finish(user: SlurmUser, job_id: int) -> None:
    """Let a job go on, and see it end as its script does."""
    user.shell(f"touch gate-{job_id}")
    job = user.wait_end(job_id)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "3:0")
    assert user.read(f"targets-{job_id}.out").split() == ["begun", "ended"]


def uids(*clusters: Pods) -> set[str]:
    """All pods of jobs, each by what no later one has."""
    return {pod["metadata"]["uid"] for cluster in clusters for pod in cluster.all()}


def test_targets(
    second: Pods,
    alice: SlurmUser,
    full: int,
    root: SlurmUser,
    pods: Pods,
    sandbox: Sandbox,
    agent_settings: Callable[..., None],
) -> None:
    """No capacity; the agent's end with pods at both; the API server's end; a wrong image."""
    agent_settings(FIRST, PREFERRED + FIRST, *SETTINGS)
    until("the agent to know the second cluster", lambda: seen(root, "second").get("state") == "ok")

    # The preferred cluster has one GPU. A job without GPUs runs there; one with two does not, and of two pods with one
    # each none stays behind.
    sandbox.api_of(node.SECOND).set_gpus(1)
    cpu = alice.submit(GATED, *SMALL)
    begun(alice, cpu)
    assert (len(pods.of(cpu)), len(second.of(cpu))) == (0, 1)
    assert "target=second" in alice.comment(cpu)
    gpu, pair = alice.submit(GATED, "--gres=gpu:2", *BURST), alice.submit("srun hostname", "-N2", *GPU)
    begun(alice, gpu)
    assert (len(pods.of(gpu)), len(second.of(gpu))) == (1, 0)
    told = "not at second: target second has no room: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    assert told in alice.comment(gpu)
    assert "target=default" in alice.comment(gpu)
    assert told in alice.run(BURSTCTL, "explain", str(gpu)).stdout
    assert alice.wait_end(pair)["JobState"] == "COMPLETED"
    assert told in alice.comment(pair)
    until(
        "no half to be left there", lambda: [pod["metadata"]["labels"][JOB_LABEL] for pod in second.all()] == [str(cpu)]
    )
    state = until("the agent to see that", lambda: (one := seen(root, "second")).get("pods") == 1 and one)
    assert (state["state"], state["gpus"]) == ("paused", 0)
    assert {"1 GPUs", "2 GPUs"} == {pause["shape"].split(", ")[-1] for pause in state["pauses"]}
    assert "no room" in root.run(BURSTCTL, "targets").stdout

    # A new agent finds the pods of both.
    before = uids(pods, second)
    sandbox.service("k8s-burst-agent").kill("KILL")
    sandbox.service("k8s-burst-agent").start()
    until("the agent to know both", lambda: [seen(root, name).get("pods") for name in ("second", "default")] == [1, 1])
    assert uids(pods, second) <= before
    finish(alice, gpu)

    # Without its API server, a job runs on there, and the next one goes elsewhere.
    sandbox.service("kube-apiserver-second").kill("KILL")
    until("the target to be unreachable", lambda: seen(root, "second").get("state") == "unreachable")
    elsewhere = alice.submit(GATED, *SMALL)
    begun(alice, elsewhere)
    assert len(pods.of(elsewhere)) == 1
    assert "not at second: target second" in alice.comment(elsewhere)
    assert alice.state(cpu) == "RUNNING"
    finish(alice, elsewhere)
    sandbox.ensure_services()
    finish(alice, cpu)
    until("its pod to be deleted", lambda: not second.all())

    # Pods of its image can't start.
    until("the second node to take pods", lambda: ready(sandbox))
    own = '[targets.pods]\nimage = "localhost/k8s-burst/nothing:1"\n'
    agent_settings(FIRST, PREFERRED + own + FIRST, *SETTINGS)
    until("the agent to know the second cluster again", lambda: seen(root, "second").get("state") == "ok")
    imageless = alice.submit("hostname", *SMALL)
    assert alice.wait_end(imageless)["JobState"] == "COMPLETED"
    assert "not at second: pod" in alice.comment(imageless)
    assert "ErrImageNeverPull" in alice.comment(imageless)
    assert seen(root, "second")["pauses"][0]["shape"] == "pods of the default image"
    until("no pod to be left there", lambda: not second.all())


def ready(sandbox: Sandbox) -> bool:
    """Whether the second cluster's node takes pods again."""
    api = sandbox.api_of(node.SECOND)
    return api.node_ready() and not api.get(f"/api/v1/nodes/{node.SECOND.host}")["spec"].get("taints")
