"""
Linux processes seen from outside their namespaces: who they are, whether they live, how they end.

A process is named by pid *and* start time, because pids are used again. Only this module reads /proc/PID and sends
signals.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """
    One process: its pid on this machine and its start time in clock ticks since boot.
    """

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """
        Give the living process with this pid; None for a dead one and for a zombie.

        One whose first thread has ended lives as long as another of its threads, which has its files and ports open.
        """
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        threads = int(fields[17])
        return None if fields[0] in "ZX" and threads <= 1 else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, path: Path) -> Process | None:
        """Give the living process that `save` wrote down; None when there is none."""
        try:
            pid, start_ticks = (int(word) for word in path.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        process = cls(pid, start_ticks)
        return process if process.alive else None

    def save(self, path: Path) -> None:
        """Write the process down for `load`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(f"{self.pid} {self.start_ticks}\n")
        temporary.rename(path)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self

    def send(self, number: int) -> bool:
        """Send a signal; False when the process is gone."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, whoever its parent is; False when it still runs after the time."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            ready, _, _ = select.select([handle], [], [], timeout_s)
            return bool(ready)
        finally:
            os.close(handle)


def all_pids() -> Iterator[int]:
    """Every pid on this machine."""
    return (int(path.name) for path in PROC.iterdir() if path.name.isdecimal())


def with_argument(argument: str) -> list[Process]:
    """Every living process that has exactly this word on its command line."""
    wanted = argument.encode()
    found = []
    for pid in all_pids():
        try:
            words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        process = Process.of(pid) if wanted in words else None
        if process:
            found.append(process)
    return found


def namespace_pids(pid: int) -> list[int]:
    """The pids that a process has in its nested PID namespaces, outermost first; empty for a process that is gone."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in status.partition("\nNSpid:")[2].partition("\n")[0].split()]


def inside(init_pid: int, namespace_pid: int) -> Process | None:
    """Give the process that is `namespace_pid` in the PID namespace of the host whose first process is `init_pid`."""
    namespace = _pid_namespace(init_pid)
    for pid in all_pids():
        if namespace_pids(pid)[-1:] == [namespace_pid] and _pid_namespace(pid) == namespace:
            return Process.of(pid)
    return None


def _pid_namespace(pid: int) -> str | None:
    try:
        return str((PROC / str(pid) / "ns/pid").readlink())
    except OSError:
        return None


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill_all(processes: list[Process], timeout_s: float = 20.0) -> list[Process]:
    """SIGKILL them all and wait; give those that still run."""
    for process in processes:
        process.send(signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    return [process for process in processes if not process.wait(max(0.0, deadline - time.monotonic()))]


def wait_until(what: str, look: Callable[[], bool], timeout_s: float, error: type[SandboxError] = SandboxError) -> None:
    """Look again and again, ever less often, until the answer is true; raise `error` after the time."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.01
    while not look():
        if time.monotonic() > deadline:
            msg = f"waited {timeout_s:.0f} s for {what}"
            raise error(msg)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.2)
