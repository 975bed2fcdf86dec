"""
What is wrong is named, and nothing else suffers: settings, credentials, images, sizes, quotas.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest
from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--output=/dev/null")
AGENT = "/opt/k8s-burst/bin/k8s-burst-agent"
BURSTCTL = "/opt/k8s-burst/bin/burstctl"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"[policy]": "[policy"}, ["TOML"], id="no-toml"),
        pytest.param(
            {"wait_s = 5": "wait_seconds = 5", "max_pods = 16": 'max_pods = "many"', '"sandbox"': '"../.."'},
            ["policy.wait_seconds", "policy.max_pods", "slurm.cluster"],
            id="wrong-keys",
        ),
    ],
)
def test_broken_settings_are_named(
    root: SlurmUser, sandbox: Sandbox, changes: dict[str, str], named: list[str]
) -> None:
    """The agent does not start; one message names the file and every key that is wrong, without a traceback."""
    text = sandbox.path("gateway", "/etc/k8s-burst/agent.toml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    sandbox.path("gateway", "/tmp/broken.toml").write_text(text, encoding="utf-8")
    done = root.run(AGENT, "--config", "/tmp/broken.toml", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in ("/tmp/broken.toml", *named):
        assert word in done.stderr, done.stderr


def test_kubernetes_away_or_not_believing_us(
    alice: SlurmUser, full: int, root: SlurmUser, sandbox: Sandbox, pods: Pods, agent_settings: Callable[..., None]
) -> None:
    """No API server, then a certificate that it does not know: jobs queue, the trouble is named, later they burst."""
    sandbox.service("kube-apiserver").kill("KILL")
    job_id = alice.submit("true", *BURST)

    def trouble() -> str:
        return root.run(BURSTCTL, "status").stdout

    until("the agent to tell of the API server", lambda: re.search(r"(?i)kubernetes|API server", trouble()))
    assert alice.state(job_id) == "PENDING"
    sandbox.service("kube-apiserver").start()
    # Kubernetes' own components may take a minute until they look for it again.
    assert alice.wait_end(job_id, patience_s=240)["NodeList"].startswith("k8s-")
    stranger = json.loads(sandbox.path("gateway", "/etc/k8s-burst/kubeconfig").read_text(encoding="utf-8"))
    for word, file in (("certificate", "gateway.crt"), ("key", "gateway.key")):
        strange = base64.b64encode(sandbox.path("gateway", f"/etc/k8s-burst/{file}").read_bytes()).decode()
        stranger["users"][0]["user"][f"client-{word}-data"] = strange
    sandbox.path("gateway", "/etc/k8s-burst/stranger.kubeconfig").write_text(json.dumps(stranger), encoding="utf-8")
    agent_settings('"/etc/k8s-burst/kubeconfig"', '"/etc/k8s-burst/stranger.kubeconfig"')
    second = alice.submit("true", *BURST)
    until("the agent to tell of the credentials", lambda: re.search(r"(?i)unauthorized|forbidden|401|403", trouble()))
    assert alice.state(second) == "PENDING"
    assert not pods.of(second)
    agent_settings()
    assert alice.wait_end(second, patience_s=240)["NodeList"].startswith("k8s-")


def test_what_kubernetes_refuses_is_told_to_the_user(
    alice: SlurmUser, bob: SlurmUser, full: int, pods: Pods, agent_settings: Callable[..., None]
) -> None:
    """An image that is nowhere, a quota that is used up: the job stays queued, its comment says why, no pod stays."""
    agent_settings("backoff_min_s = 15", "backoff_min_s = 3")
    first = alice.submit("true", *BURST)
    alice.wait_end(first)
    namespace = "sandbox-u1001"
    quota = pods.get("resourcequota", "k8s-burst", "-n", namespace)["spec"]["hard"]["pods"]
    nowhere = bob.submit("true", *BURST, "--k8s-burst-image=localhost/no/such:1")
    pods.kubectl("patch", "resourcequota", "k8s-burst", "-n", namespace, "-p", '{"spec": {"hard": {"pods": "0"}}}')
    try:
        over = alice.submit("true", *BURST)
        until("the quota to be named", lambda: "quota" in alice.comment(over))
        assert "state=waiting" in alice.comment(over)
        assert alice.state(over) == "PENDING"
        assert not pods.of(over)
    finally:
        hard = f'{{"spec": {{"hard": {{"pods": "{quota}"}}}}}}'
        pods.kubectl("patch", "resourcequota", "k8s-burst", "-n", namespace, "-p", hard)
    until("the image to be named", lambda: "localhost/no/such:1" in bob.comment(nowhere))
    assert bob.state(nowhere) == "PENDING"
    until("its pod to be gone", lambda: not pods.of(nowhere))
    assert alice.wait_end(over)["NodeList"].startswith("k8s-")


def test_too_large_for_any_node_is_refused_or_waits(alice: SlurmUser, full: int, pods: Pods) -> None:
    """More than any node has is refused at submission, by Slurm in its own words; nothing is queued."""
    for words in (["--gres=gpu:9"], ["--gres=gpu:1", "--mem=300G"], ["--gres=gpu:1", "-c", "100"]):
        done = alice.run("sbatch", "--k8s-burst=now", *words, "--wrap", "true", check=False)
        assert done.returncode != 0
        assert "configuration is not available" in done.stderr
    assert alice.run("squeue", "-h", "-t", "PENDING", "-u", "alice").stdout == ""
