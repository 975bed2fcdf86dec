"""
What burstctl has from Slurm's and MUNGE's own commands, run as its user.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime

from burst_agent.errors import SettingsError

#: Slurm's job ids have eight digits at most.
_WHOLE = re.compile(r"([0-9]{1,8})(?:_\[.*)?")
_PART = re.compile(r"[0-9]{1,8}[_+][0-9]{1,8}")
_STARTS = re.compile(r"to start at (\S+)")
_DEADLINE_S = 10.0
#: The controller makes a plan for the script.
_TEST_DEADLINE_S = 20.0


def job_id(text: str) -> int | None:
    """
    Give the job id of a job as squeue writes it, also of one task of an array (``123_4``), of those not split off yet
    (``123_[5-9]``) and of a component of a heterogeneous job (``123+1``); ``None`` for what is written otherwise.

    Raises SettingsError where Slurm does not know it.
    """
    if match := _WHOLE.fullmatch(text):
        return int(match[1])
    if not _PART.fullmatch(text):
        return None
    shown = _asked("scontrol", "--oneliner", "show", "job", text)
    found = re.match(r"JobId=([0-9]+)", shown.stdout)
    if found is None:
        msg = f"Slurm does not tell the job id of {text}: {(shown.stderr or shown.stdout).strip()}"
        raise SettingsError(msg)
    return int(found[1])


def credential(payload: str) -> str:
    """Make a MUNGE credential. Raises SettingsError where that can't be."""
    try:
        made = subprocess.run(
            ["munge", "--string", payload], capture_output=True, text=True, timeout=_DEADLINE_S, check=True
        )
    except FileNotFoundError as e:
        msg = "munge is not installed here: it proves to the agent who you are"
        raise SettingsError(msg) from e
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        msg = f"munge gave no credential: {getattr(e, 'stderr', '') or e}".strip()
        raise SettingsError(msg) from e
    return made.stdout.strip()


def expected_start(script: str, options: Sequence[str]) -> tuple[int, str]:
    """Ask Slurm, as the user, when a script would start here: Unix seconds, 0 where it does not say; and its words."""
    command = ["sbatch", "--test-only", *options, script]
    # The user's own may be one that can't be read back.
    env = {**os.environ, "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TEST_DEADLINE_S, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        return 0, f"sbatch --test-only: {e}"
    said = next((line for line in done.stderr.splitlines() if line.startswith(("sbatch: Job", "allocation"))), "")
    said = said or " ".join(done.stderr.split())
    found = _STARTS.search(said) if done.returncode == 0 else None
    start = int(datetime.fromisoformat(found[1]).timestamp()) if found else 0
    return start, f"Slurm: {said.removeprefix('sbatch: ')}"


def cluster() -> str:
    """Give the ClusterName. Raises SettingsError where Slurm does not tell it."""
    shown = _asked("scontrol", "show", "config")
    found = re.search(r"^ClusterName\s*=\s*(\S+)", shown.stdout, re.MULTILINE)
    if found is None:
        msg = f"scontrol show config does not tell ClusterName: {shown.stderr.strip()}"
        raise SettingsError(msg)
    return found[1]


def _asked(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands. Raises SettingsError where it is not there or does not end in time."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        msg = f"{' '.join(command)}: {e}; burstctl needs Slurm's commands here, and a slurmctld that answers them"
        raise SettingsError(msg) from e
