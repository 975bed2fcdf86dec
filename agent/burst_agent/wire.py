"""
Between the messages of proto/burst/v1 and our values. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta, timezone

from google.protobuf.message import DecodeError

from burst_agent import images, names, podspec, sbatch
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent.attach import Gone, Ready, Waiting
from burst_agent.errors import BadRequest, ImageError
from burst_agent.model import BurstMode, BurstState, JobState, JobUsage
from burst_agent.plan import Entry, Plan
from burst_agent.policy import Cap, shape_words
from burst_agent.policy.forecast import QUANTILE
from burst_agent.policy_file import Policy, Prices
from burst_agent.target_file import Target

_MODES = {
    pb.BURST_MODE_AUTO: BurstMode.AUTO,
    pb.BURST_MODE_NOW: BurstMode.NOW,
    pb.BURST_MODE_NEVER: BurstMode.NEVER,
}


@dataclass(frozen=True, slots=True)
class Announced:
    """
    A submission that is about to be made.
    """

    comment: names.Comment
    given: tuple[sbatch.Given, ...]
    only_asks: bool
    #: Unix seconds, as the user's own sbatch was told; 0: not known.
    expected_start: int
    #: The user's time zone; ``None``: not told.
    zone: timezone | None
    #: Where it is made; empty: not told.
    work_dir: str


def submission(data: bytes, *, cluster: str) -> Announced:
    """
    Read a serialised Submission. Raises BadRequest, which names the field.
    """
    try:
        message = pb.Submission.FromString(data)
    except DecodeError as e:
        msg = "submission: can't be read"
        raise BadRequest(msg) from e
    if message.cluster != cluster:
        msg = f"submission.cluster: this is the agent of cluster {cluster}, not of {message.cluster!r}"
        raise BadRequest(msg)
    mode = _MODES.get(message.mode)
    if mode is None:
        msg = "submission.mode: must be auto, now or never"
        raise BadRequest(msg)
    try:
        if message.image:
            images.oci_reference(message.image)
    except ImageError as e:
        msg = f"submission.image: {e}"
        raise BadRequest(msg) from e
    try:
        max_cost = names.parse_max_cost(message.max_cost) if message.max_cost else None
    except ValueError as e:
        msg = f"submission.max_cost: {e}"
        raise BadRequest(msg) from e
    return Announced(
        names.Comment(mode, message.image, max_cost=max_cost),
        tuple(sbatch.read(message.command_line[1:], message.directives)),
        message.only_asks,
        message.expected_start,
        _zone(message),
        message.work_dir,
    )


def _zone(message: pb.Submission) -> timezone | None:
    """Read the user's time zone. Raises BadRequest."""
    if not message.HasField("utc_offset_s"):
        return None
    try:
        return timezone(timedelta(seconds=message.utc_offset_s))
    except ValueError as e:
        msg = "submission.utc_offset_s: must be less than a day"
        raise BadRequest(msg) from e


def attach_response(outcome: Ready | Waiting | Gone) -> pb.AttachResponse:
    """Write what a launcher gets."""
    match outcome:
        case Waiting(message, retry_after_ms):
            return pb.AttachResponse(pending=pb.Pending(message=message, retry_after_ms=retry_after_ms))
        case Gone(message):
            return pb.AttachResponse(lost=pb.Lost(message=message))
        case Ready(endpoint, pod, token, hosts, gpu_indices, partition):
            return pb.AttachResponse(
                ready=pb.PodEndpoint(
                    api_server=endpoint.url,
                    certificate_authority_pem=endpoint.ca_pem,
                    tls_server_name=endpoint.tls_server_name,
                    namespace=pod.namespace,
                    pod=pod.name,
                    pod_uid=pod.uid,
                    container=names.CONTAINER,
                    command=podspec.attach_command(hosts),
                    token=token.secret,
                    gpu_indices=gpu_indices,
                    partition=partition,
                )
            )


def job_status(entry: Entry, cost: tuple[float, float] = (0.0, 0.0)) -> pb.JobStatus:
    """Write one job; ``cost`` is what it cost so far and can still cost."""
    job, step, comment = entry.seen.job, entry.step, entry.seen.comment
    return pb.JobStatus(
        job_id=job.job_id,
        uid=job.uid,
        job_state=job.state.value,
        partition=job.partition,
        burst_state=step.state.value,
        reason=step.reason,
        pods=[
            pb.PodStatus(
                namespace=pod.namespace,
                name=pod.name,
                node_name=pod.node,
                phase="Terminating" if pod.terminating else pod.phase.value,
            )
            for pod in entry.seen.pods
        ],
        target=comment.target if comment is not None and step.state not in _AT_NO_TARGET else "",
        since=_since(entry),
        cost_so_far=cost[0],
        cost_to_come=cost[1],
    )


_AT_NO_TARGET = frozenset({BurstState.WAITING, BurstState.REFUSED, BurstState.LOCAL})


def _since(entry: Entry) -> int:
    """Since when the job is in its state, as far as Slurm and Kubernetes tell."""
    job = entry.seen.job
    if job.state.ended:
        return job.end_time
    if job.state is not JobState.PENDING:
        return job.start_time
    return int(min((pod.created for pod in entry.seen.pods), default=job.submit_time))


def explanation(entry: Entry, rules: Iterable[str]) -> pb.ExplainResponse:
    """Write what is known and thought of one job, with what the site's rules say of it."""
    *looked, conclusion = entry.reasons
    return pb.ExplainResponse(job=job_status(entry), reasons=[*looked, *rules, conclusion])


def budget(made: Plan, currency: str, unknown: str) -> pb.BudgetResponse:
    """Write what is left of the caps, and what is spent."""
    spent, committed = made.budget.gpu_hours()
    return pb.BudgetResponse(
        caps=[_cap(cap) for cap in made.budget.caps()],
        accounts=_spending(made),
        currency=currency,
        unknown=unknown,
        gpu_hours_spent=spent,
        gpu_hours_committed=committed,
        pod_start_median_s=made.starts.quantile(0.5) or 0,
        pod_start_p80_s=made.starts.quantile(QUANTILE) or 0,
    )


def _cap(cap: Cap) -> pb.Cap:
    return pb.Cap(
        what=cap.what, spent=cap.spent, committed=cap.committed, cap=cap.cap, unit=cap.unit, setting=cap.setting
    )


def _spending(made: Plan) -> list[pb.Spending]:
    return [
        pb.Spending(account=account, spent=money, committed=open_) for account, money, open_ in made.budget.spending()
    ]


def mine(made: Plan, uid: int, accounts: Collection[str], currency: str, unknown: str) -> pb.MineResponse:
    """Write what is left of the caps on one user and on his accounts, and nothing of others; without his jobs."""
    return pb.MineResponse(
        caps=[_cap(cap) for cap in made.budget.caps_on(uid, accounts)],
        accounts=[one for one in _spending(made) if one.account in accounts],
        currency=currency,
        unknown=unknown,
    )


def targets(made: Plan, policy: Policy, now: float) -> pb.TargetsResponse:
    """Write which targets take pods now, what they hold, and what they cost."""
    return pb.TargetsResponse(
        targets=[_target(made, policy, one, now) for one in made.market.targets], currency=policy.currency
    )


def _target(made: Plan, policy: Policy, target: Target, now: float) -> pb.TargetStatus:
    pauses = [(shape, pause) for shape, pause in made.market.pauses(target.name) if pause.until > now]
    away = made.market.away(target.name)
    pods, gpus = made.budget.held(target.name)
    prices = policy.prices.get(target.name, Prices())
    return pb.TargetStatus(
        name=target.name,
        state="unreachable" if away else "paused" if pauses else "ok",
        why=away,
        pauses=[
            pb.TargetPause(shape=shape_words(shape), why=pause.why, until=round(pause.until), failures=pause.failures)
            for shape, pause in pauses
        ],
        pods=pods,
        gpus=gpus,
        preference=target.preference,
        spot=target.spot,
        cpu_hour=prices.cpu_hour,
        pod_hour=prices.pod_hour,
        gpu_hour=prices.gpu_hour,
        pod_start_p80_s=made.starts.quantile(QUANTILE, target.name) or 0,
    )


def usage(jobs: Iterable[JobUsage]) -> list[pb.JobUsage]:
    """Write what finished jobs used."""
    return [
        pb.JobUsage(
            job_id=job.job_id,
            user=job.user,
            account=job.account,
            job_state=job.state,
            elapsed_s=job.elapsed_s,
            gpus=job.gpus,
            gpu_hours=job.gpu_hours,
        )
        for job in jobs
    ]
