"""
A job in a pod is its user's: identity, directory, environment, files.
"""

from __future__ import annotations

from sandbox import Sandbox

from tests.cluster.user import SlurmUser

BURST = ("--gres=gpu:1", "--k8s-burst=now")


def test_runs_as_the_user_with_the_users_groups(alice: SlurmUser, full: int) -> None:
    """id says in the pod what it says on the login node, names included."""
    job_id = alice.submit("id", *BURST)
    alice.wait_state(job_id, "COMPLETED")
    assert alice.output(job_id) == alice.run("id").stdout


def test_user_whose_primary_group_is_shared(sandbox: Sandbox, clean: None, full: int) -> None:
    """carol's primary group is physics; in the pod too, and so are the files that she makes."""
    carol = SlurmUser(sandbox, "carol")
    job_id = carol.submit("id; touch made-$SLURM_JOB_ID; stat -c %U:%G made-$SLURM_JOB_ID", *BURST)
    carol.wait_state(job_id, "COMPLETED")
    assert carol.output(job_id) == carol.run("id").stdout + "carol:physics\n"


def test_runs_in_the_submit_directory_with_the_submit_environment(alice: SlurmUser, full: int) -> None:
    """The working directory, exported variables with awkward values, arguments and umask arrive unchanged."""
    alice.shell("mkdir -p 'a directory'")
    script = 'pwd; printf "%s|" "$@" "$AWKWARD"; echo; umask; echo written > here'
    alice.shell(f"cat > 'a directory/job.sh' <<'E'\n#!/bin/bash\n{script}\nE")
    submitted = alice.shell(
        "cd 'a directory' && umask 027 && AWKWARD=$'two\\nlines \"quoted\" ü' "
        f"sbatch --parsable {' '.join(BURST)} --output=out job.sh one 'two words' ''"
    )
    job_id = int(submitted.stdout)
    alice.wait_state(job_id, "COMPLETED")
    home = alice.shell("echo $HOME").stdout.strip()
    assert alice.read("a directory/out") == f'{home}/a directory\none|two words||two\nlines "quoted" ü|\n0027\n'
    assert alice.read("a directory/here") == "written\n"


def test_environment_differs_from_a_node_only_in_the_names_of_nodes(alice: SlurmUser, root: SlurmUser) -> None:
    """Every variable that a job has on gpu0 it has in a pod, with the same value unless it names node or job."""
    local = alice.submit(
        "env -0 | sort -z | tr '\\n\\0' ' \\n'", "--gres=gpu:1", "--k8s-burst=never", "--output=env-local.out"
    )
    alice.wait_state(local, "COMPLETED")
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    burst = alice.submit("env -0 | sort -z | tr '\\n\\0' ' \\n'", *BURST, "--output=env-burst.out")
    alice.wait_state(burst, "COMPLETED")
    here, there = (
        dict(line.split("=", 1) for line in alice.read(f"env-{where}.out").splitlines()) for where in ("local", "burst")
    )
    assert set(there) - set(here) == {"K8S_BURST_TASK"}
    assert set(here) - set(there) == set()
    # The stand-ins for Slurm's commands come before whatever Slurm an image has.
    assert there["PATH"] == f"/k8s-burst/bin:{here['PATH']}"
    expected_to_differ = {
        "PATH",
        "SLURMD_NODENAME",
        "HOSTNAME",
        "SLURM_JOBID",
        "SLURM_JOB_ID",
        "SLURM_JOB_NODELIST",
        "SLURM_NODELIST",
        "SLURM_JOB_PARTITION",
        "SLURM_TOPOLOGY_ADDR",
        "SLURM_JOB_START_TIME",
        "SLURM_JOB_END_TIME",
        "SLURM_TASK_PID",
        "SLURM_CPUS_ON_NODE",
        "SLURM_JOB_CPUS_PER_NODE",
        "SLURM_TASKS_PER_NODE",
        "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst",
        "SLURM_SPANK__SLURM_SPANK_OPTION_k8s_burst_k8s_burst",
    }
    assert {name for name in here if here[name] != there[name]} <= expected_to_differ


def test_script_sees_itself(alice: SlurmUser, full: int) -> None:
    """cat $0 gives the script, --wrap and a script of another interpreter work."""
    script = "cat $0"
    job_id = alice.submit(script, *BURST)
    alice.wait_state(job_id, "COMPLETED")
    assert alice.output(job_id) == f"#!/bin/bash\n{script}\n"
    wrapped = int(alice.run("sbatch", "--parsable", *BURST, "--wrap", "echo wrapped").stdout)
    alice.wait_state(wrapped, "COMPLETED")
    assert alice.output(wrapped) == "wrapped\n"
    alice.shell(
        "printf '#!/usr/bin/env python3\\nimport sys\\nprint(sys.version_info.major, sys.argv[1:])\\n' > snake.py"
    )
    snake = int(alice.run("sbatch", "--parsable", *BURST, "snake.py", "x y").stdout)
    alice.wait_state(snake, "COMPLETED")
    assert alice.output(snake) == "3 ['x y']\n"


def test_export_none_still_runs_in_the_pod(alice: SlurmUser, full: int) -> None:
    """--export=NONE drops the option from the batch step's environment; the script must run in the pod all the same."""
    job_id = alice.submit("ls -d /k8s-burst/bin; echo ${HOME:-no home}", *BURST, "--export=NONE")
    job = alice.wait_state(job_id, "COMPLETED")
    assert job["NodeList"].startswith("k8s-")
    assert alice.output(job_id).startswith("/k8s-burst/bin\n")
