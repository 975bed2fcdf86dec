"""
The agent's settings: one TOML file, read once, checked wholly, handed down frozen.

Every key has its unit in its name or description, a default unless it must be given, and the reason for the default.
Unknown keys are errors. ``slurm-conf/agent.toml`` is a working example.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from burst_agent import images, names
from burst_agent.errors import ImageError, SettingsError
from burst_agent.policy_file import Count, Policy, Seconds, Section, line_of, sentence

DEFAULT_PATH = Path("/etc/k8s-burst/agent.toml")

_Model = TypeVar("_Model", bound=BaseModel)

#: What pods have from elsewhere.
_OWN_PATHS = ("", "/k8s-burst", "/etc", "/tmp", "/dev", "/dev/shm", "/proc", "/sys")


class Slurm(Section):
    """
    The Slurm cluster, as operator.
    """

    cluster: str = Field(description="ClusterName of slurm.conf. Names namespaces and labels, so it must be given.")
    partition: str = Field("k8s-burst", min_length=1, description="Partition of the virtual nodes.")
    poll_s: Seconds = Field(
        5.0,
        description="Seconds between looks at slurmctld when nothing calls for one. Users notice 10.",
    )
    quick_poll_s: Seconds = Field(
        0.2, description="Seconds between looks after an announcement: the job appears some milliseconds after it."
    )
    quick_poll_for_s: Seconds = Field(
        5.0, description="Seconds for which quick_poll_s holds after an announcement. Longer than a slow sbatch."
    )
    deadline_s: Seconds = Field(
        15.0, description="Seconds after which a call to slurmctld is given up. Above MessageTimeout's default of 10."
    )

    @field_validator("cluster")
    @classmethod
    def _names_a_namespace(cls, value: str) -> str:
        if not names.valid_cluster(value):
            msg = (
                "must be at most 40 letters, digits, '-', '_', with a letter or digit at both ends: it names namespaces"
            )
            raise ValueError(msg)
        return value


class Kubernetes(Section):
    """
    The Kubernetes cluster.
    """

    kubeconfig: Path = Field(Path("/etc/k8s-burst/kubeconfig"), description="kubeconfig of user k8s-burst-agent.")
    context: str = Field("", description="Context in it; empty: its current one.")
    target: str = Field(
        "default", pattern=r"^[A-Za-z0-9._-]{1,63}$", description="What admin_comment calls this cluster."
    )
    api_server: str = Field("", description="https URL that gateways use for exec; empty: the kubeconfig's.")
    deadline_s: Seconds = Field(
        10.0, description="Seconds after which a call is given up. An idle API server needs 0.01."
    )
    watch_s: Seconds = Field(
        240.0, description="Seconds after which the watch is opened anew; below usual proxies' 300."
    )
    parallel: int = Field(
        8, ge=1, description="Calls on the way at once. Below the API server's fair share for one client."
    )
    token_s: int = Field(
        600, ge=600, description="Seconds for which a pod's token is asked; 600 is Kubernetes' minimum."
    )
    namespace_template: Path | None = Field(
        None, description="YAML of what a user's namespace holds, in place of the packaged one; same placeholders."
    )

    @field_validator("api_server")
    @classmethod
    def _is_https(cls, value: str) -> str:
        if value and (not value.startswith("https://") or "/" in value.removeprefix("https://")):
            msg = "must be an https URL without a path, such as https://api.example.org:6443"
            raise ValueError(msg)
        return value


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


def _checked_address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or not host:
        msg = "must be HOST:PORT"
        raise ValueError(msg)
    if host.startswith("["):
        ipaddress.IPv6Address(host.strip("[]"))
    return value


class TlsListener(Section):
    """
    A TLS port for login nodes: SubmitService only.
    """

    address: str = Field("[::]:6821", description="HOST:PORT to listen on.")
    certificate: Path = Field(description="PEM certificate chain of this host.")
    key: Path = Field(description="PEM key of the certificate.")

    _address = field_validator("address")(_checked_address)


class MutualTlsListener(TlsListener):
    """
    A mutual-TLS port for gatewayd on other hosts: GatewayService only.
    """

    address: str = Field("[::]:6822", description="HOST:PORT to listen on.")
    client_ca: Path = Field(description="PEM certificates that sign gateways' client certificates, and nothing else.")


class Listen(Section):
    """
    Where the agent listens.
    """

    socket: Path = Field(
        Path("/run/k8s-burst/agent.sock"), description="Unix socket for root on this host: all services."
    )
    login: TlsListener | None = Field(None, description="[listen.login]; left out: login nodes can't announce.")
    gateway: MutualTlsListener | None = Field(
        None, description="[listen.gateway]; left out: gatewayd on this host only."
    )
    metrics: str = Field("127.0.0.1:6823", description="HOST:PORT of /metrics; empty: none.")

    @field_validator("metrics")
    @classmethod
    def _metrics_address(cls, value: str) -> str:
        return _checked_address(value) if value else value


class Log(Section):
    """
    The log, on standard error.
    """

    format: Literal["logfmt", "json"] = Field(
        "logfmt", description="logfmt for people and the journal, json for collectors."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="info: one line per action on a job."
    )


class Accounting(Section):
    """
    Finished jobs, as burstctl status shows them.
    """

    window_s: Seconds = Field(7 * 86400.0, description="Seconds back from now that are looked at.")
    limit: int = Field(100, ge=1, description="Jobs shown at most, the newest.")
    refresh_s: Seconds = Field(
        60.0,
        description="Seconds between looks at what has been spent. Below MinJobAge, for which slurmctld itself knows.",
    )


class Settings(Section):
    """
    The whole file.
    """

    slurm: Slurm
    kubernetes: Kubernetes = Field(default_factory=Kubernetes)
    pods: Pods
    policy: Policy = Field(default_factory=Policy)
    listen: Listen = Field(default_factory=Listen)
    log: Log = Field(default_factory=Log)
    accounting: Accounting = Field(default_factory=Accounting)


def load(path: Path) -> Settings:
    """
    Read and check the settings file. Raises SettingsError, whose text has one line for each thing that is wrong.
    """
    return parse(read(path), source=str(path))


def parse(text: str, *, source: str) -> Settings:
    """
    Check settings given as TOML; ``source`` names them in errors. Raises SettingsError.
    """
    return _checked(Settings, text, source)


def load_policy(path: Path) -> Policy:
    """
    Read the [policy] section of a settings file, or of a file that has no other; what else is in it is not looked at.

    Raises SettingsError as :func:`load` does.
    """
    return parse_policy(read(path), source=str(path))


def parse_policy(text: str, *, source: str) -> Policy:
    """
    Check the [policy] section of settings given as TOML. Raises SettingsError.
    """
    return _checked(_PolicyOnly, text, source).policy


class _PolicyOnly(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    policy: Policy


def read(path: Path) -> str:
    """Read a settings file. Raises SettingsError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        msg = f"{path}: can't be read: {e}"
        raise SettingsError(msg) from e


def _checked(kind: type[_Model], text: str, source: str) -> _Model:
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as e:
        msg = f"{source}: no TOML: {e}"
        raise SettingsError(msg) from e
    except ValidationError as e:
        lines = [f"{source}:{line_of(text, error['loc'])}: {sentence(dict(error))}" for error in e.errors()]
        raise SettingsError("\n".join(lines)) from e
