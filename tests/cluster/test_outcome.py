"""
How a job in a pod ends: states, exit codes and files are Slurm's own.
"""

from __future__ import annotations

import pytest

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")


def wait_gone(pods: Pods, job_id: int) -> None:
    """Wait until no pod of the job is left."""
    until(f"the pods of job {job_id} to be gone", lambda: not pods.of(job_id))


@pytest.mark.parametrize(
    ("script", "state", "exit_code"),
    [
        pytest.param("true", "COMPLETED", "0:0", id="success"),
        pytest.param("exit 42", "FAILED", "42:0", id="code"),
        pytest.param("kill -SEGV $$", "FAILED", "0:11", id="own-signal"),
        pytest.param("kill -KILL $$", "FAILED", "0:9", id="own-kill"),
        pytest.param("no-such-command-here", "FAILED", "127:0", id="missing-command"),
    ],
)
def test_ends_as_natively(alice: SlurmUser, full: int, pods: Pods, script: str, state: str, exit_code: str) -> None:
    """State and exit code are those that the same script has on a node, in scontrol and in sacct."""
    job_id = alice.submit(script, *BURST)
    job = alice.wait_end(job_id)
    assert job["NodeList"].startswith("k8s-")
    assert (job["JobState"], job["ExitCode"]) == (state, exit_code)
    until(
        "the accounting record",
        lambda: (
            alice.run("sacct", "-X", "-n", "-P", "-j", str(job_id), "-o", "State,ExitCode,Partition").stdout.split()
            == [f"{state}|{exit_code}|k8s-burst"]
        ),
    )
    wait_gone(pods, job_id)


def test_output_is_live_and_complete(alice: SlurmUser, full: int) -> None:
    """Lines are in the output file while the job runs, standard error goes where it should, and nothing is missing."""
    job_id = alice.submit(
        "echo first; echo oops >&2; until [ -e $HOME/go-$SLURM_JOB_ID ]; do sleep 0.1; done; seq 200000; echo last",
        *BURST,
        "--output=live-%j.out",
        "--error=live-%j.err",
    )
    until("the first line", lambda: alice.read(f"live-{job_id}.out") == "first\n")
    until("the line on standard error", lambda: alice.read(f"live-{job_id}.err") == "oops\n")
    assert alice.state(job_id) == "RUNNING"
    alice.shell(f"touch go-{job_id}")
    alice.wait_state(job_id, "COMPLETED")
    expected = "first\n" + "".join(f"{number}\n" for number in range(1, 200001)) + "last\n"
    assert alice.read(f"live-{job_id}.out") == expected


def test_cancel_while_pending(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Cancelled before it bursts: CANCELLED, and no pod ever."""
    job_id = alice.submit("true", "--gres=gpu:1", "--k8s-burst", "--begin=now+3600")
    alice.run("scancel", str(job_id))
    assert alice.wait_end(job_id)["JobState"] == "CANCELLED"
    assert not pods.of(job_id)


def test_cancel_while_provisioning(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Cancelled while its pod comes up: CANCELLED, and the pod goes."""
    job_id = alice.submit("true", *BURST, "--k8s-burst-image=localhost/no/such")
    until("the pod to be made", lambda: pods.of(job_id))
    alice.run("scancel", str(job_id))
    assert alice.wait_end(job_id)["JobState"] == "CANCELLED"
    wait_gone(pods, job_id)


def test_cancel_while_running(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Cancelled while it runs: the script gets TERM, the job ends CANCELLED, and the pod goes."""
    job_id = alice.submit(
        "trap 'echo terminated; exit 3' TERM; echo ready; while :; do sleep 0.1; done", *BURST, "--output=cancel-%j.out"
    )
    until("the script to be ready", lambda: "ready" in alice.read(f"cancel-{job_id}.out"))
    alice.run("scancel", str(job_id))
    job = alice.wait_end(job_id)
    assert job["JobState"] == "CANCELLED"
    assert "terminated" in alice.read(f"cancel-{job_id}.out")
    wait_gone(pods, job_id)


def test_signal_reaches_the_script(alice: SlurmUser, full: int) -> None:
    """scancel --batch --signal=USR1 reaches the script's trap, and the job goes on."""
    job_id = alice.submit(
        "trap 'echo usr1; touch $HOME/got-$SLURM_JOB_ID' USR1; echo ready;"
        "until [ -e $HOME/got-$SLURM_JOB_ID ]; do sleep 0.1; done; echo on",
        *BURST,
        "--output=signal-%j.out",
    )
    until("the script to be ready", lambda: "ready" in alice.read(f"signal-{job_id}.out"))
    alice.run("scancel", "--batch", "--signal=USR1", str(job_id))
    assert alice.wait_end(job_id)["ExitCode"] == "0:0"
    assert alice.read(f"signal-{job_id}.out").split() == ["ready", "usr1", "on"]


def test_time_limit(alice: SlurmUser, full: int, pods: Pods) -> None:
    """The limit of one minute ends a job TIMEOUT, with TERM first."""
    job_id = alice.submit(
        "trap 'echo out of time; exit 1' TERM; while :; do sleep 0.1; done", *BURST, "--time=1", "--output=limit-%j.out"
    )
    alice.wait_state(job_id, "RUNNING")
    job = alice.wait_end(job_id, patience_s=240)
    assert job["JobState"] == "TIMEOUT"
    assert "out of time" in alice.read(f"limit-{job_id}.out")
    wait_gone(pods, job_id)


def test_requeue_runs_again_under_the_same_id(alice: SlurmUser, full: int, pods: Pods) -> None:
    """scontrol requeue: a new pod for the new incarnation, the same job id, SLURM_RESTART_COUNT=1."""
    job_id = alice.submit(
        'echo "count ${SLURM_RESTART_COUNT:-none}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep infinity',
        *BURST,
        "--requeue",
        "--open-mode=append",
        "--output=requeue-%j.out",
    )
    until("the first start", lambda: "count none" in alice.read(f"requeue-{job_id}.out"))
    first = pods.running(job_id)[0]["metadata"]["uid"]
    alice.run("scontrol", "requeue", str(job_id))
    until("the first pod to be gone", lambda: first not in {pod["metadata"]["uid"] for pod in pods.of(job_id)})
    job = alice.wait_state(job_id, "COMPLETED", patience_s=240)
    assert (job["Restarts"], job["ExitCode"]) == ("1", "0:0")
    lines = alice.read(f"requeue-{job_id}.out").splitlines()
    assert [line for line in lines if not line.startswith("slurmstepd-")] == ["count none", "count 1"]


def test_suspend_stops_the_processes_and_resume_lets_them_go_on(alice: SlurmUser, root: SlurmUser, full: int) -> None:
    """scontrol suspend freezes what runs in the pod, resume thaws it, and the job ends well."""
    job_id = alice.submit(
        "i=0; until [ -e $HOME/enough-$SLURM_JOB_ID ]; do i=$((i+1)); echo $i; sleep 0.1; done",
        *BURST,
        "--output=suspend-%j.out",
    )
    path = f"suspend-{job_id}.out"
    until("the count to begin", lambda: alice.read(path).count("\n") > 3)
    root.run("scontrol", "suspend", str(job_id))

    def still() -> str | None:
        before = alice.read(path)
        alice.shell("sleep 1")
        return before if alice.read(path) == before else None

    frozen = until("the count to stand still", still)
    root.run("scontrol", "resume", str(job_id))
    until("the count to go on", lambda: len(alice.read(path)) > len(frozen))
    alice.shell(f"touch enough-{job_id}")
    assert alice.wait_end(job_id)["JobState"] == "COMPLETED"
    numbers = [int(line) for line in alice.read(path).split()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_out_of_memory(alice: SlurmUser, full: int, pods: Pods) -> None:
    """A script whose process takes more memory than asked for ends OUT_OF_MEMORY, and its error file says so."""
    hungry = "python3 -c 'hoard = bytearray(400 << 20); print(len(hoard))'; echo after $?"
    job_id = alice.submit(hungry, *BURST, "--mem=100M", "--output=oom-%j.out")
    job = alice.wait_end(job_id)
    assert job["JobState"] == "OUT_OF_MEMORY"
    assert "oom_kill" in alice.read(f"oom-{job_id}.out")
    assert "after 137" in alice.read(f"oom-{job_id}.out")
    wait_gone(pods, job_id)
