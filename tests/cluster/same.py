"""
The same job on a node and in a pod: what it prints, how it ends, what Slurm's records say of it.

A case is a table of cases/*.toml:

    [exit-42]
    script = "exit 42"
    run = "submit job.sh"

`script` is job.sh, `#!/bin/bash` goes before it where it begins otherwise; `run` (default: `submit job.sh`) is what the
user does at the login node, see cases/driver.sh; `also` is read by nobody: it says why. In place of `script`, `steps`
is a table of small scripts, each by its name, that the job runs one after the other in directories of their names. Every case is played twice in
a directory of its own, on the node gpu0 and, with --k8s-burst=now, in a pod. What comes of it is rendered as lines, a
*transcript*: each field of Slurm's records that is the same wherever a job runs, and each line of each file in the
directory. What can't be the same (job ids, names of nodes, process ids, times of day) is rendered by its meaning:
`Names.plain`. All else that differs must be in cases/differences.toml with its reason; and what is there must occur.

Two runs of one script on one node may differ as well, when the machine is so busy that what comes first comes late. So
a case that differs is played once more by itself; what differs then fails, and what differed first is a warning.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import Sandbox

from tests.cluster.user import ENDED, SlurmUser, until

CASES = Path(__file__).with_name("cases")

#: The directory in the user's home that holds all cases of both sides.
ROOM = "same"

#: Seconds for all cases together on a machine that has other work; the slowest case waits for slurmctld's look at time limits.
PATIENCE_S = 600.0

#: Seconds that what the user does in one case may take.
DRIVER_S = 300

#: Seconds that one of a job's `steps` may take.
STEP_S = 40

#: How a job runs one of its `steps`.
STEP = "(cd {step}; timeout -k 5 {limit_s} bash ../.{step} > out 2> err < /dev/null; echo ended $? > code)"

#: Waits until a case has submitted its first job, or has ended: in the order of the file, so that the longest begin first.
FIRST = """exec {nothing}<> <(:)
first() { until [ -s "$1/.jobs" ] || ! kill -0 "$2" 2> /dev/null; do read -rt 0.02 -u "$nothing"; done; }"""

#: Fields of ``scontrol show job`` that don't depend on where a job runs.
FIELDS = (
    "JobState", "Reason", "ExitCode", "DerivedExitCode", "Restarts", "BatchFlag", "Requeue", "TimeLimit", "JobName", "UserId",
    "Account", "QOS", "Dependency", "NumNodes", "NumCPUs", "NumTasks", "CPUs/Task", "Command", "WorkDir", "StdErr", "StdIn", "StdOut",
)  # fmt: skip

SACCT = "JobID,JobName,State,ExitCode,DerivedExitCode,NNodes,NTasks,AllocCPUS,SubmitLine"

#: What srun says while the step before is being cleared away: it depends on how busy the machine is.
WAITS = re.compile(r"(^|: )srun: (Job \S+ step creation (temporarily|still) disabled|Step created for StepId=)")

#: A file above this size is rendered as its checksum.
LINES_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Side:
    """
    Where a case is played; `options` make sbatch send it there, and `node` is how its nodes are called.
    """

    name: str
    options: tuple[str, ...]
    node: str


NATIVE = Side("natively", (), r"gpu\d+")
#: Excluding the nodes of its own partition keeps a job from starting on one that comes free while its pod is made.
POD = Side("in-pods", ("--k8s-burst=now", "--exclude=gpu0"), r"k8s-\d+")
SIDES = (NATIVE, POD)

#: For jobs on two nodes: partition gpu has no second one that is up, so none starts there.
SIDES_OF_TWO = (
    Side("natively", ("--partition=native",), r"native\d+"),
    Side("in-pods", ("--k8s-burst=now",), r"k8s-\d+"),
)


@dataclass(frozen=True)
class Case:
    """
    One job, or a few, and what their user does.
    """

    name: str
    script: str
    run: str = "submit job.sh"
    steps: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str, table: Mapping[str, Any]) -> Case:
        """Make a case of its table; raises ValueError for a key that is none."""
        unknown = set(table) - {"script", "run", "steps", "also"}
        if unknown:
            msg = f"case {name}: unknown keys {sorted(unknown)}"
            raise ValueError(msg)
        steps = table.get("steps", {})
        script = table.get("script", "\n".join(STEP.format(step=step, limit_s=STEP_S) for step in steps))
        if not script.startswith("#!"):
            script = "#!/bin/bash\n" + script
        return cls(name, script if script.endswith("\n") else script + "\n", table.get("run", cls.run), steps)


def read_cases(file: str) -> list[Case]:
    """The cases of one file, in its order, which is the order of their submission."""
    return [Case.read(name, table) for name, table in tomllib.loads((CASES / file).read_text()).items()]


@dataclass
class Difference:
    """
    A line, or its absence, that is not the same on both sides: patterns of the whole line as it is rendered.

    `cases` are patterns of names. One that occurs `sometimes` may be absent.
    """

    cases: list[str]
    reason: str
    native: str = ""
    pods: str = ""
    sometimes: bool = False

    def concerns(self, case: str) -> bool:
        """Whether it is expected in a case."""
        return any(re.fullmatch(pattern, case) for pattern in self.cases)


def read_differences() -> list[Difference]:
    """All differences that have a reason."""
    return [Difference(**table) for table in tomllib.loads((CASES / "differences.toml").read_text())["difference"]]


@dataclass
class Names:
    """
    What the lines of one case on one side call differently than those of the other side.
    """

    side: Side
    jobs: Mapping[str, str]  # job id: what it is called in a transcript
    nodes: Mapping[str, str]  # a job's node, or list of nodes: what it is called

    def plain(self, line: str) -> str:
        """Replace names by what they mean."""
        for job_id, name in self.jobs.items():
            line = re.sub(rf"(?<!\d)0*{job_id}(?!\d)", name, line)
        for node, name in self.nodes.items():
            line = re.sub(rf"(?<![\w-]){re.escape(node)}(?![\w-])", name, line)
        for pattern, meaning in (
            (rf"\b{self.side.name}\b", "SIDE"),
            (r"(?:/var/spool/slurmd|/k8s-burst/spool)/\S*slurm_script", "SPOOL/slurm_script"),
            (rf"\b{self.side.node}\b", "NODE"),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\b", "TIME"),
            (r"\b(SLURM_JOB_(?:START|END)_TIME)=\d+", r"\1=EPOCH"),
            (r"\bSLURM_TASK_PID=\d+", "SLURM_TASK_PID=PID"),
            (r"(slurm_script: line \d+:) +\d+ ", r"\1 PID "),
        ):
            line = re.sub(pattern, meaning, line)
        return line


@dataclass
class Played:
    """
    What came of one case on one side.
    """

    transcript: list[str] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    comments: set[str] = field(default_factory=set)
    said: str = ""


#: What came of each case on each side, by the names of both.
Results = Mapping[tuple[str, str], Played]


class Table:
    """
    All cases of a file, played on both sides at once.
    """

    def __init__(
        self, sandbox: Sandbox, user: SlurmUser, root: SlurmUser, cases: Sequence[Case], sides: Sequence[Side] = SIDES
    ) -> None:
        self.sandbox = sandbox
        self.user = user
        self.root = root
        self.cases = cases
        self.sides = sides
        self.room = sandbox.home(user.name) / ROOM
        self.records: dict[str, dict[str, str]] = {}

    def play(self) -> Results:
        """Play them all, and give what came of each by the case's and the side's name."""
        self.user.shell(f"rm -rf {ROOM}; mkdir {ROOM}; touch {ROOM}/.turn")
        program = []
        for case in self.cases:
            for side in self.sides:
                self._write(case, side)
                place = f"{side.name}/{case.name}"
                program.append(f"timeout {DRIVER_S} bash .driver {place} {' '.join(side.options)} & first {place} $!")
        (self.room / ".driver").write_text((CASES / "driver.sh").read_text())
        script = "\n".join([f"cd {ROOM}", FIRST, *program, "wait"])
        argv = ["bash", "-c", script]
        with self.sandbox.popen(argv, user=self.user.name, host=self.user.host, stdout=None, stderr=None) as drivers:
            until("all cases to be played", lambda: self._look(drivers.poll() is not None), PATIENCE_S, pause_s=1)
        accounted = until("the accounting records", self._accounted, pause_s=1)
        return {
            (case.name, side.name): self._played(case, side, accounted) for case in self.cases for side in self.sides
        }

    def _write(self, case: Case, side: Side) -> None:
        directory = self.room / side.name / case.name
        directory.mkdir(parents=True)
        (directory / "job.sh").write_text(case.script)
        (directory / ".run").write_text(case.run + "\n")
        for step, script in case.steps.items():
            (directory / step).mkdir()
            (directory / f".{step}").write_text(script + "\n")
        for path in (directory.parent, directory, *directory.iterdir()):
            os.chown(path, *self.sandbox.ids(self.user.name))

    def _look(self, drivers_ended: bool) -> bool:
        """Take down all records, as slurmctld forgets jobs after a while; true when nothing is left to come."""
        self._as_root()
        said = self.root.run("scontrol", "show", "job", "-o", check=False).stdout
        for line in said.splitlines():
            record = dict(re.findall(r"([\w/:]+)=(.*?)(?= [\w/:]+=|$)", line))
            if "JobId" in record:
                self.records[record["JobId"]] = record
        return drivers_ended and all(
            record["JobState"] in ENDED for job_id in self._submitted() for record in self._records_of(job_id)
        )

    def _as_root(self) -> None:
        """Do what cases ask the administrator for."""
        for request in self.room.glob("*/*/.as-root"):
            self.root.run(*request.read_text().split())
            request.unlink()

    def _submitted(self) -> list[str]:
        return [job_id for file in self.room.glob("*/*/.jobs") for job_id in file.read_text().split()]

    def _records_of(self, job_id: str) -> list[dict[str, str]]:
        """The job's record, or those of the tasks of an array by their number."""
        found = [r for r in self.records.values() if job_id in (r["JobId"], r.get("ArrayJobId"))]
        return sorted(found, key=lambda record: int(record.get("ArrayTaskId", "0").split("-")[0].split("%")[0]))

    def _accounted(self) -> dict[str, list[str]] | None:
        """What sacct says of each job, by the id that sbatch gave; None while something has not ended there."""
        jobs = self._submitted()
        said = self.root.run("sacct", "-n", "-P", "--array", "-j", ",".join(jobs), "-o", SACCT).stdout
        # An argument of srun may have lines of its own.
        lines = re.sub(r"\n(?!\d+[_.|])", r"\\n", said.rstrip("\n")).splitlines()
        if any(re.search(r"\|(PENDING|RUNNING|REQUEUED|SUSPENDED|COMPLETING)\|", line) for line in lines):
            return None
        by_job: dict[str, list[str]] = {job_id: [] for job_id in jobs}
        for line in sorted(lines, key=lambda line: [int(number) for number in re.findall(r"\d+", line.split("|")[0])]):
            job, task, step, rest = re.match(r"(\d+)(_\d+)?(?:\.(\w+))?(.*)", line).groups("")  # type: ignore[union-attr]
            # A step by its order, not its number, so that one that is missing is one difference. The job's own line says which side it is.
            by_job[job].append(
                f"sacct {job}{task} step{rest}" if step else f"sacct {job}{task}{'|'.join(rest.split('|')[:8])}"
            )
        return by_job if all(by_job.values()) else None

    def _played(self, case: Case, side: Side, accounted: Mapping[str, list[str]]) -> Played:
        directory = self.room / side.name / case.name
        played = Played(said=(directory / ".said").read_text(errors="replace"))
        jobs = (directory / ".jobs").read_text().split() if (directory / ".jobs").exists() else []
        called, raw = {}, []
        for number, job_id in enumerate(jobs, start=1):
            job = f"JOB{number}"
            for record in self._records_of(job_id):
                task = record.get("ArrayTaskId")
                called[record["JobId"]] = f"{job}.{task}" if task else job
                played.nodes.update(nodes_of(record))
                played.comments.add(record.get("AdminComment", ""))
                raw += [f"{job}{'.' + task if task else ''} {name}={record.get(name, '-')}" for name in FIELDS]
            called[job_id] = job
            raw += accounted[job_id]
        names = Names(side, called, self._nodes(jobs))
        played.transcript = [names.plain(line) for line in [*raw, *files(directory)] if not WAITS.search(line)]
        return played

    def _nodes(self, jobs: Iterable[str]) -> dict[str, str]:
        """How a job that has several nodes calls their list, and each; of one node it is plain which it is."""
        called: dict[str, str] = {}
        for record in (record for job_id in jobs for record in self._records_of(job_id)):
            nodes = nodes_of(record)
            if len(nodes) > 1:
                called |= {record["NodeList"]: "NODES", **{node: f"NODE{number}" for number, node in enumerate(nodes)}}
        return called


def nodes_of(record: Mapping[str, str]) -> list[str]:
    """The names of a job's nodes, in their order; a list of Slurm's with one bracket at its end at most."""
    text = record.get("NodeList", "").replace("(null)", "")
    stem, _, numbers = text.rstrip("]").partition("[")
    if not numbers:
        return text.split(",") if text else []
    ranges = [part.partition("-") for part in numbers.split(",")]
    return [f"{stem}{number}" for low, _, high in ranges for number in range(int(low), int(high or low) + 1)]


def files(directory: Path) -> Iterable[str]:
    """Each file of a directory but the driver's own, each line of each; what is no text as its checksum."""
    for path in sorted(p for p in directory.rglob("*") if not p.name.startswith(".") and p.name != "job.sh"):
        mode = stat.filemode(path.stat().st_mode)
        name = path.relative_to(directory)
        content = path.read_bytes() if path.is_file() else b""
        yield f"{name} is {mode} {path.owner() if path.stat().st_uid == 0 else 'own'}"
        if len(content) > LINES_MAX_BYTES:
            yield f"{name} has {len(content)} bytes {hashlib.sha256(content).hexdigest()}"
            continue
        for line in content.decode(errors="backslashreplace").splitlines(keepends=True):
            yield f"{name}: {line[:-1]}" if line.endswith("\n") else f"{name}: {line}\\"


def unreasoned(case: str, native: list[str], pods: list[str], differences: Sequence[Difference]) -> list[str]:
    """
    What differs without a reason, and each reason that nothing differs for, as lines for a person; none is good.
    """
    expected = [difference for difference in differences if difference.concerns(case)]
    met: set[int] = set()
    complaints = []
    for line in difflib.ndiff(native, pods):
        sign, text = line[0], line[2:]
        if sign not in "-+":
            continue
        patterns = ((n, d.native if sign == "-" else d.pods) for n, d in enumerate(expected))
        reasons = {n for n, pattern in patterns if pattern and re.fullmatch(pattern, text)}
        met |= reasons
        if not reasons:
            complaints.append(f"{'on the node' if sign == '-' else 'in the pod '} {text}")
    complaints += [
        f"does not differ any more: {d.native!r} {d.pods!r} ({d.reason})"
        for n, d in enumerate(expected)
        if n not in met and not d.sometimes
    ]
    return complaints


class Comparison:
    """
    All cases of a file on both sides. `play` plays some of them on both: `Table.play`.
    """

    def __init__(self, play: Callable[[Sequence[Case]], Results], cases: Sequence[Case], sides: Sequence[Side]) -> None:
        self._play = play
        self._sides = sides
        self._results = play(cases)
        self._again: dict[str, Results] = {}

    def check(self, case: Case) -> None:
        """
        Fail unless a case ran where it should on each side, and was the same but for what has a reason.

        What its `steps` printed is not looked at: see `check_step`.
        """
        self._check(case, case.name, lambda results: self._complaints(case, results))

    def check_step(self, case: Case, step: str) -> None:
        """Fail unless one of a case's `steps` was the same on both sides but for what has a reason."""
        self._check(case, f"{case.name}.{step}", lambda results: self._complaints_of_step(case, step, results))

    def _check(self, case: Case, name: str, look: Callable[[Results], list[str]]) -> None:
        first = look(self._results)
        if not first:
            return
        if case.name not in self._again:
            self._again[case.name] = self._play([case])
        results = self._again[case.name]
        again = look(results)
        said = [f"{side.name}, sbatch and driver said: {results[case.name, side.name].said}" for side in self._sides]
        assert not again, "\n".join([f"{name}:", *again, "at first:", *first, *said])
        warnings.warn(f"{name} differed once:\n" + "\n".join(first), stacklevel=3)

    def _complaints(self, case: Case, results: Results) -> list[str]:
        native, pods = (results[case.name, side.name] for side in self._sides)
        own, theirs = (
            [line for line in one.transcript if line.split("/")[0] not in case.steps] for one in (native, pods)
        )
        complaints = unreasoned(case.name, own, theirs, read_differences())
        for side, one in zip(self._sides, (native, pods), strict=True):
            complaints += [
                f"ran on {node}, not on {side.node}" for node in one.nodes if not re.fullmatch(side.node, node)
            ]
        flagged = [comment for comment in native.comments if comment.startswith("k8s-burst")]
        return complaints + [f"the native job is flagged: {comment}" for comment in flagged]

    def _complaints_of_step(self, case: Case, step: str, results: Results) -> list[str]:
        prefix = f"{step}/"
        both = (results[case.name, side.name].transcript for side in self._sides)
        native, pods = ([line.removeprefix(prefix) for line in lines if line.startswith(prefix)] for lines in both)
        complaints = unreasoned(f"{case.name}.{step}", native, pods, read_differences())
        return [*complaints, case.steps[step]] if complaints else []
