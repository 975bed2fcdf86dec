"""
What the loop keeps of jobs from one round to the next, and may lose at any time. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from burst_agent.model import Job, JobState
from burst_agent.steps import Backoff

#: Slurm forgets all expected starts when it begins to look for new ones, which takes it half a minute at most unless
#: bf_max_time says otherwise: for so many seconds the last one is believed.
FORGETS_S = 60
#: Seconds after its end for which a run counts that slurmdbd does not tell of.
UNTOLD_S = 86400


class Hints:
    """
    Back-offs, each longer than the job's last one, since when moved jobs wait for slurmctld, what start Slurm last
    expected, how much earlier pods are expected to start, all by job id; and runs that slurmctld shows no more, such as
    those that a requeue ended, until slurmdbd tells of them.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._backoffs: dict[int, Backoff] = {}
        self._failures: dict[int, int] = {}
        self._moved_since: dict[int, float] = {}
        #: A start that Slurm expected, and when it last did.
        self._expected: dict[int, tuple[int, float]] = {}
        #: Seconds by which jobs that were granted pods are expected to start earlier, until they do.
        self._gains: dict[int, float] = {}
        #: By job id and start: runs as slurmctld last showed them, and those among them that are over.
        self._shown: dict[tuple[int, int], Job] = {}
        self._over: dict[tuple[int, int], Job] = {}

    @property
    def backoffs(self) -> Mapping[int, Backoff]:
        """Give the last of each job; past ones are among them."""
        return self._backoffs

    @property
    def moved_since(self) -> Mapping[int, float]:
        """Say since when a job pends in the burst partition, Unix seconds."""
        return self._moved_since

    @property
    def runs(self) -> Sequence[Job]:
        """Give runs in the burst partition that neither slurmctld nor slurmdbd tells of, as jobs that have ended."""
        return tuple(self._over.values())

    def recall(self, jobs: Sequence[Job], now: float) -> list[Job]:
        """Give the jobs, those that pend without an expected start with the one that Slurm expected a moment ago."""
        before = {job_id: known for job_id, known in self._expected.items() if now < known[1] + FORGETS_S}
        pending = {job.job_id: job.start_time for job in jobs if job.state is JobState.PENDING}
        said = {job_id: (start, now) for job_id, start in pending.items() if start}
        self._expected = said | {job_id: before[job_id] for job_id in pending.keys() & before.keys() - said.keys()}
        return [
            replace(job, start_time=self._expected[job.job_id][0])
            if job.state is JobState.PENDING and job.job_id in self._expected
            else job
            for job in jobs
        ]

    def note(
        self, jobs: Sequence[Job], partition: str, now: float, told: Container[tuple[int, int]] = frozenset()
    ) -> None:
        """
        Keep the hints of jobs that are still there, and no others; ``told`` are runs that slurmdbd tells of.
        """
        there = {job.job_id for job in jobs if not job.state.ended}
        moved = {job.job_id for job in jobs if job.partition == partition and job.state is JobState.PENDING}
        self._moved_since = {job_id: self._moved_since.get(job_id, now) for job_id in moved}
        self._backoffs = {job_id: backoff for job_id, backoff in self._backoffs.items() if job_id in there}
        self._failures = {job_id: count for job_id, count in self._failures.items() if job_id in there}
        self._gains = {job_id: gain_s for job_id, gain_s in self._gains.items() if job_id in there}
        self._note_runs(jobs, partition, now, told)

    def _note_runs(self, jobs: Sequence[Job], partition: str, now: float, told: Container[tuple[int, int]]) -> None:
        shown = {
            (job.job_id, job.start_time): job
            for job in jobs
            if job.partition == partition and job.start_time and job.state is not JobState.PENDING
        }
        over = self._over | {
            key: run if run.state.ended else replace(run, state=JobState.CANCELLED, end_time=int(now))
            for key, run in self._shown.items()
        }
        self._shown = shown
        self._over = {
            key: run
            for key, run in over.items()
            if key not in shown and key not in told and now < run.end_time + UNTOLD_S
        }

    def back_off(self, job_id: int, why: str, now: float, shortest_s: float, longest_s: float) -> float:
        """Let some time pass before a job's next try, twice as much as after its last; give the seconds."""
        failures = self._failures.get(job_id, 0)
        delay_s = min(longest_s, shortest_s * 2.0 ** min(failures, 30))
        self._failures[job_id] = failures + 1
        self._backoffs[job_id] = Backoff(until=now + delay_s, reason=why)
        return delay_s

    def succeed(self, job_id: int) -> None:
        """Begin with the shortest time again, should the job fail once more."""
        self._failures.pop(job_id, None)

    def gain(self, job_id: int, seconds: float) -> None:
        """Keep by how much a job that gets pods is expected to start earlier than without."""
        self._gains[job_id] = max(seconds, 0.0)

    def gained(self, job_id: int) -> float | None:
        """Give that of a job that runs in its pods, once; ``None``: it is not known, or was given."""
        return self._gains.pop(job_id, None)
