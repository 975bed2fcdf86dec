"""
Real programs, unchanged, in the pods of a job: what they compute, not that they start.
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox import Sandbox

from tests.cluster import accidents
from tests.cluster.user import SlurmUser, until

SCRIPTS = Path(__file__).with_name("scripts")
IMAGE = "--k8s-burst-image=localhost/k8s-burst/programs:13"
MEMORY = "--mem-per-cpu=700"

#: Loading PyTorch takes seconds of a CPU in each of ten processes.
PATIENCE_S = 600.0


def install(user: SlurmUser, *names: str) -> None:
    """Put scripts into the user's home, where all hosts and pods see them."""
    for name in names:
        user.run("tee", name, stdin=(SCRIPTS / name).read_text())
        if (SCRIPTS / name).stat().st_mode & 0o100:
            user.run("chmod", "+x", name)


def burst(user: SlurmUser, script: str, *arguments: str) -> int:
    """Submit a file as its user would, with the options that send it to pods, and give the job id."""
    done = user.run("sbatch", "--parsable", "--k8s-burst=now", IMAGE, script, *arguments)
    return int(done.stdout.split(";")[0])


def results(user: SlurmUser, job_id: int, kind: str = "k8s-") -> tuple[list[str], list[str]]:
    """
    Wait for a job's success, and give the names of its nodes, all of a kind, and its output without what Slurm tells.
    """
    job = user.wait_end(job_id, PATIENCE_S)
    output = user.output(job_id)
    assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0"), f"{job['JobName']}: {output}"
    nodes = user.expand(job["NodeList"])
    assert all(node.startswith(kind) for node in nodes)
    return nodes, [line for line in output.splitlines() if not re.match(r"srun: |slurmstepd", line)]


def test_scripts_of_many_steps(alice: SlurmUser, bob: SlurmUser, full: int) -> None:
    """
    Scripts as users have them, all at once: MPI by srun and by mpirun, jobs that keep a checkpoint and requeue themselves,
    GNU parallel, a driver that submits jobs. MPI is the same on native nodes.
    """
    install(
        alice, "allreduce.py", "allreduce.c", "mpi.sh", "checkpoint.py", "requeue-by-script.sh", "requeue-by-task.sh"
    )
    install(bob, "parallel.sh", "square.sh", "submitit.sh", "submit.py")
    alice.run("mpicc.mpich", "-o", "allreduce", "allreduce.c")
    by_script, by_task = burst(alice, "requeue-by-script.sh"), burst(alice, "requeue-by-task.sh")
    mpi, native = burst(alice, "mpi.sh"), int(alice.run("sbatch", "--parsable", "-p", "native", "mpi.sh").stdout)
    # Ranks on one node share a port of PMIx, and take one node for theirs.
    crowd = alice.submit("srun --mpi=pmix python3 allreduce.py", "-n4", MEMORY, "--k8s-burst=now", IMAGE)
    parallel, driver = burst(bob, "parallel.sh"), burst(bob, "submitit.sh", "k8s_burst=now", IMAGE.strip("-"))

    # What Slurm would send near the end of their time.
    for job_id, batch_only in ((by_script, ("--batch",)), (by_task, ())):
        until(f"job {job_id} to work", lambda job_id=job_id: "begins" in alice.output(job_id), PATIENCE_S)
        alice.run("scancel", "--signal=USR1", *batch_only, str(job_id))

    for job_id, kind in ((mpi, "k8s-"), (native, "native")):
        nodes, lines = results(alice, job_id, kind)
        where = f", on {' '.join(nodes)}"
        assert lines == [
            *("srun, PMIx:", f"4 ranks, sum 10{where}", "srun, PMI-2:", "4 ranks, sum 10"),
            *("mpirun of Open MPI:", f"4 ranks, sum 10{where}", "mpirun of MPICH:", "4 ranks, sum 10"),
        ]
    nodes, lines = results(alice, crowd)
    assert lines == [f"4 ranks, sum 10, on {nodes[0]}"]

    nodes, lines = results(bob, parallel)
    assert [line.rpartition(" ")[0] for line in lines[:-1]] == [f"{n} squared is {n * n}" for n in range(1, 9)]
    assert {line.rpartition(" ")[2] for line in lines[:-1]} == set(nodes)
    assert lines[-1] == "0 failed, 8 succeeded"

    _, lines = results(bob, driver)
    assert re.fullmatch(r"\[\(9, 'k8s-\d'\), \(16, 'k8s-\d'\)\]", lines[-1]), lines

    for job_id in (by_script, by_task):
        _, lines = results(alice, job_id)
        assert lines == [
            *("restart 0 begins at nothing", "kept a checkpoint"),
            *("restart 1 begins at a checkpoint", "done: True"),
        ]
        assert alice.job(job_id)["Restarts"] == "1"


def test_exchanges_through_accidents(alice: SlurmUser, full: int, sandbox: Sandbox) -> None:
    """
    Ranks in two pods exchange values by PMI-2 and by PMIx, and MPI programs start one after the other, while the exec streams
    are cut, gatewayd is killed, and the agent is killed with the streams cut after it: no value is lost or another's.
    """
    install(alice, "exchange.py", "exchange.sh", "allreduce.c")
    alice.run("mpicc.mpich", "-o", "allreduce", "allreduce.c")
    job_id = burst(alice, "exchange.sh")

    def rounds() -> dict[str, list[int]]:
        """The rounds that each rank has behind it, by way and rank."""
        found: dict[str, list[int]] = {}
        for way in ("pmi2", "pmix"):
            whole, _, _ = alice.read(f"{way}-{job_id}").rpartition("\n")
            for line in whole.splitlines():
                rank, number = line.split()
                found.setdefault(f"{way} {rank}", []).append(int(number))
        return found

    def done() -> dict[str, int]:
        """How many rounds each rank has behind it, and how many programs have ended."""
        programs = {"programs": alice.read(f"programs-{job_id}").count("\n")}
        return programs | {who: len(numbers) for who, numbers in rounds().items()}

    until("all to exchange", lambda: len(done()) == 1 + 2 * 4 and done()["programs"], PATIENCE_S)
    for accident in accidents.ALL:
        accidents.Accidents(sandbox).happen(accident, job_id, pods=2)
        before = done()
        until(
            "all to go on", lambda before=before: all(count > before[who] for who, count in done().items()), PATIENCE_S
        )
    alice.run("touch", f"enough-{job_id}")
    _, lines = results(alice, job_id)
    assert [line for line in lines if not line.startswith("k8s-burst: ")] == []
    assert set(alice.read(f"programs-{job_id}").splitlines()) == {"4 ranks, sum 10"}
    for way in ("pmi2", "pmix"):
        ranks = [rounds()[f"{way} {rank}"] for rank in range(4)]
        assert ranks == [list(range(len(ranks[0])))] * 4


def test_training_on_two_nodes(alice: SlurmUser, full: int) -> None:
    """PyTorch on four ranks, started by its own launcher and by srun: the loss falls, and the ranks agree."""
    install(alice, "train.py", "train-torchrun.sh", "train-srun.sh")
    for job_id in [burst(alice, "train-torchrun.sh"), burst(alice, "train-srun.sh")]:
        _, lines = results(alice, job_id)
        assert lines[-1] == "4 ranks, loss fell True, same weights True, learned True"


def test_ray_on_two_nodes(alice: SlurmUser, full: int) -> None:
    """A cluster of Ray, whose head and worker still run as steps when the script ends: both nodes compute."""
    install(alice, "ray-cluster.sh", "workers.py")
    nodes, lines = results(alice, burst(alice, "ray-cluster.sh"))
    assert f"2 nodes, sum 5050, on {' '.join(nodes)}" in lines
