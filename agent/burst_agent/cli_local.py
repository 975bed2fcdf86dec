"""
What burstctl does without the agent: looks at policies, and replays a site's history through them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from burst_agent import sacct, settings, simulate
from burst_agent.amounts import duration
from burst_agent.chart import svg
from burst_agent.cli_text import table
from burst_agent.errors import SettingsError
from burst_agent.model import BurstMode
from burst_agent.policy import Terms, warnings
from burst_agent.target_file import Pods, Target

#: Days, accounts and reasons listed for people; programs get all.
_LISTED = 31


def check(file: Path) -> int:
    """Check a policy; mistakes are raised as SettingsError, rules in each other's way are said."""
    policy = settings.load_policy(file)
    found = warnings(policy)
    for line in found:
        print(f"{file}: {line}", file=sys.stderr)
    rules = f"{len(policy.rules)} rule{'' if len(policy.rules) == 1 else 's'}"
    print(f"{file}: {rules}, {len(found)} warning{'' if len(found) == 1 else 's'}")
    return 0


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
    target: str
    #: Seconds between ticks of the virtual clock.
    slot_s: int
    picture: Path | None
    as_json: bool


def replay(asked: Simulation) -> int:
    """Replay and print. Raises SettingsError, BadRequest."""
    old = {"old": asked.old} if asked.old else {}
    policies = {name: settings.load_policy(file) for name, file in {**old, "new": asked.new}.items()}
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
    outcomes = {"history": simulate.unchanged(history.ran)}
    for name, policy in policies.items():
        terms = Terms(policy, targets=(Target(name=asked.target),), unlimited_s=unlimited_s)
        outcomes[name] = simulate.replay(history.ran, terms, asked.assumed, asked.slot_s)
    currency = policies["new"].currency
    if asked.picture:
        asked.picture.write_text(svg(outcomes, currency), encoding="utf-8")
    print(_json(history, outcomes, currency) if asked.as_json else _text(history, outcomes, currency))
    return 0


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
