"""
The root file system that all hosts share: Debian trixie with Slurm 24.11, MariaDB, etcd, containerd, compilers and
Python.

One system for everything makes the sandbox the same on every machine that it runs on. Made by mmdebstrap from the
mirror and the keys that the machine's own apt uses.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .cache import Cache, key_of
from .layers import run

SUITE = "trixie"

PACKAGES = (
    # Slurm and what it stands on
    "slurmctld", "slurmd", "slurmdbd", "slurm-client", "slurm-wlm-basic-plugins", "slurm-wlm-plugins", "munge",
    "mariadb-server",
    # to build the plugin, the agent's libslurm module and pyslurm
    "libslurm-dev", "libmunge-dev", "python3", "python3-venv", "python3-dev", "gcc", "g++", "cmake", "make", "lua5.4",
    # Kubernetes but for its own binaries
    "etcd-server", "containerd", "runc", "containernetworking-plugins",
    # an operating system
    "ca-certificates", "openssl", "procps", "iproute2", "util-linux", "bsdutils", "tini",
)  # fmt: skip

#: Left out of the packages: not needed in a sandbox, a tenth of the size.
_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")

#: Removed afterwards, so that nothing of the machine that built it is in it. Each host gets its own.
_SITE_FILES = ("etc/hostname", "etc/resolv.conf", "etc/munge/munge.key", "etc/machine-id")


def root_file_system(cache: Cache) -> Path:
    """Give the shared root file system, made when missing."""
    key = key_of("1", SUITE, *PACKAGES, *_EXCLUDED, *_SITE_FILES)
    return cache.entry("rootfs", key, f"Debian {SUITE} with Slurm (about two minutes)", _build)


def debootstrap(variant: str, packages: tuple[str, ...], target: Path) -> None:
    """Run mmdebstrap into a directory or a .tar file; its processes end with this one."""
    command = [
        "unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--",
        "mmdebstrap", "--mode=root", f"--variant={variant}", f"--include={','.join(packages)}",
        '--aptopt=APT::Install-Recommends "false"', *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED),
        SUITE, str(target),
    ]  # fmt: skip
    run(command, f"mmdebstrap {SUITE}", env={**os.environ, "LC_ALL": "C.UTF-8"})


def _build(directory: Path) -> None:
    debootstrap("apt", PACKAGES, directory)
    for name in _SITE_FILES:
        (directory / name).unlink(missing_ok=True)
    (directory / "etc/resolv.conf").touch()
    # The package makes a database; the sandbox has its own.
    shutil.rmtree(directory / "var/lib/mysql", ignore_errors=True)
    directory.chmod(0o755)
