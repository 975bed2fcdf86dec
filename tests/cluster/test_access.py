"""
Who may do what: users on both sides try what they may not, and are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from sandbox import Sandbox

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
