"""
The plugin in the real sbatch, srun and slurmstepd.
"""

from __future__ import annotations

import pytest
from sandbox import Sandbox

from tests.cluster.user import SlurmUser


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_options_are_in_the_help(alice: SlurmUser, command: str) -> None:
    """The options stand in --help as native ones do."""
    text = alice.run(command, "--help").stdout
    assert "--k8s-burst" in text
    assert "--k8s-burst-image" in text


def test_unknown_value_is_refused_at_submit(alice: SlurmUser) -> None:
    """--k8s-burst=perhaps: the message gives the value and what is allowed; nothing is queued."""
    done = alice.run("sbatch", "--k8s-burst=perhaps", "--wrap", "true", check=False)
    assert done.returncode != 0
    for word in ("perhaps", "auto", "now", "never"):
        assert word in done.stderr
    assert not alice.run("squeue", "-h", "-u", "alice").stdout.strip()


def test_option_in_the_script_counts(alice: SlurmUser, full: int) -> None:
    """#SBATCH --k8s-burst=now marks the job as the option on the command line does."""
    job_id = alice.submit("#SBATCH --k8s-burst=now\n#SBATCH --gres=gpu:1\nhostname")
    assert alice.comment(job_id).startswith("k8s-burst=now")
    assert alice.wait_end(job_id)["NodeList"].startswith("k8s-")


def test_wrong_plugstack_argument_is_named(alice: SlurmUser, sandbox: Sandbox) -> None:
    """A misspelt argument is an error that names it."""
    path = sandbox.path("login", "/etc/slurm/plugstack.conf.d/k8s-burst.conf")
    good = path.read_text(encoding="utf-8")
    try:
        path.write_text(good.replace("role=login", "role=login colour=blue"), encoding="utf-8")
        done = alice.run("sbatch", "--wrap", "true", check=False)
        assert "colour" in done.stderr
    finally:
        path.write_text(good, encoding="utf-8")
