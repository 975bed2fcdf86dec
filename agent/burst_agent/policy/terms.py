"""
A policy made ready to be applied at each round, and what the past adds to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from burst_agent import eligibility
from burst_agent.model import BurstMode, Job, JobState, JobUsage, Pod
from burst_agent.names import MARKER, SIGNAL_MARKER, Comment, parse_comment
from burst_agent.policy.forecast import PodStarts
from burst_agent.policy.money import GPU, Books, Claim, Tariff, books
from burst_agent.policy.pauses import Paused
from burst_agent.policy.rules import RuleBook
from burst_agent.policy.where import Market
from burst_agent.policy_file import Policy
from burst_agent.steps import Away
from burst_agent.target_file import Target


@dataclass(frozen=True, slots=True)
class Past:
    """
    What slurmdbd tells of ended burst jobs.
    """

    books: Books = field(default_factory=lambda: Books(unknown="slurmdbd has not been asked yet"))
    #: By (job id, start): target, image as the user wrote it, and seconds until the pod ran.
    pod_starts: Mapping[tuple[int, int], tuple[str, str, float]] = field(default_factory=dict)


class Terms:
    """
    One policy, with the targets that it chooses from.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        targets: Sequence[Target],
        unlimited_s: float,
        folders: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """
        ``unlimited_s`` is how long a pod of a job without time limit may live at most; ``folders`` are the shared
        folders that pods have at each target.
        """
        self.policy = policy
        self.book = RuleBook(policy)
        self.targets = tuple(targets)
        self.folders = folders or {}
        self.tariff = Tariff(policy, targets, unlimited_s)

    def past(self, finished: Iterable[JobUsage], now: float, kept: Collection[str] = (GPU,)) -> Past:
        """Sum up what slurmdbd said; ``kept`` names the resources that it keeps of jobs."""
        known = tuple(finished)
        starts = {}
        for usage in sorted(known, key=lambda one: one.start):
            comment = parse_comment(usage.admin_comment)
            if comment is not None and comment.pod_start_s is not None:
                starts[usage.job_id, usage.start] = (comment.target, comment.image, float(comment.pod_start_s))
        return Past(books(known, self.policy, self.tariff, now, kept), starts)

    def comment(self, job: Job, now: float) -> Comment | None:
        """
        Read a job's admin_comment, or flag by rule what its user did not; ``None``: it is not flagged.

        What a rule flagged stays so only while the rule says so, for jobs that pend.
        """
        comment = parse_comment(job.admin_comment)
        by_rule = comment is not None and bool(comment.flagged_by)
        if job.state is not JobState.PENDING or not (by_rule or (comment is None and self.book.flags)):
            return comment
        if comment is None and job.admin_comment.startswith(MARKER):
            return None
        rule = self.book.first(job, now)
        if rule is None or rule.flag is None:
            return None
        mode = BurstMode(rule.flag)
        if comment is None:
            words = job.admin_comment.split()
            signal = next((word for word in words if word.startswith(SIGNAL_MARKER)), "")
            return Comment(
                mode=mode,
                flagged_by=rule.name,
                signal=signal.removeprefix(SIGNAL_MARKER),
                extra=tuple(word for word in words if word != signal),
            )
        return comment

    def refusal(self, job: Job, now: float) -> str:
        """
        Say why a pending job can't burst as it was submitted; empty where it can. Where a rule denies it as well, it is
        in the rule's words: to submit it otherwise would not help.
        """
        why = eligibility.refusal(job)
        rule = self.book.first(job, now) if why else None
        return rule.deny or why if rule is not None else why

    def cost(self, job: Job, now: float, partition: str, pods: Sequence[Pod]) -> tuple[float, float]:
        """
        Give what a job has cost so far, and what it can still cost beyond that: nothing of one that has no pods, or
        runs on local nodes.
        """
        target = pods[0].target if pods else said_target(job)
        if job.state is JobState.PENDING:
            return 0.0, self.tariff.claim(job, target).cost if pods else 0.0
        if job.partition != partition or not job.start_time:
            return 0.0, 0.0
        ends = job.end_time if job.state.ended else int(now)
        so_far = self.tariff.used(replace(job, end_time=ends), target).cost
        return so_far, 0.0 if job.state.ended else max(self.tariff.claim(job, target).cost - so_far, 0.0)

    def commitments(self, jobs: Iterable[Job], partition: str, homes: Mapping[int, str], past: Past) -> list[Claim]:
        """
        Read what jobs that have pods or are in the burst partition can still use, and what those that ended a moment
        ago used: slurmdbd has not told of them yet. ``homes`` are the targets of those that have pods, by job id.
        """
        found = []
        for job in jobs:
            burst = job.partition == partition
            if not job.state.ended:
                if burst or job.job_id in homes:
                    found.append(self.tariff.claim(job, homes.get(job.job_id) or said_target(job)))
            elif burst and job.start_time and (job.job_id, job.start_time) not in past.books.counted:
                found.append(self.tariff.used(job, said_target(job)))
        return found

    def market(
        self, starts: PodStarts, *, now: float, away: Mapping[str, Away] | None = None, paused: Paused | None = None
    ) -> Market:
        """Look at the targets at one moment."""
        return Market(
            self.targets, folders=self.folders, tariff=self.tariff, starts=starts, now=now, away=away, paused=paused
        )

    def pod_starts(self, jobs: Iterable[Job], past: Past) -> PodStarts:
        """Learn from ended jobs, and from those that slurmctld still has."""
        samples = list(past.pod_starts.values())
        for job in sorted(jobs, key=lambda job: job.start_time):
            comment = parse_comment(job.admin_comment)
            known = (job.job_id, job.start_time) in past.pod_starts
            if comment is not None and comment.pod_start_s is not None and not known:
                samples.append((comment.target, comment.image, float(comment.pod_start_s)))
        return PodStarts(self.policy.pod_start, samples)


def said_target(job: Job) -> str:
    """Give the target in a job's admin_comment; empty where it names none."""
    comment = parse_comment(job.admin_comment)
    return comment.target if comment else ""
