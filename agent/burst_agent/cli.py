"""
burstctl: what the agent knows and thinks, for administrators and users.

As root on the agent's host it asks over the unix socket; elsewhere ``explain``, ``budget`` and ``top`` go over TLS with
the user's MUNGE credential, and tell of the user's own jobs and accounts. Exit status: 0; 1 where the agent refuses; 2
where the command line or its settings are wrong; 3 where the agent does not answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from burst_agent import cli_local, cli_top, sacct, sbatch, settings, simulate
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.amounts import parse_duration
from burst_agent.cli_commands import cluster, credential, expected_start
from burst_agent.cli_text import budget_text, explain_text, foretold_text, mine_text, status_text, targets_text
from burst_agent.errors import BurstError, SettingsError
from burst_agent.model import BurstMode

_MODES = {"auto": pb.BURST_MODE_AUTO, "now": pb.BURST_MODE_NOW, "never": pb.BURST_MODE_NEVER}
_CONFIG = Path("/etc/k8s-burst/burstctl.toml")
_DEADLINE_S = 20.0
_HISTORY = f"""\
for the history:

{sacct.COMMAND}

Without SLURM_TIME_FORMAT=%s, times of the hour that clocks show twice in autumn are taken
for those of its first turn, and a job that seems to end before it starts is a broken line.

Not replayed, as sacct does not tell it: --nodelist, --no-requeue, limits of arrays, and when jobs
that burst would have started here (they count as started here when they did in their pods)."""


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
    if options.command == "explain" and "--json" in options.options:
        # What follows the job or script is taken for sbatch's, which has no such option.
        options.options.remove("--json")
        options.json = True
    try:
        if options.command == "policy":
            return cli_local.check(options.file)
        if options.command == "simulate":
            return cli_local.replay(_simulation(options))
        where = _where(options)
        with _channel(where) as channel:
            if options.command == "top":
                _top(channel, options, where)
                return 0
            text = _ASKS[options.command](channel, options, where)
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
    explain = commands.add_parser(
        "explain",
        help="say why a job does or does not burst, or what would become of a script",
        usage="%(prog)s [--json] JOB | SCRIPT [SBATCH OPTIONS]",
    )
    explain.add_argument(
        "job", metavar="JOB", help="Slurm job id (of an array task: its own, squeue -O JobID), or a batch script"
    )
    explain.add_argument("options", nargs=argparse.REMAINDER, help="options of sbatch, as if before the script")
    budget = commands.add_parser(
        "budget",
        help="list what is left of the caps, and what accounts spend; users see their own",
    )
    targets = commands.add_parser("targets", help="list the Kubernetes clusters: which take pods, and what they cost")
    top = commands.add_parser("top", help="watch flagged jobs: state, target, since when, cost, reason")
    top.add_argument("--once", action="store_true", help="look once")
    top.add_argument(
        "--every", type=_interval, default=2.0, metavar="SECONDS", help="seconds between looks (default: %(default)s)"
    )
    for command in (status, explain, budget, targets, top):
        command.add_argument("--json", action="store_true", help="print JSON")
    policy = commands.add_parser("policy", help="look at a policy").add_subparsers(dest="action", required=True)
    check = policy.add_parser("check", help="check a policy and its targets, and look for what is surely not meant")
    replay = commands.add_parser(
        "simulate",
        help="replay the site's own history through a policy",
        epilog=_HISTORY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("--policy", type=Path, required=True, metavar="NEW.TOML", help="the policy to try")
    replay.add_argument("--old", type=Path, metavar="OLD.TOML", help="another one, beside it")
    replay.add_argument(
        "--from",
        dest="history",
        type=Path,
        required=True,
        metavar="FILE",
        help="what sacct -P printed, as below; - reads it",
    )
    replay.add_argument(
        "--assume",
        choices=[str(mode) for mode in BurstMode],
        default="auto",
        help="mode of jobs that neither user nor rule flagged (default: %(default)s)",
    )
    replay.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help="a target that jobs may go to; may be given again (default: all of the policy's)",
    )
    replay.add_argument(
        "--pod-start",
        action="append",
        default=[],
        type=_pod_start,
        metavar="TARGET=TIME",
        help="how long pods take there, such as 90s; may be given again (default: what the history's comments tell, "
        "then pod_start of the policy)",
    )
    replay.add_argument(
        "--slot",
        type=int,
        default=simulate.SLOT_S,
        metavar="SECONDS",
        help="how often the virtual clock ticks (default: %(default)s)",
    )
    replay.add_argument("--svg", type=Path, metavar="FILE", help="draw waits and money by day")
    replay.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="settings of an agent, or a file with [policy] and perhaps [[targets]] alone",
    )
    return parser


def _pod_start(text: str) -> tuple[str, float]:
    target, _, time = text.rpartition("=")
    if not target:
        msg = "name a target and a time, such as cloud=90s"
        raise argparse.ArgumentTypeError(msg)
    try:
        return target, parse_duration(time)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86400:
        msg = "must be between 0.1 and 86400"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _simulation(options: argparse.Namespace) -> cli_local.Simulation:
    return cli_local.Simulation(
        new=options.policy,
        old=options.old,
        history=options.history,
        assumed=BurstMode(options.assume),
        targets=tuple(dict.fromkeys(options.target)),
        pod_starts=dict(options.pod_start),
        slot_s=min(max(options.slot, 1), 86400),
        picture=options.svg,
        as_json=options.json,
    )


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


def _status(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not where.as_root:
        msg = "status can be asked only by root on the agent's host; users have: burstctl explain JOB"
        raise SettingsError(msg)
    request = pb.StatusRequest(uid=options.uid)
    answer = pb_grpc.AdminServiceStub(channel).Status(request, timeout=_DEADLINE_S)
    return _json(answer) if options.json else status_text(answer)


def _explain(channel: grpc.Channel, options: argparse.Namespace, where: Where) -> str:
    if not options.job.isdigit():
        return _foretell(channel, options)
    job_id = int(options.job)
    request = pb.ExplainRequest(munge_credential="" if where.as_root else credential(options.job), job_id=job_id)
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


def _rpc_failed(error: grpc.RpcError, where: Where) -> int:
    return _fail(*_why(error, where))


def _why(error: grpc.RpcError, where: Where) -> tuple[int, str]:
    """Give the exit status for a failed call, and what it means."""
    # Whatever a stub raises is a Call too; the library's types don't say so.
    code, details = cast(grpc.Call, error).code(), cast(grpc.Call, error).details()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return 3, f"the agent at {where} does not answer: {details}"
    return 1, str(details)


def _fail(status: int, message: str) -> int:
    print(f"burstctl: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
