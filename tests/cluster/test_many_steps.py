"""
Many tasks and many steps: none is lost, none is left, and what carries them does not grow; accidents while they run; and
what no pod may ask of the gateway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from sandbox import Sandbox

from tests.cluster import accidents
from tests.cluster.user import SlurmUser, until

TASKS = 100
PODS = 8
SEQUENTIAL = int(os.environ.get("K8S_BURST_STEPS", "300"))
CONCURRENT = 64

#: Many small steps share two cores with all that serves them: a hundred times what a quiet machine takes.
LONG_S = 600.0

WIDE = ("-p", "wide", "--k8s-burst=now", "--mem-per-cpu=20")


@pytest.fixture(scope="module", autouse=True)
def wide(root: SlurmUser) -> Iterator[None]:
    """A partition of the site as large as the virtual nodes are together, which starts no job itself."""
    root.run("scontrol", "delete", "PartitionName=wide", check=False)
    root.run("scontrol", "create", "PartitionName=wide", "Nodes=k8s-[0-7]", "State=DOWN")
    yield
    root.run("scontrol", "delete", "PartitionName=wide")


def processes(sandbox: Sandbox, pattern: str) -> list[str]:
    """Pids of the processes on all hosts and in all pods whose command line matches."""
    return sandbox.run(["pgrep", "-f", "--", pattern], host="node0").stdout.split()


def test_slurm_may_choose_the_number_of_nodes(alice: SlurmUser) -> None:
    """A new job that names tasks but no nodes gets two where one is too small; slurmctld has never tried to place it."""
    job_id = alice.submit("srun hostname | sort -u", *WIDE, "-n80", "--output=chosen-%j.out")
    single = alice.submit("true", *WIDE, "-N1", "-n8", "--hold", "--output=/dev/null")
    assert " nodes=1-1" in alice.comment(single)
    assert " nodes=1-0" in alice.comment(job_id)
    job = alice.wait_end(job_id, LONG_S)
    assert job["JobState"] == "COMPLETED"
    assert len(alice.expand(job["NodeList"])) == 2
    assert alice.output(job_id).split() == alice.expand(job["NodeList"])


#: A step whose every task ends in its own way and leaves a process; then one whose tasks count until they are told to stop.
WIDE_STEPS = f"""
id=$SLURM_JOB_ID
srun -n{TASKS} bash -c 'setsid sleep 1000000.$SLURM_JOB_ID & echo $SLURM_PROCID $SLURMD_NODENAME; exit $SLURM_PROCID' > ranks-$id 2> ends-$id
echo $?
touch first-$id; until [ -e second-$id ]; do sleep 0.1; done
srun -n{4 * PODS} --ntasks-per-node=4 bash -c '
for ((i = 0; ; i++)); do echo $SLURM_PROCID $i; [ -e enough-$SLURM_JOB_ID ] && break; sleep 0.1; done; exit 7' > counts-$id 2> errors-$id
echo $?
"""


def test_a_hundred_tasks_in_eight_pods(alice: SlurmUser, sandbox: Sandbox) -> None:
    """
    Every rank once, in its pod, with its exit code, and nothing left of the step. Then tasks in all pods, while all
    streams are cut, gatewayd is killed, and the agent is killed with the streams cut after it: nobody notices.
    """
    job_id = alice.submit(WIDE_STEPS, *WIDE, f"-N{PODS}", "--ntasks-per-node=13", "--output=wide-%j.out")
    job = alice.wait_state(job_id, "RUNNING", patience_s=180)
    until("the first step to end", lambda: alice.has(f"first-{job_id}"), LONG_S)
    ranks = dict(line.split() for line in alice.read(f"ranks-{job_id}").splitlines())
    assert sorted(map(int, ranks)) == list(range(TASKS))
    assert sorted(set(ranks.values())) == alice.expand(job["NodeList"])
    ends = re.findall(r"error: (\S+): task (\d+): Exited with exit code (\d+)", alice.read(f"ends-{job_id}"))
    assert sorted(ends) == sorted((node, rank, rank) for rank, node in ranks.items() if rank != "0")
    for what in (
        f"k8s-burst-run launch .*--job {job_id} --step 0 ",
        f"^sleep 1000000.{job_id}$",
        rf"slurmstepd: \[{job_id}.0\]",
    ):
        until(f"{what} to be gone", lambda what=what: not processes(sandbox, what))
    until("the step to be gone", lambda: f"{job_id}.0" not in alice.run("squeue", "-hs", "-o", "%i").stdout.split())

    def counts() -> dict[str, int]:
        whole, _, _ = alice.read(f"counts-{job_id}").rpartition("\n")
        return {rank: int(count) for rank, count in map(str.split, whole.splitlines())}

    alice.run("touch", f"second-{job_id}")
    until("all to count", lambda: len(counts()) == 4 * PODS)
    for accident in accidents.ALL:
        accidents.Accidents(sandbox).happen(accident, job_id, PODS)
        before = counts()
        until("all to count on", lambda before=before: all(count > before[rank] for rank, count in counts().items()))
    alice.run("touch", f"enough-{job_id}")
    assert alice.wait_end(job_id)["JobState"] == "COMPLETED"
    assert alice.read(f"wide-{job_id}.out") == f"{TASKS - 1}\n7\n"
    counted: dict[str, list[int]] = {}
    for line in alice.read(f"counts-{job_id}").splitlines():
        rank, count = line.split()
        counted.setdefault(rank, []).append(int(count))
    assert sorted(map(int, counted)) == list(range(4 * PODS))
    assert all(count == list(range(len(count))) for count in counted.values())
    told = [line for line in alice.read(f"errors-{job_id}").splitlines() if "Exited with exit code 7" not in line]
    assert told == []


ONE_AFTER_THE_OTHER = f"""
id=$SLURM_JOB_ID
steps() {{ for i in $(seq $1); do srun -Qn1 echo $i; done > steps-$id; seq $1 | cmp - steps-$id && touch $2-$id; }}
steps 30 warm; until [ -e go-$id ]; do sleep 0.1; done
steps {SEQUENTIAL} ran; until [ -e end-$id ]; do sleep 0.1; done
"""

#: All steps are there before any goes on.
ALL_AT_ONCE = f"""
cd $(mktemp -d); mkdir here; mkfifo gate; n={CONCURRENT}
for i in $(seq $n); do
  srun -Qn1 --exact bash -c 'touch here/$1; : < gate; seq -f "$1 %g" 500; exit $1' - $i > out$i 2> err$i & pids[i]=$!
done
until [ $(ls here | wc -l) = $n ]; do sleep 0.1; done; exec 9<>gate
for i in $(seq $n); do wait ${{pids[i]}}; code=$?; [ $code = $i ] && seq -f "$i %g" 500 | cmp - out$i && ((good++)); done
echo $good
"""

#: What carries the steps of a job, and how much of it may come with a step, in KiB: a goroutine that stays has more.
CARRIERS = (
    "^/k8s-burst/bin/k8s-burst-pod supervise .*--job-id {job} ",
    "^/usr/libexec/k8s-burst/k8s-burst-run launch .*--job {job} --step batch ",
    "^/usr/libexec/k8s-burst/k8s-burst-gatewayd",
)
GROWTH_KIB = 16


def sizes(sandbox: Sandbox, job_id: int) -> list[tuple[int, int]]:
    """Open file descriptors, and PSS in KiB, of each of the carriers."""
    script = (
        'p=$(pgrep -of "$1") && ls /proc/$p/fd | wc -l && sed -n "s/^Pss: *\\([0-9]*\\) kB/\\1/p" /proc/$p/smaps_rollup'
    )
    found = []
    for carrier in CARRIERS:
        done = sandbox.run(["sh", "-c", script, "-", carrier.format(job=job_id)], host="node0", check=True)
        descriptors, kib = done.stdout.split()
        found.append((int(descriptors), int(kib)))
    return found


def test_hundreds_of_steps(alice: SlurmUser, sandbox: Sandbox) -> None:
    """
    Step after step, none is lost, and neither supervisor nor launcher nor gatewayd keeps anything of them. Beside them,
    as many steps at the same time as a virtual node has CPUs: all output, all exit codes.
    """
    job_id = alice.submit(ONE_AFTER_THE_OTHER, *WIDE, "-n2", "--output=steps-%j.out")

    def there(name: str) -> bool:
        return alice.has(f"{name}-{job_id}")

    def step_has_left() -> bool:
        return not processes(sandbox, rf"slurmstepd: \[{job_id}\.[0-9]") and alice.state(job_id) == "RUNNING"

    until("the first steps", lambda: there("warm"), LONG_S)
    until("no step", step_has_left)
    before = sizes(sandbox, job_id)
    other = alice.submit(ALL_AT_ONCE, *WIDE, "-N1", f"-n{CONCURRENT}", "--output=at-once-%j.out")
    alice.run("touch", f"go-{job_id}")
    until("the steps", lambda: there("ran"), max(LONG_S, 2.0 * SEQUENTIAL))
    assert alice.wait_end(other, LONG_S)["ExitCode"] == "0:0"
    assert alice.output(other) == f"{CONCURRENT}\n"
    until("no step", step_has_left)

    def closed() -> bool:
        return all(now <= then for (now, _), (then, _) in zip(sizes(sandbox, job_id), before, strict=True))

    until(f"all descriptors beyond {before} to be closed", closed)
    after = sizes(sandbox, job_id)
    grown = [now - then for (_, now), (_, then) in zip(after, before, strict=True)]
    assert max(grown) < SEQUENTIAL * GROWTH_KIB, (before, after)
    assert alice.run("squeue", "-hs", "-j", str(job_id), "-o", "%i").stdout.split() == [f"{job_id}.batch"]
    alice.run("touch", f"end-{job_id}")
    assert alice.wait_end(job_id)["JobState"] == "COMPLETED"
    assert alice.output(job_id) == ""


#: Each line asks for something in a way in which it may not be asked; `said` prints how it ended and what it said.
INTRUSIONS = r"""
bin=/k8s-burst/bin; cd $(mktemp -d)
said() { local out; out=$("$@" 2>&1 < /dev/null); echo "$? $out" | head -1 | cut -c 1-200; }
ln -s $bin/k8s-burst-pod bash; said ./bash -c id
said bash -c "exec -a bash $bin/srun -c id"
K8S_BURST_TASK=1.batch said $bin/srun -n1 id
K8S_BURST_TASK=batc said $bin/squeue
(setsid env -i bash -c "(sleep 0.1; $bin/squeue; echo \$? > ended) > orphan 2>&1 & echo" > /dev/null); until [ -s ended ]; do sleep 0.1; done; echo "$(cat ended orphan | xargs)"
said env LD_PRELOAD=/tmp/evil.so SLURM_CONF=/tmp/evil.conf LUA_PATH=/tmp/evil squeue -ho %T -j $SLURM_JOB_ID
SLURM_CONF=/tmp/evil.conf said srun -n1 printenv SLURM_CONF
said scancel $BOBS
word=$(head -c 120000 /dev/zero | tr '\0' x); words=($(for i in {1..45}; do echo $word; done))
ulimit -s unlimited
said srun -n1 true ${words[@]}
said srun -n1 true ${words[@]} ${words[@]}
said python3 -c '
import socket
with socket.socket(socket.AF_UNIX) as there:
    there.connect("/k8s-burst/run/commands.sock")
    there.sendall(bytes([0x80, 0x80, 0x80, 5]))
    print(there.recv(1000)[4:])
'
said squeue -ho %T -j $SLURM_JOB_ID
"""


def test_what_no_pod_may_ask(alice: SlurmUser, bob: SlurmUser, full: int) -> None:
    """
    Other programs than Slurm's, other tasks than one's own, nobody's task, a hostile environment, others' jobs, too many
    words: each is refused or has no effect, and the next command works.
    """
    bobs = bob.submit("true", "--hold")
    job_id = alice.submit(
        INTRUSIONS, "--gres=gpu:1", "--k8s-burst=now", f"--export=ALL,BOBS={bobs}", "--output=intrusions-%j.out"
    )
    assert alice.wait_end(job_id)["ExitCode"] == "0:0"
    nobody = "error: k8s-burst: this process belongs to no running task of the job"
    expected = (
        "2 usage: k8s-burst-pod COMMAND",
        "2 usage: k8s-burst-pod COMMAND",
        f"1 srun: {nobody}",
        f"1 squeue: {nobody}",
        f"1 squeue: {nobody}",
        "0 RUNNING",
        "0 /etc/slurm/slurm.conf",
        f"210 scancel: error: Kill job error on job id {bobs}: Access/permission denied",
        "1 srun: error: k8s-burst: /usr/bin/srun can't be run on the gateway: argument list too long",
        "126 ",
        "0 b'",
        "0 RUNNING",
    )
    lines = alice.output(job_id).splitlines()
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)
    assert "too large" in lines[-2]
    assert bob.state(bobs) == "PENDING"
