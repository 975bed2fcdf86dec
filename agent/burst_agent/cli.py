"""
burstctl: what the agent knows and thinks, for administrators and users.

As root on the agent's host it asks over the unix socket; elsewhere ``explain`` goes over TLS with the user's MUNGE
credential. Exit status: 0; 1 where the agent refuses; 2 where the command line or its settings are wrong; 3 where the
agent does not answer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from google.protobuf.json_format import MessageToJson

from burst_agent import settings
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.errors import BurstError, SettingsError

_CONFIG = Path("/etc/k8s-burst/burstctl.toml")
_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Where:
    """
    How to reach the agent: the socket where it is given, else the TLS port.
    """

    socket: Path | None
    agent: str = ""
    ca: Path | None = None

    @property
    def as_root(self) -> bool:
        """Whether the listener itself proves that root asks."""
        return self.socket is not None

    def __str__(self) -> str:
        """Name the agent in messages."""
        return str(self.socket or self.agent)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run burstctl.
    """
    options = _parser().parse_args(arguments)
    try:
        where = _where(options)
        with _channel(where) as channel:
            text = (
                _status(channel, options, where) if options.command == "status" else _explain(channel, options, where)
            )
    except BurstError as e:
        return _fail(2, str(e))
    except grpc.RpcError as e:
        return _rpc_failed(e, where)
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="burstctl", description="What the burst agent knows and thinks.")
    parser.add_argument("--socket", type=Path, help="the agent's unix socket (root on its host)")
    parser.add_argument("--agent", metavar="HOST:PORT", help="the agent's TLS port")
    parser.add_argument("--ca", type=Path, help="PEM certificates that sign the agent's certificate")
    parser.add_argument("--config", type=Path, default=_CONFIG, help="settings of burstctl (default: %(default)s)")
    parser.add_argument(
        "--agent-settings",
        type=Path,
        default=settings.DEFAULT_PATH,
        help="the agent's own, for root (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser("status", help="list flagged jobs, pods and what finished burst jobs used")
    status.add_argument("--uid", type=int, help="only this user's jobs")
    explain = commands.add_parser("explain", help="say why a job does or does not burst")
    explain.add_argument(
        "job_id", type=int, metavar="JOB", help="Slurm job id (of an array task: its own, squeue -O JobID)"
    )
    for command in (status, explain):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _where(options: argparse.Namespace) -> Where:
    if options.socket is not None:
        return Where(socket=options.socket)
    if not options.agent and os.geteuid() == 0 and options.agent_settings.exists():
        return Where(socket=settings.load(options.agent_settings).listen.socket)
    known = _config(options.config)
    agent = options.agent or known.get("agent", "")
    if not agent:
        msg = f'don\'t know where the agent is: give --agent HOST:PORT, or agent = "HOST:PORT" in {options.config}'
        raise SettingsError(msg)
    ca = options.ca or known.get("ca")
    return Where(socket=None, agent=agent, ca=Path(ca) if ca else None)


def _config(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        msg = f"{path}: can't be read: {e}"
        raise SettingsError(msg) from e
    wrong = sorted(key for key, value in known.items() if key not in ("agent", "ca") or not isinstance(value, str))
    if wrong:
        msg = f"{path}: {', '.join(wrong)}: only agent and ca can be set, both strings"
        raise SettingsError(msg)
    return known


def _channel(where: Where) -> grpc.Channel:
    if where.socket is not None:
        return grpc.insecure_channel(f"unix:{where.socket}")
    try:
        ca = where.ca.read_bytes() if where.ca else None
    except OSError as e:
        msg = f"{where.ca}: can't be read: {e}"
        raise SettingsError(msg) from e
    return grpc.secure_channel(where.agent, grpc.ssl_channel_credentials(ca))


def _credential(payload: str) -> str:
    try:
        made = subprocess.run(["munge", "--string", payload], capture_output=True, text=True, timeout=10, check=True)
    except FileNotFoundError as e:
        msg = "munge is not installed here: it proves to the agent who you are"
        raise SettingsError(msg) from e
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        msg = f"munge gave no credential: {getattr(e, 'stderr', '') or e}".strip()
        raise SettingsError(msg) from e
    return made.stdout.strip()


def _status(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not where.as_root:
        msg = "status can be asked only by root on the agent's host; users have: burstctl explain JOB"
        raise SettingsError(msg)
    request = pb.StatusRequest(uid=options.uid)
    answer = pb_grpc.AdminServiceStub(channel).Status(request, timeout=_DEADLINE_S)
    return _json(answer) if options.json else status_text(answer)


def _explain(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    credential = "" if where.as_root else _credential(str(options.job_id))
    request = pb.ExplainRequest(munge_credential=credential, job_id=options.job_id)
    answer = pb_grpc.SubmitServiceStub(channel).Explain(request, timeout=_DEADLINE_S)
    return _json(answer) if options.json else explain_text(answer)


def _json(answer: pb.StatusResponse | pb.ExplainResponse) -> str:
    return MessageToJson(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def status_text(answer: pb.StatusResponse) -> str:
    """Write a status for people."""
    parts = [f"problem: {problem}" for problem in answer.problems]
    parts.append(table(("JOB", "UID", "STATE", "PARTITION", "BURST", "POD", "PHASE", "REASON"), _job_rows(answer.jobs)))
    if answer.usage_error:
        parts.append(f"finished jobs are unknown: {answer.usage_error}")
    elif answer.usage:
        rows = [
            (
                str(job.job_id),
                job.user,
                job.account,
                job.job_state,
                str(job.elapsed_s),
                str(job.gpus),
                f"{job.gpu_hours:.2f}",
            )
            for job in answer.usage
        ]
        parts.append(table(("JOB", "USER", "ACCOUNT", "STATE", "SECONDS", "GPUS", "GPU-HOURS"), rows))
    return "\n\n".join(parts)


def _job_rows(jobs: Sequence[pb.JobStatus]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for job in jobs:
        pods = [(f"{pod.namespace}/{pod.name}", pod.phase) for pod in job.pods] or [("-", "-")]
        first = (str(job.job_id), str(job.uid), job.job_state, job.partition, job.burst_state)
        rows.append((*first, *pods[0], job.reason))
        rows.extend(("", "", "", "", "", *pod, "") for pod in pods[1:])
    return rows


def explain_text(answer: pb.ExplainResponse) -> str:
    """Write an explanation for people."""
    job = answer.job
    head = f"job {job.job_id}: {job.burst_state}" + (f", {job.reason}" if job.reason else "")
    return "\n".join([head, *(f"  {reason}" for reason in answer.reasons)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns; the last is left ragged."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _rpc_failed(error: grpc.RpcError, where: Where) -> int:
    # Whatever a stub raises is a Call too; the library's types don't say so.
    code, details = cast(grpc.Call, error).code(), cast(grpc.Call, error).details()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return _fail(3, f"the agent at {where} does not answer: {details}")
    return _fail(1, str(details))


def _fail(status: int, message: str) -> int:
    print(f"burstctl: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
