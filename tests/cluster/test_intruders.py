"""
Nobody gets in who may not, and nobody keeps others out: credentials, tokens, sockets, names.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

#: Who gets in once in two tries gets in.
pytestmark = pytest.mark.flaky(reruns=0)

BURST = ("--gres=gpu:1", "--k8s-burst=now")
PYTHON = "/opt/k8s-burst/bin/python"
INTRUDER = Path(__file__).with_name("intruder.py").read_text(encoding="utf-8")
LAUNCH = "cd /; /usr/libexec/k8s-burst/k8s-burst-run launch --socket /run/k8s-burst/gatewayd.sock --task 0"


def intrude(user: SlurmUser, *words: str) -> list[str]:
    """Run intruder.py as a user and give the lines that it prints."""
    return user.run(PYTHON, "-c", INTRUDER, *words).stdout.splitlines()


@pytest.fixture
def on_gateway(sandbox: Sandbox, clean: None) -> SlurmUser:
    """bob, who has got himself a shell on the gateway."""
    return SlurmUser(sandbox, "bob", host="gateway")


def start(user: SlurmUser, count: int) -> list[tuple[int, str]]:
    """Have jobs running in pods: id and node of each."""
    jobs = [user.submit("sleep infinity", *BURST, "--output=/dev/null") for _ in range(count)]
    return [(job_id, user.wait_state(job_id, "RUNNING")["NodeList"]) for job_id in jobs]


def path_of(pod: dict[str, Any]) -> str:
    """Where a pod is in Kubernetes' API."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def test_a_pods_token_opens_that_pod_and_nothing_else(
    alice: SlurmUser, bob: SlurmUser, full: int, root: SlurmUser, pods: Pods
) -> None:
    """Not another pod of the same user, not another user's, no other call; and nothing once the pod is gone."""
    (own, node), (second, _) = start(alice, 2)
    ((foreign, _),) = start(bob, 1)
    mine, second_pod, foreign_pod = (path_of(pods.running(job_id)[0]) for job_id in (own, second, foreign))
    namespace = mine.rsplit("/", 2)[0]
    ((server, token),) = (line.split() for line in intrude(root, "attach", str(own), node, "1001"))
    asked = {
        f"EXEC:{mine}": "101",
        f"EXEC:{second_pod}": "403",
        f"EXEC:{foreign_pod}": "403",
        f"GET:{mine}": "403",
        f"GET:{mine}/log": "403",
        f"DELETE:{mine}": "403",
        f"GET:{namespace}/pods": "403",
        f"POST:{namespace}/pods": "403",
        f"GET:{namespace}/secrets": "403",
        f"POST:{namespace}/serviceaccounts/k8s-burst/token": "403",
        "GET:/api/v1/namespaces": "403",
        "GET:/api/v1/nodes": "403",
    }
    answers = dict(zip(asked, intrude(root, "api", server, token, *asked), strict=True))
    assert answers == asked
    alice.run("scancel", str(own))
    until("the pod to be gone", lambda: not pods.of(own))
    until(
        "the token to be worth nothing",
        lambda: intrude(root, "api", server, token, f"EXEC:{mine}", f"EXEC:{second_pod}") == ["401", "401"],
    )


def test_an_ended_job_lets_nobody_in(alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods) -> None:
    """Its own user neither, on the node where it ran."""
    job_id = alice.submit("true", *BURST)
    node = alice.wait_state(job_id, "COMPLETED")["NodeList"]
    until("the pod to be gone", lambda: not pods.of(job_id))
    alice = SlurmUser(sandbox, "alice", host="gateway")
    done = alice.shell(f"{LAUNCH} --give-up-s 60 --step 0 --job {job_id} --node {node} -- /bin/id", check=False)
    assert done.returncode != 0
    assert "uid=" not in done.stdout
    assert str(job_id) in done.stderr


def test_an_ended_job_lets_nobody_in_while_the_agent_is_dead(
    alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods
) -> None:
    """The pod without the batch script is there still, and so is gatewayd's stream to it; no task gets a way in."""
    script = "srun true; touch ready-$SLURM_JOB_ID; until [ -e go-$SLURM_JOB_ID ]; do sleep 0.1; done"
    job_id = alice.submit(script, *BURST, "-N2", "--ntasks-per-node=1", "--output=/dev/null")
    until("the first step", lambda: alice.has(f"ready-{job_id}"))
    node = alice.expand(alice.job(job_id)["NodeList"])[1]
    owner = SlurmUser(sandbox, "alice", host="gateway")
    launch = f"{LAUNCH} --job {job_id} --node {node} --give-up-s {{}} --step {{}} -- /bin/hostname"
    done = owner.shell(launch.format(60, 7))
    assert done.stdout == f"{node}\n"
    sandbox.service("k8s-burst-agent").kill("KILL")
    alice.run("touch", f"go-{job_id}")
    alice.wait_state(job_id, "COMPLETED")
    done = owner.shell(launch.format(5, 8), check=False)
    assert done.stdout == ""
    assert "the burst agent does not answer" in done.stderr
    assert any(pod["spec"]["hostname"] == node for pod in pods.running(job_id))


def test_credentials_that_prove_nothing_are_refused(bob: SlurmUser, on_gateway: SlurmUser) -> None:
    """Expired, forged, replayed, made for something else, or none: each refusal says which."""
    answers = dict(line.split(" ", 1) for line in intrude(on_gateway, "announce"))
    assert answers.pop("good") == "OK"
    assert {name: answer.split(" ")[0] for name, answer in answers.items()} == dict.fromkeys(answers, "UNAUTHENTICATED")
    for name, word in (("expired", "expired"), ("replayed", "used before"), ("other-submission", "not for this")):
        assert word in answers[name], answers


@contextlib.contextmanager
def flooding(user: SlurmUser, count: int, *kinds: str) -> Iterator[int]:
    """Have a user hold so many connections to gatewayd, or as many as he gets; gives their number."""
    argv = [PYTHON, "-c", INTRUDER, "flood", str(count), *kinds]
    with user.sandbox.popen(argv, user=user.name, host=user.host, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        line = process.stdout.readline()
        assert line.startswith("ready"), line
        try:
            yield int(line.split()[1])
        finally:
            process.stdin.close()


def test_gatewayd_bears_garbage_and_floods(
    alice: SlurmUser, on_gateway: SlurmUser, full: int, sandbox: Sandbox, pods: Pods
) -> None:
    """Garbage is answered or cut; whatever bob holds open or asks, alice's jobs start, run and end as ever."""
    ((job_id, node),) = start(alice, 1)
    gatewayd = sandbox.service("k8s-burst-gatewayd").process
    lines = intrude(on_gateway, "garbage")
    assert len(lines) == 9
    owner, launch = SlurmUser(sandbox, "alice", host="gateway"), f"{LAUNCH} --give-up-s 90 --job {job_id} --node {node}"
    for step, (count, kinds) in enumerate(((4200, ("silent", "slow")), (400, ("asking",)))):
        with flooding(on_gateway, count, *kinds) as held:
            assert held > 100
            done = owner.shell(f"{launch} --step {step} -- /bin/hostname")
            assert done.stdout == f"{node}\n"
            other = alice.submit("hostname", *BURST)
            assert alice.wait_end(other)["JobState"] == "COMPLETED"
    assert sandbox.service("k8s-burst-gatewayd").process == gatewayd
    done = on_gateway.shell(f"{launch} --step 7 -- /bin/id", check=False)
    assert "uid=" not in done.stdout


def test_option_variables_make_no_other_marker(alice: SlurmUser, full: int) -> None:
    """Whatever a user puts into the variables that options travel in, admin_comment has a mode, an image, or nothing."""
    option = "SLURM_SPANK_OPTION_k8s_burst_k8s_burst"
    bad = ("now from=gpu state=running", "now\nstate=running", "NOW", "now image=x", "now;")
    tries = [
        f"{name}={value}" for value in bad for name in (f"_{option}", f"SLURM_SPANK__{option}", f"SPANK__{option}")
    ]
    tries += [f"_{option}_image={value}" for value in ("a b", "../x", "x\nstate=lost", "x state=running", "-x")]
    submissions = [["env", word, "sbatch"] for word in tries]
    submissions += [["sbatch", f"--export=ALL,_{option}={bad[0]}"], ["sbatch", f"--comment={bad[0]}"]]
    submissions += [["sbatch", "--comment=k8s-burst=now state=running from=gpu"]]
    held = ("--parsable", "--gres=gpu:1", "--hold", "--output=/dev/null", "--wrap", "true")
    taken = [alice.run("sbatch", "--k8s-burst=now", *held).stdout.strip()]
    taken += [
        done.stdout.strip() for words in submissions if not (done := alice.run(*words, *held, check=False)).returncode
    ]
    assert alice.comment(taken[0]).startswith("k8s-burst=now")
    assert len(taken) > 2, "nothing was submitted but by option"
    comments = alice.run("squeue", "-h", "-u", "alice", "-t", "PENDING", "-O", "admin_comment:1000").stdout
    for comment in filter(None, (line.strip() for line in comments.splitlines())):
        assert "running" not in comment, comments
        assert "lost" not in comment, comments
        assert "from=" not in comment, comments


def test_names_are_only_names(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Job names, comments and directories with dots, slashes, newlines and our own words: the job runs as any other."""
    awkward = "../..\n$(touch pwned) k8s-burst=now state=lost"
    alice.shell("mkdir -p $'in\\nside/deep'")
    home = alice.shell("echo $HOME").stdout.strip()
    job_id = alice.submit(
        'pwd; echo "$SLURM_JOB_NAME"; id -g',
        *BURST,
        f"--job-name={awkward}",
        f"--comment={awkward}",
        f"--chdir={home}/in\nside/deep/../../in\nside",
        f"--output={home}/names-%j.out",
    )
    job = alice.wait_end(job_id)
    assert job["JobState"] == "COMPLETED"
    assert job["NodeList"].startswith("k8s-")
    assert alice.read(f"names-{job_id}.out") == f"{home}/in\nside\n{awkward}\n1001\n"
    assert not alice.read("pwned")
    assert alice.run("ls", home).stdout.count("pwned") == 0
    for image in ("../../etc/passwd", "a/../../b", "a\nb", "--flag", "registry#", "a:b:c", "x" * 300):
        done = alice.run("sbatch", *BURST, f"--k8s-burst-image={image}", "--wrap", "true", check=False)
        assert done.returncode != 0 or "is no [REGISTRY#]IMAGE" in done.stderr, f"image {image!r} was taken"


def test_a_job_of_another_group_of_its_user_runs_with_that_group(alice: SlurmUser, full: int) -> None:
    """Submitted by a process of group physics: the job's group is physics in the pod as it is on a node."""
    become = ["setpriv", "--reuid=1001", "--regid=2001", "--groups=1001,2001", "env", "-C", "/home/alice"]
    words = ["sbatch", "--parsable", *BURST, "--output=group-%j.out", "--wrap", "id -gn; touch group-made"]
    job_id = int(alice.sandbox.run([*become, *words], user="root", check=True).stdout)
    alice.wait_state(job_id, "COMPLETED")
    assert alice.read(f"group-{job_id}.out") == "physics\n"
    assert alice.run("stat", "-c", "%G", "group-made").stdout == "physics\n"
