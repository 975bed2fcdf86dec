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
    How long pods took from their creation until the job's container ran, by target and image.
    """

    def __init__(self, assumed_s: float, samples: Iterable[tuple[str, str, float]]) -> None:
        """``samples`` are (target, image as the user wrote it, seconds), the oldest first."""
        self._assumed_s = assumed_s
        #: By target and image; of all images of a target, and of all targets, where one is ``None``.
        self._latest: defaultdict[tuple[str | None, str | None], deque[float]] = defaultdict(
            lambda: deque(maxlen=SAMPLES)
        )
        for target, image, seconds in samples:
            for key in ((target, image), (target, None), (None, image), (None, None)):
                self._latest[key].append(seconds)
        self._answers: dict[tuple[str, str], tuple[float, str]] = {}

    def expected(self, image: str, target: str) -> tuple[float, str]:
        """Give seconds, and what they are learned from."""
        if (image, target) not in self._answers:
            self._answers[image, target] = self._expected(image, target)
        return self._answers[image, target]

    def quantile(self, share: float, target: str | None = None) -> float | None:
        """Give a quantile over all images, at one target or at all; ``None``: none was measured."""
        known = self._latest.get((target, None))
        return quantile(known, share) if known else None

    def _expected(self, image: str, target: str) -> tuple[float, str]:
        for key, what in (
            ((target, image), "pods of this image"),
            ((target, None), "pods of other images"),
            ((None, image), "pods of this image elsewhere"),
            ((None, None), "pods of other images elsewhere"),
        ):
            if known := self._latest.get(key):
                return quantile(known, QUANTILE), f"{len(known)} {what}"
        return self._assumed_s, "pod_start, none measured yet"


def quantile(values: Iterable[float], share: float) -> float:
    """Give the value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def local_start(job: Job, now: float) -> Start:
    """Say when a pending job would start in its own partition."""
    expected = job.expected_start(now)
    if expected is not None:
        return Start(expected, "Slurm's backfill expects so")
    if job.starts_per_hour:
        seconds = (job.ahead + 1) / job.starts_per_hour * 3600
        moves = f"{job.ahead} jobs are before it, and {job.starts_per_hour:.0f} start in an hour"
        return Start(now + seconds, moves)
    return Start(None, "Slurm expects no start")
