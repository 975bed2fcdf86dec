"""
Reads what ``sacct --parsable2`` (or ``--parsable``) prints: a site's own history. Pure.

Columns are found by the names in the first line. Needed are JobID, User, Account, Partition, Submit, Start, End,
Timelimit, and AllocTRES or ReqTRES; used where they are there: Eligible, QOS, Priority, Reservation, Constraints,
Licenses, AdminComment, UID. Steps (``12.batch``) are left out, as are jobs that never started or have not ended; a line
that can't be read is named, and ends nothing. The last column may have the separator in it; Constraints may too, if
AdminComment alone comes after it.

Times are Unix seconds, which sacct prints with SLURM_TIME_FORMAT=%s, or this host's: those of the hour that clocks show
twice in autumn are not known for sure.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from burst_agent.amounts import MEMORY_UNITS, slurm_minutes
from burst_agent.errors import BadRequest
from burst_agent.model import Job, JobState, Request, Tres

#: One good command for it.
COMMAND = (
    "SLURM_TIME_FORMAT=%s sacct -a -X -P -S 2026-01-01 -E 2026-02-01 -o JobID,User,UID,Account,QOS,Partition,Submit,"
    "Eligible,Start,End,Timelimit,ReqTRES,AllocTRES,Priority,Reservation,Licenses,Constraints,AdminComment"
)
_NEEDED = ("JobID", "User", "Account", "Partition", "Submit", "Start", "End", "Timelimit")
#: What sacct prints for a time that has not come.
NEVER = frozenset({"", "Unknown", "None", "N/A"})
#: No number of a job is larger: what is, is no number of sacct's.
_MOST = (1 << 32) - 1
#: Nodes of a job; slurmctld has no more.
_MOST_NODES = 1 << 16
#: Lines that are wrong are named, but not more than so many.
NAMED_MOST = 10


@dataclass(frozen=True, slots=True)
class Ran:
    """
    A job as it was when it came, and when it ran.
    """

    #: Pending, with its true start for Slurm's expectation.
    job: Job
    start: int
    end: int


@dataclass(slots=True)
class History:
    """
    What was read.
    """

    ran: list[Ran] = field(default_factory=list)
    #: Jobs that were cancelled before they started, or still run.
    left_out: int = 0
    broken: int = 0
    #: The first of the broken lines, with what is wrong.
    named: list[str] = field(default_factory=list)

    def _break(self, number: int, why: str) -> None:
        self.broken += 1
        if len(self.named) < NAMED_MOST:
            self.named.append(f"line {number}: {why}")


def parse(lines: Iterable[str]) -> History:
    """Read a history. Raises BadRequest where the first line does not name the columns that are needed."""
    numbered = enumerate(lines, start=1)
    _, head = next(numbered, (0, ""))
    columns = {name: index for index, name in enumerate(head.rstrip("\n").split("|")) if name}
    missing = [name for name in _NEEDED if name not in columns]
    if not {"AllocTRES", "ReqTRES"} & set(columns):
        missing.append("AllocTRES or ReqTRES")
    if missing:
        msg = f"the first line must name the columns; missing: {', '.join(missing)}. For example: {COMMAND}"
        raise BadRequest(msg)
    found, uids = History(), Counter[str]()
    width = max(columns.values()) + 1
    end = "|\n" if head.rstrip("\n").endswith("|") else "\n"
    for number, line in numbered:
        cells = line.rstrip(end).split("|", width - 1)
        if len(cells) < width:
            if line.strip():
                found._break(number, f"{len(cells)} columns, not {width}")  # noqa: SLF001 - its own module
            continue
        row = {name: cells[index] for name, index in columns.items()}
        if "." in row["JobID"]:
            continue
        if row["Start"] in NEVER or row["End"] in NEVER:
            found.left_out += 1
            continue
        try:
            found.ran.append(_ran(row, number, uids))
        except (ValueError, OverflowError) as e:
            found._break(number, f"job {row['JobID']}: {e}")  # noqa: SLF001 - its own module
    return found


def _number(text: str, most: int = _MOST) -> int:
    number = int(text)
    if not 0 <= number <= most:
        msg = f"{text} is out of range"
        raise ValueError(msg)
    return number


def _moment(text: str) -> int:
    return _number(text if text.isdecimal() else f"{datetime.fromisoformat(text).timestamp():.0f}")


def _limit_min(text: str) -> int | None:
    """Read a time limit in minutes; ``None``: unlimited, or the partition's."""
    limit = None if text == "Partition_Limit" else slurm_minutes(text)
    if limit is not None and not 0 < limit <= _MOST:
        msg = f"time limit {text}: no job has run with that"
        raise ValueError(msg)
    return limit


def _ran(row: dict[str, str], number: int, uids: Counter[str]) -> Ran:
    """Read one job. Raises ValueError, OverflowError."""
    start, end, submit = _moment(row["Start"]), _moment(row["End"]), _moment(row["Submit"])
    eligible = row.get("Eligible", "")
    eligible_s = submit if eligible in NEVER else max(_moment(eligible), submit)
    if end < start or start < submit:
        msg = "it ends before it starts, or starts before it was submitted"
        raise ValueError(msg)
    size, kind = tres(row.get("ReqTRES") or row.get("AllocTRES", ""))
    if not size.gpus and row.get("AllocTRES"):
        size, kind = tres(row["AllocTRES"])
    # Of a heterogeneous job, components have the leader's id: 123+0, 123+1.
    leader, is_component, _ = row["JobID"].partition("+")
    return Ran(
        Job(
            job_id=number, array_job_id=0, array_task_id=None, array_tasks=(),
            het_job_id=_number(leader) if is_component else 0, uid=_uid(row, uids),
            gid=0, user=row["User"], account=row["Account"], qos=row.get("QOS", ""), name="",
            partition=row["Partition"], state=JobState.PENDING, reason="", priority=_number(row.get("Priority") or "1"),
            completing=False, submit_time=submit, eligible_time=min(eligible_s, start), start_time=start, end_time=0,
            time_limit_min=_limit_min(row["Timelimit"]), min_nodes=max(size.nodes, 1), max_nodes=0, requested=size,
            request=_request(size), shares=(), gpu_type=kind,
            allocated=Tres(), nodes=(), required_nodes="", features=row.get("Constraints", ""),
            licenses=row.get("Licenses", ""), reservation=row.get("Reservation", ""), batch=True, requeue=True,
            restart_count=0, exit_code=0, work_dir="", admin_comment=row.get("AdminComment", ""),
        ),
        start,
        end,
    )  # fmt: skip


def _uid(row: dict[str, str], uids: Counter[str]) -> int:
    """Give the user's uid, or a number of its own where sacct was not asked for it."""
    user = row["User"]
    if user not in uids:
        unknown = 0 if user == "root" else len(uids) + 1_000_000
        uids[user] = _number(row["UID"]) if row.get("UID", "").isdecimal() else unknown
    return uids[user]


def _request(size: Tres) -> Request:
    """As many nodes as it had; sacct does not tell how it asked for them."""
    nodes = max(size.nodes, 1)
    return Request(
        min_nodes=nodes,
        max_nodes=nodes,
        tasks=nodes,
        cpus=max(size.cpus, nodes),
        memory_mib_per_node=-(-size.memory_mib // nodes),
        gpus=size.gpus,
    )


_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)([KMGTP]?)")


@functools.lru_cache(4096)
def tres(text: str) -> tuple[Tres, str]:
    """Read a list of trackable resources; beside it the first type of GPU named. Raises ValueError."""
    amounts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    typed = {name.removeprefix("gres/gpu:"): _number(n) for name, n in amounts.items() if name.startswith("gres/gpu:")}
    memory = _MEMORY.fullmatch(amounts.get("mem", "0M"))
    if memory is None:
        msg = f"mem={amounts['mem']} is no amount of memory"
        raise ValueError(msg)
    size = Tres(
        cpus=_number(amounts.get("cpu", "1")),
        memory_mib=_number(f"{Decimal(memory[1]) * MEMORY_UNITS[memory[2]]:.0f}"),
        nodes=_number(amounts.get("node", "1"), _MOST_NODES),
        gpus=_number(amounts["gres/gpu"]) if "gres/gpu" in amounts else sum(typed.values()),
    )
    return size, next(iter(typed), "")
