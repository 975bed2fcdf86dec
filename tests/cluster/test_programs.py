"""
Real programs, unchanged, in the pods of a job: what they compute, not that they start.
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster.user import SlurmUser

SCRIPTS = Path(__file__).with_name("scripts")
IMAGE = "--k8s-burst-image=localhost/k8s-burst/programs:13"
MEMORY = "--mem-per-cpu=700"
NATIVE = ("-p", "native", "-N2", "--ntasks-per-node=2")


def install(alice: SlurmUser, *names: str) -> None:
    """Put scripts into the user's home, where all hosts and pods see them."""
    for name in names:
        alice.run("tee", name, stdin=(SCRIPTS / name).read_text())


def test_mpi_on_four_ranks_in_two_pods(alice: SlurmUser, full: int) -> None:
    """
    Open MPI over PMIx and MPICH over PMI-2, side by side as steps of one job: the ranks of two pods find each other,
    and the sums are right. Then the same on two native nodes.
    """
    install(alice, "allreduce.py", "allreduce.c")
    alice.run("mpicc.mpich", "-o", "allreduce", "allreduce.c")
    job_id = alice.submit("sleep infinity", "-N2", "--ntasks-per-node=2", MEMORY, "--k8s-burst=now", IMAGE)
    first, second = alice.expand(alice.wait_state(job_id, "RUNNING")["NodeList"])
    steps = {
        f"4 ranks, sum 10, on {first} {second}\n": ("--mpi=pmix", "python3", "allreduce.py"),
        "4 ranks, sum 10\n": ("--mpi=pmi2", "./allreduce"),
    }
    running = [alice.popen("srun", f"--jobid={job_id}", "--overlap", "-n4", *step) for step in steps.values()]
    for expected, process in zip(steps, running, strict=True):
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, expected), errors
    native = alice.run("srun", *NATIVE, "--mpi=pmix", "python3", "allreduce.py")
    assert native.stdout == "4 ranks, sum 10, on native0 native1\n"


def test_more_ranks_than_two_on_one_node_know_each_other(alice: SlurmUser, full: int) -> None:
    """Four ranks in one pod share a port of PMIx, and take one node for theirs."""
    install(alice, "allreduce.py")
    job_id = alice.submit("sleep infinity", "-n4", MEMORY, "--k8s-burst=now", IMAGE)
    node = alice.wait_state(job_id, "RUNNING")["NodeList"]
    done = alice.run("srun", f"--jobid={job_id}", "--overlap", "-n4", "--mpi=pmix", "python3", "allreduce.py")
    assert done.stdout == f"4 ranks, sum 10, on {node}\n"
