"""
burstctl: what the agent knows and thinks, for administrators and users.

As root on the agent's host it asks over the unix socket; elsewhere ``explain``, ``budget`` and ``top`` go over TLS with
the user's MUNGE credential, and tell of the user's own jobs and accounts. Exit status: 0; 1 where the agent refuses; 2
where the command line or its settings are wrong; 3 where the agent does not answer.

Each command imports what it needs and nothing else: that is most of what a call costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from burst_agent import names, sacct
from burst_agent.amounts import SLOT_S, parse_duration
from burst_agent.errors import BurstError
from burst_agent.model import BurstMode

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - as argparse types it

_CONFIG = Path("/etc/k8s-burst/burstctl.toml")
_HISTORY = f"""\
for the history:

{sacct.COMMAND}

Without SLURM_TIME_FORMAT=%s, times of the hour that clocks show twice in autumn are taken
for those of its first turn, and a job that seems to end before it starts is a broken line.

Not replayed, as sacct does not tell it: --nodelist, --no-requeue, limits of arrays, and when jobs
that burst would have started here (they count as started here when they did in their pods)."""


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
        return {"policy": _check, "simulate": _simulate}.get(options.command, _ask)(options)
    except BurstError as e:
        print(f"burstctl: {e}", file=sys.stderr)
        return 2


def _ask(options: argparse.Namespace) -> int:
    from burst_agent import cli_agent

    return cli_agent.ask(options)


def _check(options: argparse.Namespace) -> int:
    from burst_agent import cli_policy

    return cli_policy.check(options.file)


def _simulate(options: argparse.Namespace) -> int:
    from burst_agent import cli_simulate

    return cli_simulate.replay(
        cli_simulate.Simulation(
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
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="burstctl", description="What the burst agent knows and thinks.")
    parser.add_argument("--socket", type=Path, help="the agent's unix socket (root on its host)")
    parser.add_argument("--agent", metavar="HOST:PORT", help="the agent's TLS port")
    parser.add_argument("--ca", type=Path, help="PEM certificates that sign the agent's certificate")
    parser.add_argument("--config", type=Path, default=_CONFIG, help="settings of burstctl (default: %(default)s)")
    parser.add_argument(
        "--agent-settings",
        type=Path,
        default=names.AGENT_SETTINGS,
        help="the agent's own, for root (default: %(default)s)",
    )
    commands: _Commands = parser.add_subparsers(dest="command", required=True)
    _add_asks(commands)
    _add_policy(commands)
    _add_simulate(commands)
    return parser


def _add_asks(commands: _Commands) -> None:
    status = commands.add_parser("status", help="list flagged jobs, pods and what finished burst jobs used")
    status.add_argument("--uid", type=int, help="only this user's jobs")
    explain = commands.add_parser(
        "explain",
        help="say why a job does or does not burst, or what would become of a script",
        usage="%(prog)s [--json] JOB | SCRIPT [SBATCH OPTIONS]",
    )
    explain.add_argument("job", metavar="JOB", help="a job as squeue prints it (123, 123_4, 123+1), or a batch script")
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


def _add_policy(commands: _Commands) -> None:
    policy = commands.add_parser("policy", help="look at a policy").add_subparsers(dest="action", required=True)
    check = policy.add_parser("check", help="check a policy and its targets, and look for what is surely not meant")
    check.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="settings of an agent, or a file with [policy] and perhaps [[targets]] alone",
    )


def _add_simulate(commands: _Commands) -> None:
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
        default=SLOT_S,
        metavar="SECONDS",
        help="how often the virtual clock ticks (default: %(default)s)",
    )
    replay.add_argument("--svg", type=Path, metavar="FILE", help="draw waits and money by day")
    replay.add_argument("--json", action="store_true", help="print JSON")


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


if __name__ == "__main__":
    sys.exit(main())
