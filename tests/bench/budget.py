"""
Where the milliseconds of one ``srun -n1 true`` go, in a pod and natively: from one program's start or end to the next, as the
kernel's tracer (tracefs) notes them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import Sandbox

from tests.cluster.user import SlurmUser, until

TRACING = Path("/sys/kernel/tracing")
_EVENTS = ("sched_process_fork", "sched_process_exec", "sched_process_exit")

#: What each stretch ends with (a program and whether it starts), and who works in it.
IN_A_POD = (
    ("/usr/bin/srun", True, "stand-in, supervisor, stream, launcher of the script"),
    ("/usr/sbin/slurmstepd", True, "srun, slurmctld, slurmd"),
    ("/usr/libexec/k8s-burst/k8s-burst-run", True, "slurmstepd"),
    ("/k8s-burst/bin/k8s-burst-pod", True, "launcher, gatewayd, stream, supervisor"),
    ("/usr/bin/true", True, "supervisor's fork, up to the program"),
    ("/usr/bin/true", False, "the program"),
    ("/usr/libexec/k8s-burst/k8s-burst-run", False, "supervisor, stream, launcher"),
    ("/usr/bin/srun", False, "slurmstepd, srun"),
    ("/k8s-burst/bin/srun", False, "launcher of the script, stream, stand-in"),
)
ON_A_NODE = (
    ("/usr/sbin/slurmstepd", True, "srun, slurmctld, slurmd"),
    ("/usr/bin/true", True, "slurmstepd"),
    ("/usr/bin/true", False, "the program"),
    ("/usr/bin/srun", False, "slurmstepd, srun"),
)

_SCRIPT = """
srun -n1 true; touch ready-$SLURM_JOB_ID
until [ -f go-$SLURM_JOB_ID ]; do sleep 0.2; done
for i in $(seq RUNS); do srun -n1 true; done
rm ready-$SLURM_JOB_ID go-$SLURM_JOB_ID
"""


def measure(sandbox: Sandbox, alice: SlurmUser, runs: int) -> dict[str, list[tuple[float, str]]]:
    """Give the medians of the stretches in milliseconds, with who works there; nothing where the kernel has no tracer."""
    if not (TRACING / "instances").is_dir():
        return {}
    options = ("--gres=gpu:1", "--mem=100M", "--output=/dev/null")
    local = _stretches(sandbox, alice, runs, ON_A_NODE, "/usr/bin/srun", *options)
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    burst = _stretches(sandbox, alice, runs, IN_A_POD, "/k8s-burst/bin/srun", *options, "--k8s-burst=now")
    alice.run("scancel", str(blocker))
    return {"in a pod": burst, "on gpu0": local}


def _stretches(
    sandbox: Sandbox, alice: SlurmUser, runs: int, marks: tuple[tuple[str, bool, str], ...], first: str, *options: str
) -> list[tuple[float, str]]:
    job_id = alice.submit(_SCRIPT.replace("RUNS", str(runs)), *options)
    until("the script to be ready", lambda: alice.run("test", "-f", f"ready-{job_id}", check=False).returncode == 0)
    node = alice.job(job_id)["NodeList"]
    slurmd = sandbox.service(f"slurmd-{node}").process
    assert slurmd is not None
    roots = [slurmd.pid, *_pids(rf"--job(-id)? {job_id} |slurmstepd: \[{job_id}\.")]
    with _trace() as instance:
        ours = _tasks(roots)
        alice.run("touch", f"go-{job_id}")
        alice.wait_state(job_id, "COMPLETED")
        text = (instance / "trace").read_text()
    return _medians(_of_descendants(text.splitlines(), ours), marks, first)


def _pids(pattern: str) -> Iterator[int]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(pattern, words):
            yield int(directory.name)


@contextmanager
def _trace() -> Iterator[Path]:
    """An instance of the tracer for starts and ends of processes."""
    instance = TRACING / "instances" / "k8s-burst-bench"
    instance.mkdir()
    try:
        (instance / "buffer_size_kb").write_text("8192")
        for event in _EVENTS:
            (instance / "events/sched" / event / "enable").write_text("1")
        yield instance
    finally:
        instance.rmdir()


def _tasks(roots: Iterable[int]) -> set[int]:
    """All threads of these processes and of those below them."""
    found: set[int] = set()
    for pid in roots:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            found |= {int(task.name)} | _tasks(map(int, (task / "children").read_text().split()))
    return found


def _of_descendants(lines: Iterable[str], ours: set[int]) -> Iterator[tuple[float, str, bool]]:
    """Time in seconds, program and whether it starts, of what descends from these threads."""
    programs: dict[int, str] = {}
    for line in lines:
        found = re.search(r"-(\d+) .* ([\d.]+): (sched_process_\w+): (.*)$", line)
        if found is None:
            continue
        pid, time_s, event, rest = int(found[1]), float(found[2]), found[3], found[4]
        child = re.search(r" child_pid=(\d+)", rest)
        if child and pid in ours:
            ours.add(int(child[1]))
        elif event == "sched_process_exec" and pid in ours:
            programs[pid] = rest.partition("filename=")[2].partition(" ")[0]
            yield time_s, programs[pid], True
        elif event == "sched_process_exit" and pid in programs:
            yield time_s, programs.pop(pid), False


def _medians(
    events: Iterable[tuple[float, str, bool]], marks: tuple[tuple[str, bool, str], ...], first: str
) -> list[tuple[float, str]]:
    spans: list[list[float]] = [[] for _ in marks]
    times: list[float] = []
    for time_s, program, starts in events:
        if (program, starts) == (first, True) and (not times or len(times) > len(marks)):
            times = [time_s]
        elif 0 < len(times) <= len(marks) and (program, starts) == marks[len(times) - 1][:2]:
            spans[len(times) - 1].append((time_s - times[-1]) * 1000)
            times.append(time_s)
    return [(statistics.median(span), who) for span, (_, _, who) in zip(spans, marks, strict=True)]
