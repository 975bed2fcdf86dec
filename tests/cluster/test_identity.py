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
