"""
The three gRPC services, and the one table from errors to statuses.

Users prove to SubmitService by MUNGE credentials who they are; GatewayService and AdminService rely on the listener
that they are offered on, see server.py.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import structlog

from burst_agent import sbatch, wire
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.attach import Attacher
from burst_agent.errors import (
    AccountingMissing,
    BadRequest,
    BurstError,
    ImageError,
    KubeRefused,
    NoSuchJob,
    NotAllowed,
    NotAuthenticated,
    Permanent,
    Retryable,
    SlurmUnavailable,
)
from burst_agent.model import BurstMode, Job, JobState
from burst_agent.plan import Entry, Plan
from burst_agent.policy.words import promise
from burst_agent.ports import AccountingPort, Clock, MungePort, UserDirectory
from burst_agent.reconcile import Reconciler
from burst_agent.settings import Settings

log = structlog.get_logger(__name__)

#: Seconds that an announcement waits for the user's default account, of the half second that sbatch waits for all.
_ACCOUNT_PATIENCE_S = 0.15

STATUSES: dict[type[BurstError], grpc.StatusCode] = {
    Retryable: grpc.StatusCode.UNAVAILABLE,
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    NoSuchJob: grpc.StatusCode.NOT_FOUND,
    # An API server that has just started knows no roles yet and forbids everything: no word that a task should end by.
    KubeRefused: grpc.StatusCode.UNAVAILABLE,
    Permanent: grpc.StatusCode.INTERNAL,
}

Context = grpc.aio.ServicerContext[Any, Any]
_Service = TypeVar("_Service")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


def status_of(error: BurstError) -> grpc.StatusCode:
    """Look an error up in the table: its own class, else the nearest one above it."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def answers(
    method: Callable[[_Service, _Request, Context], Awaitable[_Response]],
) -> Callable[[_Service, _Request, Context], Awaitable[_Response]]:
    """Turn what a method raises into a status; what nobody foresaw is logged and told as such."""

    @functools.wraps(method)
    async def call(service: _Service, request: _Request, context: Context) -> _Response:
        try:
            return await method(service, request, context)
        except BurstError as e:
            error, code = str(e), status_of(e)
        except Exception:
            log.exception("call_failed", call=method.__qualname__)
            error, code = "the agent failed; its log says how", grpc.StatusCode.INTERNAL
        log.info("call_refused", call=method.__qualname__, code=code.name, error=error)
        await context.abort(code, error)
        raise AssertionError  # abort raises

    return call


def _made(loop: Reconciler) -> Plan:
    """Give what the last round decided with. Raises SlurmUnavailable where none was made yet."""
    if loop.view.made is None:
        msg = f"nothing is known yet: {'; '.join(loop.view.problems)}"
        raise SlurmUnavailable(msg)
    return loop.view.made


def _status(loop: Reconciler, entry: Entry) -> pb.JobStatus:
    """Write one job with what it costs."""
    seen = entry.seen
    cost = loop.terms.cost(seen.job, seen.now, loop.site.partition, seen.pods)
    return wire.job_status(entry, cost)


class SubmitService(pb_grpc.SubmitServiceServicer):
    """
    Answers users. Where ``root_only``, the listener itself proves that root asks.
    """

    def __init__(
        self, *, loop: Reconciler, munge: MungePort, users: UserDirectory, clock: Clock, root_only: bool
    ) -> None:
        """Take what answers are made of."""
        self._loop = loop
        self._munge = munge
        self._users = users
        self._clock = clock
        self._root_only = root_only

    @answers
    async def Announce(self, request: pb.AnnounceRequest, context: Context) -> pb.AnnounceResponse:
        """Say what will become of a submission, and look out for it."""
        digest = hashlib.sha256(request.submission).hexdigest().encode()
        uid, payload = await self._caller(request.munge_credential)
        if not hmac.compare_digest(payload, digest):
            msg = "the MUNGE credential is not for this submission"
            raise NotAuthenticated(msg)
        announced = wire.submission(request.submission, cluster=self._loop.settings.slurm.cluster)
        comment = announced.comment
        log.info("announced", uid=uid, mode=str(comment.mode), image=comment.image, asks=announced.only_asks)
        job = await self._draft(announced, uid)
        bursts, message, reasons = self._foretell(job, announced)
        if bursts and not announced.only_asks:
            self._loop.announce()
        return pb.AnnounceResponse(
            verdict=pb.VERDICT_WILL_BURST if bursts else pb.VERDICT_WILL_NOT_BURST, message=message, reasons=reasons
        )

    async def _name(self, uid: int) -> str:
        """Rules may be about users' names; a directory that is away must not hold up a submission."""
        try:
            return (await self._users.user(uid)).name
        except BurstError as e:
            log.info("user_unknown", uid=uid, error=str(e))
            return str(uid)

    async def _draft(self, announced: wire.Announced, uid: int) -> Job:
        """Make the job that it will be, as far as can be told before slurmctld has seen it."""
        user = await self._name(uid)
        named = any(one.name == "account" for one in announced.given)
        account = "" if named else await self._loop.default_account(user, _ACCOUNT_PATIENCE_S)
        now = self._clock.now()
        job = sbatch.draft(
            announced.given,
            uid=uid,
            user=user,
            now=now,
            account=account,
            partitions=self._loop.view.partitions,
            work_dir=announced.work_dir,
        )
        if announced.expected_start and announced.only_asks:
            # A start at once is a start still to come.
            job = replace(job, start_time=max(announced.expected_start, int(now) + 1))
        return job

    def _foretell(self, job: Job, announced: wire.Announced) -> tuple[bool, str, Sequence[str]]:
        """Say what will become of a submission, and what was looked at."""
        policy, made = self._loop.settings.policy, self._loop.view.made
        never = self._never(job, announced.comment.mode)
        if never:
            return False, f"will not burst: {never}", ()
        if self._loop.view.blind or made is None:
            message = "will burst once Slurm and Kubernetes answer the agent again, if it is still waiting then"
            return True, message, self._loop.view.problems
        foretold = made.desk.foretell(job, announced.comment)
        each = " a task" if any(one.name == "array" for one in announced.given) else ""
        price = f"{foretold.cost:.2f} {policy.currency}{each}" if policy.prices else ""
        message = promise(foretold, self._clock.now(), announced.zone or policy.zone, price)
        reasons = (*self._loop.terms.book.look(job, self._clock.now()), *foretold.lines)
        return not foretold.never, message, reasons

    def _never(self, job: Job, mode: BurstMode) -> str:
        policy = self._loop.settings.policy
        if mode is BurstMode.NEVER:
            return "--k8s-burst=never"
        if min(policy.max_pods, policy.max_pods_per_user) == 0:
            return "the site allows no pods at the moment"
        return self._loop.terms.refusal(job, self._clock.now())

    @answers
    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        """Say what is known and thought of one job."""
        uid: int | None = None
        if request.munge_credential or not self._root_only:
            uid, payload = await self._caller(request.munge_credential)
            if payload != str(request.job_id).encode():
                msg = "the MUNGE credential is not for this job id"
                raise NotAuthenticated(msg)
        entry = self._loop.view.entries.get(request.job_id)
        if entry is None:
            msg = f"job {request.job_id} is no flagged job that Slurm still knows"
            raise NoSuchJob(msg)
        if uid is not None and uid != entry.seen.job.uid:
            msg = f"job {request.job_id} is somebody else's"
            raise NotAllowed(msg)
        pending = entry.seen.job.state is JobState.PENDING and entry.seen.comment is not None
        return wire.explanation(entry, self._loop.terms.book.look(entry.seen.job, entry.seen.now) if pending else ())

    @answers
    async def Mine(self, request: pb.MineRequest, context: Context) -> pb.MineResponse:
        """Say what the caller's jobs do and what is left for them; whose they are comes from MUNGE and Slurm alone."""
        uid, payload = await self._caller(request.munge_credential)
        if payload != b"mine":
            msg = "the MUNGE credential is for another call"
            raise NotAuthenticated(msg)
        view, made = self._loop.view, _made(self._loop)
        mine = [entry for entry in view.entries.values() if entry.seen.job.uid == uid]
        accounts = {entry.seen.job.account for entry in mine} | await self._loop.accounts(await self._name(uid))
        policy = self._loop.settings.policy
        response = wire.mine(made, uid, accounts - {""}, policy.currency, self._loop.past.books.unknown)
        response.jobs.extend(_status(self._loop, entry) for entry in mine)
        response.problems.extend(view.problems)
        return response

    async def _caller(self, credential: str) -> tuple[int, bytes]:
        if not credential:
            msg = "a MUNGE credential is needed"
            raise NotAuthenticated(msg)
        uid, _, payload = await self._munge.decode(credential)
        return uid, payload


class GatewayService(pb_grpc.GatewayServiceServicer):
    """
    Answers gatewayd.
    """

    def __init__(self, attacher: Attacher) -> None:
        """Take who answers."""
        self._attacher = attacher

    @answers
    async def Attach(self, request: pb.AttachRequest, context: Context) -> pb.AttachResponse:
        """Say how a launcher reaches its pod."""
        outcome = await self._attacher.attach(job_id=request.job_id, node=request.node_name, uid=request.uid)
        return wire.attach_response(outcome)

    @answers
    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        """Tell slurmctld what an exit code can't say."""
        await self._attacher.report(
            job_id=request.job_id,
            node=request.node_name,
            uid=request.uid,
            task=request.task,
            out_of_memory=request.out_of_memory,
        )
        return pb.ReportResponse()


class AdminService(pb_grpc.AdminServiceServicer):
    """
    Answers burstctl.
    """

    def __init__(self, *, settings: Settings, loop: Reconciler, accounting: AccountingPort, clock: Clock) -> None:
        """Take what answers are made of."""
        self._settings = settings
        self._loop = loop
        self._accounting = accounting
        self._clock = clock

    @answers
    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """List flagged jobs, pods and usage."""
        view = self._loop.view
        wanted = [
            entry
            for _, entry in sorted(view.entries.items())
            if not request.HasField("uid") or entry.seen.job.uid == request.uid
        ]
        response = pb.StatusResponse(
            jobs=[_status(self._loop, entry) for entry in wanted],
            problems=(*filter(None, (self._loop.outdated,)), *view.problems),
            currency=self._loop.settings.policy.currency,
        )
        if request.without_usage:
            return response
        window = self._settings.accounting
        try:
            finished = await self._accounting.finished_jobs(
                partition=self._settings.slurm.partition,
                since=round(self._clock.now() - window.window_s),
                limit=window.limit,
            )
            response.usage.extend(wire.usage(finished))
        except (AccountingMissing, SlurmUnavailable) as e:
            response.usage_error = str(e)
        return response

    @answers
    async def Budget(self, request: pb.BudgetRequest, context: Context) -> pb.BudgetResponse:
        """List what is left of the caps."""
        made = _made(self._loop)
        return wire.budget(made, self._loop.settings.policy.currency, self._loop.past.books.unknown)

    @answers
    async def Targets(self, request: pb.TargetsRequest, context: Context) -> pb.TargetsResponse:
        """List the Kubernetes clusters."""
        made = _made(self._loop)
        return wire.targets(made, self._loop.settings.policy, self._clock.now())
