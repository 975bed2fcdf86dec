"""
Each hook in each program: the table in plugin.c.
"""

from __future__ import annotations

import pytest
from _spank_k8s_burst import lib

from tests.spank.program import CONTEXTS, GATEWAY, LOGIN, MODE, Plugin

WRONG_GATEWAY = ("role=gateway", "give_up=1")
WRONG_LOGIN = (*LOGIN, "give_up=1")
ROLELESS = ("agent=gateway:6821",)


@pytest.mark.parametrize("line", [LOGIN, GATEWAY])
@pytest.mark.parametrize("program", CONTEXTS)
def test_nothing_happens_without_option_and_task(program: str, line: tuple[str, ...]) -> None:
    """All hooks pass silently, and nothing is started."""
    plugin = Plugin(program, *line)
    plugin.job()
    assert (plugin.init(), plugin.post_opt(), plugin.log) == (0, 0, [])
    if program != "slurmstepd":
        assert plugin.task_init() == 0
        assert plugin.argv == ["true"]


@pytest.mark.parametrize("line", [WRONG_GATEWAY, WRONG_LOGIN, ROLELESS])
@pytest.mark.parametrize("program", ["sbatch", "srun", "slurmd"])
def test_wrong_line_is_an_error_at_init(program: str, line: tuple[str, ...]) -> None:
    """Slurm decides by `required` or `optional` what becomes of the command, or of slurmd."""
    assert Plugin(program).init(*line) == -1


@pytest.mark.parametrize(
    ("line", "step_id", "rc"),
    [
        (WRONG_GATEWAY, lib.SLURM_BATCH_SCRIPT, -1),
        (WRONG_GATEWAY, 0, -1),
        (ROLELESS, 0, -1),
        (WRONG_GATEWAY, lib.SLURM_EXTERN_CONT, 0),
        (WRONG_LOGIN, lib.SLURM_BATCH_SCRIPT, 0),
    ],
)
def test_wrong_line_in_slurmstepd(line: tuple[str, ...], step_id: int, rc: int) -> None:
    """A gateway's is the node's fault; an ordinary node's is no reason to drain it; an extern step has no task."""
    plugin = Plugin("slurmstepd")
    plugin.job(step_id=step_id)
    assert plugin.init(*line) == rc
    assert len(plugin.log) == 1


def test_wrong_line_does_not_fail_a_submission_at_post_opt() -> None:
    """Where the line is optional and init's error was ignored, the mode is published and the job is queued."""
    plugin = Plugin("sbatch", *WRONG_LOGIN)
    plugin.init()
    plugin.option("k8s-burst")
    assert plugin.post_opt() == 0
    assert plugin.job_control(MODE) == "auto"


def test_exit_forgets_the_submission() -> None:
    """A program that unloads the stack and loads it anew starts without options, and may announce again."""
    plugin = Plugin("sbatch", *GATEWAY)
    plugin.init()
    plugin.option("k8s-burst", "now")
    assert plugin.exit() == 0
    plugin.init()
    assert lib.fake_registered(b"k8s-burst") == 2
    plugin.post_opt("role=login")
    assert plugin.log == []
