"""
What burstctl asks the agent: as root over its unix socket, as anybody else over TLS, with a MUNGE credential.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from burst_agent import cli_top, names, sbatch
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.cli_commands import cluster, credential, expected_start, job_id
from burst_agent.cli_text import budget_text, explain_text, foretold_text, mine_text, status_text, targets_text
from burst_agent.errors import SettingsError

_MODES = {"auto": pb.BURST_MODE_AUTO, "now": pb.BURST_MODE_NOW, "never": pb.BURST_MODE_NEVER}
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


def ask(options: argparse.Namespace) -> int:
    """
    Ask what the command line says, print the answer, and give the exit status. Raises SettingsError, BadRequest.
    """
    where = _where(options)
    try:
        with _channel(where) as channel:
            if options.command == "top":
                _top(channel, options, where)
            else:
                print(_ASKS[options.command](channel, options, where))
    except grpc.RpcError as e:
        status, why = _why(e, where)
        print(f"burstctl: {why}", file=sys.stderr)
        return status
    return 0


def _where(options: argparse.Namespace) -> Where:
    if options.socket is not None:
        return Where(socket=options.socket)
    if not options.agent and os.geteuid() == 0 and options.agent_settings.exists():
        return Where(socket=_socket(options.agent_settings))
    known = _config(options.config)
    agent = options.agent or known.get("agent", "")
    if not agent:
        msg = f'don\'t know where the agent is: give --agent HOST:PORT, or agent = "HOST:PORT" in {options.config}'
        raise SettingsError(msg)
    ca = options.ca or known.get("ca")
    return Where(socket=None, agent=agent, ca=Path(ca) if ca else None)


def _socket(path: Path) -> Path:
    """
    Read the agent's socket out of its settings, and nothing else: it answers, by those that it has, also when the file
    is wrong by now.
    """
    listen = _toml(path).get("listen")
    socket = listen.get("socket") if isinstance(listen, dict) else None
    return Path(socket) if isinstance(socket, str) else names.AGENT_SOCKET


def _config(path: Path) -> dict[str, str]:
    known = _toml(path) if path.exists() else {}
    wrong = sorted(key for key, value in known.items() if key not in ("agent", "ca") or not isinstance(value, str))
    if wrong:
        msg = f"{path}: {', '.join(wrong)}: only agent and ca can be set, both strings"
        raise SettingsError(msg)
    return known


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        msg = f"{path}: can't be read: {e}"
        raise SettingsError(msg) from e


def _channel(where: Where) -> grpc.Channel:
    if where.socket is not None:
        return grpc.insecure_channel(f"unix:{where.socket}")
    try:
        ca = where.ca.read_bytes() if where.ca else None
    except OSError as e:
        msg = f"{where.ca}: can't be read: {e}"
        raise SettingsError(msg) from e
    return grpc.secure_channel(where.agent, grpc.ssl_channel_credentials(ca))


def _status(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not where.as_root:
        msg = "status can be asked only by root on the agent's host; users have: burstctl explain JOB"
        raise SettingsError(msg)
    request = pb.StatusRequest(uid=options.uid)
    answer = pb_grpc.AdminServiceStub(channel).Status(request, timeout=_DEADLINE_S)
    return _json(answer) if options.json else status_text(answer)


def _explain(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    number = job_id(options.job)
    if number is None:
        return _foretell(channel, options)
    request = pb.ExplainRequest(munge_credential="" if where.as_root else credential(str(number)), job_id=number)
    answer = pb_grpc.SubmitServiceStub(channel).Explain(request, timeout=_DEADLINE_S)
    return _json(answer) if options.json else explain_text(answer)


def _foretell(channel: grpc.Channel, options: argparse.Namespace) -> str:
    """Ask what would become of a script; nothing is submitted."""
    try:
        lines = sbatch.directives(Path(options.job).read_text(encoding="utf-8", errors="replace"))
    except OSError as e:
        msg = f"{options.job}: is neither a job id nor a script that can be read: {e}"
        raise SettingsError(msg) from e
    given = sbatch.read(options.options, lines)
    values = {one.name: one.value for one in given}
    mode = values.get("k8s-burst", "auto") or "auto"
    if mode not in _MODES:
        msg = f"--k8s-burst={mode} is not known; use auto, now or never"
        raise SettingsError(msg)
    starts, said = expected_start(options.job, options.options)
    submission = pb.Submission(
        cluster=cluster(),
        mode=_MODES[mode],
        image=values.get("k8s-burst-image", ""),
        max_cost=values.get("k8s-burst-max-cost", ""),
        command_line=["sbatch", *options.options, options.job],
        directives=lines,
        only_asks=True,
        expected_start=starts,
        utc_offset_s=time.localtime().tm_gmtoff,
        work_dir=bytes(Path.cwd()).decode(errors="replace"),
    ).SerializeToString()
    request = pb.AnnounceRequest(
        munge_credential=credential(hashlib.sha256(submission).hexdigest()), submission=submission
    )
    answer = pb_grpc.SubmitServiceStub(channel).Announce(request, timeout=_DEADLINE_S)
    if not options.json:
        return foretold_text(answer, given, said)
    known = json.loads(_json(answer))
    worth = [
        {"option": one.name, "value": one.value, "in_a_pod": one.worth, "why": one.option.note if one.option else ""}
        for one in given
    ]
    return json.dumps(known | {"slurm": said, "options": worth}, indent=2)


def _budget(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not where.as_root:
        own = _mine(channel)
        own.ClearField("jobs")
        return _json(own) if options.json else mine_text(own)
    answer = pb_grpc.AdminServiceStub(channel).Budget(pb.BudgetRequest(), timeout=_DEADLINE_S)
    return _json(answer) if options.json else budget_text(answer)


def _mine(channel: grpc.Channel) -> pb.MineResponse:
    request = pb.MineRequest(munge_credential=credential("mine"))
    return pb_grpc.SubmitServiceStub(channel).Mine(request, timeout=_DEADLINE_S)


def _targets(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not where.as_root:
        msg = "targets can be asked only by root on the agent's host; users have: burstctl explain JOB"
        raise SettingsError(msg)
    answer = pb_grpc.AdminServiceStub(channel).Targets(pb.TargetsRequest(), timeout=_DEADLINE_S)
    return _json(answer) if options.json else targets_text(answer, time.time())


def _top(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> None:
    def look() -> pb.StatusResponse:
        if where.as_root:
            return pb_grpc.AdminServiceStub(channel).Status(pb.StatusRequest(without_usage=True), timeout=_DEADLINE_S)
        own = _mine(channel)
        return pb.StatusResponse(jobs=own.jobs, problems=own.problems, currency=own.currency)

    asked = cli_top.Asked(once=options.once, as_json=options.json, every_s=options.every)
    cli_top.run(look, asked, lambda e: _why(e, where)[1])


_ASKS = {"status": _status, "explain": _explain, "budget": _budget, "targets": _targets}


def _json(answer: Message) -> str:
    return MessageToJson(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _why(error: grpc.RpcError, where: Where) -> tuple[int, str]:
    """Give the exit status for a failed call, and what it means."""
    # Whatever a stub raises is a Call too; the library's types don't say so.
    code, details = cast(grpc.Call, error).code(), cast(grpc.Call, error).details()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return 3, f"the agent at {where} does not answer: {details}"
    return 1, str(details)
