"""
The accounting database before the first job: made once by the real slurmdbd, copied at each start.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from . import slurm
from .accounts import USERS
from .cache import Cache, key_of, key_of_files
from .hosts import ADDRESSES
from .layers import build as build_layer
from .layers import run

_BUILD = Path(__file__).with_name("accounting.sh").read_text()


def database(cache: Cache, root: Path, checkout: Path, cluster: str) -> Path:
    """Give MariaDB's data directory, with the cluster, its accounts and its users in it."""
    environment = {
        "ADDRESS": ADDRESSES["ctl"],
        "DBD_PORT": str(slurm.DBD_PORT),
        "CLUSTER": cluster,
        "ACCOUNTS": " ".join(sorted({user.account for user in USERS})),
        "USERS": " ".join(f"{user.name}:{user.account}" for user in USERS),
        "MARIADBD": shlex.join(slurm.MARIADBD),
    }

    def build(directory: Path) -> None:
        scratch = directory / "scratch"
        disk = scratch / "store/upper"
        slurm.write_host_files("ctl", disk, root, checkout, cluster, os.urandom(128), burst=False)
        changed = build_layer(
            [root], scratch, _BUILD, "making the accounting database", environment=environment, name="ctl"
        )
        (changed / "var/lib/mysql").rename(directory / "mysql")
        shutil.rmtree(scratch)

    key = key_of(
        root.name, _BUILD, *environment.values(), key_of_files(slurm.OWN_FILES, list(slurm.OWN_FILES.iterdir()))
    )
    return cache.entry("accounting", key, "the accounting database", build) / "mysql"


def copy_database(template: Path, disk: Path) -> None:
    """Put the database onto the disk of host ctl, before it boots."""
    target = disk / "var/lib"
    target.mkdir(parents=True, exist_ok=True)
    run(["cp", "--archive", "--reflink=auto", str(template), str(target / "mysql")], "copying the accounting database")
