"""
Slurm as its users and its administrator see it, through Slurm's own commands.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

#: Names that a site may have given differently.
PARTITION = os.environ.get("BURST_PARTITION", "k8s-burst")
USER = os.environ.get("BURST_USER", "alice")

#: Seconds that a condition may take on a busy machine before it counts as not coming. Not a measurement.
PATIENCE_S = 60.0


def run(*command: str) -> str:
    """Run a command as root, with the host's own slurm.conf, and give its output; fail with its errors."""
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout.strip()


def as_user(*command: str) -> str:
    """Run a command as an ordinary user."""
    return run("runuser", "-u", USER, "--", *command)


def submit(*options: str) -> int:
    """Submit a held job of an ordinary user that would run for long, and give its id."""
    answer = as_user("sbatch", "--parsable", "--hold", "--output=/dev/null", *options, "--wrap", "exec sleep 600")
    return int(answer.split(";")[0])


def shown(job: int | str, field: str) -> str:
    """Give one field as scontrol shows it."""
    words = (word.partition("=") for word in run("scontrol", "--oneliner", "show", "job", str(job)).split())
    return {name: value for name, _, value in words}[field]


async def until(what: str, look: Callable[[], Awaitable[T]]) -> T:
    """Look again and again until the answer is true, and give it; fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := await look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}; the last answer was {answer!r}"
        await asyncio.sleep(0.05)
    return answer
