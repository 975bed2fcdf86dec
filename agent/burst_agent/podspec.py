"""
The pod of one job on one virtual node, as a manifest that the ``restricted`` Pod Security Standard admits. Pure.

The pod holds no script, no environment and no secret of the job: those travel over the stream. Its init container lays
our program and the user's passwd, group and hosts files into an emptyDir; its container runs the supervisor in the
job's image, as the job's user, without any right. Made twice from the same values it is the same manifest.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from burst_agent import names
from burst_agent.images import oci_reference
from burst_agent.model import EndWarning, Job, Tres, User
from burst_agent.target_file import Pods, Target, Volume

#: Our folder in the pod.
HOME = "/k8s-burst"
SUPERVISOR = f"{HOME}/bin/k8s-burst-pod"

_LOCKED_DOWN = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_OWN = "k8s-burst"
_POD_IP = "K8S_BURST_POD_IP"
#: Where NVIDIA's runtime is the default one, an image that says "all" here, as most with CUDA do, gets every GPU of the
#: node. Of a container that has some, the device plugin says which.
_NO_GPUS = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
_OWN_MOUNT = {"name": _OWN, "mountPath": HOME}

#: The stand-ins for Slurm's commands that scripts may call by path.
COMMANDS = (
    "sacct",
    "salloc",
    "sattach",
    "sbatch",
    "sbcast",
    "scancel",
    "scontrol",
    "sinfo",
    "squeue",
    "srun",
    "sstat",
)


@dataclass(frozen=True, slots=True)
class Order:
    """
    One pod to be made.
    """

    cluster: str
    #: Where it is made.
    target: Target
    job: Job
    #: Virtual node that the pod stands behind.
    node: str
    #: Virtual nodes of all the job's pods, this one among them.
    nodes: tuple[str, ...]
    #: What the job has on this node.
    size: Tres
    user: User
    #: As the user wrote it; empty for the site's default.
    image: str
    #: Whether the batch script runs here.
    has_script: bool
    #: Seconds from the pod's creation to the job's start that the deadline must allow for.
    start_allowance_s: float
    #: Name of the group that it and the job's other pods are for Kueue; empty where it is the only one.
    group: str = ""
    #: The job's --signal, which its tasks get when the pod is to go; ``None``: none.
    warning: EndWarning | None = None


def manifest(order: Order, pods: Pods) -> dict[str, Any]:
    """
    Write the pod. Raises ImageError; user 0 is a programming error, refused before.
    """
    if order.user.uid == 0 or order.job.uid == 0:
        msg = "pods never run as root"
        raise ValueError(msg)
    job, queue = order.job, order.target.kueue_queue
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.pod_name(job.job_id, job.restart_count, order.node),
            "namespace": names.namespace(order.cluster, job.uid),
            "labels": {
                **order.target.labels,
                **(names.kueue_labels(queue, order.group) if queue else {}),
                **names.labels(
                    cluster=order.cluster,
                    target=order.target.name,
                    job_id=job.job_id,
                    restart=job.restart_count,
                    node=order.node,
                    uid=job.uid,
                ),
            },
            "annotations": {
                **(names.kueue_annotations(len(order.nodes)) if queue and order.group else {}),
                **names.pod_annotations(job=order.job, size=order.size, nodes=order.nodes),
            },
        },
        "spec": {**_spec(order, pods), **_site_choices(order, pods)},
    }


def _spec(order: Order, pods: Pods) -> dict[str, Any]:
    return {
        "activeDeadlineSeconds": _deadline_s(order, pods),
        "automountServiceAccountToken": False,
        "containers": [_container(order, pods)],
        "enableServiceLinks": False,
        "hostname": order.node,
        "initContainers": [_installer(order, pods)],
        "restartPolicy": "Never",
        "securityContext": {
            # No fsGroup: a volume driver would change the owner of everything below a shared folder.
            "runAsGroup": order.job.gid,
            "runAsNonRoot": True,
            "runAsUser": order.user.uid,
            "seccompProfile": {"type": "RuntimeDefault"},
            "supplementalGroups": [group.gid for group in order.user.groups],
            # Without it the runtime adds the groups of the image's /etc/group: the supervisor ends where it has.
            **({"supplementalGroupsPolicy": "Strict"} if pods.supplemental_groups_policy == "Strict" else {}),
        },
        "serviceAccountName": names.SERVICE_ACCOUNT,
        "terminationGracePeriodSeconds": _grace_s(order, pods),
        "volumes": _volumes(order, pods),
    }


def _site_choices(order: Order, pods: Pods) -> dict[str, Any]:
    shape = order.target.shape_for(order.size, order.job.gpu_type)
    choices = {
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "nodeSelector": {**pods.node_selector, **(shape.node_selector if shape else {})},
        "priorityClassName": pods.priority_class,
        "runtimeClassName": pods.runtime_class,
        "tolerations": [toleration.model_dump() for toleration in pods.tolerations],
    }
    return {key: value for key, value in choices.items() if value}


def _deadline_s(order: Order, pods: Pods) -> int:
    limit_min = order.job.time_limit_min
    if limit_min is None:
        return pods.unlimited_deadline_s
    return limit_min * 60 + pods.deadline_grace_s + math.ceil(order.start_allowance_s)


def _grace_s(order: Order, pods: Pods) -> int:
    """Give the seconds to KILL, which preemption and eviction keep to: the job's own warning, then TERM's."""
    return pods.kill_grace_s + _warned_s(order, pods)


def _warned_s(order: Order, pods: Pods) -> int:
    """Give the seconds from the job's own warning to TERM; 0 where it asks for none."""
    return min(order.warning.before_s, pods.warning_most_s) if order.warning else 0


def _warning(order: Order, pods: Pods) -> list[str]:
    if order.warning is None:
        return []
    words = ["--warn-signal", str(order.warning.signal), "--warn-s", str(_warned_s(order, pods))]
    return [*words, "--warn-batch"] if order.warning.batch_only else words


def _installer(order: Order, pods: Pods) -> dict[str, Any]:
    words = [word for line in passwd_lines(order.user) for word in ("--passwd", _literal(line))]
    words += [word for line in group_lines(order.user) for word in ("--group", _literal(line))]
    # The kubelet puts the pod's address in place of the variable.
    words += ["--host", f"$({_POD_IP}) {order.node}"]
    return {
        "name": "install",
        "image": pods.supervisor_image,
        "imagePullPolicy": pods.image_pull_policy,
        "command": ["/k8s-burst-pod"],
        "args": ["install", HOME, *words],
        "env": [{"name": _POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": {
            "limits": {"cpu": "500m", "memory": f"{pods.supervisor_memory_mib}Mi"},
            "requests": {"cpu": "10m", "memory": f"{pods.supervisor_memory_mib}Mi"},
        },
        "securityContext": {**_LOCKED_DOWN, "readOnlyRootFilesystem": True},
        "volumeMounts": [_OWN_MOUNT],
    }


def attach_command(hosts: Iterable[tuple[str, str]]) -> list[str]:
    """
    Write what a gateway execs; where the job has several pods, that lays their addresses into /etc/hosts at first.
    """
    lines = ",".join(f"{address}={node}" for address, node in hosts)
    return [SUPERVISOR, "attach", "--dir", HOME, *(("--hosts", lines) if lines else ())]


def _literal(text: str) -> str:
    """Keep the kubelet from reading a variable into an argument."""
    return text.replace("$", "$$")


def _container(order: Order, pods: Pods) -> dict[str, Any]:
    flags = {
        "--dir": HOME,
        "--job-id": str(order.job.job_id),
        "--groups": ",".join(str(gid) for gid in sorted({order.job.gid, *(group.gid for group in order.user.groups)})),
        "--orphan-s": str(pods.orphan_s),
        "--grace-s": str(_grace_s(order, pods)),
    }
    if order.has_script:
        # It comes at once. Other pods may get their first task hours later: on a second node, or of salloc.
        flags["--first-attach-s"] = str(pods.orphan_s)
    return {
        "name": names.CONTAINER,
        "image": oci_reference(order.image) if order.image else pods.image,
        "imagePullPolicy": pods.image_pull_policy,
        "command": [SUPERVISOR],
        "args": ["supervise", *(word for pair in flags.items() for word in pair), *_warning(order, pods)],
        **({} if order.size.gpus else {"env": [_NO_GPUS]}),
        "resources": _resources(order.size, pods),
        "securityContext": _LOCKED_DOWN,
        "volumeMounts": [
            _OWN_MOUNT,
            *(
                {"name": _OWN, "mountPath": f"/etc/{file}", "subPath": f"etc/{file}"}
                for file in ("passwd", "group", "hosts")
            ),
            *_commands(pods),
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *(_mount(index, volume) for index, volume in enumerate(pods.volumes)),
        ],
    }


def _commands(pods: Pods) -> list[dict[str, str]]:
    """Mount the stand-ins where scripts look that set PATH anew; the runtime makes the mount points."""
    if not pods.commands_dir:
        return []
    return [{"name": _OWN, "mountPath": f"{pods.commands_dir}/{name}", "subPath": f"bin/{name}"} for name in COMMANDS]


def memory_mib(size: Tres, pods: Pods) -> int:
    """Give the job's own memory on a node, in MiB: what Slurm says, else by CPU."""
    return size.memory_mib or size.cpus * pods.default_memory_mib_per_cpu


def _resources(size: Tres, pods: Pods) -> dict[str, dict[str, str]]:
    memory = f"{memory_mib(size, pods) + pods.supervisor_memory_mib}Mi"
    gpus = {pods.gpu_resource: str(size.gpus)} if size.gpus else {}
    return {
        "limits": {"cpu": _millicpus(size.cpus + pods.supervisor_cpu), "memory": memory, **gpus},
        "requests": {"cpu": _millicpus(size.cpus * pods.cpu_request_fraction), "memory": memory, **gpus},
    }


def _millicpus(cpus: float) -> str:
    return f"{max(round(cpus * 1000), 1)}m"


def _volumes(order: Order, pods: Pods) -> list[dict[str, Any]]:
    tmp: Mapping[str, str] = {"sizeLimit": f"{pods.tmp_mib}Mi"} if pods.tmp_mib else {}
    return [
        {"name": _OWN, "emptyDir": {}},
        {"name": "tmp", "emptyDir": dict(tmp)},
        # Pages in it count towards the container's memory, as on a compute node.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{memory_mib(order.size, pods)}Mi"}},
        *(
            {
                "name": f"shared-{index}",
                "persistentVolumeClaim": {"claimName": claim_name(volume), "readOnly": volume.read_only},
            }
            for index, volume in enumerate(pods.volumes)
        ),
    ]


def claim_name(volume: Volume) -> str:
    """
    Name the claim behind a shared folder in the user's namespace.

    By what it is, not by its place in the settings: Kubernetes lets nobody change what a PersistentVolume is made of.
    """
    if volume.pvc:
        return volume.pvc
    what = json.dumps((volume.path, volume.source, volume.read_only), sort_keys=True, default=str)
    return f"{names.SERVICE_ACCOUNT}-shared-{hashlib.sha256(what.encode()).hexdigest()[:10]}"


def _mount(index: int, volume: Volume) -> dict[str, Any]:
    return {"name": f"shared-{index}", "mountPath": volume.path, "readOnly": volume.read_only}


def passwd_lines(user: User) -> list[str]:
    """Write the user's line of the pod's passwd file."""
    return [":".join(map(_field, (user.name, "x", user.uid, user.gid, user.full_name, user.home, user.shell)))]


def group_lines(user: User) -> list[str]:
    """Write the user's lines of the pod's group file: a member of each group that is not the primary one."""
    return [
        f"{_field(one.name)}:x:{one.gid}:{'' if one.gid == user.gid else _field(user.name)}"
        for one in user.groups
        if one.gid != 0  # root's group is in every file
    ]


def _field(value: object) -> str:
    return str(value).translate({ord(character): " " for character in ":\n\r"})
