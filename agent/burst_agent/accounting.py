"""
AccountingPort. Ended jobs come from Slurm's own ``sacct``, what is kept of them from ``scontrol``, users' accounts from
pyslurm.

sacct fits every Slurm, gives allocations without their steps, and gives each run of a job that was requeued: each has
cost money. pyslurm.db has neither: it keeps one run of a job, and a single step whose statistics nobody has filled in
(slurmctld was killed meanwhile) makes it raise IndexError for the whole answer.

pyslurm is an extra, and lives in a worker process: it holds the GIL while slurmdbd answers, its libslurm may end the
process, and it fits one Slurm minor only.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from burst_agent.errors import AccountingMissing, SlurmUnavailable
from burst_agent.model import Accounts, JobUsage
from burst_agent.sacct import NEVER, tres
from burst_agent.worker import Worker, WorkerLost

log = structlog.get_logger(__name__)

#: slurmdbd is asked for one span at a time, newest first, so that a long history is never in memory as a whole.
SPAN_S = 86400
#: A comment may hold any printable character; it comes last, so that it may hold this one too.
SEPARATOR = "\x1f"
_COLUMNS = ("JobIDRaw", "User", "UID", "Account", "State", "ElapsedRaw", "Start", "End", "AllocTRES", "AdminComment")
_SACCT = (
    "sacct", "--allusers", "--local", "--allocations", "--duplicates", "--noheader", "--noconvert", "--parsable2",
    f"--delimiter={SEPARATOR}", f"--format={','.join(_COLUMNS)}",
)  # fmt: skip
_SCONTROL = ("scontrol", "show", "config")
_KEPT = re.compile(r"^AccountingStorageTRES\s*=\s*(\S*)", re.MULTILINE)
#: Local time is ambiguous for an hour of each year.
_ENVIRONMENT = {"TZ": "UTC", "SLURM_TIME_FORMAT": "standard"}


class Accounting:
    """
    The slurmdbd of this host's slurm.conf.
    """

    def __init__(
        self, *, deadline_s: float, sacct: Sequence[str] = _SACCT, scontrol: Sequence[str] = _SCONTROL
    ) -> None:
        """Describe it; ``deadline_s`` is the deadline of each question, ``sacct`` and ``scontrol`` how it is asked."""
        self._deadline_s = deadline_s
        self._sacct = tuple(sacct)
        self._scontrol = tuple(scontrol)
        self._worker = Worker(__name__, name="pyslurm")

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        """Load finished jobs, newest first, each run of a requeued one. Raises AccountingMissing, SlurmUnavailable."""

        async def load_span(start: int, end: int) -> list[tuple[int, JobUsage]]:
            window = (f"--starttime={_utc(start)}", f"--endtime={_utc(end + 1)}")
            answer = await self._ask("finished jobs", *self._sacct, f"--partition={partition}", *window)
            return await asyncio.to_thread(lambda: list(finished(answer)))

        return await newest(load_span, since, int(time.time()), limit)

    async def kept_tres(self) -> Collection[str]:
        """Name the resources that slurmdbd keeps of jobs. Raises AccountingMissing, SlurmUnavailable."""
        match = _KEPT.search(await self._ask("AccountingStorageTRES", *self._scontrol))
        return frozenset(match[1].split(",") if match else ())

    async def accounts(self, user: str) -> Accounts:
        """Name the accounts that a user may charge. Raises AccountingMissing, SlurmUnavailable."""
        try:
            found = await self._worker.call("load_accounts", user, timeout_s=self._deadline_s)
        except WorkerLost as e:
            msg = f"slurmdbd can't be asked for the accounts of {user}: {e}"
            raise SlurmUnavailable(msg) from e
        return cast("Accounts", found)

    async def close(self) -> None:
        """End the worker."""
        await self._worker.close()

    async def _ask(self, what: str, *command: str) -> str:
        pipe = asyncio.subprocess.PIPE
        try:
            child = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=os.environ | _ENVIRONMENT
            )
        except OSError as e:
            msg = f"{what} can't be read: {command[0]} can't be run: {e}. Install Slurm's commands on this host"
            raise AccountingMissing(msg) from e
        try:
            async with asyncio.timeout(self._deadline_s):
                out, err = await child.communicate()
        except TimeoutError as e:
            msg = f"{what} can't be read: {command[0]} took longer than {self._deadline_s:g} s"
            raise SlurmUnavailable(msg) from e
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            why = " ".join(err.decode(errors="replace").split()) or f"exit status {child.returncode}"
            msg = f"{what} can't be read: {command[0]} says: {why}"
            raise SlurmUnavailable(msg)
        return out.decode(errors="replace")


async def newest(
    load_span: Callable[[int, int], Awaitable[Iterable[tuple[int, JobUsage]]]], since: int, until: int, limit: int
) -> tuple[JobUsage, ...]:
    """Gather jobs that ended in (since, until], newest first, from a loader of (end time, job) by span."""
    found: list[JobUsage] = []
    for start, end in spans(since, until):
        # A span gives all jobs that were alive in it, so a job is counted in the span in which it ended.
        ended = [(when, job) for when, job in await load_span(start, end) if start < when <= end]
        ended.sort(key=lambda entry: (entry[0], entry[1].job_id), reverse=True)
        found.extend(job for _, job in ended)
        if len(found) >= limit:
            break
    return tuple(found[:limit])


def spans(since: int, until: int) -> Iterator[tuple[int, int]]:
    """Cut (since, until] into spans, newest first."""
    end = until
    while end > since:
        start = max(since, end - SPAN_S)
        yield start, end
        end = start


def finished(answer: str) -> Iterator[tuple[int, JobUsage]]:
    """Read sacct's answer as (end time, job), without jobs that have not ended; what can't be read is left out."""
    for line in answer.split("\n"):
        cells = line.split(SEPARATOR, len(_COLUMNS) - 1)
        if len(cells) < len(_COLUMNS):  # nothing, or the rest of a comment of several lines
            continue
        row = dict(zip(_COLUMNS, cells, strict=True))
        if row["End"] in NEVER:
            continue
        try:
            yield _moment(row["End"]), usage(row)
        except (ValueError, KeyError) as e:
            log.warning("finished_job_left_out", job_id=row["JobIDRaw"], error=f"sacct's record can't be read: {e}")


def usage(row: dict[str, str]) -> JobUsage:
    """Translate one record. Raises ValueError, KeyError."""
    size, gpu_type = tres(row["AllocTRES"])
    return JobUsage(
        job_id=int(row["JobIDRaw"]),
        user=row["User"] or row["UID"],
        account=row["Account"],
        # "CANCELLED by 1001"
        state=row["State"].partition(" ")[0],
        elapsed_s=int(row["ElapsedRaw"]),
        gpus=size.gpus,
        start=0 if row["Start"] in NEVER else _moment(row["Start"]),
        cpus=size.cpus,
        nodes=size.nodes,
        gpu_type=gpu_type,
        admin_comment=row["AdminComment"],
    )


def _moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _utc(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@functools.cache
def pyslurm() -> Any:
    """Import pyslurm, which reads slurm.conf as it loads. Raises AccountingMissing."""
    try:
        return importlib.import_module("pyslurm")
    except ImportError as e:
        msg = (
            "users' accounts can't be read: pyslurm is not installed, or is one for another Slurm. Install the agent "
            "with its extra, pip install 'slurm-k8s-burst[accounting]', and pin pyslurm to this Slurm's release, e.g. "
            f"'pyslurm==25.11.*' ({e})"
        )
        raise AccountingMissing(msg) from e


def load_accounts(user: str) -> Accounts:
    """Ask slurmdbd for a user's associations; runs in the worker. Raises AccountingMissing, SlurmUnavailable."""
    module = pyslurm()
    try:
        by_cluster = module.db.Associations.load(module.db.AssociationFilter(users=[user])).data
    except module.PyslurmError as e:
        msg = f"slurmdbd does not give the accounts of {user}: {e}"
        raise SlurmUnavailable(msg) from e
    all_ = by_cluster.get(module.settings.LOCAL_CLUSTER, {}).values()
    # slurmdbd takes an empty list of users for all.
    mine = [one for one in all_ if one.account and one.user == user]
    return Accounts(frozenset(one.account for one in mine), next((one.account for one in mine if one.is_default), ""))
