"""
What burstctl has from Slurm's and MUNGE's own commands, run as its user.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from datetime import datetime

from burst_agent.errors import SettingsError

_STARTS = re.compile(r"to start at (\S+)")
_DEADLINE_S = 10.0
#: The controller makes a plan for the script.
_TEST_DEADLINE_S = 20.0


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
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TEST_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        return 0, f"sbatch --test-only: {e}"
    said = next((line for line in done.stderr.splitlines() if line.startswith(("sbatch: Job", "allocation"))), "")
    said = said or " ".join(done.stderr.split())
    found = _STARTS.search(said) if done.returncode == 0 else None
    start = int(datetime.fromisoformat(found[1]).timestamp()) if found else 0
    return start, f"Slurm: {said.removeprefix('sbatch: ')}"


def cluster() -> str:
    """Give the ClusterName. Raises SettingsError where Slurm does not tell it."""
    done = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )
    found = re.search(r"^ClusterName\s*=\s*(\S+)", done.stdout, re.MULTILINE)
    if found is None:
        msg = f"scontrol show config does not tell ClusterName: {done.stderr.strip()}"
        raise SettingsError(msg)
    return found[1]
