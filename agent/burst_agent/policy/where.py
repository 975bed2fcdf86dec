"""
Where a job's pods could be made: all targets in the order of choice, each with its numbers and with what is against it.
Pure; whatever is the same for jobs that are alike is worked out once for a plan.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from burst_agent import shapes
from burst_agent.amounts import duration
from burst_agent.model import Job, Tres
from burst_agent.names import Comment
from burst_agent.policy.forecast import PodStarts
from burst_agent.policy.money import Claim, Tariff
from burst_agent.policy.pauses import Pause, Paused, image_shape, shapes_of
from burst_agent.policy_file import Rule
from burst_agent.steps import ALL_PODS, Away, PodShape
from burst_agent.target_file import Target

_NEVER = "no target can ever take it"


@dataclass(frozen=True, slots=True)
class Offer:
    """
    One target, for jobs that are alike.
    """

    target: Target
    #: What such jobs take until their time limit.
    pods: int
    gpus: int
    gpu_hours: float
    cost: float
    #: Seconds until it would run there, its data's staging among them.
    start_s: float
    #: What the time of a pod's start is learned from.
    basis: str
    #: Why jobs like this can never go there; empty where they can.
    never: str
    #: The same without any part that varies from job to job.
    kind: str
    #: Why not now; empty where nothing is against it.
    held: str

    @property
    def why(self) -> str:
        """What is against it."""
        return self.never or self.held

    def claim(self, job: Job) -> Claim:
        """Give what one such job takes."""
        return Claim(self.target.name, job.uid, job.account, self.pods, self.gpus, self.gpu_hours, self.cost)


@dataclass(frozen=True, slots=True)
class Choice:
    """
    All targets, for jobs that are alike.
    """

    #: The one to be tried first first.
    offers: tuple[Offer, ...]
    #: Those of them where such jobs can go at all.
    possible: tuple[Offer, ...]
    #: The first of those that can have them now; where none can, the first.
    best: Offer
    #: Why there is none; empty where there is.
    never: str
    #: The same without any part that varies from job to job.
    kind: str


class Market:
    """
    The targets at one moment.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        folders: Mapping[str, Sequence[str]],
        tariff: Tariff,
        starts: PodStarts,
        now: float,
        away: Mapping[str, Away] | None = None,
        paused: Paused | None = None,
    ) -> None:
        """
        ``folders`` are the shared folders that pods have at each target; ``away`` are targets that can't be asked.
        """
        self.targets = targets
        self._folders = folders
        self._site = sorted({folder for some in folders.values() for folder in some}, key=len, reverse=True)
        self._tariff = tariff
        self._starts = starts
        self._now = now
        self._away = away or {}
        self._paused = paused or {}
        #: Targets and shapes that one job tries again.
        self._tried: set[tuple[str, PodShape]] = set()
        self._choices: dict[Hashable, Choice] = {}

    def choice(self, job: Job, comment: Comment | None, rule: Rule | None) -> Choice:
        """Give all targets, with what is against each."""
        folder = self._folder(job)
        key = (
            job.requested, job.request, job.gpu_type, job.time_limit_min, job.min_nodes, job.requeue and job.batch,
            folder, rule.name if rule else "", comment.image if comment else "", comment.max_cost if comment else None,
        )  # fmt: skip
        if key not in self._choices:
            found = [self._offer(target, job, comment, rule, folder) for target in self.targets]
            found.sort(key=lambda offer: (-offer.target.preference, offer.start_s, offer.cost))
            possible = tuple(one for one in found if not one.never)
            best = next((one for one in possible if not one.held), (possible or found)[0])
            never = "" if possible else none_of([(one.target.name, one.never) for one in found])
            kind = kind_of((one.kind for one in found), several=_NEVER) if never else ""
            self._choices[key] = Choice(tuple(found), possible, best, never, kind)
        return self._choices[key]

    def _folder(self, job: Job) -> str:
        """The shared folder of the site that the job works in; empty: none."""
        inside = f"{job.work_dir.rstrip('/')}/"
        return next((folder for folder in self._site if inside.startswith(f"{folder.rstrip('/')}/")), "")

    def _offer(self, target: Target, job: Job, comment: Comment | None, rule: Rule | None, folder: str) -> Offer:
        image = comment.image if comment else ""
        claim = self._tariff.claim(job, target.name)
        pod_s, basis = self._starts.expected(image, target.name)
        most = comment.max_cost if comment else None
        never = kind = next(self._never(target, job, rule, folder), "")
        if not never and (never := misfit(target, shapes.least(job.request), job.gpu_type)):
            kind = f"no node of target {target.name} holds such pods"
        if not never and most is not None and claim.cost > most:
            never = kind = "may cost more than its --k8s-burst-max-cost allows"
        if away := self._away.get(target.name):
            held = away.why
        else:
            held = self._pause(target.name, (ALL_PODS, image_shape(comment)))
        sums = (claim.pods, claim.gpus, claim.gpu_hours, claim.cost)
        return Offer(target, *sums, pod_s + target.staging, basis, never, kind, held)

    def _never(self, target: Target, job: Job, rule: Rule | None, folder: str) -> Iterator[str]:
        if rule is not None and rule.targets and not any(fnmatch.fnmatch(target.name, one) for one in rule.targets):
            yield f"rule {rule.name} does not send it to target {target.name}"
        if target.spot and not (job.requeue and job.batch):
            yield f"target {target.name} may take pods away at any time, and the job may not be requeued"
        if folder and folder not in self._folders.get(target.name, ()):
            yield f"target {target.name} can't reach {folder}, where the job works"

    def against(self, offer: Offer, job: Job, comment: Comment | None, sizes: Sequence[Tres]) -> str:
        """Say what is against pods of just these sizes at a target; empty: nothing."""
        if why := next((why for size in sizes if (why := misfit(offer.target, size, job.gpu_type))), ""):
            return why
        return self._pause(offer.target.name, shapes_of(job, comment, sizes))

    def _pause(self, target: str, wanted: Iterable[PodShape]) -> str:
        for shape in wanted:
            pause = self._paused.get((target, shape))
            if pause is None:
                continue
            if self._now < pause.until:
                return pause.why
            if (target, shape) in self._tried:
                return f"another job tries target {target} again: {pause.why}"
        return ""

    def trying(self, target: str, job: Job, comment: Comment | None, sizes: Iterable[Tres]) -> None:
        """Note that a job waits for its pods at a target: of a pause that is over, it is the one to try."""
        tried = [(target, shape) for shape in shapes_of(job, comment, sizes) if (target, shape) in self._paused]
        if tried:
            self._tried.update(tried)
            self._choices.clear()

    def first(self, job: Job, comment: Comment | None, sizes: Sequence[Tres]) -> str:
        """Choose for a job that runs without pods; empty: none can be asked."""
        names = [
            offer.target.name
            for offer in self.choice(job, comment, None).offers
            if not offer.why and not self.against(offer, job, comment, sizes)
        ]
        return next(iter(names), next((one.name for one in self.targets if one.name not in self._away), ""))

    def line(self, offer: Offer, claim: Claim, currency: str) -> str:
        """Write an offer for people."""
        cost = f", up to {offer.cost:.2f} {currency}" if currency else ""
        staging = f", of which {duration(offer.target.staging)} staging" if offer.target.staging else ""
        kind = ", spot" if offer.target.spot else ""
        start = f"starts in {duration(offer.start_s)} ({offer.basis}{staging})"
        pods = f"{claim.pods} pods" if claim.pods > 1 else "1 pod"
        why = f": {offer.why}{self._left(offer)}" if offer.why else ""
        return f"target {offer.target.name}: preference {offer.target.preference:g}{kind}, {start}, {pods}{cost}{why}"

    def _left(self, offer: Offer) -> str:
        ends = [pause.until for (target, _), pause in self._paused.items() if target == offer.target.name]
        return f" (next try in {duration(max(min(ends) - self._now, 0))})" if ends and not offer.never else ""

    def away(self, target: str) -> str:
        """Say why a target can't be asked; empty where it can."""
        away = self._away.get(target)
        return away.why if away else ""

    def pauses(self, target: str) -> list[tuple[PodShape, Pause]]:
        """List the pauses of a target."""
        return sorted(
            ((shape, pause) for (name, shape), pause in self._paused.items() if name == target),
            key=lambda one: one[1].until,
        )


def none_of(reasons: Sequence[tuple[str, str]]) -> str:
    """Write why no target gets a job, given as (target, why): once where it is the same for all."""
    different = {why for _, why in reasons}
    return reasons[0][1] if len(different) == 1 else "; ".join(f"{target}: {why}" for target, why in reasons)


def kind_of(kinds: Iterable[str], *, several: str) -> str:
    """Give the kind of reason that is the same for all targets; ``several`` where theirs differ."""
    different = set(kinds)
    return different.pop() if len(different) == 1 else several


def misfit(target: Target, size: Tres, gpu_type: str) -> str:
    """Say why a pod is too large for a target; empty where it is not, or where the target has no shapes."""
    if not target.shapes or target.shape_for(size, gpu_type):
        return ""
    of_type = f" of type {gpu_type}" if gpu_type and size.gpus else ""
    return f"no node of target {target.name} holds a pod with {shapes.words(size)}{of_type}"
