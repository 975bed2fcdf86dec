"""
The sandbox's Kubernetes clusters: boots the host of one, and starts it until its node takes pods.

The second one comes on demand, into a sandbox that is up. Its host is one of node0's, as those of Slurm are.
"""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from . import burst, cgroups, images, node, pki, teardown
from .handle import Handle
from .hosts import ADDRESSES, NODE, HostPlan
from .node import FIRST, SECOND, Cluster
from .services import LOGS


def shared_binds(directory: Path, more: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """What every host has from outside: users' homes, and where its services log."""
    return {"/home": directory / "home", LOGS: directory / "log", **(more or {})}


def boot(sandbox: Handle, cluster: Cluster, layers: tuple[Path, ...], containerd: Path, cgroup: str) -> None:
    """Boot the host of a cluster, and make its keys; its pods' cgroups are made in `cgroup`."""
    directory, host = sandbox.directory, sandbox.host(cluster.host)
    (directory / cluster.directory).mkdir()
    images.copy_containerd_root(containerd, directory / cluster.directory / "containerd")
    node.write_disk(cluster, directory, host.disk, cgroup)
    binds = shared_binds(directory, node.binds(cluster, directory))
    plan = HostPlan(cluster.host, ADDRESSES[cluster.host], layers, binds, ("kmsg:1:11",))
    host.boot(plan, teardown.marker(directory), None if cluster is FIRST else sandbox.host(NODE))
    pki.make(host)
    for name in ("admin", "controller-manager", "scheduler", "kubelet"):
        text = pki.kubeconfig(name, {"sandbox": (directory / cluster.pki, cluster.server)})
        host.path(f"{node.CONFIG}/{name}.conf").write_text(text)


def start(sandbox: Handle, cluster: Cluster) -> None:
    """Start a cluster's services and wait until its node takes pods, with GPUs where it has some."""
    api, suffix, step = sandbox.api_of(cluster), cluster.suffix, sandbox.steps.step

    def run(*names: str) -> None:
        for name in names:
            sandbox.service(f"{name}{suffix}").start()

    with step(f"Kubernetes on {cluster.host}: control plane"):
        in_parallel(lambda: run("etcd", "kube-apiserver"), lambda: run("containerd"))
        sandbox.service(f"kube-apiserver{suffix}").expect("the API server to be ready", api.ready)
        run("kube-controller-manager", "kube-scheduler", "kubelet")
    kubelet = sandbox.service(f"kubelet{suffix}")
    with step(f"Kubernetes on {cluster.host}: node"):
        kubelet.expect("the node to be registered", api.node_known)
        sandbox.ensure_gpus(cluster)
        for path in sorted((sandbox.checkout / "containers/kubernetes").glob("*.yaml")):
            sandbox.kubectl("apply", "--filename=-", input=path.read_text(), cluster=cluster)
        kubelet.expect("the node to be Ready", api.node_ready)
        if cluster is FIRST:
            sandbox.host(NODE).shell("echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables")
            run("kube-router")
        sandbox.service(f"kube-controller-manager{suffix}").expect("pods to be admitted", api.pods_admitted)


def add(sandbox: Handle) -> None:
    """Add the second cluster to a sandbox that is up, unless it is there; the agent's kubeconfig gets its context."""
    if (sandbox.directory / SECOND.directory).exists():
        sandbox.boot_host(SECOND.host)
    else:
        known = json.loads((sandbox.directory / "sandbox.json").read_text())
        with sandbox.steps.step(f"host {SECOND.host}, keys and certificates"):
            cgroup = f"{teardown.cgroup_name(sandbox.directory, sandbox.name)}/{SECOND.host}"
            cgroups.create(cgroup, cgroups.hierarchies())
            layers = HostPlan.load(sandbox.host(NODE).directory / "plan.json").layers
            boot(sandbox, SECOND, layers, Path(known["containerd"]), cgroup)
    start(sandbox, SECOND)
    if sandbox.burst:
        burst.add_context(sandbox.host("gateway"), sandbox.directory)


def in_parallel(*tasks: Callable[[], None], workers: int | None = None) -> None:
    """Run tasks in threads, and raise the first error once all have ended; an interruption waits for none."""
    pool = concurrent.futures.ThreadPoolExecutor(workers or len(tasks))
    futures = [pool.submit(task) for task in tasks]
    try:
        # Not for good: a signal that another thread happens to get does not wake this one, which has to act on it.
        while concurrent.futures.wait(futures, timeout=0.2).not_done:
            pass
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    for future in futures:
        future.result()
