"""
A user of the sandbox: submits, looks and cancels with Slurm's own commands, and waits for conditions.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sandbox import Sandbox

T = TypeVar("T")

#: Seconds that a condition may take on a busy two-core machine before it counts as not coming. Not a measurement.
PATIENCE_S = 90.0

#: A look costs some hundredths of a second of a CPU, which what is waited for has to do without.
PAUSE_GROWS, PAUSE_MOST_S = 1.05, 0.5

#: States in which slurmctld has nothing left to do for a job.
ENDED = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "DEADLINE", "BOOT_FAIL"}
)


def until(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S, pause_s: float = 0.1) -> T:
    """
    Look again and again, `pause_s` apart and then less often, until the answer is true, and give it; fail with what was
    waited for.
    """
    deadline = time.monotonic() + patience_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            msg = f"waited {patience_s:.0f} s for {what}; the last answer was {answer!r}"
            raise AssertionError(msg)
        time.sleep(pause_s)
        pause_s = max(pause_s, min(pause_s * PAUSE_GROWS, PAUSE_MOST_S))


@dataclass(frozen=True)
class Submission:
    """
    What sbatch answered.
    """

    job_id: int
    stderr: str


class SlurmUser:
    """
    Runs commands on a Slurm host as one user; the working directory is the user's home.
    """

    def __init__(self, sandbox: Sandbox, name: str, host: str = "login") -> None:
        self.sandbox = sandbox
        self.name = name
        self.host = host

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and give its result; a failure shows what the command said."""
        done = self.sandbox.run(list(argv), user=self.name, host=self.host, input=stdin)
        if check and done.returncode != 0:
            msg = f"{self.name}@{self.host}: {' '.join(argv)} ended {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command and do not wait for it; it ends with the test."""
        return self.sandbox.popen(list(argv), user=self.name, host=self.host)

    def expand(self, nodes: str) -> list[str]:
        """The names in a node list."""
        return self.run("scontrol", "show", "hostnames", nodes).stdout.split()

    def shell(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the user's home."""
        return self.run("bash", "-lc", script, check=check)

    def sbatch(self, script: str, *options: str) -> Submission:
        """Submit a script, given as text without its first line, from the user's home."""
        done = self.run("sbatch", *options, stdin=f"#!/bin/bash\n{script}\n")
        found = re.search(r"Submitted batch job (\d+)", done.stdout)
        assert found, f"sbatch said {done.stdout!r} {done.stderr!r}"
        return Submission(int(found.group(1)), done.stderr)

    def submit(self, script: str, *options: str) -> int:
        """Submit a script and give the job id."""
        return self.sbatch(script, *options).job_id

    def job(self, job_id: int | str) -> dict[str, str]:
        """What ``scontrol show job`` says of one job; empty for a job that slurmctld does not know."""
        done = self.run("scontrol", "show", "job", "-o", str(job_id), check=False)
        if done.returncode != 0:
            return {}
        # A job's name may hold anything, line breaks too.
        return dict(re.findall(r"(\w[\w:/]*)=(.*?)(?= \w[\w:/]*=|$)", done.stdout.replace("\n", " ").rstrip()))

    def state(self, job_id: int | str) -> str:
        """JobState of a job; empty for an unknown one."""
        return self.job(job_id).get("JobState", "")

    def wait_state(self, job_id: int | str, *states: str, patience_s: float = PATIENCE_S) -> dict[str, str]:
        """Wait until a job is in one of the states, and give its record; ending otherwise is a failure at once."""

        def look() -> dict[str, str] | None:
            record = self.job(job_id)
            state = record.get("JobState", "")
            if state in states:
                return record
            if state in ENDED and not ENDED.issuperset(states):
                msg = f"job {job_id} ended {state} {record.get('ExitCode')} while waiting for {states}: {record}"
                raise AssertionError(msg)
            return None

        return until(f"job {job_id} to be {' or '.join(states)}", look, patience_s)

    def wait_end(self, job_id: int | str, patience_s: float = PATIENCE_S) -> dict[str, str]:
        """Wait until a job has ended in whatever way, and give its record."""
        return self.wait_state(job_id, *ENDED, patience_s=patience_s)

    def read(self, path: str) -> str:
        """The text of a file in the user's home; empty while there is none."""
        return self.run("cat", path, check=False).stdout

    def has(self, path: str) -> bool:
        """Whether there is something of that name in the user's home."""
        return (self.sandbox.home(self.name) / path).exists()

    def output(self, job_id: int | str) -> str:
        """The text of a job's standard output file."""
        return self.read(self.job(job_id)["StdOut"])

    def comment(self, job_id: int | str) -> str:
        """admin_comment of a job; empty where there is none."""
        text = self.run(
            "squeue", "-h", "-j", str(job_id), "-t", "all", "-O", "admin_comment:2000", check=False
        ).stdout.strip()
        return "" if text in ("(null)", "N/A") else text
