"""
Slurm's commands in a pod: they run on the gateway, and steps with their tasks in the pod, as on a node of the site.
"""

from __future__ import annotations

import re

from tests.cluster.same import WAITS
from tests.cluster.user import SlurmUser, until

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
    job_id = alice.submit(FIRST, "-n2", "--exclude=k8s-[0-1]", *BURST)
    job = alice.wait_end(job_id)
    node = job["NodeList"]
    assert node.startswith("k8s-")
    assert node not in ("k8s-0", "k8s-1")
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


FILES = r"""
mkdir /tmp/only-here; cd /tmp/only-here
srun -n1 -o out.txt bash -c 'echo out; echo err >&2'; sort -r out.txt
srun -n1 -o o-%j.txt -e e.txt bash -c 'echo o; echo e >&2'; cat o-$SLURM_JOB_ID.txt e.txt
srun -n1 --open-mode=append -o e.txt echo more; cat e.txt
echo input > in.txt; srun -n1 -i in.txt cat
srun -n2 -o $HOME/task-$SLURM_JOB_ID-%t.txt bash -c 'echo $SLURM_PROCID'; cat $HOME/task-$SLURM_JOB_ID-?.txt
srun -n2 -o t-%t.txt -e e-%2t-%n bash -c 'echo o$SLURM_PROCID; echo e$SLURM_PROCID >&2'; cat t-0.txt t-1.txt e-00-0 e-01-0
srun -n2 -o t-%t.txt --open-mode=append bash -c 'echo again$SLURM_PROCID; echo err >&2'; cat t-0.txt t-1.txt | sort
srun -n1 -Q -o no-such/%t true 2>&1 | grep -o 'Could not.*'; srun -n2 -i t-%t.txt cat 2>&1
printf '0 echo zero\n1 echo one\n' > programs; srun -n2 --multi-prog programs | sort
echo broadcast > src; sbcast src /tmp/dst; cat /tmp/dst; sbcast src /tmp/dst 2>/dev/null; echo again $?; sbcast -f src /tmp/dst; echo force $?
printf '#!/bin/bash\n#SBATCH -J inner\n' > job.sh
id=$(sbatch --parsable -H -p gpu job.sh 1 '2 3'); scontrol show job $id | grep -oE 'JobName=.*|WorkDir=.*|/job.sh$'; scancel $id
chain() { id=$(sbatch --parsable -H -p $SLURM_JOB_PARTITION "$@" job.sh 2>/dev/null); echo $(squeue -h -j $id -O partition:10,admin_comment:40 | sed "s/ nodes=[0-9-]*//"); scancel $id; }
chain; chain --k8s-burst=never; (unset ${!SLURM_SPANK_*}; chain)
id=$(echo '#!/bin/sh' | sbatch --parsable -H -p gpu); squeue -h -j $id -o %T; scancel $id
sbatch no-such.sh 2>&1; srun --prolog=/bin/true true 2>&1; salloc true 2>&1; scrontab -e 2>&1
printf '#!/bin/sh\necho print prolog of $SLURM_PROCID\necho export A=$(squeue -h -j $SLURM_JOB_ID -o %%T)' > prolog; chmod +x prolog
printf '#!/bin/sh\necho epilog [$A] >&2' > epilog; chmod +x epilog
srun -n2 -l --task-prolog=$PWD/prolog --task-epilog=$PWD/epilog bash -c 'echo $A' 2>&1 | sort
(ulimit -n 300; umask 077; srun -n1 bash -c 'ulimit -n; umask')
env -i /k8s-burst/bin/squeue -h -j $SLURM_JOB_ID -o %T
env -i PATH=/tmp/mine:/usr/bin:/bin HOME=$HOME /k8s-burst/bin/srun -Q -p native bash -c 'echo $PATH; env | grep -c ^K8S_BURST; true'
"""

SIGNALS = r"""
step='trap "echo step got USR1" USR1; trap "echo step got TERM; exit 3" TERM; trap "echo step got INT; exit 4" INT; touch $0; while :; do sleep 0.05; done'
begin() { srun --quiet --exact -n1 --mem=0 bash -c "$step" /tmp/$1 > /tmp/out$1 2>/dev/null & pid=$!; until [ -e /tmp/$1 ]; do sleep 0.05; done; }
heard() { until grep -q "$2" /tmp/out$1; do sleep 0.05; done; }
trap 'touch /tmp/batch-usr1' USR1; trap 'touch /tmp/batch-usr2' USR2
begin 0; scancel -s USR1 $SLURM_JOB_ID; heard 0 USR1; ls /tmp/batch-usr1 2>/dev/null; scancel -s TERM $SLURM_JOB_ID.0; wait $pid; echo steps only $?; cat /tmp/out0
begin 1; scancel -b -s USR2 $SLURM_JOB_ID; until [ -e /tmp/batch-usr2 ]; do sleep 0.05; done; cat /tmp/out1; echo batch only
kill -USR1 $pid; heard 1 USR1; scancel -s INT $SLURM_JOB_ID.1; wait $pid; echo interrupted $?; cat /tmp/out1
begin 2; scancel -f -s USR1 $SLURM_JOB_ID; heard 2 USR1; until [ -e /tmp/batch-usr1 ]; do sleep 0.05; done; echo both
kill -9 $pid; wait $pid 2>/dev/null; echo killed $?
(srun --quiet --exact -n1 --mem=0 sleep infinity &)
until squeue -h -s -j $SLURM_JOB_ID -o %i | grep -q '\.3$'; do sleep 0.05; done
exit 6
"""


COPES = "srun -n1 tail /dev/zero; srun -n1 bash -c 'tail /dev/zero; exit 0'; echo copes"
FAILS = "srun -n1 tail /dev/zero"


def test_steps_out_of_memory(alice: SlurmUser, full: int) -> None:
    """A step that runs out of memory is the script's to judge: only where the script fails, the job is OUT_OF_MEMORY."""
    options = ("--k8s-burst=now", "--gres=gpu:1", "--mem=100M")
    copes, fails = (alice.submit(text, *options) for text in (COPES, FAILS))
    assert alice.wait_end(copes)["JobState"] == "COMPLETED"
    lines = alice.output(copes).splitlines()
    assert [line for line in lines if "oom_kill" in line] == [
        f"slurmstepd-{alice.job(copes)['NodeList']}: error: Detected 1 oom_kill event in StepId={copes}.{step}."
        " Some of the step tasks have been OOM Killed."
        for step in (0, 1)
    ]
    assert lines[-1] == "copes"
    assert alice.wait_end(fails)["JobState"] == "OUT_OF_MEMORY"

    # Slurm takes OUT_OF_MEMORY of a step from slurmstepd only: here it is the end of its task.
    def states() -> list[str] | None:
        done = alice.run("sacct", "-nPj", str(copes), "-o", "JobID,State,ExitCode").stdout.split()
        return done if not any("RUNNING" in line for line in done) else None

    assert until("the records of the steps", states) == [
        *(f"{copes}|COMPLETED|0:0", f"{copes}.batch|COMPLETED|0:0"),
        *(f"{copes}.0|CANCELLED|0:9", f"{copes}.1|COMPLETED|0:0"),
    ]


def test_files_and_signals_of_steps(alice: SlurmUser, full: int) -> None:
    """Files that only the pod has are read and written there; signals reach whom they are for; the end takes steps along."""
    files, signals = (alice.submit(text, "-n2", "--cpus-per-task=1", *BURST) for text in (FILES, SIGNALS))
    assert alice.wait_end(files)["ExitCode"] == "0:0"
    lines = [line for line in alice.output(files).splitlines() if not WAITS.search(line)]
    refused = [line for line in lines if "k8s-burst: " in line]
    assert [re.sub("%.*", "", line) for line in refused] == [
        "srun: error: k8s-burst: --input=t-",
        "srun: error: k8s-burst: --prolog can't be used from a pod: it would run on the gateway, not in the pod",
        "salloc: error: k8s-burst: salloc can't be used from a pod; use sbatch, or srun within the job's own allocation",
        "scrontab: error: k8s-burst: a crontab can't be edited from a pod; use scrontab on a login node (-l and -r work here)",
    ]
    assert "/tmp/only-here" in refused[0]
    assert [line for line in lines if line not in refused] == [
        *("out", "err", "o", "e", "e", "more", "input", "0", "1"),
        *("o0", "o1", "e0", "e1", "again0", "again1", "err", "err", "o0", "o1"),
        "Could not open stdout file /tmp/only-here/no-such/0: No such file or directory",
        *("one", "zero"),
        *("broadcast", "again 1", "force 0"),
        *("JobName=inner", "/job.sh", "WorkDir=/tmp/only-here"),
        # As with any plugin's options, the next job takes them from the environment of this one.
        *("gpu k8s-burst=now", "gpu k8s-burst=never", "gpu (null)", "PENDING"),
        "sbatch: error: Unable to open file no-such.sh",
        *(f"{task}: {line}" for task in (0, 1) for line in ("RUNNING", "epilog []", f"prolog of {task}")),
        *("300", "0077", "RUNNING"),
        *("/tmp/mine:/usr/bin:/bin", "0"),
    ]
    job = alice.wait_end(signals)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "6:0")
    assert [line for line in alice.output(signals).splitlines() if "User defined" not in line] == [
        *("steps only 3", "step got USR1", "step got TERM"),
        *("batch only", "interrupted 4", "step got USR1", "step got INT"),
        *("both", "killed 137"),
    ]
