"""
Slurm in the sandbox: the files in /etc/slurm of each host, and the services.

The cluster's own files are in etc/; what an administrator adds for k8s-burst comes unchanged from the checkout's
slurm-conf/.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .accounts import ids_of, write_accounts
from .hosts import ADDRESSES, Host
from .namespaces import listens, serves
from .services import ServicePlan

OWN_FILES = Path(__file__).with_name("etc")
LOCAL_NODES = ("gpu0", "native0", "native1")
SLURM_HOSTS = ("ctl", "login", "gateway", *LOCAL_NODES)
VIRTUAL_NODES = tuple(f"k8s-{number}" for number in range(8))

#: Device files that stand for GPUs. They are /dev/null's twins, so that opening one reaches no real GPU.
GPU_DEVICES = {
    host: tuple(f"nvidia{number}:1:3" for number in range(count))
    for host, count in {"gpu0": 1, "native0": 2, "native1": 2, "gateway": 8}.items()
}

DBD_PORT = 6819
CTLD_PORT = 6817
SLURMD_PORT = 6818
VIRTUAL_NODE_PORT = 17100

MARIADBD = (
    "mariadbd", "--user=mysql", "--skip-networking", "--skip-name-resolve", "--socket=/run/mysqld/mysqld.sock",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
    "--innodb-lock-wait-timeout=900",
)  # fmt: skip


def write_host_files(
    host: str, disk: Path, root: Path, checkout: Path, cluster: str, munge_key: bytes, burst: bool
) -> None:
    """Write /etc of a Slurm host onto its disk, before it boots."""
    etc = disk / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    disk.chmod(0o755)
    write_accounts(root, etc)
    write_network_names(etc, host)
    _write_munge_key(etc / "munge", root, munge_key)
    slurm = etc / "slurm"
    slurm.mkdir(exist_ok=True)
    shutil.copy(OWN_FILES / "cgroup.conf", slurm)
    fragments = ["k8s-burst-nodes.conf"] + (["k8s-burst.conf"] if burst else [])
    includes = [f"Include /etc/slurm/slurm.conf.d/{name}" for name in fragments]
    own = (OWN_FILES / "slurm.conf").read_text()
    (slurm / "slurm.conf").write_text("\n".join([f"ClusterName={cluster}", own, *includes, ""]))
    own = (OWN_FILES / "gres.conf").read_text()
    (slurm / "gres.conf").write_text(own + "Include /etc/slurm/gres.conf.d/k8s-burst.conf\n")
    for directory in ("slurm.conf.d", "gres.conf.d"):
        shutil.copytree(checkout / "slurm-conf" / directory, slurm / directory, dirs_exist_ok=True)
    if host == "ctl":
        shutil.copy(OWN_FILES / "slurmdbd.conf", slurm)
        os.chown(slurm / "slurmdbd.conf", *ids_of(root, "slurm"))
        (slurm / "slurmdbd.conf").chmod(0o600)
    if burst:
        _write_burst_files(host, etc, checkout)


def _write_burst_files(host: str, etc: Path, checkout: Path) -> None:
    examples = checkout / "slurm-conf"
    role = "gateway" if host == "gateway" else "login"
    (etc / "slurm/plugstack.conf").write_text("include /etc/slurm/plugstack.conf.d/*.conf\n")
    (etc / "slurm/plugstack.conf.d").mkdir(exist_ok=True)
    shutil.copy(examples / f"plugstack.conf.d/k8s-burst-{role}.conf", etc / "slurm/plugstack.conf.d/k8s-burst.conf")
    if host == "ctl":
        for script in examples.glob("*.lua"):
            shutil.copy(script, etc / "slurm")


def write_network_names(etc: Path, host: str) -> None:
    """Write the files by which a host knows itself and the others."""
    (etc / "hostname").write_text(f"{host}\n")
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in ADDRESSES.items())]
    lines += [f"{ADDRESSES['gateway']} {node}" for node in VIRTUAL_NODES]
    (etc / "hosts").write_text("\n".join(lines) + "\n")
    (etc / "resolv.conf").write_text("# a sandbox has no name server: see /etc/hosts\n")


def _write_munge_key(directory: Path, root: Path, key: bytes) -> None:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o700)
    (directory / "munge.key").write_bytes(key)
    (directory / "munge.key").chmod(0o400)
    for path in (directory, directory / "munge.key"):
        os.chown(path, *ids_of(root, "munge"))


def munge_service(host: str) -> ServicePlan:
    """The munged on one host."""
    state = {
        f"/{name}": ("munge", "0755" if name == "run/munge" else "0700")
        for name in ("run/munge", "var/lib/munge", "var/log/munge")
    }
    return ServicePlan(
        f"munged-{host}", host, ("munged", "--foreground", "--num-threads=2"), user="munge", directories=state,
        ready=lambda on: serves(on.pid, "/run/munge/munge.socket.2"),
    )  # fmt: skip


def database_services() -> list[ServicePlan]:
    """MariaDB and slurmdbd, in the order of their start."""
    return [
        ServicePlan(
            "mariadbd", "ctl", MARIADBD, directories={"/run/mysqld": ("mysql", "0755")},
            ready=lambda on: serves(on.pid, "/run/mysqld/mysqld.sock"),
        ),
        ServicePlan(
            "slurmdbd", "ctl", ("slurmdbd", "-D"), directories={"/run/slurm": ("slurm", "0755")},
            ready=lambda on: listens(on.pid, DBD_PORT), hint="It needs mariadbd and munged-ctl.",
        ),
    ]  # fmt: skip


def controller_service() -> ServicePlan:
    """The controller, slurmctld."""
    return ServicePlan(
        "slurmctld",
        "ctl",
        ("slurmctld", "-D"),
        directories={"/run/slurm": ("slurm", "0755"), "/var/spool/slurmctld": ("slurm", "0700")},
        ready=_answers_ping,
        hint="Its configuration is in /etc/slurm on host ctl, made of containers/sandbox/etc and slurm-conf.",
    )


def _answers_ping(host: Host) -> bool:
    return listens(host.pid, CTLD_PORT) and "is UP" in host.shell("scontrol ping || true")


def node_services() -> list[ServicePlan]:
    """The slurmd of each local node, and one slurmd for each virtual node on the gateway."""
    return [_slurmd(host, f"slurmd-{host}", SLURMD_PORT) for host in LOCAL_NODES] + [
        _slurmd("gateway", f"slurmd-{node}", VIRTUAL_NODE_PORT + number, node)
        for number, node in enumerate(VIRTUAL_NODES)
    ]


def _slurmd(host: str, name: str, port: int, node: str | None = None) -> ServicePlan:
    return ServicePlan(
        name,
        host,
        ("slurmd", "-D", *(["-N", node] if node else [])),
        directories={
            "/run/slurm": ("root", "0755"),
            "/var/spool/slurmd": ("root", "0755"),
            "/var/spool/node-tmp": ("root", "0755"),
        },
        # Virtual nodes share a host, but their jobs shall not share a /tmp.
        private_tmp=f"/var/spool/node-tmp/{node}" if node else None,
        # %N in the name of an output file is what slurmstepd takes for its host's name.
        host_name=node,
        ready=lambda on: listens(on.pid, port),
        hint="slurmd reads the same /etc/slurm as slurmctld; `sinfo -R` on host ctl tells more.",
    )
