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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from burst_agent import names
from burst_agent.errors import SettingsError
from burst_agent.policy_file import Policy, Seconds, Section, line_of, sentence
from burst_agent.target_file import Pods, Target

_Model = TypeVar("_Model", bound=BaseModel)


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
    How the agent asks Kubernetes clusters, all alike; which ones there are, [[targets]] says.
    """

    deadline_s: Seconds = Field(
        10.0, description="Seconds after which a call is given up. An idle API server needs 0.01."
    )
    watch_s: Seconds = Field(
        240.0, description="Seconds after which the watch is opened anew; below usual proxies' 300."
    )
    idle_poll_s: Seconds = Field(
        30.0,
        description="Seconds between looks at nodes and all pods, where a target's idle_share is below 1: long lists.",
    )
    queue_poll_s: Seconds = Field(
        5.0, description="Seconds between looks at what Kueue says of pods that it has not admitted yet."
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

    socket: Path = Field(names.AGENT_SOCKET, description="Unix socket for root on this host: all services.")
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


class _TargetsOfPolicy(Section):
    """
    What targets and policy must have in common.
    """

    @field_validator("targets", check_fields=False)
    @classmethod
    def _distinct_names(cls, value: tuple[Target, ...]) -> tuple[Target, ...]:
        names_given = [target.name for target in value]
        twice = next((name for name in names_given if names_given.count(name) > 1), None)
        if twice is not None:
            msg = f"two are called {twice}"
            raise ValueError(msg)
        return value

    @field_validator("policy", check_fields=False)
    @classmethod
    def _prices_have_targets(cls, value: Policy, info: ValidationInfo) -> Policy:
        known = [target.name for target in info.data.get("targets", ())]
        unknown = sorted(set(value.prices) - set(known))
        if known and unknown:
            msg = f"prices.{unknown[0]}: no target has this name; there are {', '.join(known)}"
            raise ValueError(msg)
        return value


class Settings(_TargetsOfPolicy):
    """
    The whole file.
    """

    slurm: Slurm
    kubernetes: Kubernetes = Field(default_factory=Kubernetes)
    targets: tuple[Target, ...] = Field(
        (Target(name="default"),), min_length=1, description="[[targets]]: the Kubernetes clusters."
    )
    pods: Pods
    policy: Policy = Field(default_factory=Policy)
    listen: Listen = Field(default_factory=Listen)
    log: Log = Field(default_factory=Log)
    accounting: Accounting = Field(default_factory=Accounting)

    @model_validator(mode="before")
    @classmethod
    def _complete_pods(cls, data: Any) -> Any:
        """What a target says of its pods stands in place of what [pods] says; the rest it has from there."""
        if not isinstance(data, dict) or not isinstance(data.get("pods"), dict):
            return data
        targets = data.get("targets")
        if not isinstance(targets, list):
            return data
        return {**data, "targets": [_with_pods(target, data["pods"]) for target in targets]}

    def pods_at(self, target: str) -> Pods:
        """Give what pods look like at a target; at one that is not in the settings, as anywhere."""
        return next((one.pods for one in self.targets if one.name == target and one.pods is not None), self.pods)


def _with_pods(target: Any, pods: dict[str, Any]) -> Any:
    own = target.get("pods") if isinstance(target, dict) else None
    return {**target, "pods": {**pods, **own}} if isinstance(own, dict) else target


class Trial(_TargetsOfPolicy):
    """
    What of the file counts where a history is replayed: what pods look like does not.
    """

    model_config = ConfigDict(extra="ignore")

    targets: tuple[Target, ...] = ()
    policy: Policy

    @model_validator(mode="before")
    @classmethod
    def _without_pods(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("targets"), list):
            return data
        return {**data, "targets": [_without(target, "pods") for target in data["targets"]]}


def _without(table: Any, key: str) -> Any:
    return {name: value for name, value in table.items() if name != key} if isinstance(table, dict) else table


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


def load_trial(path: Path) -> Trial:
    """
    Read what a replay needs of a settings file. Raises SettingsError as :func:`load` does.
    """
    return parse_trial(read(path), source=str(path))


def parse_trial(text: str, *, source: str) -> Trial:
    """
    Check what a replay needs of settings given as TOML. Raises SettingsError.
    """
    return _checked(Trial, text, source)


def parse_policy(text: str, *, source: str) -> Policy:
    """
    Check the [policy] section of settings given as TOML. Raises SettingsError.
    """
    return parse_trial(text, source=source).policy


def parse_any(text: str, *, source: str) -> Settings | Trial:
    """
    Check the settings of an agent wholly, which are those with [slurm], as at its start; of any others what a replay
    needs. Raises SettingsError.
    """
    return parse(text, source=source) if "slurm" in _toml(text, source) else parse_trial(text, source=source)


def read(path: Path) -> str:
    """Read a settings file. Raises SettingsError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        msg = f"{path}: can't be read: {e}"
        raise SettingsError(msg) from e


def _checked(kind: type[_Model], text: str, source: str) -> _Model:
    try:
        return kind.model_validate(_toml(text, source))
    except ValidationError as e:
        lines = [f"{source}:{line_of(text, error['loc'])}: {sentence(dict(error))}" for error in e.errors()]
        raise SettingsError("\n".join(lines)) from e


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        msg = f"{source}: no TOML: {e}"
        raise SettingsError(msg) from e
