"""
The [pods] and [[targets]] sections of the settings: the Kubernetes clusters that jobs may go to, and what pods look
like there. Checked wholly, frozen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from burst_agent import images, names
from burst_agent.errors import ImageError
from burst_agent.model import Tres
from burst_agent.policy_file import Count, Duration, Section

#: What pods have from elsewhere.
_OWN_PATHS = ("", "/k8s-burst", "/etc", "/tmp", "/dev", "/dev/shm", "/proc", "/sys")


class Volume(Section):
    """
    One shared folder that every pod sees at its site path.
    """

    path: str = Field(pattern=r"^/[^:]*$", description="Absolute path on the site, and in the pod.")
    pvc: str = Field("", description="Name of a PersistentVolumeClaim that exists in the users' namespaces.")
    nfs: dict[str, Any] | None = Field(
        None, description="PersistentVolume source: a PersistentVolume and claim per namespace are made."
    )
    host_path: dict[str, Any] | None = Field(None, alias="hostPath", description="As nfs, with a hostPath source.")
    csi: dict[str, Any] | None = Field(None, description="As nfs, with a csi source.")
    read_only: bool = Field(False, description="Mount it read-only, as software trees should be.")

    @model_validator(mode="after")
    def _one_source(self) -> Volume:
        given = [bool(self.pvc), self.nfs is not None, self.host_path is not None, self.csi is not None]
        if sum(given) != 1:
            msg = "needs exactly one of: pvc, nfs, hostPath, csi"
            raise ValueError(msg)
        return self

    @property
    def source(self) -> dict[str, Any] | None:
        """The PersistentVolume source as Kubernetes writes it; ``None`` where a claim exists already."""
        for key, table in (("nfs", self.nfs), ("hostPath", self.host_path), ("csi", self.csi)):
            if table is not None:
                return {key: table}
        return None


class Toleration(Section):
    """
    One toleration, in Kubernetes' words.
    """

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Pods(Section):
    """
    What pods look like.
    """

    image: str = Field(description="Image of jobs that name none. Must be given: it is the site's user environment.")
    supervisor_image: str = Field(
        description="Image with k8s-burst-pod, the program that runs in front of the job's processes."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="As in Kubernetes. Images are large: IfNotPresent."
    )
    image_pull_secrets: tuple[str, ...] = Field((), description="Names of Secrets that exist in the users' namespaces.")
    cpu_request_fraction: float = Field(
        1.0, gt=0, le=1, description="CPUs requested of Kubernetes for each CPU of the job; below 1 overcommits."
    )
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="Kubernetes' name for a GPU.")
    supervisor_cpu: float = Field(
        0.1, ge=0, description="CPUs of limit for the supervisor beside the job's: it carries the job's output."
    )
    supervisor_memory_mib: int = Field(
        64, ge=16, description="MiB for the supervisor beside the job's memory: its spool and buffers."
    )
    default_memory_mib_per_cpu: int = Field(
        2048, ge=1, description="MiB for each CPU where Slurm does not track memory: a pod needs a limit."
    )
    tmp_mib: Count = Field(0, description="Size limit of /tmp in MiB; 0: none, as on a compute node.")
    kill_grace_s: int = Field(
        30, ge=0, description="Seconds from TERM to KILL when a pod is deleted: Slurm's KillWait."
    )
    warning_most_s: int = Field(
        120,
        ge=0,
        description="Seconds at most from the job's --signal to TERM when a pod is to go: what is asked as "
        "--signal=X@SECONDS, but no longer than those wait who preempt the pod or drain its node.",
    )
    deadline_grace_s: int = Field(
        3600,
        ge=0,
        description="Seconds that a pod may outlive its job's time limit. It is the last net, where everything of "
        "ours is dead, and can't be raised later: choose it above any extension of a running job's limit.",
    )
    unlimited_deadline_s: int = Field(
        30 * 86400, ge=60, description="Seconds that a pod of a job without time limit may live at most."
    )
    orphan_s: int = Field(
        3600,
        ge=1,
        description="Seconds without any launcher after which the supervisor ends the job's processes: longer than "
        "a gateway's restart, shorter than a wasted night.",
    )
    commands_dir: str = Field(
        "/usr/bin",
        pattern=r"^(/[\w.+-]+)*$",
        description="Folder of the pod in which scripts that set PATH anew, or call by path, find Slurm's commands"
        " too: where the site's nodes have them. Empty: in PATH only.",
    )
    supplemental_groups_policy: Literal["Merge", "Strict"] = Field(
        "Merge",
        description="As in Kubernetes. A pod whose image's /etc/group puts its user into further groups ends at once "
        "under Merge, and runs without them under Strict, which the nodes' container runtime must know, such as "
        "containerd 2.0.",
    )
    node_selector: dict[str, str] = Field({}, description="nodeSelector of the pods.")
    tolerations: tuple[Toleration, ...] = Field((), description="Tolerations of the pods.")
    priority_class: str = Field("", description="priorityClassName of the pods; empty: the cluster's default.")
    runtime_class: str = Field("", description="runtimeClassName of the pods; empty: the cluster's default.")
    volumes: tuple[Volume, ...] = Field((), description="Shared folders, [[pods.volumes]].")

    @field_validator("image", "supervisor_image")
    @classmethod
    def _is_an_image(cls, value: str) -> str:
        try:
            return images.oci_reference(value)
        except ImageError as e:
            raise ValueError(str(e)) from e

    @field_validator("volumes")
    @classmethod
    def _distinct_paths(cls, value: tuple[Volume, ...]) -> tuple[Volume, ...]:
        paths = [volume.path.rstrip("/") for volume in value]
        for path in paths:
            if paths.count(path) > 1 or path in _OWN_PATHS:
                msg = f"path {path or '/'} can't be mounted, or is mounted twice"
                raise ValueError(msg)
        return value


class Shape(Section):
    """
    One [[targets.shapes]]: the most that a pod may have on one kind of the target's nodes.
    """

    cpus: int = Field(ge=1, description="CPUs.")
    memory_mib: int = Field(ge=1, description="MiB.")
    gpus: Count = Field(0, description="GPUs.")
    gpu_type: str = Field("", description="Their type, as jobs name it (gpu:TYPE:2); empty: any.")
    node_selector: dict[str, str] = Field({}, description="nodeSelector by which pods get onto such nodes.")

    def holds(self, size: Tres, gpu_type: str) -> bool:
        """Whether a pod of this size, with GPUs of this type (empty: any), is none too large."""
        typed = not size.gpus or not gpu_type or not self.gpu_type or gpu_type == self.gpu_type
        return typed and size.cpus <= self.cpus and size.memory_mib <= self.memory_mib and size.gpus <= self.gpus


class Target(Section):
    """
    One of [[targets]]: a Kubernetes cluster, or one of several ways to use it.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        description="What admin_comment and labels call it. Pods of another name are not looked for: change it only "
        "while none are there.",
    )
    kubeconfig: Path = Field(Path("/etc/k8s-burst/kubeconfig"), description="kubeconfig of user k8s-burst-agent.")
    context: str = Field("", description="Context in it; empty: its current one.")
    api_server: str = Field("", description="https URL that gateways use for exec; empty: the kubeconfig's.")
    preference: float = Field(
        0.0, allow_inf_nan=False, description="Targets with a higher one are tried first; then those that start first."
    )
    spot: bool = Field(
        False, description="Pods may be taken away at any time: jobs that may not be requeued don't go there."
    )
    staging: Duration = Field(0.0, description="How long a job's data takes to get there; a job starts later by it.")
    unschedulable: Duration | None = Field(
        None,
        description="How long a pod may find no node before other targets are tried: the boot of a new one, where the "
        "cluster makes some. Left out: policy.provision_timeout_s.",
    )
    max_pods: Count | None = Field(None, description="Pods of all users there; left out: policy.max_pods alone.")
    max_gpus: Count | None = Field(None, description="GPUs of all users' pods there; left out: policy.max_gpus alone.")
    kueue_queue: str = Field(
        "",
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$",
        description="Kueue's LocalQueue in the users' namespaces that pods there go through; a job's pods are one "
        "group. Kueue says when they may start, and is waited for. Empty: Kueue is not asked.",
    )
    kueue_cluster_queue: str = Field(
        "",
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$",
        description="Kueue's ClusterQueue that the agent makes a LocalQueue called kueue_queue for, in each user's "
        "namespace. Empty: LocalQueues are there already, or the namespace template has one.",
    )
    idle_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Pods there have together at most this share of the CPUs, memory and GPUs that nothing else on the "
        "cluster's nodes has asked for. Below 1 the agent needs to see nodes and all pods: see agent.yaml.",
    )
    labels: dict[str, str] = Field({}, description="Further labels of the pods there.")
    shapes: tuple[Shape, ...] = Field(
        (), description="[[targets.shapes]]: a pod must fit one of them; left out: Kubernetes alone knows."
    )
    pods: Pods | None = Field(
        None, description="[targets.pods]: settings of [pods] that are others there, such as image or volumes."
    )

    @field_validator("api_server")
    @classmethod
    def _is_https(cls, value: str) -> str:
        if value and (not value.startswith("https://") or "/" in value.removeprefix("https://")):
            msg = "must be an https URL without a path, such as https://api.example.org:6443"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _queue_has_a_name(self) -> Target:
        if self.kueue_cluster_queue and not self.kueue_queue:
            msg = "kueue_cluster_queue needs kueue_queue, the name of the LocalQueues that are made for it"
            raise ValueError(msg)
        return self

    @property
    def gpu_types(self) -> frozenset[str]:
        """The types of its GPUs; empty where its shapes don't say them all."""
        types = frozenset(shape.gpu_type for shape in self.shapes if shape.gpus)
        return frozenset() if "" in types else types

    def shape_for(self, size: Tres, gpu_type: str) -> Shape | None:
        """Give the first shape that a pod of this size fits, with GPUs of this type (empty: any); ``None``: none."""
        return next((shape for shape in self.shapes if shape.holds(size, gpu_type)), None)

    @field_validator("labels")
    @classmethod
    def _are_not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        ours = next((key for key in value if key.startswith(names.PREFIX)), None)
        if ours is not None:
            msg = f"{ours} is one of the agent's own labels"
            raise ValueError(msg)
        return value
