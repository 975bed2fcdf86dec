"""
A target that is another team's cluster: their queue is waited for, and a share of what they leave idle stays idle.

Kueue is not here (it is in test_kueue.py): a webhook sets its gate on pods, as Kueue's does, and the test takes the
gates away in its place.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")
BURSTCTL = "/opt/k8s-burst/bin/burstctl"
TARGET = 'name = "default"                            # what'
GATE = "kueue.x-k8s.io/admission"
PKI = "/etc/kubernetes/pki"
PORT = 9443

WEBHOOK = f"""
import base64, http.server, json, ssl

class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        patch = [dict(op="add", path="/spec/schedulingGates", value=[dict(name="{GATE}")]),
                 dict(op="add", path="/metadata/labels/kueue.x-k8s.io~1managed", value="true")]
        answer = dict(uid=review["request"]["uid"], allowed=True, patchType="JSONPatch",
                      patch=base64.b64encode(json.dumps(patch).encode()).decode())
        body = json.dumps(dict(apiVersion=review["apiVersion"], kind="AdmissionReview", response=answer)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", {PORT}), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{PKI}/apiserver.crt", "{PKI}/apiserver.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture
def kueue(sandbox: Sandbox, pods: Pods, clean: None) -> Iterator[None]:
    """A webhook in Kueue's place, which gates the pods that name a queue."""
    server = sandbox.popen(["python3", "-c", WEBHOOK], host="node0")
    assert server.stdout is not None
    assert server.stdout.readline().strip() in (b"ready", "ready")
    queued = {"key": "kueue.x-k8s.io/queue-name", "operator": "Exists"}
    hook = {
        "name": "gate.kueue.example.org",
        "clientConfig": {
            "url": f"https://127.0.0.1:{PORT}/mutate",
            "caBundle": base64.b64encode(sandbox.path("node0", f"{PKI}/ca.crt").read_bytes()).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "objectSelector": {"matchExpressions": [queued]},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    meta = {"name": "kueue-in-place"}
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    sandbox.kubectl("create", "-f", "-", input=json.dumps({**kind, "metadata": meta, "webhooks": [hook]}))
    yield
    pods.kubectl("delete", "mutatingwebhookconfiguration", "kueue-in-place")
    server.kill()
    server.communicate()


def gates(pod: dict[str, object]) -> list[str]:
    """The names of a pod's scheduling gates."""
    spec = pod["spec"]
    assert isinstance(spec, dict)
    return [gate["name"] for gate in spec.get("schedulingGates", ())]


def test_kueue_admits(
    alice: SlurmUser, kueue: None, full: int, pods: Pods, agent_settings: Callable[..., None]
) -> None:
    """
    Pods carry the queue, those of one job as a group; while they are gated their job waits with the reason, and once all
    are admitted it runs. Another job that a local node takes first gives its place in the queue back.
    """
    agent_settings(TARGET, f'kueue_queue = "slurm"\n{TARGET}')
    pair = alice.submit("srun hostname", "-N2", "-n2", *BURST, "--output=kueue-%j.out")
    local = alice.submit("true", *BURST)
    made = until("the pods to be gated", lambda: len(found := pods.of(pair)) == 2 and all(map(gates, found)) and found)
    for pod in made:
        labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
        assert labels["kueue.x-k8s.io/queue-name"] == "slurm"
        assert labels["kueue.x-k8s.io/pod-group-name"].startswith(f"k8s-burst-{pair}-0-")
        assert annotations["kueue.x-k8s.io/pod-group-total-count"] == "2"
    until("the reason", lambda: "state=provisioning" in (said := alice.comment(pair)) and "SchedulingGated" in said)
    assert "Kueue has not admitted it yet" in alice.run(BURSTCTL, "explain", str(pair)).stdout
    until("the other pod to be gated", lambda: [gates(pod) for pod in pods.of(local)] == [[GATE]])

    def admit(pod: dict[str, dict[str, str]]) -> None:
        meta = pod["metadata"]
        patch = '[{"op": "remove", "path": "/spec/schedulingGates"}]'
        pods.kubectl("patch", "pod", "-n", meta["namespace"], meta["name"], "--type=json", "-p", patch)

    admit(made[0])
    until("the first pod to run", lambda: pods.running(pair))
    assert alice.state(pair) == "PENDING"
    admit(made[1])
    alice.wait_state(pair, "COMPLETED")
    assert sorted(alice.read(f"kueue-{pair}.out").split()) == sorted(alice.expand(alice.job(pair)["NodeList"]))

    assert alice.state(local) == "PENDING"
    alice.run("scancel", str(full))
    alice.wait_state(local, "COMPLETED")
    until("its pod to be gone", lambda: not pods.of(local))


RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: k8s-burst-agent-nodes}
rules: [{apiGroups: [""], resources: [nodes], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: k8s-burst-agent-nodes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: k8s-burst-agent-nodes}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: k8s-burst-agent}]
"""


@pytest.fixture
def owner(pods: Pods, clean: None) -> Iterator[None]:
    """Four of the node's eight GPUs are in use by its owner."""
    pods.create_owners(4)
    yield
    pods.delete_owners()
    for kind in ("clusterrolebinding", "clusterrole"):
        pods.kubectl("delete", kind, "k8s-burst-agent-nodes", "--ignore-not-found")


def test_a_share_of_what_is_idle(
    alice: SlurmUser, owner: None, full: int, pods: Pods, sandbox: Sandbox, agent_settings: Callable[..., None]
) -> None:
    """
    Without the right to see nodes, nothing is taken and the reason is said. With it, half of the four idle GPUs; when the
    owner's pod ends, half of all eight.
    """
    agent_settings(TARGET, f"idle_share = 0.5\n{TARGET}", "[pods]\n", "[kubernetes]\nidle_poll_s = 1\n\n[pods]\n")
    gated = "until [ -e $HOME/gate-$SLURM_JOB_ID ]; do sleep 0.1; done"
    jobs = [alice.submit(gated, "-c1", "--mem=64", *BURST, "--output=/dev/null") for _ in range(3)]
    until("the reason", lambda: "what is idle at target default is not known" in alice.comment(jobs[0]))
    assert "nodes is forbidden" in alice.run(BURSTCTL, "explain", str(jobs[0])).stdout

    sandbox.kubectl("create", "-f", "-", input=RIGHTS)
    for job_id in jobs[:2]:
        alice.wait_state(job_id, "RUNNING")
    until("the third to wait", lambda: "cap on idle GPUs at target default is reached" in alice.comment(jobs[2]))
    assert not pods.of(jobs[2])
    pods.delete_owners()
    alice.wait_state(jobs[2], "RUNNING")
    alice.shell("touch " + " ".join(f"gate-{job_id}" for job_id in jobs))
    for job_id in jobs:
        alice.wait_state(job_id, "COMPLETED")
