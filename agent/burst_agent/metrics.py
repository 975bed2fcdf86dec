"""
Prometheus metrics, in a registry of their own.
"""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from burst_agent.model import BurstState, Pod

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GAINS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)


class Metrics:
    """
    Everything that the agent counts.
    """

    def __init__(self) -> None:
        """Register."""
        self.registry = CollectorRegistry()
        self._jobs = Gauge("k8s_burst_jobs", "Flagged jobs by burst state.", ["state"], registry=self.registry)
        self._pods = Gauge("k8s_burst_pods", "Pods by phase and target.", ["phase", "target"], registry=self.registry)
        self._actions = Counter(
            "k8s_burst_actions", "Actions on jobs and pods, by kind.", ["kind"], registry=self.registry
        )
        self._reasons = Gauge(
            "k8s_burst_decisions",
            "Jobs that policy decided on or that can't burst, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._tick = Histogram(
            "k8s_burst_tick_seconds", "Seconds of one round.", buckets=_BUCKETS, registry=self.registry
        )
        self._call = Histogram(
            "k8s_burst_call_seconds",
            "Seconds of one call.",
            ["service", "call"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            "k8s_burst_call_errors",
            "Calls that failed, by error.",
            ["service", "call", "error"],
            registry=self.registry,
        )
        self._problem = Gauge("k8s_burst_problems", "What the agent can't do at the moment.", registry=self.registry)

        self._gain = Histogram(
            "k8s_burst_expected_gain_seconds",
            "Seconds by which jobs that run in pods were expected to start earlier than here.",
            buckets=_GAINS,
            registry=self.registry,
        )
        self._cost = Gauge(
            "k8s_burst_cost",
            "Money of this month by account: spent, or committed to running jobs.",
            ["account", "kind"],
            registry=self.registry,
        )
        self._gpu_hours = Gauge(
            "k8s_burst_gpu_hours",
            "GPU-hours of this month: spent, or committed to running jobs.",
            ["kind"],
            registry=self.registry,
        )
        self._pod_start = Gauge(
            "k8s_burst_pod_start_seconds",
            "Seconds from a pod's creation until it ran, by target and quantile of the latest.",
            ["target", "quantile"],
            registry=self.registry,
        )
        self._reachable = Gauge(
            "k8s_burst_target_reachable", "Whether a target can be asked.", ["target"], registry=self.registry
        )
        self._target_pauses = Gauge(
            "k8s_burst_target_pauses",
            "Kinds of pods that are not made at a target for a while, because some have failed there.",
            ["target"],
            registry=self.registry,
        )
        self._target_gpus = Gauge(
            "k8s_burst_target_gpus", "GPUs of pods at a target.", ["target"], registry=self.registry
        )

    def spending(self, accounts: Iterable[tuple[str, float, float]], gpu_hours: tuple[float, float]) -> None:
        """Set what accounts spent and what their jobs can still cost; GPU-hours likewise."""
        self._cost.clear()
        for account, spent, committed in accounts:
            self._cost.labels(account, "spent").set(spent)
            self._cost.labels(account, "committed").set(committed)
        for kind, hours in zip(("spent", "committed"), gpu_hours, strict=True):
            self._gpu_hours.labels(kind).set(hours)

    def pod_starts(self, target: str, quantile: Callable[[float, str], float | None]) -> None:
        """Set how long pods take at a target; nothing while none was measured."""
        for share in (0.5, 0.8, 0.95):
            seconds = quantile(share, target)
            if seconds is not None:
                self._pod_start.labels(target, str(share)).set(seconds)

    def target(self, name: str, *, reachable: bool, pauses: int, gpus: int) -> None:
        """Set how a target does."""
        self._reachable.labels(name).set(reachable)
        self._target_pauses.labels(name).set(pauses)
        self._target_gpus.labels(name).set(gpus)

    def gain(self, seconds: float) -> None:
        """Count one job that runs in its pods; no gain is below 0."""
        self._gain.observe(seconds)

    def world(self, states: Iterable[BurstState], decisions: Iterable[str], pods: Iterable[Pod]) -> None:
        """Set what one round saw; ``decisions`` are reasons without any part that varies."""
        jobs = Count(states)
        for state in BurstState:
            self._jobs.labels(state).set(jobs[state])
        self._pods.clear()
        phases = Count(("Terminating" if pod.terminating else pod.phase.value, pod.target) for pod in pods)
        for (phase, target), count in phases.items():
            self._pods.labels(phase, target).set(count)
        self._reasons.clear()
        for reason, count in Count(decisions).items():
            self._reasons.labels(reason or "granted").set(count)

    def problems(self, count: int) -> None:
        """Set how many things the agent can't do at the moment."""
        self._problem.set(count)

    def action(self, kind: str) -> None:
        """Count one action."""
        self._actions.labels(kind).inc()

    @contextmanager
    def tick(self) -> Iterator[None]:
        """Time one round."""
        with self._tick.time():
            yield

    @contextmanager
    def call(self, service: str, call: str) -> Iterator[None]:
        """Time one call to the outside, and count its error."""
        begin = time.perf_counter()
        try:
            yield
        except Exception as e:
            self._errors.labels(service, call, type(e).__name__).inc()
            raise
        finally:
            self._call.labels(service, call).observe(time.perf_counter() - begin)
