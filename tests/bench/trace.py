"""
The simulator against the real thing: 60 short jobs, run twice in the sandbox, first without Kubernetes, which is the
site's history, then with it; and the history replayed through the policy of the second run.

A row of the bench and no test: it takes five minutes, and how long pods take is the machine's to say. Under a load of
twenty on two cores all 60 were placed alike, none was swapped, and the mean waits were 2 % apart.

Each round, one job holds the local nodes; behind it some wait that may not burst, and then come those that do, at once or
after a while. Nothing that bursts leaves room that another one would start in earlier: the simulator does not replay that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from burst_agent import sacct, settings, simulate
from burst_agent.model import BurstMode
from burst_agent.names import parse_comment
from burst_agent.policy import Terms
from burst_agent.policy.forecast import QUANTILE, quantile
from burst_agent.target_file import Target
from sandbox import Sandbox

from tests.cluster.user import ENDED, SlurmUser, until

ROUNDS, ROUND_S = 5, 34
#: By how much of the real mean wait the simulated one may be off.
MOST_OFF = 0.15
#: Starts that lie so close together have no order: slurmctld's own rounds are as long.
APART_S = 4
SETTINGS = "/etc/k8s-burst/agent.toml"

#: Nobody knows yet what Slurm expects of a queue of seconds: after four of them a job bursts, whatever it expects.
POLICY = """
[policy]
wait_s = 4
max_wait = "4 s"
pod_start = "{pod_start:.0f} s"
max_pods = {pods}
max_gpus = 16
max_pods_per_user = 16
max_gpus_per_user = 16

[[policy.rules]]
name = "short-only"
time_limit = {{ min = "3 h" }}
deny = "long jobs stay here"
"""

#: When in a round each job comes, how long it runs, and its options.
ROUND = (
    (0.0, 16, ("--exclusive",)),
    (1.0, 3, ("--k8s-burst=never",)),
    (1.2, 3, ()),
    (1.4, 3, ("--k8s-burst=now", "--time=240")),
    (1.6, 3, ("--k8s-burst=auto", "--time=300")),
    (2.0, 2, ("--k8s-burst=now",)),
    (2.5, 2, ("--k8s-burst=auto",)),
    (3.0, 2, ("--k8s-burst=now",)),
    (3.5, 2, ("--k8s-burst=auto",)),
    (4.0, 2, ("--k8s-burst=auto",)),
    (4.5, 2, ("--k8s-burst=now",)),
    (5.0, 2, ("--k8s-burst=auto",)),
)


@dataclass(frozen=True)
class Comparison:
    """
    The same jobs, simulated and run.
    """

    jobs: int
    #: Jobs that ran in the same place, local or burst.
    placed_alike: int
    burst: int
    #: Pairs of jobs that started in another order, where that can be told.
    swapped: int
    simulated_wait_s: float
    real_wait_s: float
    pod_start_s: float

    @property
    def error(self) -> float:
        """By how much of the real mean wait the simulated one is off."""
        return abs(self.simulated_wait_s - self.real_wait_s) / self.real_wait_s

    @property
    def holds(self) -> bool:
        """Whether the simulator foretold what happened."""
        return self.placed_alike == self.jobs and not self.swapped and self.error <= MOST_OFF


def compare(sandbox: Sandbox, alice: SlurmUser, root: SlurmUser) -> Comparison:
    """Run twice, simulate, compare."""
    file = sandbox.path("gateway", SETTINGS)
    before = file.read_text()
    begin, end = before.index("[policy]"), before.index("[listen]")

    def go_by(policy: str) -> None:
        reloads = sandbox.service("k8s-burst-agent").log.read_text().count("event=reloaded")
        file.write_text(policy)
        sandbox.service("k8s-burst-agent").kill("HUP")
        log = sandbox.service("k8s-burst-agent").log
        until("the agent to go by its new settings", lambda: log.read_text().count("event=reloaded") > reloads)

    try:
        go_by(before[:begin] + POLICY.format(pods=0, pod_start=1) + before[end:])
        history = run(alice, root)
        go_by(before[:begin] + POLICY.format(pods=16, pod_start=1) + before[end:])
        real = run(alice, root)
    finally:
        go_by(before)
    return judged(history, real)


def run(alice: SlurmUser, root: SlurmUser) -> list[str]:
    """Submit all at their times, and give sacct's lines in the order of submission, its head first."""
    began = time.monotonic()
    jobs = []
    for number in range(ROUNDS):
        for at, seconds, options in ROUND:
            time.sleep(max(began + number * ROUND_S + at - time.monotonic(), 0))
            jobs.append(alice.submit(f"sleep {seconds}", "-c1", "--time=30", "--output=/dev/null", *options))
    until("all jobs to end", lambda: all(alice.state(job_id) in ENDED | {""} for job_id in jobs))
    chosen = ["sacct", "-a", "-X", "-P", "-S", "now-1hour", "-j", ",".join(map(str, jobs)), "-o", columns()]

    def recorded() -> list[str]:
        head, *lines = root.run(*chosen).stdout.splitlines()
        return [head, *lines] if len(lines) == len(jobs) and all("|Unknown|" not in line for line in lines) else []

    head, *lines = until("slurmdbd to have all of them", recorded)
    return [head, *sorted(lines, key=lambda line: int(line.split("|")[0]))]


def columns() -> str:
    """What sacct is to print for the simulator."""
    return sacct.COMMAND.rpartition(" -o ")[2]


def judged(history: Sequence[str], real: Sequence[str]) -> Comparison:
    """Replay the history through the policy, with the starts of pods that the real run had, and compare."""
    took = [comment.pod_start_s for line in real if (comment := parse_comment(line.rpartition("|")[2]))]
    pod_start_s = quantile([float(seconds) for seconds in took if seconds is not None], QUANTILE)
    policy = settings.parse_policy(POLICY.format(pods=16, pod_start=pod_start_s), source="trace")
    terms = Terms(policy, targets=(Target(name="default"),), unlimited_s=86400)
    past = sacct.parse(history).ran
    simulated = simulate.replay(past, terms, BurstMode.NEVER, slot_s=1)
    ran = sacct.parse(real).ran
    burst = [bool(re.search(r"(^|,)k8s-burst(,|$)", one.job.partition)) for one in ran]
    pairs = list(zip(past, ran, burst, strict=True))
    order = [
        (simulated.starts[was.job.job_id][0] - past[0].job.submit_time, one.start - ran[0].job.submit_time)
        for was, one, _ in pairs
    ]
    swapped = sum(
        sim < other_sim - APART_S and true > other_true
        for sim, true in order
        for other_sim, other_true in order
    )  # fmt: skip
    return Comparison(
        jobs=len(pairs),
        placed_alike=sum(simulated.starts[was.job.job_id][1] is burst for was, _, burst in pairs),
        burst=sum(burst),
        swapped=swapped,
        simulated_wait_s=simulated.total.mean_wait_s,
        real_wait_s=simulate.unchanged(ran).total.mean_wait_s,
        pod_start_s=pod_start_s,
    )
