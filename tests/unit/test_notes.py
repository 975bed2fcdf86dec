"""
What is written into admin_comment, and that the same is not written twice.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent import notes
from burst_agent.model import BurstState, JobRef
from burst_agent.names import parse_comment
from burst_agent.steps import WriteComment

from .fakes import make_job, make_pod, make_seen

MOVED = "k8s-burst=now from=gpu nodes=1-0 state=provisioning target=east"


def test_where_it_comes_from() -> None:
    """Partition and node count: a move overwrites both."""
    seen = make_seen(make_job())
    assert notes.remember(seen, "east") == (WriteComment(JobRef(7), MOVED),)
    assert notes.split_off(seen, "east", 3) == WriteComment(JobRef(7, 3), MOVED)
    assert notes.remember(make_seen(make_job(admin_comment=MOVED)), "east") == ()


def test_why_it_waits() -> None:
    """A notice; what was remembered for a try is forgotten with it."""
    seen = make_seen(make_job(admin_comment=MOVED))
    (said,) = notes.say(seen, BurstState.WAITING, "no room")
    assert said == WriteComment(JobRef(7), "k8s-burst=now nodes=1-0 state=waiting reason=no room", notice=True)
    assert notes.say(make_seen(make_job(admin_comment=said.text)), BurstState.WAITING, "no room") == ()


def test_that_it_runs() -> None:
    """With the run that it is said of, and what its pods took to start; both stay when the run is lost."""
    job = make_job(admin_comment=MOVED, restart_count=2)
    seen = make_seen(job, make_pod(job, target="east", created=1000.0, started=1042.4))
    (ran,) = notes.say(seen, BurstState.RUNNING, "", keep_origin=True)
    text = "k8s-burst=now from=gpu nodes=1-0 state=running restart=2 target=east pod-start=42"
    assert ran == WriteComment(JobRef(7), text)
    (lost,) = notes.say(
        make_seen(replace(job, admin_comment=text), target="east"), BurstState.LOST, "evicted", keep_origin=True
    )
    assert lost == WriteComment(JobRef(7), text.replace("running", "lost") + " reason=evicted")
    assert notes.tells(parse_comment(text), BurstState.RUNNING, job)
    assert not notes.tells(parse_comment(text), BurstState.LOST, job)
    assert not notes.tells(parse_comment(text), BurstState.RUNNING, replace(job, restart_count=3))


def test_where_late_pods_are_made() -> None:
    """Beside what stands there already."""
    late = make_seen(make_job(admin_comment="k8s-burst=now x=y"), target="east")
    assert notes.aim(late) == (WriteComment(JobRef(7), "k8s-burst=now target=east x=y"),)
    assert notes.aim(make_seen(make_job(admin_comment=MOVED), target="east")) == ()


def test_nothing_is_written_of_a_job_that_is_not_flagged() -> None:
    """Its admin_comment is somebody else's."""
    seen = make_seen(make_job(admin_comment="for the auditors"))
    assert notes.say(seen, BurstState.RUNNING, "") == ()
    assert notes.aim(seen) == ()


def test_why_it_is_not_where_it_was_to_go_first() -> None:
    """Other reasons end with what they are about."""
    assert notes.passed(parse_comment(f"{MOVED} reason=not at west: dear")) == "not at west: dear"
    assert notes.passed(parse_comment(f"{MOVED} reason=Unschedulable")) == ""
    assert notes.passed(None) == ""
