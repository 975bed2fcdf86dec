"""
burstctl simulate: replays a site's history through policies, without the agent.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from burst_agent import sacct, settings, simulate
from burst_agent.amounts import duration
from burst_agent.chart import svg
from burst_agent.cli_text import table
from burst_agent.errors import SettingsError
from burst_agent.model import BurstMode
from burst_agent.policy import Terms
from burst_agent.target_file import Pods, Target

#: Days, accounts and reasons listed for people; programs get all.
_LISTED = 31


@dataclasses.dataclass(frozen=True, slots=True)
class Simulation:
    """
    What ``burstctl simulate`` was asked for.
    """

    new: Path
    #: ``None``: the new policy alone.
    old: Path | None
    #: What sacct printed; ``-`` is standard input.
    history: Path
    #: Mode of jobs that nobody flagged.
    assumed: BurstMode
    #: Those of the policy's targets that jobs may go to; empty: all.
    targets: tuple[str, ...]
    #: By target: how long pods take there, in seconds, whatever the history tells.
    pod_starts: Mapping[str, float]
    #: Seconds between ticks of the virtual clock.
    slot_s: int
    picture: Path | None
    as_json: bool


def replay(asked: Simulation) -> int:
    """Replay and print. Raises SettingsError, BadRequest."""
    old = {"old": asked.old} if asked.old else {}
    trials = {name: (file, settings.load_trial(file)) for name, file in {**old, "new": asked.new}.items()}
    targets = {name: _targets(trial, asked, file) for name, (file, trial) in trials.items()}
    try:
        with (
            open(0, encoding="utf-8", errors="replace", closefd=False)
            if str(asked.history) == "-"
            else asked.history.open(encoding="utf-8", errors="replace")
        ) as lines:
            history = sacct.parse(lines)
    except OSError as e:
        msg = f"{asked.history}: can't be read: {e}"
        raise SettingsError(msg) from e
    unlimited_s = float(Pods.model_fields["unlimited_deadline_s"].default)
    anywhere = {target.name for some in targets.values() for target in some}
    unknown = next((name for name in asked.pod_starts if name not in anywhere), None)
    if unknown is not None:
        msg = f"--pod-start {unknown}: no target is called so; there are {', '.join(sorted(anywhere))}"
        raise SettingsError(msg)
    starts = [one for one in simulate.pod_starts(history.ran) if one[0] not in asked.pod_starts]
    starts += [(target, "", seconds) for target, seconds in asked.pod_starts.items()]
    outcomes = {"history": simulate.unchanged(history.ran)}
    for name, (_, trial) in trials.items():
        terms = Terms(trial.policy, targets=targets[name], unlimited_s=unlimited_s)
        outcomes[name] = simulate.replay(history.ran, terms, asked.assumed, asked.slot_s, starts)
    currency = trials["new"][1].policy.currency
    print(_json(history, outcomes, currency) if asked.as_json else _text(history, outcomes, currency))
    if asked.picture:
        _draw(asked.picture, svg(outcomes, currency))
    return 0


def _draw(path: Path, picture: str) -> None:
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as e:
        msg = f"--svg {path}: can't be written: {e}"
        raise SettingsError(msg) from e


def _targets(trial: settings.Trial, asked: Simulation, file: Path) -> tuple[Target, ...]:
    """Give the targets to choose from; a file without any has those that its prices name. Raises SettingsError."""
    known = {target.name: target for target in trial.targets}
    if not known:
        names = asked.targets or tuple(trial.policy.prices) or ("default",)
        return tuple(Target(name=name) for name in names)
    unknown = next((name for name in asked.targets if name not in known), None)
    if unknown is not None:
        msg = f"{file}: no target is called {unknown}; there are {', '.join(known)}"
        raise SettingsError(msg)
    return tuple(known[name] for name in asked.targets) or trial.targets


def _json(history: sacct.History, outcomes: Mapping[str, simulate.Outcome], currency: str) -> str:
    def rows(sums: Mapping[str, simulate.Sums]) -> dict[str, object]:
        return {name: dataclasses.asdict(one) for name, one in sorted(sums.items())}

    return json.dumps(
        {
            "currency": currency,
            "left_out": history.left_out,
            "broken": history.broken,
            "broken_lines": history.named,
            "outcomes": {
                name: {
                    "total": dataclasses.asdict(outcome.total),
                    "wait_median_s": outcome.wait_s(0.5),
                    "wait_p95_s": outcome.wait_s(0.95),
                    "by_account": rows(outcome.by_account),
                    "by_day": rows(outcome.by_day),
                    "by_target": rows(outcome.by_target),
                    "reasons": dict(outcome.reasons.most_common()),
                }
                for name, outcome in outcomes.items()
            },
        },
        indent=2,
    )


def _text(history: sacct.History, outcomes: Mapping[str, simulate.Outcome], currency: str) -> str:
    parts = [f"{len(history.ran)} jobs, {history.left_out} that never ran or still run, {history.broken} broken lines"]
    parts += [f"  {line}" for line in history.named]
    if history.broken > len(history.named):
        parts.append(f"  and {history.broken - len(history.named)} more")
    names = list(outcomes)
    total = {
        "jobs that burst": [f"{outcome.total.burst}" for outcome in outcomes.values()],
        "mean wait": [duration(outcome.total.mean_wait_s) for outcome in outcomes.values()],
        "median wait": [duration(outcome.wait_s(0.5)) for outcome in outcomes.values()],
        "wait of 19 in 20": [duration(outcome.wait_s(0.95)) for outcome in outcomes.values()],
        "GPU-hours in pods": [f"{outcome.total.gpu_hours:.1f}" for outcome in outcomes.values()],
        f"money, {currency}": [f"{outcome.total.cost:.2f}" for outcome in outcomes.values()],
    }
    parts += ["", table(["", *names], [[what, *values] for what, values in total.items()])]
    places = [
        (target, name, str(one.burst), duration(one.mean_wait_s), f"{one.gpu_hours:.1f}", f"{one.cost:.2f}")
        for target in sorted({target for outcome in outcomes.values() for target in outcome.by_target})
        for name, outcome in outcomes.items()
        if (one := outcome.by_target.get(target))
    ]
    if places:
        parts += ["", table(("TARGET", "POLICY", "JOBS", "WAIT", "GPU-H", currency), places)]
    parts += ["", _by("ACCOUNT", outcomes, {name: one.by_account for name, one in outcomes.items()}, currency)]
    parts += ["", _by("DAY", outcomes, {name: one.by_day for name, one in outcomes.items()}, currency)]
    for name, outcome in outcomes.items():
        if outcome.reasons:
            rows = [(str(count), reason) for reason, count in outcome.reasons.most_common(_LISTED)]
            parts += ["", table(("JOBS", f"WHY NOT ({name})"), rows)]
    return "\n".join(parts)


def _by(
    what: str,
    outcomes: Mapping[str, simulate.Outcome],
    sums: Mapping[str, Mapping[str, simulate.Sums]],
    currency: str,
) -> str:
    """One row for each account or day: jobs, then wait, GPU-hours and money of each outcome."""
    rows = []
    keys = sorted({key for one in sums.values() for key in one})
    for key in keys[:_LISTED]:
        cells = [key or "-", str(sums["history"][key].jobs)]
        for name in outcomes:
            one = sums[name][key]
            cells.append(duration(one.mean_wait_s))
            cells += [f"{one.gpu_hours:.1f}", f"{one.cost:.2f}"] if name != "history" else []
        rows.append(cells)
    head = [what, "JOBS"]
    for name in outcomes:
        head.append(f"WAIT {name}")
        head += [f"GPU-H {name}", f"{currency} {name}"] if name != "history" else []
    more = f"\nand {len(keys) - _LISTED} more: --json has all" if len(keys) > _LISTED else ""
    return table(head, rows) + more
