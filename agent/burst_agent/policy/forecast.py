"""
When a job would start: here, as Slurm expects or as its queue lets one guess, and in Kubernetes, as pods did before.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from burst_agent.model import Job

#: Of so many pods, the latest of an image.
SAMPLES = 50
#: Four of five pods have started by then: a median would promise too much.
QUANTILE = 0.8


@dataclass(frozen=True, slots=True)
class Start:
    """
    An expected start.
    """

    #: Unix seconds; ``None``: nothing lets one expect any.
    at: float | None
    #: What says so.
    basis: str


class PodStarts:
    """
    How long pods took from their creation until the job's container ran, by image.
    """

    def __init__(self, assumed_s: float, samples: Iterable[tuple[str, float]]) -> None:
        """``samples`` are (image as the user wrote it, seconds), the oldest first."""
        self._assumed_s = assumed_s
        self._latest: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        self._all: deque[float] = deque(maxlen=SAMPLES)
        for image, seconds in samples:
            self._latest[image].append(seconds)
            self._all.append(seconds)
        self._answers: dict[str, tuple[float, str]] = {}

    def expected(self, image: str) -> tuple[float, str]:
        """Give seconds, and what they are learned from."""
        if image not in self._answers:
            self._answers[image] = self._expected(image)
        return self._answers[image]

    def quantile(self, share: float) -> float | None:
        """Give a quantile over all images; ``None``: none was measured."""
        return quantile(self._all, share) if self._all else None

    def _expected(self, image: str) -> tuple[float, str]:
        if mine := self._latest.get(image):
            return quantile(mine, QUANTILE), f"{len(mine)} pods of this image"
        if self._all:
            return quantile(self._all, QUANTILE), f"{len(self._all)} pods of other images"
        return self._assumed_s, "pod_start, none measured yet"


def quantile(values: Iterable[float], share: float) -> float:
    """Give the value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def local_start(job: Job, now: float) -> Start:
    """Say when a pending job would start in its own partition."""
    if job.start_time > now:
        return Start(float(job.start_time), "Slurm's backfill expects so")
    if job.starts_per_hour:
        seconds = (job.ahead + 1) / job.starts_per_hour * 3600
        moves = f"{job.ahead} jobs are before it, and {job.starts_per_hour:.0f} start in an hour"
        return Start(now + seconds, moves)
    return Start(None, "Slurm expects no start")
