"""
What the tests of the plugin share; tests/spank/run builds it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from _spank_k8s_burst import lib

from tests.spank.program import IMAGE, MODE, Host


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Each hook leaves files, children, signal mask and handlers as they were; variables are put back."""
    before = state()
    yield
    for name in (MODE, IMAGE, "SLURM_JOB_ID"):
        lib.unsetenv(name.encode())
    assert state() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def state() -> tuple[object, ...]:
    """Open files, blocked signals and handlers of this process."""
    files = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    return files, signal.pthread_sigmask(signal.SIG_BLOCK, []), handlers


@pytest.fixture(scope="session")
def build_dir() -> Path:
    """Where tests/spank/run has built."""
    return Path(os.environ["SPANK_BUILD"])


@pytest.fixture(scope="session")
def plugin_so(build_dir: Path) -> Path:
    """The plugin as Slurm loads it."""
    return build_dir / "spank" / "spank_k8s_burst.so"


@pytest.fixture
def host(build_dir: Path, plugin_so: Path) -> Host:
    """A Slurm that has all that the plugin uses."""
    return Host(build_dir / "host", plugin_so)


@pytest.fixture
def old_host(build_dir: Path, plugin_so: Path) -> Host:
    """A Slurm before 23.11: no spank_prepend_task_argv."""
    return Host(build_dir / "host-old", plugin_so)
