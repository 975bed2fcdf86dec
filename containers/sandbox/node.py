"""
Kubernetes in the sandbox: the files and the services of a host that is control plane and node in one. There is one,
node0, and on demand a second one.

What lies on the machine's real disk rather than on the host's overlay: etcd's, containerd's and the kubelet's
directories. The node tells Kubernetes of more CPUs and memory than the machine has, so that a pod as large as a
virtual node can be placed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import images
from .hosts import ADDRESSES, NODE, SECOND_NODE, Host
from .namespaces import listens, serves
from .pki import NODE_PATH as PKI
from .services import ServicePlan
from .slurm import write_network_names

API_PORT = 6443
ETCD_PORT = 2379
KUBELET_PORT = 10250
SERVICE_NETWORK = "10.96.0.0/16"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONFIG = "/etc/kubernetes"
ADMIN_CONFIG = f"{CONFIG}/admin.conf"

#: What the node says that it has, whatever the machine has: room for two pods as large as a virtual node, and for
#: small ones.
GPUS = 8
CPUS = 160
MEMORY_KIB = 640 << 20


@dataclass(frozen=True)
class Cluster:
    """
    One Kubernetes. `directory` and `pki` are names in the sandbox's directory; `suffix` ends the names of its services.
    """

    host: str
    directory: str
    pki: str
    pod_network: str
    suffix: str
    gpus: int

    @property
    def server(self) -> str:
        """The URL of its API server."""
        return f"https://{ADDRESSES[self.host]}:{API_PORT}"


FIRST = Cluster(NODE, "node", "pki", "10.244.0.0/24", "", GPUS)
#: Its nodes have no GPU until somebody gives them some.
SECOND = Cluster(SECOND_NODE, "node1", "pki1", "10.245.0.0/24", "-second", 0)

#: What the kubelet would write into the machine's kernel settings. It finds these instead, and leaves the machine
#: alone.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}  # fmt: skip


def write_disk(cluster: Cluster, directory: Path, disk: Path, cgroup: str) -> None:
    """Write the host's /etc onto its disk, before it boots."""
    etc = disk / "etc"
    (etc / "kubernetes").mkdir(parents=True)
    disk.chmod(0o755)
    write_network_names(etc, cluster.host)
    (etc / "containerd").mkdir()
    (etc / "containerd/config.toml").write_text(_containerd_config())
    (etc / "cni/net.d").mkdir(parents=True)
    (etc / "cni/net.d/10-pods.conflist").write_text(json.dumps(_pod_network(cluster.pod_network), indent=2))
    (etc / "kubernetes/kubelet.yaml").write_text(json.dumps(_kubelet_config(cgroup), indent=2))
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    for name, value in _KERNEL_SETTINGS.items():
        path = directory / cluster.directory / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    _write_hardware(directory / cluster.directory / "hardware")


def _write_hardware(directory: Path) -> None:
    """
    Write the part of /sys and /proc from which the kubelet learns what the node has; without NUMA nodes, the list of
    CPUs counts.
    """
    for cpu in range(CPUS):
        topology = directory / f"cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "core_id").write_text(f"{cpu}\n")
        (topology / "physical_package_id").write_text("0\n")
    # The kubelet counts directories, but makes cgroups with the CPUs that are online: those are the machine's own.
    (directory / "cpu/online").write_text(Path("/sys/devices/system/cpu/online").read_text())
    (directory / "numa").mkdir()
    values = {"MemTotal": MEMORY_KIB, "MemFree": MEMORY_KIB, "MemAvailable": MEMORY_KIB, "SwapTotal": 0, "SwapFree": 0}
    (directory / "meminfo").write_text("".join(f"{name}: {value} kB\n" for name, value in values.items()))


def binds(cluster: Cluster, directory: Path) -> Mapping[str, Path]:
    """What the host has from outside of its own disk."""
    own, pki = directory / cluster.directory, directory / cluster.pki
    found = {f"/proc/sys/{name}": own / "kernel" / name for name in _KERNEL_SETTINGS}
    hardware = {"/sys/devices/system/cpu": "cpu", "/sys/devices/system/node": "numa", "/proc/meminfo": "meminfo"}
    found.update({target: own / "hardware" / name for target, name in hardware.items()})
    for name in ("etcd", "kubelet"):
        (own / name).mkdir(parents=True, exist_ok=True)
    found.update({f"/var/lib/{name}": own / name for name in ("etcd", "containerd", "kubelet")})
    pki.mkdir(mode=0o700, exist_ok=True)
    return {**found, PKI: pki, "/sys/fs/cgroup": Path("/sys/fs/cgroup")}


def _containerd_config() -> str:
    return f"""\
version = 2
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE_IMAGE}"
  # Lowering an oom_score_adj takes CAP_SYS_RESOURCE, which a virtual machine may not give to root.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""


def _pod_network(network: str) -> dict[str, object]:
    ranges = {"type": "host-local", "ranges": [[{"subnet": network}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ranges,
    }
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet_config(cgroup: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet-server.key",
        # A full disk of the machine is not the pods' fault, and images that are deleted could not be pulled again.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "2s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "resolvConf": "/etc/resolv.conf",
    }


def services(cluster: Cluster = FIRST) -> dict[str, ServicePlan]:
    """The services of a cluster by name. What fences pods off each other is in the first one only."""
    plans = [
        *(make(cluster) for make in (_etcd, _apiserver, _controller_manager, _scheduler, _containerd, _kubelet)),
        *([_fence()] if cluster is FIRST else []),
    ]
    # A quarter of the time that the API server takes to start is garbage collection, unless it may take more memory.
    return {plan.name: replace(plan, environment={"GOGC": "400"}) for plan in plans}


def _etcd(cluster: Cluster) -> ServicePlan:
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", "http://127.0.0.1:2380"
    argv = (
        "etcd", "--data-dir=/var/lib/etcd/data", "--unsafe-no-fsync", f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
    )  # fmt: skip
    return ServicePlan(f"etcd{cluster.suffix}", cluster.host, argv, ready=lambda host: listens(host.pid, ETCD_PORT))


def _apiserver(cluster: Cluster) -> ServicePlan:
    argv = (
        "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}", f"--secure-port={API_PORT}",
        f"--advertise-address={ADDRESSES[cluster.host]}",
        f"--client-ca-file={PKI}/ca.crt", f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--service-account-key-file={PKI}/sa.key", f"--service-account-signing-key-file={PKI}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt", "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    )  # fmt: skip
    return ServicePlan(
        f"kube-apiserver{cluster.suffix}",
        cluster.host,
        argv,
        ready=lambda host: listens(host.pid, API_PORT),
        hint="It needs etcd.",
    )


def _controller_manager(cluster: Cluster) -> ServicePlan:
    argv = (
        "kube-controller-manager", f"--kubeconfig={CONFIG}/controller-manager.conf", "--leader-elect=false",
        "--secure-port=0",
        f"--service-account-private-key-file={PKI}/sa.key", f"--root-ca-file={PKI}/ca.crt",
        f"--cluster-signing-cert-file={PKI}/ca.crt", f"--cluster-signing-key-file={PKI}/ca.key",
    )  # fmt: skip
    return ServicePlan(f"kube-controller-manager{cluster.suffix}", cluster.host, argv, ready=lambda _: True)


def _scheduler(cluster: Cluster) -> ServicePlan:
    argv = ("kube-scheduler", f"--kubeconfig={CONFIG}/scheduler.conf", "--leader-elect=false", "--secure-port=0")
    return ServicePlan(f"kube-scheduler{cluster.suffix}", cluster.host, argv, ready=lambda _: True)


def _containerd(cluster: Cluster) -> ServicePlan:
    return ServicePlan(
        f"containerd{cluster.suffix}",
        cluster.host,
        ("containerd",),
        ready=lambda host: serves(host.pid, CONTAINERD_SOCKET),
    )


def _kubelet(cluster: Cluster) -> ServicePlan:
    argv = (
        "kubelet", f"--config={CONFIG}/kubelet.yaml", f"--kubeconfig={CONFIG}/kubelet.conf",
        f"--hostname-override={cluster.host}",
        f"--node-ip={ADDRESSES[cluster.host]}", "-v=2",
    )  # fmt: skip
    return ServicePlan(
        f"kubelet{cluster.suffix}",
        cluster.host,
        argv,
        ready=_kubelet_serves,
        hint="It needs containerd, and the API server to register with. If it has too many open files, the machine"
        " has more sandboxes than its inotify instances allow: sysctl -w fs.inotify.max_user_instances=1024",
    )


def _fence() -> ServicePlan:
    """What makes NetworkPolicies hold; the kernel shows it the packets between pods on one bridge."""
    argv = ("kube-router", ADMIN_CONFIG, NODE, SERVICE_NETWORK)
    return ServicePlan("kube-router", NODE, argv, ready=_fenced, hint="It needs the API server, iptables and ipset.")


def _fenced(host: Host) -> bool:
    return "KUBE-ROUTER-FORWARD" in host.shell("iptables --list-rules FORWARD")


def _kubelet_serves(host: Host) -> bool:
    return listens(host.pid, KUBELET_PORT)
