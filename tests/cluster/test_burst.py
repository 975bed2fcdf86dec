"""
Who bursts and who does not: the local partition and the cloud race for one job id.
"""

from __future__ import annotations

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

GPU = "--gres=gpu:1"
LOCAL = "gpu0"


def in_a_pod(job: dict[str, str]) -> bool:
    """Whether a job's record says that it ran behind a virtual node."""
    return job["NodeList"].startswith("k8s-")


def test_flagged_job_runs_in_a_pod_while_the_unflagged_one_waits(alice: SlurmUser, full: int) -> None:
    """The partition is full: --k8s-burst=now gets a job out of the queue, an ordinary job waits."""
    ordinary = alice.submit("hostname", GPU)
    flagged = alice.submit("hostname; ls /k8s-burst/bin/k8s-burst-pod", GPU, "--k8s-burst=now")
    array = alice.submit("true", GPU, "--k8s-burst=now", "--array=7", "--output=/dev/null")
    job = alice.wait_end(flagged)
    assert (job["JobState"], job["ExitCode"], job["Partition"]) == ("COMPLETED", "0:0", "k8s-burst")
    assert in_a_pod(job)
    assert alice.output(flagged).split() == [job["NodeList"], "/k8s-burst/bin/k8s-burst-pod"]
    assert alice.state(ordinary) == "PENDING"
    assert not alice.comment(ordinary)
    assert in_a_pod(alice.wait_end(array)), "nothing can be split off an array of one task"


def test_auto_waits_for_its_time_and_then_bursts(alice: SlurmUser, full: int) -> None:
    """--k8s-burst without a value bursts once the job has waited as long as the policy says, and says so before."""
    submission = alice.sbatch("hostname", GPU, "--k8s-burst")
    assert submission.stderr.startswith("k8s-burst: "), submission.stderr
    until("the reason to be shown", lambda: "state=waiting" in alice.comment(submission.job_id))
    assert in_a_pod(alice.wait_end(submission.job_id))


def test_never_stays(alice: SlurmUser, full: int, root: SlurmUser) -> None:
    """--k8s-burst=never keeps a job at home, whatever else bursts after it. What may burst is its user's to change."""
    never = alice.submit("hostname", GPU, "--k8s-burst=never")
    held = alice.submit("true", GPU, "--k8s-burst=now", "--hold", "--output=/dev/null")
    alice.run("scontrol", "update", f"JobId={held}", "NumNodes=1-2")
    later = alice.submit("hostname", GPU, "--k8s-burst=now")
    alice.wait_end(later)
    assert alice.state(never) == "PENDING"
    root.run("scancel", str(full))
    assert alice.wait_end(never)["NodeList"] == LOCAL


def test_local_node_wins_the_race(alice: SlurmUser, full: int, root: SlurmUser, pods: Pods) -> None:
    """A node comes free before the pod runs: the job starts there, once, and its pod goes away."""
    job_id = alice.submit(
        "echo started >> $HOME/race-$SLURM_JOB_ID; hostname",
        GPU,
        "--k8s-burst=now",
        "--k8s-burst-image=localhost/no/such",
    )
    until("the pod to be made", lambda: pods.of(job_id))
    # The image is nowhere: soon the comment says so instead.
    said = alice.comment(job_id)
    assert "state=provisioning" in said or "localhost/no/such" in said
    root.run("scancel", str(full))
    job = alice.wait_end(job_id)
    assert (job["JobState"], job["NodeList"], job["Restarts"]) == ("COMPLETED", LOCAL, "0")
    assert alice.read(f"race-{job_id}").split() == ["started"]
    until("the pod to be gone", lambda: not pods.of(job_id))


def test_each_task_of_an_array_bursts_by_itself(alice: SlurmUser, full: int, root: SlurmUser, pods: Pods) -> None:
    """An array of five: the tasks run in pods, or locally once the node is free; each once, under its own id."""
    array = alice.submit(
        "echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_JOB_ID $(hostname) >> $HOME/array-$SLURM_ARRAY_JOB_ID; sleep 1",
        GPU,
        "--array=0-4",
        "--k8s-burst=now",
        "--output=array-%A_%a.out",
    )
    until("the first task to run in a pod", lambda: "k8s-" in alice.read(f"array-{array}"))
    root.run("scancel", str(full))
    lines = until(
        "five tasks to have run",
        lambda: (text := alice.read(f"array-{array}").splitlines()) and len(text) >= 5 and text,
    )
    until("the array to end", lambda: not alice.run("squeue", "-h", "-j", str(array), check=False).stdout.strip())
    assert sorted(line.split()[0] for line in lines) == list("01234")
    assert {line.split()[1] for line in lines} == {str(array)}
    assert all(line.split()[2] == LOCAL or line.split()[2].startswith("k8s-") for line in lines)
    accounted = alice.run("sacct", "-X", "-n", "-P", "-j", str(array), "-o", "JobID,State,ExitCode").stdout.split()
    assert sorted(accounted) == [f"{array}_{task}|COMPLETED|0:0" for task in range(5)]


def test_dependent_job_waits_for_the_burst_one(alice: SlurmUser, full: int, pods: Pods) -> None:
    """afterok holds a flagged job until its predecessor, itself in a pod, has ended well."""
    script = "until [ -e $HOME/may-end ]; do sleep 0.1; done; date +%s%N > $HOME/first-end"
    alice.shell("rm -f may-end")
    first = alice.submit(script, GPU, "--k8s-burst=now")
    second = alice.submit("date +%s%N > $HOME/second-start", GPU, "--k8s-burst=now", f"--dependency=afterok:{first}")
    alice.wait_state(first, "RUNNING")
    assert not pods.of(second), "a job that may not start yet has a pod"
    alice.shell("touch may-end")
    assert in_a_pod(alice.wait_end(second))
    assert int(alice.read("first-end")) < int(alice.read("second-start"))


def test_two_gpus_give_a_pod_with_two(alice: SlurmUser, full: int, pods: Pods) -> None:
    """A request for two GPUs becomes a pod with two, and their numbers are the pod's own, whichever they are in Slurm."""
    first = alice.submit("sleep infinity", GPU, "--k8s-burst=now")
    alice.wait_state(first, "RUNNING")
    job_id = alice.submit("echo $CUDA_VISIBLE_DEVICES; sleep infinity", "--gres=gpu:2", "--k8s-burst=now")
    alice.wait_state(job_id, "RUNNING")
    until("the output", lambda: alice.output(job_id))
    assert alice.output(job_id) == "0,1\n"
    resources = pods.running(job_id)[0]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "2"


def test_image_of_the_users_choice(alice: SlurmUser, full: int, pods: Pods) -> None:
    """--k8s-burst-image in Enroot's notation is the pod's image; one that can't be read is refused at submission."""
    job_id = alice.submit("sleep infinity", GPU, "--k8s-burst=now", "--k8s-burst-image=localhost#k8s-burst/debian:13")
    alice.wait_state(job_id, "RUNNING")
    container = pods.running(job_id)[0]["spec"]["containers"][0]
    assert container["image"] == "localhost/k8s-burst/debian:13"
    assert "image=localhost#k8s-burst/debian:13" in alice.comment(job_id)
    done = alice.run("sbatch", GPU, "--k8s-burst", "--k8s-burst-image=no such image", "--wrap", "true", check=False)
    assert done.returncode != 0
    assert "no such image" in done.stderr
