"""
What a machine must have: Linux with namespaces and overlayfs, root, room on the disk, and a few programs from Debian.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from .errors import PrerequisiteError
from .steps import Steps

#: Bytes that must be free for a sandbox that starts from a warm cache, and for building a cold one.
NEEDED_WARM = 1 << 30
NEEDED_COLD = 8 << 30

#: Programs, and Debian's packages that bring them.
PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "pivot_root": "util-linux",
    "mmdebstrap": "mmdebstrap",
}


def check(sandbox_directory: Path, cache: Path, steps: Steps) -> None:
    """Raise PrerequisiteError unless a sandbox can be built and started; install missing Debian packages."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        msg = "a sandbox needs root on Linux: it makes namespaces, mounts and network interfaces of its own"
        raise PrerequisiteError(msg)
    for kind in ("mnt", "pid", "net", "ipc", "uts"):
        if not Path(f"/proc/self/ns/{kind}").exists():
            msg = f"this kernel has no {kind} namespaces"
            raise PrerequisiteError(msg)
    _install(steps)
    cold = not (cache / "rootfs").is_dir() or not (cache / "kubernetes").is_dir()
    _check_disk(cache, NEEDED_COLD if cold else NEEDED_WARM, "K8S_BURST_CACHE")
    _check_disk(sandbox_directory, NEEDED_WARM, "--dir")


def _install(steps: Steps) -> None:
    packages = sorted({package for program, package in PROGRAMS.items() if not _find(program)})
    if not packages:
        return
    if not shutil.which("apt-get"):
        msg = f"install {' '.join(packages)} first; without apt-get I can't"
        raise PrerequisiteError(msg)
    with steps.step(f"installing {' '.join(packages)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", *words], env=environment, capture_output=True, text=True, errors="replace", check=False
            )
    missing = [program for program in PROGRAMS if not _find(program)]
    if missing:
        said = done.stdout[-2000:] + done.stderr[-2000:]
        msg = f"{', '.join(missing)} still missing after apt-get install {' '.join(packages)}:\n{said}"
        raise PrerequisiteError(msg)


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _check_disk(path: Path, needed: int, setting: str) -> None:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        msg = (
            f"{existing} has {free >> 20} MiB free, {needed >> 20} MiB are needed; choose another place with {setting}"
        )
        raise PrerequisiteError(msg)
    kind = _file_system(existing)
    if kind in ("overlay", "tmpfs", "nfs", "nfs4"):
        msg = f"{existing} is on {kind}, which can't hold overlays; choose a directory on a real disk with {setting}"
        raise PrerequisiteError(msg)


def _file_system(path: Path) -> str:
    """The type of the file system that a path is on."""
    best = ("", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        point = fields.split()[4]
        # The last of several mounts on one point is the one that is seen.
        if path.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, source.split()[0])
    return best[1]
