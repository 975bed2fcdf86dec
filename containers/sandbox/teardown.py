"""
Removes a sandbox without a trace, whatever state it is in: up, half up, crashed, or without its files.

The first process of each host has the sandbox's directory on its command line, so it is found without any file. With
the first process of node0 the kernel ends every other process, mount and network of the sandbox; what is left to
remove is its cgroup and its directory. Afterwards everything is looked for again, and an error names what is left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import cgroups
from .errors import LeftoverError, SandboxError
from .processes import Process, all_pids, kill_all, namespace_pids, with_argument
from .steps import Steps

#: The first file that `up` makes; only directories that have it, and empty ones, are removed.
MARK = ".k8s-burst-sandbox"
_LOCK_PATIENCE_S = 60.0


def marker(directory: Path) -> str:
    """The word on the command line of a sandbox's first processes."""
    return f"k8s-burst-sandbox={directory}"


def cgroup_name(directory: Path, name: str) -> str:
    """The name of a sandbox's cgroup: known from its directory alone."""
    return f"k8s-burst-{name}-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"


def down(directory: Path, name: str, steps: Steps) -> None:
    """Remove the sandbox in `directory`; raises LeftoverError naming what can't be removed."""
    if directory.exists() and not (directory / MARK).exists() and any(directory.iterdir()):
        msg = f"{directory} is not a sandbox's directory (it has no {MARK}): I don't touch it"
        raise SandboxError(msg)
    with steps.step(f"removing sandbox {name}"):
        # Before the lock: a start that is under way ends with its hosts, and lets go.
        first = with_argument(marker(directory))
        members = _members(first)
        kill_all(first)
        with exclusive(directory, make=False):
            left = kill_all(with_argument(marker(directory)))
            if left:
                msg = f"these processes of sandbox {name} don't end: {', '.join(str(process.pid) for process in left)}"
                raise LeftoverError(msg)
            cgroups.remove(cgroup_name(directory, name), cgroups.hierarchies())
            _remove(directory)
        verify(directory, name, members)


def _remove(directory: Path) -> None:
    """Remove a sandbox's directory, its mark last: what a killed `down` leaves is a sandbox's still."""
    paths = list(directory.iterdir()) if directory.exists() else []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != MARK:
            path.unlink(missing_ok=True)
    if directory.exists() and {path.name for path in directory.iterdir()} <= {MARK}:
        shutil.rmtree(directory, ignore_errors=True)


def verify(directory: Path, name: str, members: list[Process]) -> None:
    """
    Raise LeftoverError if anything of a sandbox can still be found on this machine.

    `members` are processes that were in its namespaces. A list of the namespaces themselves would not do: the kernel
    gives their numbers to others at once.
    """
    left = [f"process {process.pid}" for process in (*with_argument(marker(directory)), *members) if process.alive]
    left += [f"cgroup {path}" for path in cgroups.existing(cgroup_name(directory, name), cgroups.hierarchies())]
    left += [f"mount {mount}" for mount in _mounts_below(directory)]
    if directory.exists():
        left.append(f"directory {directory}")
    if left:
        msg = f"of sandbox {name}, this is left: {'; '.join(left)}"
        raise LeftoverError(msg)


def _members(first: list[Process]) -> list[Process]:
    """The processes that share a mount, PID or network namespace with one of the hosts' first processes."""
    # What is about to become a host is in the caller's namespaces still: with those, everybody would be a member.
    spaces = frozenset().union(
        *(_spaces_of(process.pid) for process in first if namespace_pids(process.pid)[-1:] == [1])
    )
    return [process for pid in all_pids() if _spaces_of(pid) & spaces and (process := Process.of(pid))]


def _spaces_of(pid: int) -> frozenset[str]:
    try:
        return frozenset(str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("mnt", "pid", "net"))
    except OSError:
        return frozenset()


def _mounts_below(directory: Path) -> list[str]:
    """Mounts of the directory in any process's view, each with one process that sees it."""
    found: dict[str, int] = {}
    needle = f"{directory}/"
    for pid in all_pids():
        try:
            text = Path(f"/proc/{pid}/mountinfo").read_text()
        except OSError:
            continue
        if needle in text:
            found.update({line.split()[4]: pid for line in text.splitlines() if needle in line})
    return [f"{path} (seen by process {pid})" for path, pid in found.items()]


@contextmanager
def exclusive(directory: Path, make: bool) -> Iterator[None]:
    """
    Hold the sandbox's directory for this process alone; the kernel frees it with the process.

    With `make` the directory is made first, marked as a sandbox's. Raises SandboxError when another process keeps it.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        if make:
            _make(directory)
        elif not directory.exists():
            yield
            return
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _lock(handle) and _is_still(directory, handle):
                if make:
                    (directory / MARK).touch()
                yield
                return
        finally:
            os.close(handle)
        if time.monotonic() > deadline:
            msg = f"another process is starting or removing the sandbox in {directory}: wait for it, or end it"
            raise SandboxError(msg)
        time.sleep(0.1)


def _make(directory: Path) -> None:
    """Make the directory, closed to other users: keys are in it, and homes whose owners' uids mean others outside."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    for path in (directory.parent, directory):
        if path.stat().st_uid != 0:
            msg = f"{path} belongs to another user, who could change what runs as root: choose another --dir"
            raise SandboxError(msg)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(directory: Path, handle: int) -> bool:
    """Whether the locked directory is the one of that name: another process may have removed it meanwhile."""
    try:
        return os.path.samestat(directory.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
