"""
What --signal may have been, out of a command line: job_submit.lua knows which of its words are options.
"""

from __future__ import annotations

import pytest
from _spank_k8s_burst import ffi, lib

from tests.spank.program import LOGIN, Plugin, text

SIGNAL = "K8S_BURST_SIGNAL"


def found(*words: str, preset: str | None = None, size: int = 256) -> str:
    """Read a command line, without its program."""
    kept = [ffi.new("char[]", word.encode()) for word in ("sbatch", *words)]
    room = ffi.new("char[]", size)
    line = ffi.new("char *[]", kept)
    value = ffi.NULL if preset is None else ffi.new("char[]", preset.encode())
    return text(lib.burst_command_signals(value, line, len(kept), room, size))


@pytest.mark.parametrize(
    ("words", "signals"),
    [
        ((), ""),
        (("--signal=B:USR1@60", "job.sh"), "1=B:USR1@60"),
        (("--signal", "10@5", "job.sh", "x"), "3=10@5"),
        (("--sig=USR2", "--signa", "R:HUP", "job.sh"), "3=USR2,2=R:HUP"),
        (("job.sh", "--signal=KILL"), "0=KILL"),
        (("--si=USR1", "--signals=USR1", "-signal=USR1", "--sigX=USR1", "job.sh"), ""),
        (("--signal=USR1 x=y", "--signal=a,b", "--signal=", "--signal"), ""),
    ],
)
def test_words(words: tuple[str, ...], signals: str) -> None:
    """Each with its place from the end; nothing that Slurm would not take, or that could break the marker."""
    assert found(*words) == signals


def test_environment_comes_first() -> None:
    """SBATCH_SIGNAL is overridden by any word of the command line."""
    assert found("--signal=USR1", preset="B:TERM@9") == "16384=B:TERM@9,0=USR1"


def test_what_does_not_fit_is_left_out() -> None:
    """Whole ones only."""
    assert found("--signal=USR1", "--signal=" + "1" * 40, "--signal=HUP", size=16) == "2=USR1,0=HUP"


def test_published_for_sbatch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the job is flagged: a rule may do that later. srun and salloc have no batch script to warn."""
    lib.setenv(b"SBATCH_SIGNAL", b"B:USR1@60", 1)
    try:
        for program, seen in (("sbatch", "16384=B:USR1@60"), ("srun", None)):
            plugin = Plugin(program, *LOGIN)
            assert plugin.init() == 0
            assert plugin.post_opt() == 0
            assert plugin.job_control(SIGNAL) == seen
    finally:
        lib.unsetenv(b"SBATCH_SIGNAL")
