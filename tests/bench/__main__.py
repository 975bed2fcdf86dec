"""
``make bench``: a table of medians and ratios, measured in a sandbox of its own (or in ``K8S_BURST_SANDBOX=NAME``).
"""

from __future__ import annotations

import argparse
import os
import statistics

from sandbox import Sandbox

from tests.bench import budget, burst, launcher, policy, steps, streams, trace
from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    runs = parser.parse_args().runs
    name = os.environ.get("K8S_BURST_SANDBOX")
    sandbox = Sandbox(name or f"bench-{os.getpid()}")
    try:
        if not sandbox.is_up:
            sandbox.up()
        report(sandbox, runs)
    finally:
        if not name:
            sandbox.down()


def report(sandbox: Sandbox, runs: int) -> None:
    """Print the tables."""
    alice, pods = SlurmUser(sandbox, "alice"), Pods(sandbox)
    burst.measure(sandbox, alice, pods, 1)  # images, caches, namespace: the first of everything is another thing
    bursts, bare, local = burst.measure(sandbox, alice, pods, runs)
    totals = [run.total_s for run in bursts]
    print(f"\nSubmit → first line of output, idle cluster, medians of {runs}\n")
    row("burst job (--k8s-burst=now)", totals, statistics.median(totals))
    row("kubectl run, same image", bare, statistics.median(totals))
    row("same job on gpu0", local, statistics.median(totals))
    print("\nWhere the time of the burst job goes, medians\n")
    for stage in bursts[0].stages:
        seconds = statistics.median(run.stages[stage] for run in bursts)
        print(f"  {seconds * 1000:8.0f} ms  {seconds / statistics.median(totals):5.0%}  {stage}")
    median, most = policy.tick_ms(runs)
    rules = f"{policy.RULES} rules, {policy.TARGETS} targets"
    print(f"\nA round's thinking, {policy.PENDING} pending, {policy.FLAGGED} flagged, {rules}:", end=" ")
    print(f"{median:.0f} ms of CPU (at most {most:.0f})")
    both = trace.compare(sandbox, alice, SlurmUser(sandbox, "root", host="gateway"))
    print(f"\n{both.jobs} short jobs, {both.burst} of them burst, in the sandbox and in burstctl's simulator:", end=" ")
    print(f"{both.placed_alike} ran in the same place, {both.swapped} pairs started in another order;")
    print(
        f"  mean wait {both.real_wait_s:.1f} s, simulated {both.simulated_wait_s:.1f} s, {both.error:.0%} off", end=" "
    )
    print(f"(pods started within {both.pod_start_s:.0f} s){'' if both.holds else ': THE SIMULATOR ERRED'}")
    print(f"\nMB/s of a job's stream and of kubectl exec to the same pod, {streams.MEGABYTES} MB, medians of {runs}\n")
    for direction, speeds in streams.measure(sandbox, alice, pods, runs).items():
        job, kubectl = statistics.median(speeds.job), statistics.median(speeds.kubectl)
        print(f"  {job:6.0f}  {kubectl:6.0f}  job / kubectl exec = {job / kubectl:4.2f}  {direction}")
    started, floor = launcher.start_ms(sandbox, 200)
    print(f"\nLauncher's program, start to end: {started:.1f} ms, {started / floor:.1f} × /bin/true ({floor:.1f} ms)")
    print("\nSlurm's commands in a pod and on gpu0, medians of 20\n")
    for command, (pod, local) in steps.measure(alice, 20).items():
        print(f"  {pod:6.1f} ms  {local:6.1f} ms  pod / gpu0 = {pod / local:4.2f}  {command}")
    print("\nWhere the time of `srun -n1 true` goes, medians of 20")
    for where, stretches in budget.measure(sandbox, alice, 20).items():
        print(f"\n  {sum(ms for ms, _ in stretches):6.1f} ms  {where}")
        for ms, who in stretches:
            print(f"    {ms:6.1f} ms  {who}")
    memory = launcher.memory_kib(sandbox, alice)
    for what, kib in memory.items():
        ratio = kib / memory["slurmstepd"]
        print(f"PSS of {what} with a waiting batch task: {kib / 1024:.1f} MiB, {ratio:.1f} × slurmstepd")
    shares = launcher.task_memory_kib(sandbox, alice)
    print(f"\nPSS on the gateway for each of {launcher.TASKS} tasks of a step: {sum(shares.values()) / 1024:.1f} MiB")
    for what, kib in shares.items():
        print(f"  {kib:8.0f} KiB  {what}")


def row(what: str, seconds: list[float], reference: float) -> None:
    """Print one line: median, spread, and the burst job's median in its units."""
    median = statistics.median(seconds)
    print(
        f"  {median:6.2f} s  ({min(seconds):.2f} … {max(seconds):.2f})  burst / this = {reference / median:5.2f}  {what}"
    )


if __name__ == "__main__":
    main()
