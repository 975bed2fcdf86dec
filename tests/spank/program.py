"""
The plugin within one Slurm program, in-process over a fake SPANK, and as built within a small host program.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from _spank_k8s_burst import ffi, lib

MODE = "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst"
IMAGE = f"{MODE}_image"
COST = f"{MODE}_max_cost"
LOGIN = ("role=login", "agent=gateway:6821", "ca=/etc/k8s-burst/ca.crt")
GATEWAY = ("role=gateway",)

CONTEXTS = {
    "sbatch": lib.S_CTX_ALLOCATOR,
    "srun": lib.S_CTX_LOCAL,
    "slurmstepd": lib.S_CTX_REMOTE,
    "slurmd": lib.S_CTX_SLURMD,
    "prolog": lib.S_CTX_JOB_SCRIPT,
    "nowhere": lib.S_CTX_ERROR,
}


class Plugin:
    """
    The plugin within one Slurm program: ``sbatch``, ``srun``, ``slurmstepd``, ``slurmd``, ``prolog`` or ``nowhere``.
    """

    def __init__(self, program: str = "sbatch", *line: str) -> None:
        self.line = line
        self.exit()
        lib.fake_reset(CONTEXTS[program])

    def _call(self, hook: str, phase: int, line: tuple[str, ...]) -> int:
        words = [ffi.new("char[]", word.encode()) for word in line]
        argv = ffi.new("char *[]", [*words, ffi.NULL])
        return int(lib.fake_call(ffi.addressof(lib, hook), phase, len(words), argv))

    def init(self, *line: str) -> int:
        """Call slurm_spank_init, with another line where given."""
        return self._call("slurm_spank_init", lib.FAKE_INIT, line or self.line)

    def post_opt(self, *line: str) -> int:
        """Call slurm_spank_init_post_opt, after what Slurm itself does before it."""
        lib.fake_export_options()
        return self._call("slurm_spank_init_post_opt", lib.FAKE_INIT_POST_OPT, line or self.line)

    def task_init(self, *line: str) -> int:
        """Call slurm_spank_task_init, in this process."""
        return self._call("slurm_spank_task_init", lib.FAKE_TASK_INIT, line or self.line)

    def exit(self, *line: str) -> int:
        """Call slurm_spank_exit, at the program's end."""
        return self._call("slurm_spank_exit", lib.FAKE_EXIT, line or self.line)

    def task_exit(self, *line: str) -> int:
        """Call slurm_spank_task_init in a forked process, as slurmstepd does; its exit code, 0 if it lives on."""
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(0 if self.task_init(*line) == 0 else 100)
            finally:
                os._exit(101)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def option(self, name: str, value: str | None = None, *, remote: bool = False) -> int:
        """Hand an option over; None is a bare one."""
        return int(lib.fake_option(name.encode(), ffi.NULL if value is None else value.encode(), remote))

    def job(
        self, *, job_id: int = 42, step_id: int = 0, uid: int = 1000, rank: int = 3, node: str | None = "k8s-1"
    ) -> None:
        """Give slurmstepd a job."""
        lib.fake_job(job_id, step_id, uid, rank)
        if node is not None:
            lib.fake_step_env(b"SLURMD_NODENAME", node.encode())

    @property
    def log(self) -> list[str]:
        """What was logged, a line each."""
        return text(lib.fake_log()).splitlines()

    @property
    def argv(self) -> list[str]:
        """The task's argv."""
        return [text(lib.fake_arg(index)) for index in range(lib.fake_argc())]

    def job_control(self, name: str) -> str | None:
        """A variable of spank_job_env."""
        value = lib.fake_job_control(name.encode())
        return None if value == ffi.NULL else text(value)

    def step(self, name: str) -> str | None:
        """A variable of the step, as its task gets it."""
        value = lib.fake_step_value(name.encode())
        return None if value == ffi.NULL else text(value)

    def environment(self, name: str) -> str | None:
        """A variable of the process, as C sees it."""
        value = lib.getenv(name.encode())
        return None if value == ffi.NULL else text(value)


class Host:
    """
    Loads the built plugin outside Python; leaks are errors in the sanitized build.
    """

    def __init__(self, program: Path, plugin: Path) -> None:
        self.program = program
        self.plugin = plugin

    def run(self, context: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Call the hooks of a context: an option where given, ``--``, then the line."""
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        environment["ASAN_OPTIONS"] = "detect_leaks=1:halt_on_error=1"
        return subprocess.run(
            [str(self.program), str(self.plugin), context, *words],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )


def text(value: Any) -> str:
    """Read a C string."""
    return str(ffi.string(value).decode())
