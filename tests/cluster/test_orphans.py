"""
Pods that nobody comes back to: they end their processes with TERM, then KILL, and then themselves, without any of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sandbox import Sandbox

from tests.cluster.pods import JOB_LABEL, Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--output=orphan-%j.out")
SETTINGS = "/etc/k8s-burst/agent.toml"
ORPHAN_S = 4


@pytest.fixture
def short_patience(sandbox: Sandbox, clean: None) -> Iterator[None]:
    """Pods made meanwhile wait for seconds, not for an hour."""
    path, agent = sandbox.path("gateway", SETTINGS), sandbox.service("k8s-burst-agent")
    text = path.read_text()
    path.write_text(text.replace("\n[pods]\n", f"\n[pods]\norphan_s = {ORPHAN_S}\n"))
    agent.restart()
    yield
    path.write_text(text)
    if agent.alive:
        agent.restart()


def without_a_job(pod: dict[str, Any]) -> dict[str, Any]:
    """The same pod as a manifest, under a name that no launcher and no agent will ask for."""
    meta = pod["metadata"]
    spec = {key: value for key, value in pod["spec"].items() if key not in ("nodeName", "tolerations")}
    labels = {key: value for key, value in meta["labels"].items() if not key.startswith(JOB_LABEL.partition("/")[0])}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "nobody-comes", "namespace": meta["namespace"], "labels": labels},
        "spec": spec,
    }


def test_pods_end_when_nobody_comes_back(
    alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods, short_patience: None
) -> None:
    """
    Agent dead, gatewayd dead for ever: a task that ends on TERM, one that ignores it, one whose launcher and slurmstepd
    were killed, one that ends by itself while gatewayd is connected, and a pod that never got its first task. Every pod
    ends, and every process was asked before it was killed.
    """
    mark = "trap 'touch $HOME/term-$SLURM_JOB_ID; {then}' TERM; echo ready; while :; do sleep 0.1; done"
    obeys = alice.submit(mark.format(then="exit 0"), *BURST)
    ignores = alice.submit(mark.format(then=":"), *BURST)
    killed = alice.submit(mark.format(then=":"), *BURST)
    ends_itself = alice.submit("echo ready; until [ -e $HOME/end-it ]; do sleep 0.1; done", *BURST)
    jobs = (obeys, ignores, killed, ends_itself)
    for job_id in jobs:
        until(f"job {job_id} to be ready", lambda job_id=job_id: "ready" in alice.read(f"orphan-{job_id}.out"))
    sandbox.service("k8s-burst-agent").kill("KILL")
    names = {job_id: pods.running(job_id)[0]["metadata"]["name"] for job_id in jobs}
    alone = without_a_job(pods.running(obeys)[0])
    namespace = alone["metadata"]["namespace"]
    sandbox.kubectl("create", "-f", "-", input=json.dumps(alone))
    until("the pod without a job to run", lambda: "ready" in logs(sandbox, namespace, "nobody-comes"))

    stepd = sandbox.run(["pgrep", "-f", rf"^slurmstepd: \[{killed}\.batch\]"], host="gateway").stdout.split()
    launcher = sandbox.run(["pgrep", "-f", f"k8s-burst-run launch .*--job {killed} "], host="gateway").stdout.split()
    assert stepd
    assert launcher
    sandbox.run(["kill", "-KILL", *stepd, *launcher], host="gateway")
    until("the task to be killed", lambda: "the launcher has ended" in logs(sandbox, namespace, names[killed]))
    alice.run("touch", "end-it")
    last = names.pop(ends_itself)
    until(f"pod {last} to end", lambda: phase(pods, namespace, last) == "Succeeded")
    assert reason(logs(sandbox, namespace, last)) == "the job has ended"
    sandbox.service("k8s-burst-gatewayd").kill("KILL")

    for name in (*names.values(), "nobody-comes"):
        # None has succeeded: no launcher has taken an exit, so the jobs may have to be run anew.
        until(f"pod {name} to end", lambda name=name: phase(pods, namespace, name) == "Failed")
    told = {job_id: logs(sandbox, namespace, name) for job_id, name in names.items()}
    assert {job_id: reason(text) for job_id, text in told.items()} == {
        obeys: "the launchers stayed away",
        ignores: "the launchers stayed away",
        killed: "the job has ended",
    }
    assert reason(logs(sandbox, namespace, "nobody-comes")) == "no task came"
    asked = {job_id for job_id in names if alice.has(f"term-{job_id}")}
    assert asked == {obeys, ignores}, "TERM comes where a launcher stays away; where it was killed, KILL does"
    ends = {job_id: re.findall(r"msg=ended .*status=(\d+)", text) for job_id, text in told.items()}
    assert ends == {obeys: ["0"], ignores: ["9"], killed: ["9"]}, "as wait(2) has it"
    sandbox.kubectl("delete", "pod", "-n", namespace, "nobody-comes", "--wait=false")


def logs(sandbox: Sandbox, namespace: str, name: str) -> str:
    """What a pod's supervisor has said."""
    return sandbox.kubectl("logs", "-n", namespace, name, check=False).stdout


def reason(log: str) -> str:
    """Why a supervisor ended, as it says."""
    found = re.search(r'msg=ending .*why="([^"]*)"', log)
    return found.group(1) if found else ""


def phase(pods: Pods, namespace: str, name: str) -> str:
    """A pod's phase."""
    return str(pods.get("pod", "-n", namespace, name)["status"]["phase"])
