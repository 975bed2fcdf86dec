"""
What the loop keeps of jobs, and for how long.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent.hints import FORGETS_S, UNTOLD_S, Hints
from burst_agent.model import JobState
from burst_agent.steps import Backoff

from .fakes import make_job


def test_each_failure_waits_longer_up_to_a_limit() -> None:
    """Until the job has run."""
    hints = Hints()
    assert [hints.back_off(7, "no room", 1000.0, 30.0, 100.0) for _ in range(4)] == [30, 60, 100, 100]
    assert hints.backoffs == {7: Backoff(1100.0, "no room")}
    hints.succeed(7)
    assert hints.back_off(7, "no room", 1000.0, 30.0, 100.0) == 30


def test_a_job_that_has_ended_leaves_nothing() -> None:
    """Nor does one that slurmctld has forgotten; its id may come again."""
    hints = Hints()
    for job_id in (7, 8, 9):
        hints.back_off(job_id, "no room", 1000.0, 30.0, 100.0)
    hints.note([make_job(7), make_job(8, state=JobState.CANCELLED)], "k8s-burst", 1000.0)
    assert list(hints.backoffs) == [7]
    assert [hints.back_off(job_id, "again", 1000.0, 30.0, 100.0) for job_id in (7, 8, 9)] == [60, 30, 30]


def test_since_when_a_moved_job_waits() -> None:
    """From the first look that finds it pending there; it begins anew when the job has been elsewhere."""
    hints, moved = Hints(), make_job(7, partition="k8s-burst")
    hints.note([moved, make_job(8)], "k8s-burst", 1000.0)
    hints.note([moved, make_job(8)], "k8s-burst", 1030.0)
    assert hints.moved_since == {7: 1000.0}
    hints.note([make_job(7, partition="k8s-burst", state=JobState.RUNNING)], "k8s-burst", 1060.0)
    assert hints.moved_since == {}
    hints.note([moved], "k8s-burst", 1090.0)
    assert hints.moved_since == {7: 1090.0}


def test_a_run_that_is_over_counts_until_slurmdbd_tells_of_it() -> None:
    """A requeue hides it, and slurmctld forgets ended jobs; what it still shows is not said twice."""
    hints = Hints()
    runs = make_job(7, partition="k8s-burst", state=JobState.RUNNING, start_time=900)
    ended = make_job(8, partition="k8s-burst", state=JobState.FAILED, start_time=800, end_time=950)
    hints.note([runs, ended, make_job(9, start_time=1500)], "k8s-burst", 1000.0)
    assert list(hints.runs) == []
    back = make_job(7, restart_count=1)
    hints.note([back, ended], "k8s-burst", 1060.0)
    over = replace(runs, state=JobState.CANCELLED, end_time=1060)
    assert list(hints.runs) == [over]
    again = replace(runs, restart_count=1, start_time=1100)
    hints.note([again], "k8s-burst", 1120.0)
    assert list(hints.runs) == [over, ended]
    hints.note([again], "k8s-burst", 1180.0, {(7, 900)})
    assert list(hints.runs) == [ended]
    hints.note([again], "k8s-burst", 950.0 + UNTOLD_S)
    assert list(hints.runs) == []


def test_slurm_forgets_what_it_expects_while_it_looks_anew() -> None:
    """For a moment the last start holds; a new one does at once, and a job that starts has its own."""
    hints = Hints()

    def starts(now: float, *jobs: tuple[int, JobState]) -> list[int]:
        made = [make_job(7, start_time=start, state=state) for start, state in jobs]
        return [job.start_time for job in hints.recall(made, now)]

    pending = JobState.PENDING
    assert starts(1000.0, (0, pending)) == [0]
    assert starts(1000.0, (1500, pending)) == [1500]
    assert starts(999.0 + FORGETS_S, (0, pending)) == [1500]
    assert starts(1000.0 + FORGETS_S, (0, pending)) == [0]
    assert starts(1100.0, (1600, pending)) == [1600]
    assert starts(1101.0, (1700, pending)) == [1700]
    assert starts(1102.0) == []
    assert starts(1103.0, (0, pending)) == [0]
    assert starts(1104.0, (1700, pending)) == [1700]
    assert starts(1105.0, (0, JobState.RUNNING)) == [0]
