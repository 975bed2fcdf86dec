"""
Kubernetes preempts a job's pod for one that matters more: the job is warned as it asked to be, and goes on later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.pods import OWNER, Pods, evict
from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now", "--open-mode=append")

#: Saves its work when warned, and has nothing else to do once it finds it. Nobody but the warning ends it.
CHECKPOINT = """
echo "run ${SLURM_RESTART_COUNT:-0}"
if [ -e saved-$SLURM_JOB_ID ]; then echo resumed; exit 0; fi
trap 'echo warned; echo work > saved-$SLURM_JOB_ID; exit 9' USR1
trap 'echo TERM; exit 8' TERM
while :; do sleep 0.1; done
"""

#: Its step is warned, its script is not, as before a time limit; the script hears of the step's end and goes on.
STEPS = """
trap 'echo script got USR1' USR1
srun bash -c 'trap "echo step got USR1; exit 3" USR1; echo run 0; while :; do sleep 0.1; done'
echo "step ended $?"
exit 7
"""


@pytest.fixture
def owner(pods: Pods) -> Iterator[Callable[[], None]]:
    """Makes a pod of the cluster's owner that wants all GPUs of the node."""
    gpus = int(pods.get("node", "node0")["status"]["allocatable"]["nvidia.com/gpu"])
    yield lambda: pods.create_owners(gpus)
    pods.delete_owners()


def test_preempted(alice: SlurmUser, full: int, pods: Pods, owner: Callable[[], None]) -> None:
    """
    Three jobs in the pods' priority class, and a pod of the owner's that needs their GPUs. One saves its work at its
    --signal and is requeued under its id; one may not be requeued and fails with the reason; of one, the step is warned.
    A fourth has two pods, of which one is evicted before.
    """
    files = ("--output=preempted-%j.out", "--error=preempted-%j.err")
    saving = alice.submit(CHECKPOINT, *BURST, *files, "--signal=B:USR1@100")
    failing = alice.submit(CHECKPOINT, *BURST, *files, "--no-requeue")
    steps = alice.submit(f"#SBATCH --signal=USR1@100\n{STEPS}", *BURST, *files, "--no-requeue")
    wide = alice.submit(CHECKPOINT, *BURST, *files, "-N2", "--no-requeue", "--signal=B:USR1@100")
    jobs = (saving, failing, steps)

    def output(job_id: int, kind: str = "out") -> str:
        return alice.read(f"preempted-{job_id}.{kind}")

    for job_id in (*jobs, wide):
        until(f"job {job_id} to run", lambda job_id=job_id: "run 0" in output(job_id))
    assert {pod["spec"]["priority"] for job_id in jobs for pod in pods.running(job_id)} == {-10}
    assert "signal=B:USR1@100" in alice.comment(saving)

    # The script runs in the other pod than the one that is taken, and is warned all the same.
    _, second = sorted(pods.running(wide), key=lambda pod: str(pod["spec"]["hostname"]))
    evict(pods, second)
    assert alice.wait_end(wide)["JobState"] == "FAILED"
    assert output(wide).split() == ["run", "0", "warned"]

    owner()
    until("the owner's pod to run", lambda: pods.get("pod", "-n", "default", OWNER)["status"]["phase"] == "Running")
    until("the job to be requeued", lambda: alice.job(saving).get("Restarts") == "1")
    for job_id in (failing, steps):
        assert alice.wait_end(job_id)["JobState"] == "FAILED"
        assert "PreemptionByScheduler" in alice.comment(job_id)
    # The script that was warned saved its work and has not seen TERM, for which it would have had 100 seconds.
    assert output(saving).split() == ["run", "0", "warned"]
    assert output(failing).split() == ["run", "0", "TERM"]
    assert output(steps).splitlines() == ["run 0", "step got USR1", "step ended 3"]
    for job_id in jobs:
        assert "preempted" in output(job_id, "err")
    until("the next pod to wait for the owner's", lambda: "reason=Unschedulable" in alice.comment(saving))

    pods.delete_owners()
    job = alice.wait_state(saving, "COMPLETED", patience_s=240)
    assert job["Restarts"] == "1"
    assert output(saving).split() == ["run", "0", "warned", "run", "1", "resumed"]
