"""
What makes a host a part of k8s-burst: the files in /etc/k8s-burst, and the agent and gatewayd as services on the
gateway.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .hosts import Host
from .namespaces import serves
from .node import FIRST, SECOND
from .pki import kubeconfig
from .project import PROGRAMS, VENV
from .services import ServicePlan

DIRECTORY = "/etc/k8s-burst"

#: Contexts of the agent's kubeconfig.
CONTEXT = "sandbox"
SECOND_CONTEXT = "second"

#: Where each file on a host comes from, in the directory of keys and certificates.
_GATEWAY_FILES = {
    "ca.crt": "burst-ca.crt",
    "gateways-ca.crt": "burst-ca.crt",
    "agent.crt": "burst-server.crt",
    "agent.key": "burst-server.key",
    "gateway.crt": "burst-gateway.crt",
    "gateway.key": "burst-gateway.key",
}
_LOGIN_FILES = {"ca.crt": "burst-ca.crt"}


def write_host_files(host: str, disk: Path, pki: Path, checkout: Path) -> None:
    """Write /etc/k8s-burst of a Slurm host onto its disk, before it boots."""
    directory = disk / DIRECTORY.lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    for name, source in (_GATEWAY_FILES if host == "gateway" else _LOGIN_FILES).items():
        shutil.copyfile(pki / source, directory / name)
        (directory / name).chmod(0o600 if name.endswith(".key") else 0o644)
    if host == "login":
        shutil.copyfile(checkout / "slurm-conf/burstctl.toml", directory / "burstctl.toml")
    if host == "gateway":
        shutil.copyfile(checkout / "slurm-conf/agent.toml", directory / "agent.toml")
        credential = directory / "kubeconfig"
        credential.touch(mode=0o600)
        credential.write_text(kubeconfig("k8s-burst-agent", {CONTEXT: (pki, FIRST.server)}))


def add_context(gateway: Host, directory: Path) -> None:
    """Let the agent's kubeconfig have the second cluster, as one more context."""
    contexts = {
        CONTEXT: (directory / FIRST.pki, FIRST.server),
        SECOND_CONTEXT: (directory / SECOND.pki, SECOND.server),
    }
    gateway.path(f"{DIRECTORY}/kubeconfig").write_text(kubeconfig("k8s-burst-agent", contexts))


def services() -> list[ServicePlan]:
    """The agent and gatewayd, in the order of their start."""
    shared = {"/run/k8s-burst": ("root", "0755")}
    return [
        ServicePlan(
            "k8s-burst-agent", "gateway", (f"{VENV}/bin/k8s-burst-agent",), directories=shared, ready=_agent_listens,
            hint=f"Its settings are in {DIRECTORY}/agent.toml on the gateway, from slurm-conf/agent.toml.",
        ),
        ServicePlan("k8s-burst-gatewayd", "gateway", (f"/{PROGRAMS}/k8s-burst-gatewayd",), directories=shared,
        ready=_gatewayd_listens),
    ]  # fmt: skip


def _agent_listens(host: Host) -> bool:
    return serves(host.pid, "/run/k8s-burst/agent.sock")


def _gatewayd_listens(host: Host) -> bool:
    return serves(host.pid, "/run/k8s-burst/gatewayd.sock")
