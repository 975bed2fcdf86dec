"""
A job in a pod is its user's: identity, directory, environment, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox, oci

from tests.cluster.user import SlurmUser, until

BURST = ("--gres=gpu:1", "--k8s-burst=now")
CTR = ("ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io", "images")


@pytest.fixture
def granting_image(sandbox: Sandbox, tmp_path: Path) -> Iterator[str]:
    """An image of alice's making that puts her into group 5000. Nothing else is in it: our program brings all it needs."""
    name, archive = "localhost/k8s-burst/granting:1", "/tmp/granting.tar"
    (tmp_path / "passwd").write_text("alice:x:1001:1001::/:/bin/sh\n", encoding="utf-8")
    (tmp_path / "group").write_text("alice:x:1001:\nphysics:x:2001:alice\nsecret:x:5000:alice\n", encoding="utf-8")
    oci.write_layer(tmp_path / "layer", {f"etc/{file}": tmp_path / file for file in ("passwd", "group")})
    oci.write_archive(sandbox.path("node0", archive), name, [tmp_path / "layer"])
    sandbox.run([*CTR, "import", archive], host="node0", check=True)
    yield name
    sandbox.run([*CTR, "rm", name], host="node0")


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


def test_an_image_gives_its_user_no_groups(alice: SlurmUser, full: int, root: SlurmUser, granting_image: str) -> None:
    """The container runtime adds those of its /etc/group: the pod ends before anybody gets in, and the user reads why."""
    job_id = alice.submit("true", *BURST, f"--k8s-burst-image={granting_image}", "--output=/dev/null")
    why = "the image's /etc/group puts uid 1001 into group 5000, which the user is not in: remove it there"
    until("the group to be named", lambda: why in alice.comment(job_id))
    paused = root.run("/opt/k8s-burst/bin/burstctl", "targets").stdout
    assert f"pods of image {granting_image}, of uid 1001" in paused
