"""
What burstctl prints for people.
"""

from __future__ import annotations

from collections.abc import Sequence

from burst_agent import sbatch
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent.amounts import duration


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


def foretold_text(answer: pb.AnnounceResponse, given: Sequence[sbatch.Given], slurm: str) -> str:
    """Write what would become of a script: the answer, what Slurm says, what was looked at, and each option's worth."""
    parts = [answer.message, *(f"  {line}" for line in (slurm, *answer.reasons) if line)]
    rows = [
        (f"--{one.name}" + (f"={one.value}" if one.value else ""), one.worth, one.option.note if one.option else "")
        for one in given
    ]
    return "\n".join(parts) + (f"\n\n{table(('OPTION', 'IN A POD', 'WHY'), rows)}" if rows else "")


def mine_text(answer: pb.MineResponse) -> str:
    """Write what is left of the caps on one user and on his accounts."""
    parts = [f"problem: {problem}" for problem in answer.problems]
    return "\n\n".join([*parts, *_money(answer)])


def budget_text(answer: pb.BudgetResponse) -> str:
    """Write what is left of the caps, and what accounts spend."""
    parts = _money(answer)
    parts.append(
        f"GPU-hours this month: {answer.gpu_hours_spent:.2f} spent, {answer.gpu_hours_committed:.2f} committed"
    )
    if answer.pod_start_p80_s:
        median, most = duration(answer.pod_start_median_s), duration(answer.pod_start_p80_s)
        parts.append(f"pods start within {median} (half of them), {most} (four of five)")
    return "\n\n".join(parts)


def _money(answer: pb.BudgetResponse | pb.MineResponse) -> list[str]:
    parts = [f"problem: what was spent is not known: {answer.unknown}"] if answer.unknown else []
    caps = [
        (
            cap.what,
            f"{cap.spent:.2f}" if cap.unit else "-",
            _amount(cap.committed, cap.unit),
            _amount(cap.cap, cap.unit),
            _amount(max(cap.cap - cap.spent - cap.committed, 0), cap.unit),
            cap.unit or "-",
            cap.setting,
        )
        for cap in answer.caps
    ]
    parts.append(table(("CAP", "SPENT", "COMMITTED", "ALLOWED", "LEFT", "UNIT", "SETTING"), caps))
    if answer.accounts:
        rows = [(one.account or "-", f"{one.spent:.2f}", f"{one.committed:.2f}") for one in answer.accounts]
        parts.append(table(("ACCOUNT", f"SPENT {answer.currency}", f"COMMITTED {answer.currency}"), rows))
    return parts


def targets_text(answer: pb.TargetsResponse, now: float) -> str:
    """Write the targets, and below them what keeps some of their pods from being made."""
    rows = [
        (
            one.name,
            one.state,
            f"{one.preference:g}",
            "spot" if one.spot else "-",
            str(one.pods),
            str(one.gpus),
            ", ".join(f"{kind} {price:.2f}" for kind, price in sorted(one.gpu_hour.items())) or "-",
            f"{one.cpu_hour:.2f}",
            f"{one.pod_hour:.2f}",
            duration(one.pod_start_p80_s) if one.pod_start_p80_s else "-",
        )
        for one in answer.targets
    ]
    hour = f"{answer.currency}/h"
    head = (
        "TARGET",
        "STATE",
        "PREFERENCE",
        "KIND",
        "PODS",
        "GPUS",
        f"GPU {hour}",
        f"CPU {hour}",
        f"POD {hour}",
        "START",
    )
    parts = [table(head, rows)]
    for one in answer.targets:
        lines = [one.why] if one.why else []
        lines += [
            f"not made for {duration(max(pause.until - now, 0))} more: {pause.shape}: {pause.why}"
            + (f" ({pause.failures} times)" if pause.failures > 1 else "")
            for pause in one.pauses
        ]
        parts += ["\n".join([f"{one.name}:", *(f"  {line}" for line in lines)])] if lines else []
    return "\n\n".join(parts)


def _amount(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit else f"{value:.0f}"
