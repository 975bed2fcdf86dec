"""
One sandbox for each worker of the run; every test begins and ends with an empty queue, no pods, and all services up.

``K8S_BURST_SANDBOX=NAME`` uses a sandbox that is up already and leaves it up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sandbox import Sandbox
from sandbox.hosts import tail

from tests.cluster.pods import Pods
from tests.cluster.same import SIDES, Case, Comparison, Results, Table
from tests.cluster.user import SlurmUser, until

CHECKOUT = Path(__file__).resolve().parents[2]

#: Kueue, which they build, is not what every run has time for.
collect_ignore = [] if os.environ.get("K8S_BURST_KUEUE") else ["test_kueue.py"]

#: The files that take longest, in the order in which they are dealt: by turns one that keeps both cores busy and one that
#: mostly waits, so that two sandboxes rarely want the same.
LONGEST_FIRST = (
    "same_ends", "exactly_once", "targets", "same_steps", "access", "programs", "sandbox", "same_environment", "lost_pods",
    "many_steps", "intruders", "streams", "failures", "adapters", "policy", "orphans", "nothing_alive",
)  # fmt: skip

#: Services of which a failed test shows the ends of the logs.
TELLING = ("k8s-burst-agent", "k8s-burst-gatewayd", "slurmctld", "kube-apiserver", "kubelet")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The real Slurm and the real Kubernetes."""
    name = os.environ.get("K8S_BURST_SANDBOX")
    if name:
        yield Sandbox(name)
        return
    bench = Sandbox(f"test-{os.getpid()}")
    try:
        bench.up(programs=True)
        yield bench
    finally:
        bench.down()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the longest files first: one dealt last has all other workers wait for it."""
    order = {f"test_{name}.py": number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to the report of a failed test what the sandbox was like: a sandbox is gone when its worker ends."""
    report = yield
    bench = getattr(item, "funcargs", {}).get("sandbox")
    if report.failed and isinstance(bench, Sandbox):
        report.sections.append(("sandbox", condition(bench)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show in full what failed and then did not: it may be the one job in a thousand."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"failed at first: {report.nodeid}")
        report.toterminal(terminalreporter._tw)
        for title, text in report.sections:
            terminalreporter.write_sep("-", title)
            terminalreporter.write_line(text)


def condition(sandbox: Sandbox) -> str:
    """Services that are down, the machine's load and memory, and the ends of the logs that tell most."""
    down = [name for name in sandbox.plans() if not sandbox.service(name).alive]
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    head = f"down: {', '.join(down) or 'nothing'}; load {os.getloadavg()}; {available}"
    tails = [f"{name}:\n{tail(sandbox.service(name).log, 8)}" for name in TELLING]
    return "\n".join([head, *(line[:240] for text in tails for line in text.splitlines())])


@pytest.fixture(scope="session")
def pods(sandbox: Sandbox) -> Pods:
    """Kubernetes as its administrator sees it."""
    return Pods(sandbox)


@pytest.fixture(scope="session")
def root(sandbox: Sandbox) -> SlurmUser:
    """The administrator of Slurm, on the gateway."""
    return SlurmUser(sandbox, "root", host="gateway")


@pytest.fixture
def alice(sandbox: Sandbox, clean: None) -> SlurmUser:
    """An ordinary user on the login node."""
    return SlurmUser(sandbox, "alice")


@pytest.fixture
def bob(sandbox: Sandbox, clean: None) -> SlurmUser:
    """Another ordinary user on the login node."""
    return SlurmUser(sandbox, "bob")


@pytest.fixture
def clean(sandbox: Sandbox, root: SlurmUser, pods: Pods) -> Iterator[None]:
    """An empty queue and no pods, before and after."""
    empty(sandbox, root, pods)
    yield
    empty(sandbox, root, pods)


def empty(sandbox: Sandbox, root: SlurmUser, pods: Pods) -> None:
    """Bring every service up, cancel every job, and wait until nothing of it is left."""
    sandbox.ensure_services()
    queue = root.run("squeue", "-h", "-o", "%A").stdout.split()
    if queue:
        root.run("scancel", *sorted(set(queue)), check=False)
    until("the queue to be empty", lambda: not root.run("squeue", "-h").stdout.strip())
    until("the pods to be gone", lambda: not pods.all())


@pytest.fixture(scope="module")
def compared(request: pytest.FixtureRequest, sandbox: Sandbox, root: SlurmUser, pods: Pods) -> Iterator[Comparison]:
    """The module's CASES, played on both of its SIDES."""
    sides = getattr(request.module, "SIDES", SIDES)

    def play(cases: Sequence[Case]) -> Results:
        empty(sandbox, root, pods)
        return Table(sandbox, SlurmUser(sandbox, "alice"), root, cases, sides).play()

    yield Comparison(play, request.module.CASES, sides)
    empty(sandbox, root, pods)


@pytest.fixture
def full(alice: SlurmUser) -> int:
    """The local partition is full: the id of the job that holds its only GPU."""
    job_id = alice.submit("sleep infinity", "--job-name=blocker", "--gres=gpu:1", "--output=/dev/null", "--exclusive")
    alice.wait_state(job_id, "RUNNING")
    return job_id


@pytest.fixture
def agent_settings(sandbox: Sandbox, clean: None) -> Iterator[Callable[..., None]]:
    """
    Restart the agent with other words in its settings, given as OLD, NEW, …; afterwards it has its own ones again.
    """
    path = sandbox.path("gateway", "/etc/k8s-burst/agent.toml")
    own = path.read_text(encoding="utf-8")

    def change(*words: str) -> None:
        text = own
        for old, new in zip(words[::2], words[1::2], strict=True):
            assert old in text, f"agent.toml has no {old!r}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        sandbox.service("k8s-burst-agent").restart()

    yield change
    if path.read_text(encoding="utf-8") != own:
        path.write_text(own, encoding="utf-8")
        sandbox.service("k8s-burst-agent").restart()
