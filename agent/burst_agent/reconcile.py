"""
The loop: look at slurmctld and Kubernetes, plan, act; again whenever something may have changed, else every poll_s.

Level-triggered: each round reads the world anew and trusts no event, so an event that is lost costs time and nothing
else. What is kept between rounds are hints (back-off, since when a job is moved, runs that slurmdbd has yet to tell
of): without them the same things happen, only sooner or later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from burst_agent import lifecycle, plan, podstate
from burst_agent.actor import Actor, kind
from burst_agent.clusters import Clusters
from burst_agent.errors import (
    BurstError,
    JobRefusesMove,
    KubeRefused,
    KubeUnavailable,
    NamespaceSettles,
    NoSuchJob,
    Retryable,
)
from burst_agent.hints import Hints
from burst_agent.history import History
from burst_agent.metrics import Metrics
from burst_agent.model import BurstState, Job, JobState, Partition, Pod, Share
from burst_agent.policy import Past, Pauses, Terms, image_shape, shape_words, shapes_of, size_shape
from burst_agent.ports import Clock, SlurmPort
from burst_agent.settings import Settings
from burst_agent.steps import ALL_PODS, MakePods, PauseTarget, PodShape, Seen, Site, StartBackoff

log = structlog.get_logger(__name__)

#: Events come in groups: this long after the first, one round serves all.
_SETTLE_S = 0.01


@dataclass(frozen=True, slots=True)
class View:
    """
    What the last round saw and thought, for those who ask.
    """

    #: By job id.
    entries: dict[int, plan.Entry] = field(default_factory=dict)
    #: What can't be done at the moment, one line each.
    problems: tuple[str, ...] = ("the agent has just started and has not looked yet",)
    #: What the last round decided with; ``None``: none was made yet.
    made: plan.Plan | None = None
    #: Nothing can be said of what is to come: slurmctld, slurmdbd where it matters, or all targets are away.
    blind: bool = True
    #: Slurm's partitions, for what is about to be submitted.
    partitions: Sequence[Partition] = ()


class Reconciler:
    """
    Owns the loop and its hints. Not for several tasks at once: :meth:`run` is the only one that calls :meth:`tick`.
    """

    def __init__(
        self,
        *,
        slurm: SlurmPort,
        clusters: Clusters,
        history: History,
        actor: Actor,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        """Take the ports; nothing is called yet."""
        self._slurm = slurm
        self._clusters = clusters
        self._actor = actor
        self._clock = clock
        self._metrics = metrics
        self._history = history
        self.use(settings)
        self._wake = asyncio.Event()
        self._quick_until = 0.0
        self._hints = Hints()
        self._pauses = Pauses()
        #: By job id and restart count.
        self._allocations: dict[tuple[int, int], tuple[Share, ...]] = {}
        self._slots = asyncio.Semaphore(settings.kubernetes.parallel)
        self.view = View()
        #: Why the settings that it goes by are not those of its file; empty where they are. For administrators alone.
        self.outdated = ""

    def use(self, settings: Settings) -> None:
        """Go by these settings from the next round on."""
        self.settings = settings
        self.site = site(settings)
        self.terms = terms(settings)
        self._actor.use(settings)
        self._history.reckon(self.terms)

    @property
    def past(self) -> Past:
        """What slurmdbd told of ended jobs."""
        return self._history.past

    async def accounts(self, user: str) -> set[str]:
        """Name a user's accounts, as slurmdbd has them."""
        return await self._history.accounts(user)

    async def default_account(self, user: str, patience_s: float) -> str:
        """Name the account that a user's jobs are charged to where they name none; empty: not known in time."""
        return await self._history.default_account(user, patience_s)

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def announce(self) -> None:
        """A submission is about to be made: look often for a while."""
        self._quick_until = self._clock.now() + self.settings.slurm.quick_poll_for_s
        self.wake()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._clusters.watch(self.wake))
            tasks.create_task(self._loop())

    async def _loop(self) -> None:
        slurm = self.settings.slurm
        while True:
            self._wake.clear()
            try:
                acted = await self.tick()
            except Exception:
                log.exception("round_failed")
                self._publish(self.view.entries, ("the agent failed; its log says how",))
                acted = False
            quick = acted or self._clock.now() < self._quick_until
            if await self._clock.wait(self._wake, slurm.quick_poll_s if quick else slurm.poll_s):
                await self._clock.wait(asyncio.Event(), _SETTLE_S)

    async def tick(self) -> bool:
        """Make one round; say whether anything was done."""
        with self._metrics.tick():
            try:
                jobs, nodes = await self._slurm.flagged_jobs(self.terms.book.flags), await self._slurm.virtual_nodes()
                partitions = await self._slurm.partitions()
            except BurstError as e:
                log.warning("cannot_look", error=str(e))
                self._publish(self.view.entries, (str(e),))
                return False
            sight = await self._clusters.look()
            jobs = await self._with_allocations(jobs)
            now, past = self._clock.now(), self._history.past
            jobs = self._hints.recall(jobs, now)
            self._hints.note(jobs, self.site.partition, now, past.books.counted)
            world = plan.World(
                jobs,
                sight.pods,
                nodes,
                now,
                self._hints.backoffs,
                self._hints.moved_since,
                past,
                self._hints.runs,
                sight.away,
                pauses=self._pauses.known(now, self.settings.policy.backoff_max_s),
                idle=sight.idle,
            )
            made = plan.make(world, self.site, self.terms)
            entries = {entry.seen.job.job_id: entry for entry in made.entries}
            unpaid = self._unpaid(past)
            rough = (past.books.rough,) if past.books.rough and self.settings.policy.caps_money else ()
            problems = (*unpaid, *rough, *(away.why for away in sight.away.values()))
            blind = bool(unpaid) or len(sight.away) == len(self.site.targets)
            self._publish(entries, problems, made, partitions, blind=blind)
            self._metrics.world(
                [entry.step.state for entry in made.entries],
                [kind for entry in made.entries if (kind := entry.kind) is not None],
                sight.pods,
            )
            self._metrics.spending(made.budget.spending(), made.budget.gpu_hours())
            self._count_targets(made, now)
            self._forgive(made)
            self._count_gains(made)
            return await self._carry_out(made)

    def _count_targets(self, made: plan.Plan, now: float) -> None:
        for target in self.site.targets:
            self._metrics.pod_starts(target, made.starts.quantile)
            pauses = sum(pause.until > now for _, pause in made.market.pauses(target))
            self._metrics.target(
                target, reachable=not made.market.away(target), pauses=pauses, gpus=made.budget.held(target)[1]
            )

    def _count_gains(self, made: plan.Plan) -> None:
        for entry in made.entries:
            if entry.step.state is BurstState.RUNNING:
                gain_s = self._hints.gained(entry.seen.job.job_id)
                if gain_s is not None:
                    self._metrics.gain(gain_s)

    def _forgive(self, made: plan.Plan) -> None:
        """Pods that run end the pauses that they contradict."""
        for entry in made.entries:
            pods = podstate.mine(entry.seen)
            if pods and all(pod.running and pod.started for pod in pods):
                began = min(pod.started for pod in pods)
                self._pauses.succeed(entry.seen.target, _shapes(entry.seen, pods), began)

    async def _with_allocations(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Add what slurmctld allocated on each node to the jobs that have just started; it is asked once a start."""
        started = [job for job in jobs if lifecycle.has_started(job, self.site)]
        known = {(job.job_id, job.restart_count) for job in started}
        self._allocations = {key: shares for key, shares in self._allocations.items() if key in known}
        for job in started:
            if (job.job_id, job.restart_count) not in self._allocations:
                with contextlib.suppress(BurstError):
                    self._allocations[job.job_id, job.restart_count] = tuple(await self._slurm.allocation(job.job_id))
        return [replace(job, shares=self._allocations.get((job.job_id, job.restart_count), ())) for job in jobs]

    def _unpaid(self, past: Past) -> tuple[str, ...]:
        """Say that budgets can't be kept: jobs wait for them then."""
        policy = self.settings.policy
        if past.books.unknown and (policy.caps_money or policy.caps_gpu_hours):
            return (f"what was spent is not known, so jobs with a budget wait: {past.books.unknown}",)
        return ()

    def _publish(
        self,
        entries: dict[int, plan.Entry],
        problems: tuple[str, ...],
        made: plan.Plan | None = None,
        partitions: Sequence[Partition] = (),
        *,
        blind: bool = True,
    ) -> None:
        self.view = View(entries, problems, made or self.view.made, blind, partitions or self.view.partitions)
        self._metrics.problems(len(problems) + bool(self.outdated))

    async def _carry_out(self, made: plan.Plan) -> bool:
        work = [self._serve(entry) for entry in made.entries if entry.step.actions]
        work.extend(self._delete_orphan(pod) for pod in made.orphans)
        return any(await asyncio.gather(*work))

    async def _serve(self, entry: plan.Entry) -> bool:
        """Carry out one job's actions; say whether anything was done. An error ends this job's round only."""
        job_id, done = entry.seen.job.job_id, False
        if entry.step.state in (BurstState.RUNNING, BurstState.LOCAL):
            self._hints.succeed(job_id)
        async with self._slots:
            try:
                for action in entry.step.actions:
                    if isinstance(action, StartBackoff):
                        self._back_off(job_id, action.why)
                    elif isinstance(action, PauseTarget):
                        self._pause(entry.seen.target, _failed_shape(entry.seen, action), action.why)
                    elif isinstance(action, MakePods):
                        await self._make(entry.seen, action)
                    else:
                        await self._actor.act(entry.seen, action)
                    self._metrics.action(kind(action))
                    done = True
            except NoSuchJob as e:
                log.info("job_is_gone", job_id=job_id, error=str(e))
            except JobRefusesMove as e:
                # Usually it started on local nodes a moment ago; the next look tells, and ends the pods either way.
                log.info("job_refuses", job_id=job_id, error=str(e))
                self._back_off(job_id, str(e))
                return True
            except Retryable as e:
                log.warning("try_again", job_id=job_id, error=str(e))
            except BurstError as e:
                log.error("job_failed", job_id=job_id, error=str(e))
                self._back_off(job_id, str(e))
            except Exception:
                log.exception("job_failed", job_id=job_id)
                self._back_off(job_id, "the agent failed; its log says how")
        return done

    async def _make(self, seen: Seen, action: MakePods) -> None:
        """Make pods; a target that can't or won't is left alone for a while, and the job may go to the next one."""
        try:
            await self._actor.act(seen, action)
        except NamespaceSettles:
            raise
        except KubeUnavailable as e:
            self._pause(action.target, ALL_PODS, str(e))
            raise
        except KubeRefused as e:
            # A quota is one user's; whoever else it concerns finds out by one try.
            sizes = [share.size for share in action.shares or seen.job.shares]
            shape = replace(size_shape(sizes, seen.job.gpu_type), uid=seen.job.uid)
            self._pause(action.target, shape, str(e))
            if seen.job.state is not JobState.PENDING:
                raise
        else:
            self._pauses.succeed(action.target, (ALL_PODS,), self._clock.now())
            if seen.decision is not None and seen.decision.gain_s is not None and not seen.job.restart_count:
                self._hints.gain(seen.job.job_id, seen.decision.gain_s)

    def _pause(self, target: str, shape: PodShape, why: str) -> None:
        policy, now = self.settings.policy, self._clock.now()
        pause = self._pauses.fail(target, shape, why, now, policy.backoff_min_s, policy.backoff_max_s)
        log.warning("pause_target", target=target, shape=shape_words(shape), why=why, until_s=round(pause.until - now))

    async def _delete_orphan(self, pod: Pod) -> bool:
        async with self._slots:
            try:
                await self._actor.delete_orphan(pod)
            except BurstError as e:
                log.warning("try_again", job_id=pod.job_id, error=str(e))
                return False
            except Exception:
                log.exception("orphan_failed", job_id=pod.job_id, pod=pod.name)
                return False
        self._metrics.action("delete_orphan")
        return True

    def _back_off(self, job_id: int, why: str) -> None:
        policy = self.settings.policy
        delay_s = self._hints.back_off(job_id, why, self._clock.now(), policy.backoff_min_s, policy.backoff_max_s)
        log.info("back_off", job_id=job_id, why=why, delay_s=delay_s)


def _shapes(seen: Seen, pods: Sequence[Pod]) -> Sequence[PodShape]:
    return tuple(shapes_of(seen.job, seen.comment, [pod.size for pod in pods if pod.size]))


def _failed_shape(seen: Seen, action: PauseTarget) -> PodShape:
    if action.image:
        shape = image_shape(seen.comment)
    else:
        shape = size_shape([pod.size for pod in podstate.mine(seen) if pod.size], seen.job.gpu_type)
    return replace(shape, uid=seen.job.uid) if action.user else shape


def site(settings: Settings) -> Site:
    """Take what the state table needs out of the settings."""
    return Site(
        partition=settings.slurm.partition,
        targets=tuple(target.name for target in settings.targets),
        provision_timeout_s=settings.policy.provision_timeout_s,
        start_timeout_s=settings.policy.start_timeout_s,
        unschedulable_s={
            target.name: target.unschedulable for target in settings.targets if target.unschedulable is not None
        },
    )


def terms(settings: Settings) -> Terms:
    """Take what policy needs out of the settings."""
    longest_s = max(settings.pods_at(target.name).unlimited_deadline_s for target in settings.targets)
    folders = {
        target.name: tuple(volume.path for volume in settings.pods_at(target.name).volumes)
        for target in settings.targets
    }
    return Terms(settings.policy, targets=settings.targets, unlimited_s=float(longest_s), folders=folders)
