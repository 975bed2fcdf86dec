"""
What is done with a sandbox that is up: its hosts, the commands that run on them, its services.

All that is known of a sandbox is in its directory and in the kernel, so that any process can go on where another one
stopped, or died.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import accounts, burst, kubeapi, node, slurm, teardown
from .cache import Cache, default_root
from .errors import SandboxError, ServiceError
from .hosts import NODE, Host
from .namespaces import SYSTEM_PATH, HostProcess
from .processes import wait_until
from .services import Service, ServicePlan
from .steps import Steps

DEFAULT_BASE = Path("/var/tmp/k8s-burst-sandbox")
CHECKOUT = Path(__file__).resolve().parents[2]


def service_plans(with_burst: bool, with_second: bool = False) -> dict[str, ServicePlan]:
    """All services by name, in an order in which they can start."""
    plans = list(node.services().values())
    plans += [slurm.munge_service(host) for host in slurm.SLURM_HOSTS]
    plans += [*slurm.database_services(), slurm.controller_service(), *slurm.node_services()]
    plans += burst.services() if with_burst else []
    plans += node.services(node.SECOND).values() if with_second else []
    return {plan.name: plan for plan in plans}


class Handle:
    """
    A sandbox by its name: not necessarily up.

    `directory` is where its state lies while it is up (default: /var/tmp/k8s-burst-sandbox/NAME); `steps` tells what
    is being done.
    """

    def __init__(
        self,
        name: str = "default",
        directory: Path | None = None,
        checkout: Path = CHECKOUT,
        steps: Steps | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            msg = f"{name!r} can't name a sandbox: use at most 32 lower-case letters, digits and hyphens"
            raise SandboxError(msg)
        self.name = name
        self.directory = (directory or DEFAULT_BASE / name).resolve()
        self.checkout = checkout
        self.steps = steps or Steps()
        self.cache = Cache(default_root(), self.steps)

    @property
    def is_up(self) -> bool:
        """Whether `up` has finished and its node still runs."""
        return (self.directory / "sandbox.json").exists() and self.host(NODE).init is not None

    @property
    def has_second(self) -> bool:
        """Whether the host of the second Kubernetes is up."""
        return self.host(node.SECOND.host).init is not None

    @property
    def burst(self) -> bool:
        """Whether the sandbox runs k8s-burst; raises SandboxError when it is not up."""
        try:
            return bool(json.loads((self.directory / "sandbox.json").read_text())["burst"])
        except FileNotFoundError:
            msg = f"sandbox {self.name} is not up: there is no {self.directory}/sandbox.json"
            raise SandboxError(msg) from None

    # Hosts

    def host(self, name: str) -> Host:
        """One of the hosts: ctl, login, gateway, gpu0, native0, native1, node0 for Kubernetes, node1 for a second."""
        return Host(self.directory, name)

    def crash_host(self, name: str) -> None:
        """End all of a host at once, as a power cut would; its disk stays. Not node0: it holds the others."""
        if name == NODE:
            msg = f"{NODE} holds the whole sandbox: its end is `down`"
            raise SandboxError(msg)
        self.host(name).crash()

    def boot_host(self, name: str) -> None:
        """Boot a host that has crashed; `ensure_services` then starts its services."""
        self.host(name).boot_again(teardown.marker(self.directory), self.host(NODE))

    def path(self, host: str, path: str | Path) -> Path:
        """Where a file of a host is seen from outside. Valid until the host goes down."""
        return self.host(host).path(path)

    def home(self, user: str) -> Path:
        """A user's home directory, seen from outside."""
        return self.directory / "home" / user

    def ids(self, user: str) -> tuple[int, int]:
        """The uid and primary gid of a user."""
        found = next(entry for entry in accounts.USERS if entry.name == user)
        return found.uid, found.gid

    # Commands

    def command(
        self, argv: Sequence[str], user: str, host: str, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> list[str]:
        """
        The command line that runs `argv` on a host as a user, with a clean environment, in the user's home unless
        `cwd` says else.
        """
        home = "/root" if user == "root" else f"/home/{user}"
        values = {
            "PATH": SYSTEM_PATH,
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        become = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            _primary_group(user),
            "--init-groups",
            "--pdeathsig",
            "KILL",
            "--",
        ]
        prepare = ["env", "-i", "-C", cwd or home, *(f"{name}={value}" for name, value in values.items())]
        return self.host(host).enter([*become, *prepare, *argv])

    def popen(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        host: str = "login",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
        own_group: bool = False,
    ) -> HostProcess:
        """
        Start a command on a host as a user. Its signals reach the command itself; it ends with this process.

        With `own_group` it does not get the signals that this process's group gets, from a terminal for example.
        """
        command = self.command(argv, user, host, env, cwd)
        outer = {"PATH": SYSTEM_PATH}
        return HostProcess(
            command,
            env=outer,
            cwd="/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0 if own_group else None,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        host: str = "login",
        input: str | None = None,
        check: bool = False,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a command on a host as a user and give its exit code and what it printed.

        `timeout` in seconds; with `check` a failure raises SandboxError that shows what the command said.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.popen(argv, user=user, host=host, env=env, cwd=cwd, stdin=stdin) as process:
            try:
                output, errors = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            msg = f"{user}@{host}: {' '.join(argv)} ended with {process.returncode}\n{output}{errors}"
            raise SandboxError(msg)
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)

    def kubectl(
        self, *words: str, input: str | None = None, check: bool = True, cluster: node.Cluster = node.FIRST
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as Kubernetes' administrator."""
        env = {"KUBECONFIG": node.ADMIN_CONFIG}
        return self.run(["kubectl", *words], host=cluster.host, input=input, check=check, env=env)

    # Services

    @property
    def api(self) -> kubeapi.KubeAPI:
        """Kubernetes' API for its administrator."""
        return self.api_of(node.FIRST)

    def api_of(self, cluster: node.Cluster) -> kubeapi.KubeAPI:
        """The API of one of the clusters for its administrator."""
        return kubeapi.KubeAPI(self.host(cluster.host), self.directory / cluster.pki)

    def plans(self) -> dict[str, ServicePlan]:
        """All services that this sandbox has, in the order of their start."""
        return service_plans(self.burst, self.has_second)

    def service(self, name: str) -> Service:
        """One service by its name; raises ServiceError for an unknown one."""
        plan = service_plans(True, True).get(name)
        if plan is None:
            msg = f"there is no service {name}; there are {', '.join(service_plans(True, True))}"
            raise ServiceError(msg)
        return Service(plan, self.host(plan.host), self.directory)

    def ensure_services(self) -> None:
        """Start every service that is down."""
        for name in self.plans():
            service = self.service(name)
            if not service.alive:
                service.start()
        self.ensure_gpus()

    def ensure_gpus(self, cluster: node.Cluster = node.FIRST) -> None:
        """Give a cluster's node its GPUs again: a kubelet that starts takes them for gone."""
        api = self.api_of(cluster)
        if api.gpus() != cluster.gpus:
            api.set_gpus(cluster.gpus)
            wait_until("GPUs to be allocatable", lambda: api.gpus() == cluster.gpus, 60)


def _primary_group(user: str) -> str:
    return next((str(entry.gid) for entry in accounts.USERS if entry.name == user), user)
