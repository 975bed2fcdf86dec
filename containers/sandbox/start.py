"""
Starts a sandbox: caches, then the node, then Kubernetes and Slurm side by side, then k8s-burst on top of both.

Each step ends when a condition holds, never after a time. A failure leaves what has been started for a look.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import (
    accounting,
    accounts,
    binaries,
    burst,
    cgroups,
    clusters,
    images,
    node,
    prerequisites,
    programs,
    project,
    slurm,
    teardown,
)
from .clusters import in_parallel
from .errors import SandboxError
from .handle import Handle
from .hosts import ADDRESSES, NODE, HostPlan
from .rootfs import root_file_system

CLUSTER = "sandbox"


@dataclass(frozen=True)
class Parts:
    """
    What a start takes from the cache.
    """

    root: Path
    kubernetes: Path
    fence: Path
    database: Path
    containerd: Path
    project: project.Project | None
    programs: tuple[Path, ...]


class Start:
    """
    One start of a sandbox.
    """

    def __init__(self, sandbox: Handle, with_burst: bool, with_programs: bool) -> None:
        self.sandbox = sandbox
        self.with_burst = with_burst
        self.with_programs = with_programs
        self.directory = sandbox.directory
        self.step = sandbox.steps.step

    def run(self) -> None:
        """Start everything."""
        sandbox = self.sandbox
        prerequisites.check(self.directory, sandbox.cache.root, sandbox.steps)
        with teardown.exclusive(self.directory, make=True):
            if (self.directory / "hosts").exists():
                msg = f"sandbox {sandbox.name} is up already, or its start failed: `down` removes it"
                raise SandboxError(msg)
            parts = self.build()
            self.boot_node(parts)
            in_parallel(lambda: self.start_kubernetes(parts), lambda: self.start_slurm(parts))
            if self.with_burst:
                with self.step("agent and gatewayd"):
                    self.start_services(plan.name for plan in burst.services())
            state = {
                "name": sandbox.name,
                "burst": self.with_burst,
                "checkout": str(sandbox.checkout),
                "containerd": str(parts.containerd),
            }
            (self.directory / "sandbox.json").write_text(json.dumps(state, indent=2) + "\n")

    def build(self) -> Parts:
        """Give all that the cache has to hold, built where it is missing or old."""
        cache, checkout = self.sandbox.cache, self.sandbox.checkout
        made: dict[str, Path] = {}

        def build_kubernetes() -> None:
            made["kubernetes"] = binaries.kubernetes_layer(cache)
            made["fence"] = binaries.fence_layer(cache)
            made["pause"] = images.program_image(cache, images.PAUSE_IMAGE, binaries.pause_binary(cache))

        def build_debian() -> None:
            made["root"] = root_file_system(cache)
            made["job"] = images.job_image(cache)
            made["database"] = accounting.database(cache, made["root"], checkout, CLUSTER)

        # One computes, the other loads packages: side by side when both are missing.
        in_parallel(build_kubernetes, build_debian)
        store = images.containerd_root(cache, made["root"], [made["job"], made["pause"]])
        below: tuple[Path, ...] = ()
        if self.with_programs:
            below = (programs.layer(cache, made["root"]),)
            store = images.containerd_root(cache, made["root"], [programs.image(cache, *below)], base=store)
        built = None
        if self.with_burst:
            built = project.build(cache, checkout, made["root"])
            store = images.containerd_root(cache, made["root"], [built.pod_image], base=store)
        cache.forget()
        return Parts(made["root"], made["kubernetes"], made["fence"], made["database"], store, built, below)

    def boot_node(self, parts: Parts) -> None:
        """Boot node0, which holds everything else, and make the keys."""
        directory = self.directory
        with self.step("host node0, keys and certificates"):
            for name in ("log", "services"):
                (directory / name).mkdir()
            accounts.make_homes(directory / "home")
            cgroup = teardown.cgroup_name(directory, self.sandbox.name)
            cgroups.create(cgroup, cgroups.hierarchies())
            layers = (parts.fence, parts.kubernetes, parts.root)
            clusters.boot(self.sandbox, node.FIRST, layers, parts.containerd, cgroup)

    def start_services(self, names: Iterable[str]) -> None:
        """Start services one after the other."""
        for name in names:
            self.sandbox.service(name).start()

    # Kubernetes

    def start_kubernetes(self, parts: Parts) -> None:
        """Start Kubernetes and wait until its node takes pods with GPUs."""
        del parts
        clusters.start(self.sandbox, node.FIRST)

    # Slurm

    def start_slurm(self, parts: Parts) -> None:
        """Boot the Slurm hosts, start Slurm and wait until all its nodes are idle."""
        with self.step("Slurm: hosts"):
            key = os.urandom(1024)
            in_parallel(*(lambda host=host: self.boot_slurm_host(host, parts, key) for host in slurm.SLURM_HOSTS))
        with self.step("Slurm: accounting"):
            in_parallel(
                lambda: self.start_services(["mariadbd"]),
                *(lambda host=host: self.start_services([f"munged-{host}"]) for host in slurm.SLURM_HOSTS),
            )
            self.start_services(["slurmdbd"])
        with self.step("Slurm: controller and nodes"):
            self.start_services(["slurmctld"])
            in_parallel(
                *(lambda plan=plan: self.start_services([plan.name]) for plan in slurm.node_services()), workers=3
            )
            self.sandbox.service("slurmctld").expect("all nodes to be idle; `sinfo -R` tells why not", self.nodes_idle)

    def boot_slurm_host(self, name: str, parts: Parts, munge_key: bytes) -> None:
        """Write the disk of a Slurm host, boot it and connect it."""
        directory, host, checkout = self.directory, self.sandbox.host(name), self.sandbox.checkout
        slurm.write_host_files(name, host.disk, parts.root, checkout, CLUSTER, munge_key, self.with_burst)
        if self.with_burst:
            burst.write_host_files(name, host.disk, directory / "pki", checkout)
        if name == "ctl":
            accounting.copy_database(parts.database, host.disk)
        layers = (
            *(parts.project.layers if parts.project else ()),
            parts.root,
            *parts.programs,
        )
        plan = HostPlan(
            name, ADDRESSES[name], layers, clusters.shared_binds(directory), slurm.GPU_DEVICES.get(name, ())
        )
        host.boot(plan, teardown.marker(directory), parent=self.sandbox.host(NODE))

    def nodes_idle(self) -> bool:
        """Whether every Slurm node that runs here is idle."""
        done = self.sandbox.run(["sinfo", "--noheader", "--Node", "--format=%N %t"], host="ctl")
        states = dict(line.split() for line in done.stdout.splitlines())
        return all(states.get(name) == "idle" for name in (*slurm.LOCAL_NODES, *slurm.VIRTUAL_NODES))
