"""
The table, whatever is seen; and that looking a job up twice changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent import lifecycle, names, podstate
from burst_agent.model import JobRef, JobState, PodPhase
from burst_agent.steps import (
    Backoff,
    Decision,
    DeletePods,
    KillJob,
    MoveJob,
    RequeueJob,
    Seen,
    StartBackoff,
    WriteComment,
)
from hypothesis import given
from hypothesis import strategies as st

from .fakes import make_job, make_pod
from .table import MOVED, RAN, SHARE, SITE, kinds

STATES = st.sampled_from(JobState)
JOBS = st.builds(
    make_job,
    state=STATES,
    partition=st.sampled_from(["gpu", "k8s-burst"]),
    nodes=st.sampled_from([(), ("k8s-1",), ("k8s-1", "k8s-2")]),
    admin_comment=st.sampled_from(["", "k8s-burst=now", "k8s-burst=never", MOVED, RAN]),
    restart_count=st.integers(0, 1),
    completing=st.booleans(),
    priority=st.integers(0, 1),
    reason=st.sampled_from(["Resources", "Dependency"]),
    array_tasks=st.sampled_from([(), (1, 2)]),
    uid=st.sampled_from([0, 1000]),
)
PODS = st.lists(
    st.builds(
        make_pod,
        st.builds(make_job, restart_count=st.integers(0, 1)),
        node=st.sampled_from(["k8s-1", "k8s-2"]),
        running=st.booleans(),
        terminating=st.booleans(),
        ends_by=st.sampled_from([0.0, 1100.0]),
        phase=st.sampled_from(PodPhase),
        reason=st.sampled_from(["", "Unschedulable", "ImagePullBackOff"]),
    ),
    max_size=3,
    unique_by=lambda pod: pod.name,
)
DECISIONS = st.sampled_from(
    [None, Decision(target="default", shares=(SHARE,)), Decision(target="default", tasks=(1,)), Decision(reason="cap")]
)
SEEN = st.builds(
    lambda job, pods, backoff, decision, moved_since: Seen(
        job, names.parse_comment(job.admin_comment), tuple(pods), 1100.0, backoff, moved_since, decision
    ),
    JOBS,
    PODS,
    st.sampled_from([None, Backoff(2000, "x")]),
    DECISIONS,
    st.sampled_from([None, 1000.0]),
)


@given(SEEN)
def test_a_comment_once_written_is_not_written_again(seen: Seen) -> None:
    """Applying what was decided, and looking again, asks for no second write."""
    step = lifecycle.apply(seen, SITE)
    written = [action for action in step.actions if isinstance(action, WriteComment) and action.ref == JobRef(7)]
    assert len(written) <= 1
    for action in written:
        job = replace(seen.job, admin_comment=action.text)
        again = lifecycle.apply(replace(seen, job=job, comment=names.parse_comment(action.text)), SITE)
        assert not [one for one in again.actions if isinstance(one, WriteComment) and one.ref == JobRef(7)]


@given(SEEN)
def test_what_must_never_happen(seen: Seen) -> None:
    """Whatever is seen."""
    step, job = lifecycle.apply(seen, SITE), seen.job
    done = kinds(step)
    moves = [action for action in step.actions if isinstance(action, MoveJob)]
    assert not moves or job.state is JobState.PENDING
    assert not ({"RequeueJob", "KillJob"} & set(done)) or job.state in (JobState.RUNNING, JobState.SUSPENDED)
    assert not (job.uid == 0 and "MakePods" in done)
    if job.completing:
        assert not done
    for move in moves:
        if move.partition == SITE.partition:
            current = [pod for pod in seen.pods if podstate.is_current(pod, job)]
            assert current
            assert all(pod.running and not pod.ended for pod in current)
            assert not job.held
        else:
            assert job.partition == SITE.partition
    for action in step.actions:
        if isinstance(action, DeletePods):
            assert not any(pod.terminating for pod in action.pods)
        if isinstance(action, (StartBackoff, RequeueJob, KillJob)):
            assert action.why
