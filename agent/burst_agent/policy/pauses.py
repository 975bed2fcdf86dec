"""
Which targets are left alone for a while, for which pods, and why.

A pause begins when something has failed there, doubles with each failure that follows it, and ends when such a pod has
run. Once its time is over one job tries; the others wait for what becomes of it. Pauses are hints: after a restart of
the agent, one more try is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from burst_agent.model import Job, Tres
from burst_agent.names import Comment
from burst_agent.steps import ALL_PODS, PodShape


@dataclass(frozen=True, slots=True)
class Pause:
    """
    Pods of one shape are not made at one target.
    """

    since: float
    #: Unix seconds; later, one job may try.
    until: float
    why: str
    failures: int = 1


#: By target and shape.
Paused = Mapping[tuple[str, PodShape], Pause]


def size_shape(sizes: Iterable[Tres], gpu_type: str) -> PodShape:
    """Give the shape of a job's pods: the most that one of them has."""
    known = tuple(sizes)
    size = Tres(
        cpus=max((one.cpus for one in known), default=0),
        memory_mib=max((one.memory_mib for one in known), default=0),
        gpus=max((one.gpus for one in known), default=0),
    )
    return PodShape(size=size, gpu_type=gpu_type if size.gpus else "")


def image_shape(comment: Comment | None) -> PodShape:
    """Give the shape of all pods of a job's image."""
    return PodShape(image=comment.image if comment else "")


def shapes_of(job: Job, comment: Comment | None, sizes: Iterable[Tres]) -> Iterator[PodShape]:
    """Give every shape by which the job's pods may be paused."""
    yield ALL_PODS
    image = image_shape(comment)
    yield image
    yield replace(image, uid=job.uid)
    size = size_shape(sizes, job.gpu_type)
    yield size
    yield replace(size, uid=job.uid)


def shape_words(shape: PodShape) -> str:
    """Write a shape for people."""
    whose = f", of uid {shape.uid}" if shape.uid is not None else ""
    if shape.image is not None:
        return f"pods of {f'image {shape.image}' if shape.image else 'the default image'}{whose}"
    if shape.size is None:
        return "all pods"
    of_type = f" of type {shape.gpu_type}" if shape.gpu_type else ""
    size = shape.size
    gpus = f", {size.gpus} GPUs{of_type}" if size.gpus else ""
    return f"pods with {size.cpus} CPUs, {size.memory_mib} MiB{gpus}{whose}"


class Pauses:
    """
    The pauses of all targets, as hints that change with each failure and success.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._pauses: dict[tuple[str, PodShape], Pause] = {}

    def fail(self, target: str, shape: PodShape, why: str, now: float, shortest_s: float, longest_s: float) -> Pause:
        """Begin a pause, or a longer one; failures of jobs that had begun before the pause count once."""
        before = self._pauses.get((target, shape))
        if before is not None and now < before.until:
            return before
        failures = before.failures + 1 if before else 1
        length_s = min(longest_s, shortest_s * 2.0 ** min(failures - 1, 30))
        pause = Pause(now, now + length_s, why, failures)
        self._pauses[target, shape] = pause
        return pause

    def succeed(self, target: str, shapes: Iterable[PodShape], began: float) -> None:
        """End the pauses that a success contradicts: of a pod that began to run, or was made, after they had begun."""
        for shape in shapes:
            pause = self._pauses.get((target, shape))
            if pause is not None and began >= pause.since:
                del self._pauses[target, shape]

    def known(self, now: float, longest_s: float) -> Paused:
        """Give them all; those that nobody has tried since long ago are forgotten."""
        self._pauses = {key: pause for key, pause in self._pauses.items() if now < pause.until + longest_s}
        return dict(self._pauses)
