"""
The tour of ``make try``: a user's unchanged script goes through a full partition into a pod, as was promised.

Prints what the user sees, as it happens. Ends with an error that names the broken promise, else quietly. Leaves the
sandbox up.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from . import layers
from .cache import key_of
from .errors import SandboxError
from .rootfs import root_file_system
from .sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = ("train-digits.sbatch", "train_digits.py")
USER, NEIGHBOUR = "alice", "bob"
PATIENCE_S = 300.0
LOOK_EVERY_S = 0.25
COLUMNS = "JobID:6,Name:8,Partition:11,StateCompact:4,ReasonList:14,NodeList:8,admin_comment:160"
POD_COLUMNS = {
    "NAMESPACE": ".metadata.namespace",
    "NAME": ".metadata.name",
    "PHASE": ".status.phase",
    "GPUS": r".spec.containers[0].resources.limits.nvidia\.com/gpu",
}


class BrokenPromiseError(SandboxError):
    """
    The example did not go as promised.
    """


def tour(sandbox: Sandbox) -> None:
    """Run the example in a sandbox that is up; raises BrokenPromiseError."""
    visit = _Visit(sandbox)
    visit.prepare(_environment(sandbox))
    blocker = visit.fill_the_partition()
    try:
        job_id = visit.submit()
        visit.watch(job_id)
        visit.check(job_id)
    finally:
        sandbox.run(["scancel", blocker], user=NEIGHBOUR, host="login")


def _environment(sandbox: Sandbox) -> Path:
    """Give the virtual environment that the example wants, made for its place in the user's home."""
    requirements = EXAMPLES / "requirements.txt"
    place = f"/home/{USER}/venv"
    root = root_file_system(sandbox.cache)
    script = f"python3 -m venv {place} && {place}/bin/pip install --quiet --requirement /requirements.txt"

    def build(directory: Path) -> None:
        binds = {"/requirements.txt": requirements}
        changed = layers.build(
            [root], directory / "scratch", script, "the example's Python packages", binds=binds, network=True
        )
        (changed / place.lstrip("/")).rename(directory / "venv")
        shutil.rmtree(directory / "scratch")

    key = key_of(root.name, script, requirements.read_bytes())
    return sandbox.cache.entry("example", key, "Python packages that the example needs", build) / "venv"


class _Visit:
    """
    One user's visit to the sandbox.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.steps = sandbox.steps

    def type(self, command: str) -> str:
        """Show a command as the user types it, run it, show and give what it prints."""
        self.steps.say(f"{USER}@login:~$ {command}")
        output = self.quietly(command)
        if output:
            self.steps.say(output.rstrip())
        return output

    def quietly(self, command: str) -> str:
        """Run a command in a login shell of the user, and give what it prints."""
        done = self.sandbox.run(["bash", "-lc", f"{{ {command}\n}} 2>&1"], user=USER, host="login")
        if done.returncode != 0:
            msg = f"`{command}` ended with exit code {done.returncode}:\n{done.stdout}"
            raise BrokenPromiseError(msg)
        return done.stdout

    def prepare(self, environment: Path) -> None:
        """Put the example and its virtual environment into the user's home."""
        home, (uid, gid) = self.sandbox.home(USER), self.sandbox.ids(USER)
        for name in FILES:
            shutil.copyfile(EXAMPLES / name, home / name)
            os.chown(home / name, uid, gid)
        if not (home / "venv").exists():
            with self.steps.step(f"a Python environment in {USER}'s home"):
                shutil.copytree(environment, home / "venv", symlinks=True)
                for path in [home / "venv", *(home / "venv").rglob("*")]:
                    os.chown(path, uid, gid, follow_symlinks=False)

    def fill_the_partition(self) -> str:
        """Let another user hold the only local GPU; give the id of that job."""
        script = "#!/bin/bash\nsleep infinity\n"
        done = self.sandbox.run(
            ["sbatch", "--parsable", "--job-name=neighbour", "--gres=gpu:1", "--exclusive", "--output=/dev/null"],
            user=NEIGHBOUR, host="login", input=script,
        )  # fmt: skip
        blocker = done.stdout.strip()
        for _ in self._looks(f"job {blocker} to fill the partition"):
            if "RUNNING" in self.quietly(f"squeue -h -j {blocker} -o %T"):
                break
        self.type("sinfo -o '%P %N %G %T'")
        return blocker

    def submit(self) -> str:
        """Submit the example, and give its job id."""
        output = self.type("sbatch --k8s-burst train-digits.sbatch")
        found = re.search(r"Submitted batch job (\d+)", output)
        if not found:
            msg = f"sbatch gave no job id: {output!r}"
            raise BrokenPromiseError(msg)
        return found.group(1)

    def watch(self, job_id: str) -> None:
        """Show queue, pod and growing output file, whenever one of them changes, until the job has ended."""
        shown: dict[str, str] = {}
        commands = {
            "queue": f"squeue -h -j {job_id} -t all -O {COLUMNS}",
            "pod": None,
            "file": f"cat digits-{job_id}.out 2>/dev/null || true",
        }
        for _ in self._looks(f"job {job_id} to end"):
            for what, command in commands.items():
                text = (self.quietly(command) if command else self._pods(job_id)).rstrip()
                text = "\n".join(line.rstrip() for line in text.splitlines())
                news = text.removeprefix(shown.get(what, "")) if what == "file" else text
                if news.strip() and text != shown.get(what):
                    for line in news.strip().splitlines():
                        self.steps.say(f"{self.steps.elapsed_s():7.1f} s  {what:5}  {line}")
                shown[what] = text
            if self._record(job_id).get("JobState") not in ("PENDING", "RUNNING", "COMPLETING"):
                break

    def check(self, job_id: str) -> None:
        """Show how it ended, and hold it against what was promised."""
        self.type(f"sacct -X -j {job_id} -o JobID,JobName,Partition,NodeList,State,ExitCode,Elapsed")
        self.type("tail -n 4 digits-report.txt; ls -l digits-model.joblib")
        self.type(
            f"scontrol show job {job_id} | grep -E 'JobState|ExitCode|Partition|NodeList=|WorkDir|StdOut|AdminComment'"
        )
        record = self._record(job_id)
        output = self.quietly(f"cat digits-{job_id}.out")
        promises = {
            "the job completed": record["JobState"] == "COMPLETED",
            "its exit code is 0": record["ExitCode"] == "0:0",
            "it ran behind a virtual node": record["NodeList"].startswith("k8s-"),
            "it ran as the user, in the submit directory": f"{USER} in /home/{USER}" in output,
            "it had a GPU": "GPU 0" in output,
            "every epoch is in the output": len(re.findall(r"^epoch", output, re.MULTILINE)) == 40,
            "accounting knows it": "COMPLETED" in self.quietly(f"sacct -n -X -j {job_id} -o State"),
        }
        broken = [promise for promise, kept in promises.items() if not kept]
        if broken:
            msg = f"job {job_id}: not as promised: {'; '.join(broken)}\n{record}\n{output}"
            raise BrokenPromiseError(msg)
        for _ in self._looks(f"the pod of job {job_id} to be gone"):
            if not self._pods(job_id).strip():
                break
        self.steps.say(f"All as promised: {'; '.join(promises)}; and its pod is gone.")

    def _pods(self, job_id: str) -> str:
        columns = ",".join(f"{name}:{path}" for name, path in POD_COLUMNS.items())
        words = [
            "get",
            "pods",
            "-A",
            "--no-headers",
            "-l",
            f"k8s-burst.slurm/job-id={job_id}",
            "-o",
            f"custom-columns={columns}",
        ]
        return self.sandbox.kubectl(*words, check=False).stdout

    def _record(self, job_id: str) -> dict[str, str]:
        line = self.quietly(f"scontrol show job -o {shlex.quote(job_id)}")
        return dict(re.findall(r"(\w[\w:/]*)=(\S*)", line))

    def _looks(self, what: str) -> Iterator[None]:
        """Yield until the caller has seen what it waits for; raises when patience is at its end."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            yield
            time.sleep(LOOK_EVERY_S)
        msg = f"waited {PATIENCE_S:.0f} s for {what}; see `burstctl explain` on the gateway and the logs of the sandbox"
        raise BrokenPromiseError(msg)
