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

_BUILD = """
ip link set lo up
# slurmdbd does not listen on a host that has loopback addresses only.
ip address add "$ADDRESS/32" dev lo
install -d -o mysql -g mysql /run/mysqld
install -d -o mysql -g mysql -m 0700 /var/lib/mysql
install -d -o munge -g munge /run/munge
install -d -o munge -g munge -m 0700 /var/lib/munge /var/log/munge
install -d -o slurm -g slurm /run/slurm

# wait_for PID COMMAND...: until COMMAND succeeds; fails when the daemon PID ends first
wait_for() {
    daemon=$1; shift
    for _ in $(seq 600); do
        "$@" > /dev/null 2>&1 && return
        kill -0 "$daemon" || break
        sleep 0.1
    done
    echo "no success with: $*"; tail -n 20 /run/*.log; exit 1
}
slurmdbd_listens() { ss -Hltn "sport = $DBD_PORT" | grep -q .; }

mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db --innodb-log-file-size=8M > /run/install.log 2>&1
$MARIADBD > /run/mariadbd.log 2>&1 & mariadbd_pid=$!
setpriv --reuid munge --regid munge --init-groups munged --foreground > /run/munged.log 2>&1 & munged_pid=$!
wait_for $mariadbd_pid mariadb -e 'select 1'
mariadb -e "create database slurm_acct_db; create user slurm@localhost identified via unix_socket; grant all on slurm_acct_db.* to slurm@localhost"
wait_for $munged_pid munge -n
slurmdbd -D > /run/slurmdbd.log 2>&1 & slurmdbd_pid=$!
wait_for $slurmdbd_pid slurmdbd_listens
sacctmgr --immediate add cluster "$CLUSTER"
for account in $ACCOUNTS; do sacctmgr --immediate add account "$account" cluster="$CLUSTER" description="$account" organization="$account"; done
for user_account in $USERS; do sacctmgr --immediate add user "${user_account%:*}" account="${user_account#*:}" cluster="$CLUSTER"; done
kill $slurmdbd_pid; wait $slurmdbd_pid || true
kill $mariadbd_pid; wait $mariadbd_pid
"""


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
        changed = build_layer([root], scratch, _BUILD, "making the accounting database", environment=environment, name="ctl")
        (changed / "var/lib/mysql").rename(directory / "mysql")
        shutil.rmtree(scratch)

    key = key_of(root.name, _BUILD, *environment.values(), key_of_files(slurm.OWN_FILES, list(slurm.OWN_FILES.iterdir())))
    return cache.entry("accounting", key, "the accounting database", build) / "mysql"


def copy_database(template: Path, disk: Path) -> None:
    """Put the database onto the disk of host ctl, before it boots."""
    target = disk / "var/lib"
    target.mkdir(parents=True, exist_ok=True)
    run(["cp", "--archive", "--reflink=auto", str(template), str(target / "mysql")], "copying the accounting database")
