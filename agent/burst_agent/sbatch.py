"""
What sbatch would make of a script and a command line, as far as it can be told without Slurm; and what each option is
worth in a pod. Pure.

What the command line leaves open is as slurmctld would fill it in, as far as the site's partitions and the user's
default account are known. Defaults of a QOS and a job_submit plugin's changes are not: this foretells, Slurm decides.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from burst_agent.amounts import MEMORY_UNITS, slurm_minutes
from burst_agent.model import Job, JobState, Partition, Request, Tres

DIRECTIVE = "#SBATCH"


class Worth(StrEnum):
    """
    What becomes of an option in a pod.
    """

    HONOURED = "honoured"
    DEGRADED = "degraded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Option:
    """
    One option of sbatch.
    """

    name: str
    short: str = ""
    #: Whether a value follows: always, never, or only after "=".
    value: str = "always"
    worth: Worth = Worth.HONOURED
    note: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """
    An option as it was given.
    """

    name: str
    value: str
    #: ``None`` for one that we don't know, which another plugin of Slurm may.
    option: Option | None

    @property
    def worth(self) -> str:
        """What becomes of it in a pod."""
        return "unknown" if self.option is None else str(self.option.worth)


def _plain(names: str, value: str = "always") -> list[Option]:
    pairs = (word.partition("/") for word in names.split())
    return [Option(name, short, value) for name, _, short in pairs]


def _lesser(name: str, note: str, *, short: str = "", value: str = "always", refused: bool = False) -> Option:
    return Option(name, short, value, Worth.REFUSED if refused else Worth.DEGRADED, note)


_LOCAL = "concerns local nodes only"
_CORES = "a pod has CPU time, not cores of its own"

OPTIONS: tuple[Option, ...] = (
    *_plain(
        "account/A array/a begin/b chdir/D comment cpus-per-gpu cpus-per-task/c deadline delay-boot dependency/d "
        "error/e "
        "export export-file extra gid gpus/G gpus-per-node gpus-per-socket gpus-per-task gres input/i job-name/J "
        "kill-on-invalid-dep mail-type mail-user mcs-label mem mem-per-cpu mem-per-gpu mincpus nodes/N ntasks/n "
        "ntasks-per-gpu ntasks-per-node open-mode output/o partition/p priority qos/q signal time/t time-min "
        "tres-per-task uid wckey wrap k8s-burst-image k8s-burst-max-cost"
    ),
    *_plain("hold/H help/h usage no-requeue overcommit/O parsable quiet/Q requeue test-only verbose/v version/V wait/W "
            "ignore-pbs spread-job reboot", "never"),
    *_plain("exclusive get-user-env k8s-burst nice propagate", "optional"),
    _lesser("nodelist", "names local nodes", short="w", refused=True),
    _lesser("nodefile", "names local nodes", short="F", refused=True),
    _lesser("constraint", "virtual nodes have no features", short="C", refused=True),
    _lesser("licenses", "licences are local", short="L", refused=True),
    _lesser("reservation", "a reservation holds local nodes", refused=True),
    _lesser("container", "use --k8s-burst-image", refused=True),
    _lesser("container-id", "use --k8s-burst-image", refused=True),
    _lesser("clusters", "the agent serves one Slurm cluster", short="M"),
    _lesser("cluster-constraint", "the agent serves one Slurm cluster"),
    _lesser("exclude", _LOCAL, short="x"),
    _lesser("prefer", _LOCAL),
    _lesser("contiguous", _LOCAL, value="never"),
    _lesser("switches", _LOCAL),
    _lesser("use-min-nodes", _LOCAL, value="never"),
    _lesser("tmp", "space in /tmp is the site's setting for pods"),
    _lesser("bb", "there is no burst buffer in Kubernetes"),
    _lesser("bbf", "there is no burst buffer in Kubernetes"),
    _lesser("cpu-freq", "a pod can't set it"),
    _lesser("gpu-freq", "a pod can't set it"),
    _lesser("power", "a pod can't set it"),
    _lesser("profile", "no profile is gathered in a pod"),
    _lesser("acctg-freq", "Slurm sees the launcher, not the pod"),
    _lesser("network", "the pod's network is Kubernetes'"),
    *(
        _lesser(name, _CORES, short=short)
        for name, short in (
            ("extra-node-info", "B"), ("core-spec", "S"), ("thread-spec", ""), ("cores-per-socket", ""),
            ("sockets-per-node", ""), ("threads-per-core", ""), ("ntasks-per-core", ""), ("ntasks-per-socket", ""),
            ("distribution", "m"), ("hint", ""), ("mem-bind", ""), ("gpu-bind", ""), ("gres-flags", ""),
            ("tres-bind", ""),
        )
    ),
    _lesser("oversubscribe", "a pod has its resources to itself", short="s", value="never"),
)  # fmt: skip

#: Not an option but a word between two groups of them: `hetjob` in a script, `:` on the command line.
COMPONENTS = _lesser("hetjob", "components of heterogeneous jobs start together, in their own queues", refused=True)

_LONG = {option.name: option for option in OPTIONS}
_SHORT = {option.short: option for option in OPTIONS if option.short}


def directives(script: str) -> list[str]:
    """Give the #SBATCH lines in front of the first command, as sbatch takes them."""
    found = []
    for line in script.splitlines():
        if line.startswith(DIRECTIVE):
            found.append(line)
        elif line and not line.startswith("#"):
            break
    return found


def read(command_line: Sequence[str], lines: Iterable[str]) -> list[Given]:
    """
    Read options: those of the script first, those of the command line (without the program) after, which win.
    """
    given: list[Given] = []
    for line in lines:
        words = line.removeprefix(DIRECTIVE)
        try:
            given += _options(shlex.split(words, comments=True))
        except ValueError:  # an open quote: sbatch will say it
            given += _options(words.split())
    return given + _options(command_line)


def _options(words: Sequence[str]) -> list[Given]:
    """
    Take options up to the first word that is none: the script, whose own arguments follow, or where another component
    of a heterogeneous job begins.
    """
    found, rest = [], list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            option = _long(name)
            name = option.name if option else name
        else:
            option = _SHORT.get(word[1])
            name, value, equals = option.name if option else word[1], word[2:], word[2:]
            if option and option.value == "never" and value:
                rest.insert(0, f"-{value}")
                value = ""
        if option and option.value == "always" and not equals and rest:
            value = rest.pop(0)
        found.append(Given(name, value, option))
    if rest and rest[0] in (":", "hetjob", "packjob"):
        found.append(Given(COMPONENTS.name, "", COMPONENTS))
    return found


def _long(name: str) -> Option | None:
    """As getopt_long: a beginning that fits one option only is that option."""
    if name in _LONG:
        return _LONG[name]
    fitting = [option for option in OPTIONS if option.name.startswith(name)]
    return fitting[0] if len(fitting) == 1 else None


_COUNT = re.compile(r"(\d+)([kmKM]?)")
_GPU = re.compile(r"(?:gres[:/])?gpu(?::(?P<type>[A-Za-z_][^:=,]*))?(?:[:=](?P<count>\d+))?(?=,|$)")


def draft(
    given: Iterable[Given],
    *,
    uid: int,
    user: str,
    now: float,
    account: str = "",
    partitions: Iterable[Partition] = (),
    work_dir: str = "",
) -> Job:
    """
    Make the job that such a submission would become, pending behind all that wait in its partition; what can't be read
    is as if it had not been given. ``account`` is the user's default one, ``work_dir`` is where sbatch is called.
    """
    values = {one.name: one.value for one in given}
    queue = _queue(values.get("partition", ""), partitions)
    request = _request(values)
    nodes = request.min_nodes
    memory = (request.memory_mib_per_node or 0) * nodes
    return Job(
        job_id=0, array_job_id=0, array_task_id=None, array_tasks=(),
        het_job_id=1 if COMPONENTS.name in values else 0, uid=uid, gid=0, user=user,
        account=values.get("account", "") or account, qos=values.get("qos", ""), name=values.get("job-name", ""),
        partition=values.get("partition", "") or queue.name, state=JobState.PENDING, reason="", priority=1,
        completing=False, submit_time=int(now), eligible_time=int(now), start_time=0, end_time=0,
        time_limit_min=_limit_min(values.get("time", ""), queue), min_nodes=nodes, max_nodes=0,
        requested=Tres(cpus=request.cpus, memory_mib=memory, nodes=nodes, gpus=request.gpus),
        request=request, shares=(),
        gpu_type=request.gpu_type, allocated=Tres(), nodes=(), required_nodes=values.get("nodelist", ""),
        features=values.get("constraint", ""), licenses=values.get("licenses", ""),
        reservation=values.get("reservation", ""), batch=True, requeue="no-requeue" not in values, restart_count=0,
        exit_code=0, work_dir=posixpath.join(work_dir, values.get("chdir", "")), admin_comment="", ahead=queue.waiting,
        # Where nobody waits, how often jobs start says how often they come, and nothing of nodes.
        starts_per_hour=queue.starts_per_hour if queue.waiting else 0.0,
    )  # fmt: skip


def _request(values: dict[str, str]) -> Request:
    """Read what a job asks for."""
    least, _, most = values.get("nodes", "").partition("-")
    nodes = max(_count(least), 1)
    per_node = _count(values.get("ntasks-per-node", ""))
    tasks = _count(values.get("ntasks", "")) or (per_node * nodes) or nodes
    cpus_per_task = _count(values.get("cpus-per-task", "")) or 1
    gpus, gpu_type = _gpus(values, nodes, tasks)
    memory = _memory_mib(values, nodes, tasks * cpus_per_task, gpus)
    return Request(
        min_nodes=nodes,
        max_nodes=_count(most or least) or None,
        tasks=tasks,
        tasks_per_node=per_node or None,
        cpus=tasks * cpus_per_task,
        cpus_per_task=cpus_per_task,
        memory_mib_per_node=None if memory is None else -(-memory // nodes),
        gpus=gpus,
        gpu_type=gpu_type,
        whole_nodes=values.get("exclusive") == "",
        own_nodes=values.get("exclusive") == "user",
    )


def _queue(names: str, known: Iterable[Partition]) -> Partition:
    """Give the partition of a job that names these; without a name where it is not known."""
    among = names.split(",")
    found = (one for one in known if (one.name in among if names else one.default))
    return next(found, Partition("", default=False, time_limit_min=None))


def _limit_min(text: str, queue: Partition) -> int | None:
    """Read --time, of which 0 means no limit; a job without one gets its partition's."""
    try:
        return (slurm_minutes(text) or None) if text else queue.time_limit_min
    except ValueError:
        return queue.time_limit_min


def _count(text: str) -> int:
    match = _COUNT.fullmatch(text)
    return int(match[1]) * {"": 1, "k": 1024, "m": 1 << 20}[match[2].lower()] if match else 0


def _gpus(values: dict[str, str], nodes: int, tasks: int) -> tuple[int, str]:
    """Count GPUs over the whole job, and name their type."""
    found, kind = 0, ""
    for name, times, prefix in (
        ("gpus", 1, "gpu:"), ("gpus-per-node", nodes, "gpu:"), ("gres", nodes, ""),
        ("gpus-per-task", tasks, "gpu:"), ("tres-per-task", tasks, ""),
    ):  # fmt: skip
        for part in values.get(name, "").split(",") if values.get(name) else ():
            match = _GPU.fullmatch(f"{prefix}{part}")
            if match:
                found = max(found, int(match["count"] or 1) * times)
                kind = kind or match["type"] or ""
    return found, kind


def _memory_mib(values: dict[str, str], nodes: int, cpus: int, gpus: int) -> int | None:
    """Over all nodes; ``None``: not said, 0: all that they have."""
    for name, times in (("mem", nodes), ("mem-per-cpu", cpus), ("mem-per-gpu", gpus)):
        match = re.fullmatch(r"(\d+)([KMGTkmgt]?)B?", values.get(name, ""))
        if match:
            return round(int(match[1]) * MEMORY_UNITS[match[2].upper()] * times)
    return None
