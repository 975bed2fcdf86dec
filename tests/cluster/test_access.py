"""
Who may do what: users on both sides try what they may not, and are refused.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sandbox import Sandbox, node

from tests.cluster.conftest import empty
from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

#: Who may once in two tries what he may not, may.
pytestmark = pytest.mark.flaky(reruns=0)

BURST = ("--gres=gpu:1", "--k8s-burst=now")
LAUNCH = "/usr/libexec/k8s-burst/k8s-burst-run launch --socket /run/k8s-burst/gatewayd.sock --step {} --task 0 --give-up-s 60"
#: A task runs once.
STEPS = itertools.count()


@pytest.fixture(scope="module")
def shared(sandbox: Sandbox, root: SlurmUser, pods: Pods) -> Iterator[list[int]]:
    """The jobs that the tests below were about, the last one for each that finds it running."""
    yield []
    empty(sandbox, root, pods)


@pytest.fixture
def running(sandbox: Sandbox, root: SlurmUser, pods: Pods, shared: list[int]) -> tuple[int, str]:
    """A job of alice's that runs in a pod, whoever has tried what with it before: its id and its node."""
    alice = SlurmUser(sandbox, "alice")
    if not shared or alice.state(shared[-1]) != "RUNNING":
        empty(sandbox, root, pods)
        shared.append(alice.submit("sleep infinity", *BURST, "--exclude=gpu0"))
    job = alice.wait_state(shared[-1], "RUNNING")
    until("its pod", lambda: pods.running(shared[-1]))
    return shared[-1], job["NodeList"]


def test_another_user_cannot_enter_a_pod(sandbox: Sandbox, running: tuple[int, str]) -> None:
    """bob's process on the gateway asks gatewayd for alice's job, and is told no."""
    job_id, node = running
    bob = SlurmUser(sandbox, "bob", host="gateway")
    done = bob.shell(f"cd /; {LAUNCH.format(next(STEPS))} --job {job_id} --node {node} -- /bin/id", check=False)
    assert done.returncode != 0
    assert "uid=" not in done.stdout
    assert str(job_id) in done.stderr


@pytest.mark.parametrize("what", ["job", "node"])
def test_a_made_up_job_or_node_is_refused(sandbox: Sandbox, running: tuple[int, str], what: str) -> None:
    """alice herself, with a job id that is not hers to give, or another node than her job's."""
    job_id, node = running
    asked_job = 4000000 if what == "job" else job_id
    asked_node = next(name for name in ("k8s-6", "k8s-7") if name != node) if what == "node" else node
    alice = SlurmUser(sandbox, "alice", host="gateway")
    done = alice.shell(
        f"cd /; {LAUNCH.format(next(STEPS))} --job {asked_job} --node {asked_node} -- /bin/id", check=False
    )
    assert done.returncode != 0
    assert "uid=" not in done.stdout


def test_the_owner_may_enter(sandbox: Sandbox, running: tuple[int, str]) -> None:
    """The refusals above are refusals: the same words from the owner run in the pod."""
    job_id, node = running
    alice = SlurmUser(sandbox, "alice", host="gateway")
    done = alice.shell(f"cd /; {LAUNCH.format(next(STEPS))} --job {job_id} --node {node} -- /bin/hostname")
    assert done.stdout == f"{node}\n"


def test_pod_is_an_ordinary_restricted_pod(sandbox: Sandbox, running: tuple[int, str], pods: Pods) -> None:
    """The namespace enforces the restricted standard; the pod has a deadline and nothing secret in it."""
    job_id, node = running
    pod = pods.running(job_id)[0]
    namespace = pods.get("namespace", pod["metadata"]["namespace"])
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pod["spec"]
    assert spec["hostname"] == node
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsUser"] == sandbox.ids("alice")[0]
    assert "sleep infinity" not in str(pod), "the script is in the pod's spec"
    names = [entry["name"] for entry in spec["containers"][0].get("env", [])]
    assert not any(name.startswith("SLURM") for name in names)


def test_namespace_has_quota_and_network_policy(running: tuple[int, str], pods: Pods) -> None:
    """A user's namespace comes with what the template says."""
    job_id, _ = running
    namespace = pods.running(job_id)[0]["metadata"]["namespace"]
    for kind in ("resourcequota", "networkpolicy", "serviceaccount/k8s-burst", "role", "rolebinding"):
        found = pods.get(kind, "-n", namespace)
        assert found.get("items", [found]), f"no {kind} in {namespace}"


def test_gatewayd_on_another_host_proves_itself_with_a_certificate(
    sandbox: Sandbox, running: tuple[int, str], root: SlurmUser
) -> None:
    """Over mutual TLS a gatewayd gets its users into their pods; without a gateway's certificate it gets nothing."""
    settings = sandbox.path("gateway", "/etc/k8s-burst/agent.toml")
    before = settings.read_text(encoding="utf-8")
    listener = (
        '[listen.gateway]\naddress = "[::]:6822"\ncertificate = "/etc/k8s-burst/agent.crt"\n'
        'key = "/etc/k8s-burst/agent.key"\nclient_ca = "/etc/k8s-burst/gateways-ca.crt"\n\n[log]'
    )
    job_id, node = running
    alice = SlurmUser(sandbox, "alice", host="gateway")
    launch = LAUNCH.format(next(STEPS)).replace("gatewayd.sock", "other.sock")
    ask = f"cd /; {launch} --job {job_id} --node {node}"
    command = ["/usr/libexec/k8s-burst/k8s-burst-gatewayd", "--listen", "/run/k8s-burst/other.sock"]
    command += ["--agent", "gateway:6822", "--tls-ca", "/etc/k8s-burst/ca.crt"]
    try:
        settings.write_text(before.replace("[log]", listener), encoding="utf-8")
        sandbox.service("k8s-burst-agent").restart()
        for name, answers in (("gateway", True), ("agent", False)):
            identity = ["--tls-cert", f"/etc/k8s-burst/{name}.crt", "--tls-key", f"/etc/k8s-burst/{name}.key"]
            with sandbox.popen([*command, *identity], host="gateway") as gatewayd:
                until(
                    "the socket",
                    lambda: root.run("test", "-S", "/run/k8s-burst/other.sock", check=False).returncode == 0,
                )
                patience_s = 60 if answers else 5
                done = alice.shell(f"{ask} --give-up-s {patience_s} -- /bin/hostname", check=False)
                gatewayd.terminate()
            assert (done.stdout == f"{node}\n") is answers, done.stderr
    finally:
        settings.write_text(before, encoding="utf-8")
        sandbox.service("k8s-burst-agent").restart()


def test_direct_submission_to_the_burst_partition_is_refused(alice: SlurmUser) -> None:
    """-p k8s-burst is not for users, in a list neither; the message says what to do."""
    for partition in ("k8s-burst", "gpu,k8s-burst"):
        done = alice.run("sbatch", "-p", partition, "--wrap", "true", check=False)
        assert done.returncode != 0
        assert "--k8s-burst" in done.stderr


def test_own_move_to_the_burst_partition_is_refused(alice: SlurmUser, full: int) -> None:
    """scontrol update Partition= by the job's own user is refused, and the job stays as it was."""
    job_id = alice.submit("true", "--gres=gpu:1")
    for partition in ("k8s-burst", "gpu,k8s-burst"):
        done = alice.run("scontrol", "update", f"JobId={job_id}", f"Partition={partition}", check=False)
        assert done.returncode != 0
    assert alice.job(job_id)["Partition"] == "gpu"


def test_the_marker_cannot_be_set_by_hand(alice: SlurmUser, full: int) -> None:
    """admin_comment is for operators: neither scontrol update nor a variable of one's own makes another marker."""
    job_id = alice.submit("true", "--gres=gpu:1")
    done = alice.run("scontrol", "update", f"JobId={job_id}", "AdminComment=k8s-burst=now", check=False)
    assert done.returncode != 0
    assert "k8s-burst" not in alice.comment(job_id)
    forged = alice.shell(
        "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst='now from=x state=running' sbatch --parsable --gres=gpu:1 --wrap true",
        check=False,
    )
    if forged.returncode == 0:
        assert "state=running" not in alice.comment(int(forged.stdout))


def test_root_jobs_never_run_in_pods(root: SlurmUser, clean: None, full: int) -> None:
    """uid 0 is refused when it asks for a pod, with a sentence that says why; its ordinary jobs are not our business."""
    done = root.run("sbatch", *BURST, "--wrap", "true", check=False)
    assert done.returncode != 0
    assert "root" in done.stderr
    ordinary = root.submit("true", "--gres=gpu:1")
    assert not root.comment(ordinary)


def test_agent_has_only_the_rights_it_needs(pods: Pods) -> None:
    """What the agent may do in Kubernetes is what containers/kubernetes grants: no secrets, no nodes, no deployments."""
    for verb, thing in (("get", "secrets"), ("list", "secrets"), ("create", "deployments"), ("delete", "nodes")):
        answer = pods.sandbox.kubectl("auth", "can-i", verb, thing, "-A", "--as=k8s-burst-agent", check=False)
        assert answer.stdout.strip() == "no", f"the agent may {verb} {thing}"


#: Where the node's administrator puts the agent's kubeconfig for the time of a test.
AGENTS_CONFIG = "/run/agent.conf"
OURS = {"k8s-burst.slurm/cluster": "sandbox", "k8s-burst.slurm/uid": "1001"}


def volume(
    name: str, labels: dict[str, str], source: dict[str, Any], namespace: str = "sandbox-u1001"
) -> dict[str, Any]:
    """A PersistentVolume for a claim in a namespace."""
    spec = {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "storageClassName": ""}
    spec |= {"claimRef": {"namespace": namespace, "name": "any"}, **source}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}, "spec": spec}


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A small object, in namespace default where its kind has one."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **more}}


HOME = {"hostPath": {"path": "/home"}}
ROOT = {"hostPath": {"path": "/"}}
CSI = {"csi": {"driver": "nfs.csi.k8s.io", "volumeHandle": "h", "volumeAttributes": {"share": "/", "server": "s"}}}
LOCAL = {
    "local": {"path": "/"},
    "nodeAffinity": {
        "required": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node0"]}]}
            ]
        }
    },
}
#: What somebody with the agent's credential would like, and what he hears.
REFUSED: list[tuple[dict[str, Any], str]] = [
    (volume("new", {}, HOME), "carry its labels"),
    (volume("new", {"k8s-burst.slurm/cluster": "sandbox"}, HOME), "carry its labels"),
    (volume("of-a-team", OURS, HOME), "may not take over a volume"),
    (volume("new", OURS, HOME, "default"), "in the namespace of the user"),
    (volume("new", OURS | {"k8s-burst.slurm/uid": "1002"}, HOME), "in the namespace of the user"),
    (volume("new", OURS | {"k8s-burst.slurm/uid": "x"}, HOME, "sandbox-ux"), "in the namespace of the user"),
    (volume("new", OURS, ROOT), "may make no volume of hostPath /: fence.yaml lists"),
    (volume("new", OURS, {"hostPath": {"path": "/home/bob"}}), "may make no volume of hostPath /home/bob"),
    (volume("new", OURS, {"nfs": {"server": "nfs", "path": "/home"}}), "may make no volume of nfs nfs /home"),
    (volume("new", OURS, CSI), "nfs.csi.k8s.io h share=/"),
    (volume("new", OURS, LOCAL), "may make no volume of another kind"),
    (named("ConfigMap", "new", namespace="default"), "only in namespaces that it made"),
    (named("Namespace", "default", labels=OURS), "carry its label and enforce the restricted standard"),
    (
        named("Namespace", "default", labels=OURS | {"pod-security.kubernetes.io/enforce": "restricted"}),
        "may not take over a namespace",
    ),
]


@pytest.fixture
def apply(sandbox: Sandbox, pods: Pods) -> Iterator[Callable[..., str]]:
    """
    Try to apply an object, as somebody whom the words say, by default as one with the agent's own credential; gives
    what the API server says. There is a team's volume that nothing of ours made.
    """
    config = sandbox.path(node.NODE, AGENTS_CONFIG)
    config.write_text(
        sandbox.path("gateway", "/etc/k8s-burst/kubeconfig").read_text(encoding="utf-8"), encoding="utf-8"
    )
    sandbox.kubectl("create", "-f", "-", input=json.dumps(volume("of-a-team", {}, HOME, "default")))

    def tried(thing: dict[str, Any], *who: str) -> str:
        words = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
        done = sandbox.kubectl(
            *words, *(who or (f"--kubeconfig={AGENTS_CONFIG}",)), input=json.dumps(thing), check=False
        )
        return done.stdout + done.stderr

    yield tried
    config.unlink()
    pods.kubectl(
        "delete", "persistentvolume/of-a-team", "clusterrolebinding/of-a-service-account", "--ignore-not-found"
    )


def test_the_fence_holds_the_agent(apply: Callable[..., str], sandbox: Sandbox, pods: Pods) -> None:
    """Whoever is the agent gets at no more than the agent makes for its users; an administrator is not held."""
    for thing, said in REFUSED:
        assert said in apply(thing), thing
    for answer in (
        apply(volume("new", OURS, HOME)),
        apply(volume("new", {}, ROOT), f"--kubeconfig={node.ADMIN_CONFIG}"),
    ):
        assert "serverside-applied" in answer
    enter = "/api/v1/namespaces/default/pods/any/exec?command=id&stdout=true"
    words = ("create", f"--kubeconfig={AGENTS_CONFIG}", "--raw", enter, "-f", "-")
    assert "enters no pod" in sandbox.kubectl(*words, input="{}", check=False).stderr
    who = ("--clusterrole=k8s-burst-agent", "--serviceaccount=default:agent")
    pods.kubectl("create", "clusterrolebinding", "of-a-service-account", *who)
    same = ("--as=system:serviceaccount:default:agent",)
    until("its rights", lambda: "is forbidden: User" not in apply(REFUSED[0][0], *same))
    assert REFUSED[0][1] in apply(REFUSED[0][0], *same)
