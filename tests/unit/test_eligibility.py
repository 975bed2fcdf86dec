"""
What keeps a job from pods, in the words that users read.
"""

from __future__ import annotations

from typing import Any

import pytest
from burst_agent import names
from burst_agent.eligibility import hold, refusal, refusal_kind, unwanted

from .fakes import make_job, make_seen


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("", "it is not flagged"),
        ("k8s-burst=never nodes=1-0", "--k8s-burst=never"),
        ("k8s-burst=auto nodes=1-0", ""),
        ("k8s-burst=now by=night", ""),
    ],
)
def test_somebody_must_want_it(comment: str, said: str) -> None:
    """The user, or a rule of the site."""
    assert unwanted(names.parse_comment(comment)) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"uid": 0}, "root"),
        ({"het_job_id": 5}, "heterogeneous"),
        ({"federated": True}, "federation"),
        ({"required_nodes": "gpu3"}, "gpu3"),
        ({"features": "fast"}, "fast"),
        ({"licenses": "ansys:1"}, "ansys"),
        ({"reservation": "course"}, "course"),
    ],
)
def test_what_pods_cannot_give(changes: dict[str, Any], said: str) -> None:
    """Users read which option it is."""
    why, kind = refusal(make_job(**changes)), refusal_kind(make_job(**changes))
    assert said in why
    assert bool(why) is bool(kind) is bool(said)
    others = [str(value) for value in changes.values() if isinstance(value, str)]
    assert not any(value in kind for value in others), "it is counted by, so nothing in it is the job's own"


@pytest.mark.parametrize(
    "reason",
    [
        "Resources",
        "Priority",
        "None",
        "PartitionDown",
        "ReqNodeNotAvail, UnavailableNodes:gpu0",
        "Nodes required for job are DOWN",
    ],
)
def test_want_of_nodes_is_what_bursting_is_for(reason: str) -> None:
    """These reasons more nodes would end."""
    assert hold(make_seen(make_job(reason=reason))) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"priority": 0, "reason": "JobHeldUser"}, "it is held (scontrol release ends that)"),
        ({"reason": "Dependency"}, "Slurm holds it back (Dependency)"),
        ({"reason": "None", "dependency": "afterok:5(unfulfilled)"}, "Slurm holds it back (Dependency)"),
        ({"reason": "None", "eligible_time": 3000}, "Slurm holds it back (BeginTime)"),
        ({"reason": "(QOSMaxJobsPerUserLimit)"}, "Slurm holds it back (QOSMaxJobsPerUserLimit)"),
    ],
)
def test_slurm_would_not_start_it_on_a_free_node(changes: dict[str, Any], said: str) -> None:
    """Whatever reason slurmctld shows at the moment: time and dependency are in the record."""
    assert hold(make_seen(make_job(**changes))) == said


def test_a_task_whose_turn_has_not_come() -> None:
    """Its array has a limit, which slurmctld would keep to."""
    assert hold(make_seen(make_job(), turns=0)) == "its array runs as many tasks at once as it may"
    assert hold(make_seen(make_job(), turns=1)) == ""


@pytest.mark.parametrize("word", ["BeginTime", "Dependency"])
def test_what_is_known_otherwise_ends_without_slurmctlds_word(word: str) -> None:
    """A begin time passes, a dependency is met: both are seen at once."""
    job = make_job(reason="None", admin_comment=f"k8s-burst=now state=waiting reason=Slurm holds it back ({word})")
    assert hold(make_seen(job)) == ""
