"""
The cgroup that all pods of a sandbox are in: one directory of the same name in every hierarchy, cgroup v1, v2 or both.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import LeftoverError, PrerequisiteError
from .processes import Process, wait_until


@dataclass(frozen=True)
class Hierarchy:
    """
    A mounted cgroup hierarchy; `unified` is cgroup v2.
    """

    root: Path
    unified: bool


def hierarchies(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Hierarchy]:
    """The cgroup hierarchies that are mounted on this machine."""
    found = {}
    for line in mountinfo.read_text().splitlines():
        fields, _, source = line.partition(" - ")
        kind = source.split()[0]
        if kind in ("cgroup", "cgroup2"):
            root = Path(fields.split()[4])
            found[root] = Hierarchy(root, kind == "cgroup2")
    return list(found.values())


def create(name: str, among: list[Hierarchy]) -> None:
    """Make the cgroup, with all controllers for the cgroups below it."""
    for hierarchy in among:
        directory = hierarchy.root / name
        if hierarchy.unified:
            _delegate(hierarchy.root)
        directory.mkdir(exist_ok=True)
        if hierarchy.unified:
            _delegate(directory)
        else:
            _inherit_cpuset(hierarchy.root, directory)


def _delegate(directory: Path) -> None:
    """Let the children of a v2 cgroup use all controllers that it has."""
    have = (directory / "cgroup.controllers").read_text().split()
    given = (directory / "cgroup.subtree_control").read_text().split()
    missing = [f"+{controller}" for controller in have if controller not in given]
    if not missing:
        return
    try:
        (directory / "cgroup.subtree_control").write_text(" ".join(missing))
    except OSError as error:
        msg = (
            f"cannot pass the controllers {' '.join(missing)} on from {directory}: {error.strerror}; in a container, "
            f"give it the machine's cgroup namespace, or move its processes out of the top cgroup"
        )
        raise PrerequisiteError(msg) from error


def _inherit_cpuset(root: Path, directory: Path) -> None:
    """An empty v1 cpuset takes no process, so take over what the root has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (directory / name).exists():
            (directory / name).write_text((root / name).read_text())


def existing(name: str, among: list[Hierarchy]) -> list[Path]:
    """Where the cgroup is there."""
    return [hierarchy.root / name for hierarchy in among if (hierarchy.root / name).is_dir()]


def remove(name: str, among: list[Hierarchy], timeout_s: float = 30.0) -> None:
    """End whatever runs in the cgroup and remove it everywhere; raises LeftoverError naming what stays."""
    for directory in existing(name, among):
        for process in _processes(directory):
            process.send(signal.SIGKILL)

    def gone() -> bool:
        for directory in existing(name, among):
            for path in _bottom_up(directory):
                try:
                    path.rmdir()
                except OSError:
                    # Busy for as long as the kernel ends the processes in it.
                    break
        return not existing(name, among)

    try:
        wait_until("cgroups to be removable", gone, timeout_s)
    except Exception as error:
        left = existing(name, among)
        msg = f"these cgroups can't be removed: {', '.join(map(str, left))}"
        raise LeftoverError(msg) from error


def _processes(directory: Path) -> Iterator[Process]:
    for path in _bottom_up(directory):
        try:
            pids = (path / "cgroup.procs").read_text().split()
        except OSError:
            continue
        yield from filter(None, (Process.of(int(pid)) for pid in pids))


def _bottom_up(directory: Path) -> Iterator[Path]:
    for path, _, _ in os.walk(directory, topdown=False):
        yield Path(path)
