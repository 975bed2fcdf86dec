"""
Slurm's commands in a pod: they run on the gateway, and steps with their tasks in the pod, as on a node of the site.
"""

from __future__ import annotations

from tests.cluster.user import SlurmUser

BURST = ("--gres=gpu:1", "--k8s-burst=now")

FIRST = """
echo before; srun -n1 hostname; echo after
srun -n2 -l bash -c 'echo $SLURM_LOCALID'
x=$(srun -n1 hostname); echo "[$x]"
mkdir /tmp/only-here; cd /tmp/only-here; srun -n1 bash -c 'pwd; echo $PWD'
srun -n1 no-such-program 2>/dev/null; echo missing $?
srun -n1 bash -c 'exit 7' 2>/dev/null; echo exit $?
srun -n1 bash -c 'kill -SEGV $$' 2>/dev/null; echo killed $?
seq 2 | while read i; do squeue -h -j $SLURM_JOB_ID -o "$i %T"; done
seq 2 | srun -n2 cat
LD_PRELOAD= srun -n1 bash -c 'echo "preload [$LD_PRELOAD] path $PATH"' | sed "s#$PATH#PATH#"
srun -n1 --mem=0 srun --overlap --mem=0 -n1 echo nested
scontrol show hostnames
exit 5
"""


def test_commands_work_as_on_a_node(alice: SlurmUser, full: int) -> None:
    """One job through the everyday uses; every line of its output is what a node of the site gives."""
    job_id = alice.submit(FIRST, "-n2", *BURST)
    job = alice.wait_end(job_id)
    node = job["NodeList"]
    assert node.startswith("k8s-")
    # Tasks of a step write in any order.
    lines = alice.output(job_id).splitlines()
    labelled = [line for line in lines if line.startswith(("0: ", "1: "))]
    assert sorted(labelled) == ["0: 0", "1: 1"]
    assert [line for line in lines if line not in labelled] == [
        *("before", node, "after", f"[{node}]", "/tmp/only-here", "/tmp/only-here"),
        *("missing 2", "exit 7", "killed 139", "1 RUNNING", "2 RUNNING", "1", "2", "1", "2"),
        *("preload [] path PATH", "nested", node),
    ]
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "5:0")
