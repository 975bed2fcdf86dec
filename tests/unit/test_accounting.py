"""
Finished jobs, with answers of sacct as recorded, and stand-ins for sacct itself.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from burst_agent.accounting import SEPARATOR, SPAN_S, Accounting, finished, newest, spans
from burst_agent.errors import AccountingMissing, SlurmUnavailable
from burst_agent.model import JobUsage

DAY = SPAN_S


@dataclass
class DbdHas:
    """
    A slurmdbd with jobs by (start, end), which gives those alive in a span as the real one does.
    """

    jobs: dict[int, tuple[int, int]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def __call__(self, start: int, end: int) -> list[tuple[int, JobUsage]]:
        self.asked.append((start, end))
        alive = ((job, ended) for job, (began, ended) in self.jobs.items() if began <= end and ended >= start)
        return [(ended, JobUsage(job, "alice", "phys", "COMPLETED", 60, 1)) for job, ended in alive]


async def test_jobs_come_newest_first_each_once() -> None:
    dbd = DbdHas({1: (0, DAY - 5), 2: (10, 2 * DAY + 7), 3: (2 * DAY, 2 * DAY + 9), 4: (0, 3 * DAY)})

    assert [job.job_id for job in await newest(dbd, 0, 3 * DAY, 100)] == [4, 3, 2, 1]


async def test_jobs_that_ended_before_are_left_out_though_slurmdbd_gives_them() -> None:
    assert [job.job_id for job in await newest(DbdHas({1: (0, 50), 2: (0, 51)}), 50, 100, 100)] == [2]


async def test_a_full_list_ends_the_search() -> None:
    dbd = DbdHas({n: (n * DAY, n * DAY + 1) for n in range(10)})

    assert [job.job_id for job in await newest(dbd, 0, 10 * DAY, 3)] == [9, 8, 7]
    assert dbd.asked[0] == (9 * DAY, 10 * DAY)
    assert len(dbd.asked) == 3


def test_spans_cover_the_time_without_gap_or_overlap() -> None:
    assert list(spans(10, 2 * DAY + 50)) == [(DAY + 50, 2 * DAY + 50), (50, DAY + 50), (10, 50)]
    assert list(spans(10, 10)) == []


#: What sacct of Slurm 24.11.5 answered: jobs 70004 and 70007 ran while slurmctld was killed, 70005 was requeued once.
ANSWER = """\
70004~alice~1001~physics~CANCELLED~50~2026-11-25T20:18:46~2026-11-25T20:19:36~billing=1,cpu=1,gres/gpu=1,mem=100M,\
node=1~k8s-burst=now from=gpu nodes=1-0 state=running restart=0 target=default pod-start=2
70005~alice~1001~physics~REQUEUED~2~2026-11-25T20:18:46~2026-11-25T20:18:48~billing=1,cpu=1,mem=100M,node=1~\
k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default
70005~alice~1001~physics~COMPLETED~1~2026-11-25T20:19:05~2026-11-25T20:19:06~billing=1,cpu=1,mem=100M,node=1~\
k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default
70007~alice~1001~physics~CANCELLED by 0~33~2026-11-25T20:19:58~2026-11-25T20:20:31~billing=1,cpu=1,gres/gpu=1,\
mem=100M,node=1~k8s-burst=now from=gpu nodes=1-0 state=provisioning target=default
70009~alice~1001~physics~RUNNING~33~2026-11-25T20:19:58~Unknown~billing=1,cpu=1,mem=100M,node=1~k8s-burst=now
""".replace("~", SEPARATOR)
#: 2026-11-25 20:00, in Unix seconds.
EIGHT = 1795636800


def line(**changes: str) -> str:
    row = {"id": "7", "user": "alice", "uid": "1001", "account": "phys", "state": "COMPLETED", "elapsed": "60"}
    row |= {"start": "2026-11-25T20:00:00", "end": "2026-11-25T20:01:00", "tres": "cpu=4,mem=1000M,node=2"}
    return SEPARATOR.join((row | {"comment": "k8s-burst=now"} | changes).values()) + "\n"


def test_each_run_of_a_requeued_job_is_there_whatever_became_of_its_steps() -> None:
    ended = list(finished(ANSWER))

    assert [(job.job_id, job.state, job.start - EIGHT, job.elapsed_s, job.gpus) for _, job in ended] == [
        (70004, "CANCELLED", 1126, 50, 1),
        (70005, "REQUEUED", 1126, 2, 0),
        (70005, "COMPLETED", 1145, 1, 0),
        (70007, "CANCELLED", 1198, 33, 1),
    ]
    assert all(end == job.start + job.elapsed_s for end, job in ended)
    assert ended[0][1].admin_comment.endswith(" target=default pod-start=2")


def test_a_record_is_translated() -> None:
    assert list(finished(line(tres="cpu=4,gres/gpu=2,node=2", comment=f"a{SEPARATOR}b|c\nsecond line"))) == [
        (
            EIGHT + 60,
            JobUsage(
                7, "alice", "phys", "COMPLETED", 60, 2, start=EIGHT, cpus=4, nodes=2, admin_comment=f"a{SEPARATOR}b|c"
            ),
        )
    ]


def test_a_job_that_never_started_cost_nothing() -> None:
    ((_, job),) = finished(line(user="", start="None", elapsed="0", tres="", state="CANCELLED by 1001"))
    assert (job.user, job.start, job.elapsed_s, job.gpus, job.state) == ("1001", 0, 0, 0, "CANCELLED")


@pytest.mark.parametrize("broken", [{"id": "x"}, {"elapsed": ""}, {"end": "soon"}, {"tres": "cpu=many"}])
def test_one_record_that_cannot_be_read_costs_only_itself(broken: dict[str, str]) -> None:
    """It is named in the log."""
    with structlog.testing.capture_logs() as logs:
        assert [job.job_id for _, job in finished(line() + line(**({"id": "8"} | broken)) + line(id="9"))] == [7, 9]
    assert [entry["job_id"] for entry in logs] == [broken.get("id", "8")]


def test_typed_gpus_are_not_counted_twice() -> None:
    both = "cpu=1,gres/gpu=3,gres/gpu:a100=1,gres/gpu:h100=2"
    for given in (both, both.replace("gres/gpu=3,", "")):
        ((_, job),) = finished(line(tres=given))
        assert (job.gpus, job.gpu_type) == (3, "a100")


async def asked(script: str, deadline_s: float = 20, since: int = 0) -> Sequence[JobUsage]:
    """What a sacct does that is this shell script; its arguments are the question."""
    accounting = Accounting(deadline_s=deadline_s, sacct=("sh", "-c", script, "sacct"))
    try:
        return await accounting.finished_jobs(partition="k8s-burst", since=since or int(time.time()) - 60, limit=10)
    finally:
        await accounting.close()


async def test_sacct_is_asked_in_utc_for_the_partition_and_the_time(tmp_path: Path) -> None:
    ended = datetime.now(UTC) - timedelta(seconds=5)
    answer = tmp_path / "answer"
    answer.write_text(line(end=ended.strftime("%Y-%m-%dT%H:%M:%S")), encoding="utf-8")
    (job,) = await asked(f'echo "$TZ $@" >{tmp_path}/question; cat {answer}')
    assert job.job_id == 7
    question = (tmp_path / "question").read_text(encoding="utf-8")
    utc = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert re.fullmatch(rf"UTC --partition=k8s-burst --starttime={utc} --endtime={utc}\n", question)


async def test_what_slurmdbd_says_is_told() -> None:
    with pytest.raises(SlurmUnavailable, match="Problem talking to the database: Connection refused"):
        await asked("echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1")


async def test_a_sacct_that_hangs_is_ended() -> None:
    with pytest.raises(SlurmUnavailable, match=r"longer than 0.1 s"):
        await asked("exec sleep 1000", deadline_s=0.1)


async def test_without_slurms_commands_the_call_says_what_to_install() -> None:
    accounting = Accounting(deadline_s=20, sacct=("/no/such/sacct",))
    with pytest.raises(AccountingMissing, match=r"/no/such/sacct.*Install Slurm's commands"):
        await accounting.finished_jobs(partition="k8s-burst", since=0, limit=1)
    await accounting.close()


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("AccountingStorageTRES   = cpu,gres/gpu,gres/gpu:a100", {"cpu", "gres/gpu", "gres/gpu:a100"}),
        ("AccountingStoreFlags    = job_comment", set()),
    ],
)
async def test_what_slurmdbd_keeps_of_jobs(line: str, kept: set[str]) -> None:
    """As scontrol shows slurm.conf."""
    shown = f"Configuration data as of now\nAccountingStorageType   = a/b\n{line}\nAuthType = auth/munge\n"
    accounting = Accounting(deadline_s=20, scontrol=("printf", "%s", shown))
    assert await accounting.kept_tres() == kept
    await accounting.close()


async def test_without_pyslurm_the_call_says_what_to_install() -> None:
    accounting = Accounting(deadline_s=20)
    try:
        with pytest.raises(AccountingMissing, match=r"slurm-k8s-burst\[accounting\]"):
            await accounting.accounts("alice")
    finally:
        await accounting.close()
