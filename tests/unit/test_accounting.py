"""
Finished jobs, with stand-ins for slurmdbd's answers.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from burst_agent.accounting import SPAN_S, Accounting, gpus, newest, spans, usage
from burst_agent.errors import AccountingMissing
from burst_agent.model import JobUsage

DAY = SPAN_S


@dataclass
class DbdHas:
    """
    A slurmdbd with jobs by (start, end), which gives those alive in a span as the real one does.
    """

    jobs: dict[int, tuple[int, int]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, start: int, end: int) -> list[tuple[int, JobUsage]]:
        self.asked.append((start, end))
        alive = ((job, ended) for job, (began, ended) in self.jobs.items() if began <= end and ended >= start)
        return [(ended, JobUsage(job, "alice", "phys", "COMPLETED", 60, 1)) for job, ended in alive]


def test_jobs_come_newest_first_each_once() -> None:
    dbd = DbdHas({1: (0, DAY - 5), 2: (10, 2 * DAY + 7), 3: (2 * DAY, 2 * DAY + 9), 4: (0, 3 * DAY)})

    assert [job.job_id for job in newest(dbd, 0, 3 * DAY, 100)] == [4, 3, 2, 1]


def test_jobs_that_ended_before_are_left_out_though_slurmdbd_gives_them() -> None:
    assert [job.job_id for job in newest(DbdHas({1: (0, 50), 2: (0, 51)}), 50, 100, 100)] == [2]


def test_a_full_list_ends_the_search() -> None:
    dbd = DbdHas({n: (n * DAY, n * DAY + 1) for n in range(10)})

    assert [job.job_id for job in newest(dbd, 0, 10 * DAY, 3)] == [9, 8, 7]
    assert dbd.asked[0] == (9 * DAY, 10 * DAY)
    assert len(dbd.asked) == 3


def test_spans_cover_the_time_without_gap_or_overlap() -> None:
    assert list(spans(10, 2 * DAY + 50)) == [(DAY + 50, 2 * DAY + 50), (50, DAY + 50), (10, 50)]
    assert list(spans(10, 10)) == []


def record(**changes: object) -> SimpleNamespace:
    known = {"id": 7, "user_name": "alice", "user_id": 2001, "account": "phys", "state": "COMPLETED"}
    known |= {"start_time": 1000, "cpus": 4, "num_nodes": 1, "admin_comment": "k8s-burst=now", "elapsed_time": 3600}
    return SimpleNamespace(**(known | {"gpus": {"gpu": SimpleNamespace(count=2)}} | changes))


def test_a_record_is_translated() -> None:
    assert usage(record()) == JobUsage(
        7, "alice", "phys", "COMPLETED", 3600, 2, start=1000, cpus=4, admin_comment="k8s-burst=now"
    )
    assert usage(record()).gpu_hours == 2


def test_what_pyslurm_leaves_out_is_filled_in() -> None:
    none = dict.fromkeys(("elapsed_time", "user_name", "account", "start_time", "cpus", "num_nodes", "admin_comment"))
    assert usage(record(**none, gpus={})) == JobUsage(7, "2001", "", "COMPLETED", 0, 0)


def test_typed_gpus_are_not_counted_twice() -> None:
    both = {"gpu": SimpleNamespace(count=3), "gpu:a100": SimpleNamespace(count=1), "gpu:h100": SimpleNamespace(count=2)}

    assert gpus(record(gpus=both)) == 3
    assert usage(record(gpus=both)).gpu_type == "a100"
    del both["gpu"]
    assert gpus(record(gpus=both)) == 3


async def test_without_pyslurm_the_call_says_what_to_install() -> None:
    accounting = Accounting(deadline_s=20)
    try:
        with pytest.raises(AccountingMissing, match=r"slurm-k8s-burst\[accounting\]"):
            await accounting.finished_jobs(partition="k8s-burst", since=0, limit=1)
    finally:
        await accounting.close()
