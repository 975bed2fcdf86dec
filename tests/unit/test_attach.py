"""
Which launcher gets into which pod.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from burst_agent.attach import Attacher, Gone, Ready, Waiting
from burst_agent.clusters import Clusters
from burst_agent.errors import NotAllowed
from burst_agent.model import JobState, PodPhase
from burst_agent.reconcile import site

from .fake_kube import FakeKube
from .fake_slurm import FakeSlurm
from .fakes import VirtualClock, make_job, make_node, make_pod, make_settings

RAN = "k8s-burst=now from=gpu nodes=1-0 state=running restart=0 target=default"


class Desk:
    """
    An attacher, with what it looks at.
    """

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.slurm = FakeSlurm(make_node())
        self.kube = FakeKube(self.clock)
        self.wakes = 0
        self.site = site(make_settings())
        self.attacher = Attacher(
            slurm=self.slurm,
            clusters=Clusters({"default": self.kube}, self.clock),
            clock=self.clock,
            cluster="c1",
            site=lambda: self.site,
            wake=self._wake,
        )
        self.job = make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",), admin_comment=RAN)
        self.slurm.submit(self.job)
        self.pod = make_pod(self.job)

    def _wake(self) -> None:
        self.wakes += 1

    async def ask(self, job_id: int = 7, node: str = "k8s-1", uid: int = 1000) -> Ready | Waiting | Gone:
        return await self.attacher.attach(job_id=job_id, node=node, uid=uid)


async def test_the_owner_of_a_running_job() -> None:
    """Gets the way to the pod and a token for it."""
    desk = Desk()
    desk.kube.change(desk.pod)
    answer = await desk.ask()
    assert isinstance(answer, Ready)
    assert (answer.pod, answer.endpoint.url) == (desk.pod, "https://kube:6443")
    assert answer.token.secret == "token-1-k8s-burst-7-0-k8s-1"
    assert answer.partition == "gpu"


@pytest.mark.parametrize(
    ("comment", "partition"),
    [(RAN.replace("from=gpu", "from=gpu,cpu"), "gpu"), (RAN.replace(" from=gpu", ""), ""), ("", "")],
)
async def test_the_partition_of_the_submission(comment: str, partition: str) -> None:
    """The first of several; none for a job that was submitted to the burst partition."""
    desk = Desk()
    desk.slurm.submit(replace(desk.job, admin_comment=comment))
    desk.kube.change(desk.pod)
    answer = await desk.ask()
    assert isinstance(answer, Ready)
    assert answer.partition == partition


async def test_one_token_for_one_pod_until_it_is_old() -> None:
    """Asked again, the same; shortly before it expires, or for another pod, another."""
    desk = Desk()
    desk.kube.change(desk.pod)

    async def token() -> str:
        answer = await desk.ask()
        assert isinstance(answer, Ready)
        return answer.token.secret

    first = await token()
    assert await token() == first
    desk.clock.time += 600 - 121
    assert await token() == first
    desk.clock.time += 2
    second = await token()
    assert second != first
    desk.kube.change(desk.pod, uid="another")
    assert await token() not in (first, second)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"uid": 1001}, "not a job of uid 1001"),
        ({"uid": 0}, "not a job of uid 0"),
        ({"node": "k8s-2"}, "does not run on virtual node k8s-2"),
        ({"node": "../k8s-1"}, "does not run on virtual node"),
        ({"job_id": 8}, "no job 8"),
    ],
)
async def test_who_may_not(asked: dict[str, int | str], said: str) -> None:
    """slurmctld says whose job runs where; a claim says nothing."""
    desk = Desk()
    desk.kube.change(desk.pod)
    with pytest.raises(NotAllowed, match=said):
        await desk.ask(**asked)  # type: ignore[arg-type]
    assert desk.kube.tokens == 0


@pytest.mark.parametrize("changes", [{"state": JobState.PENDING}, {"state": JobState.COMPLETED}, {"partition": "gpu"}])
async def test_jobs_that_do_not_run_on_virtual_nodes(changes: dict[str, object]) -> None:
    """Nothing of them is in a pod."""
    desk = Desk()
    desk.kube.change(desk.pod)
    desk.slurm.change(7, **changes)
    with pytest.raises(NotAllowed):
        await desk.ask()


async def test_root_gets_into_no_job_of_root() -> None:
    """Not even its own."""
    desk = Desk()
    desk.slurm.change(7, uid=0)
    with pytest.raises(NotAllowed):
        await desk.ask(uid=0)


async def test_a_completing_job_still_gives_its_output() -> None:
    """Launchers that were cut off come back for the last bytes; without a pod there is nothing to come back for."""
    desk = Desk()
    desk.kube.change(desk.pod)
    desk.slurm.change(7, state=JobState.COMPLETED, completing=True)
    assert isinstance(await desk.ask(), Ready)
    desk.kube.by_name.clear()
    assert await desk.ask() == Gone("the job is ending, and its pod is gone")


async def test_a_job_without_a_pod_waits_and_the_loop_is_called() -> None:
    """It started by itself; the loop makes the pod."""
    desk = Desk()
    desk.slurm.change(7, admin_comment="")
    assert await desk.ask() == Waiting("it started without pods")
    assert desk.wakes == 1


async def test_a_pod_that_does_not_run_yet() -> None:
    """With what is waited for."""
    desk = Desk()
    desk.kube.change(desk.pod, running=False, phase=PodPhase.PENDING, created=2000.0, reason="Unschedulable")
    assert await desk.ask() == Waiting("pod k8s-burst-7-0-k8s-1 is Pending (Unschedulable)")


@pytest.mark.parametrize("requeue", [True, False])
async def test_a_lost_pod(requeue: bool) -> None:
    """The launcher hears what becomes of the job, in the words of the table."""
    desk = Desk()
    desk.slurm.change(7, requeue=requeue)
    what = "requeued" if requeue else "killed"
    assert await desk.ask() == Gone(f"the pod behind k8s-1 is gone; the job is {what}")
    desk.kube.change(desk.pod, phase=PodPhase.FAILED, reason="Evicted", message="disk")
    answer = await desk.ask()
    assert isinstance(answer, Gone)
    assert answer.message == f"pod k8s-burst-7-0-k8s-1 ended (Evicted: disk); the job is {what}"


async def test_a_timeout_that_was_changed_meanwhile_holds_for_launchers() -> None:
    """What SIGHUP tells the loop: a job that the loop keeps is not lost to its launcher."""
    desk = Desk()
    desk.slurm.change(7, admin_comment=RAN.replace("running", "provisioning"))
    desk.kube.change(replace(desk.pod, running=False, phase=PodPhase.PENDING))
    desk.clock.time = desk.pod.created + 400
    assert isinstance(await desk.ask(), Gone)
    desk.site = replace(desk.site, provision_timeout_s=1000)
    assert isinstance(await desk.ask(), Waiting)


async def test_a_pod_of_an_earlier_incarnation_is_none() -> None:
    """Names carry the restart count."""
    desk = Desk()
    desk.kube.change(desk.pod)
    desk.slurm.change(7, restart_count=1)
    assert isinstance(await desk.ask(), Waiting)


async def test_a_batch_script_that_ran_out_of_memory_is_reported() -> None:
    """slurmctld is told for the job's own user, and for the batch script only."""
    desk = Desk()
    await desk.attacher.report(job_id=7, node="k8s-1", uid=1000, task="0.0", out_of_memory=True)
    await desk.attacher.report(job_id=7, node="k8s-1", uid=1000, task="batch", out_of_memory=False)
    assert desk.slurm.calls == []
    await desk.attacher.report(job_id=7, node="k8s-1", uid=1000, task="batch", out_of_memory=True)
    assert desk.slurm.calls == ["complete_out_of_memory 7"]
    assert desk.slurm.jobs[7].state is JobState.OUT_OF_MEMORY


async def test_nobody_reports_for_another_users_job() -> None:
    """A report can end a job: it is believed from where a launcher of that job can be only."""
    desk = Desk()
    with pytest.raises(NotAllowed, match="not a job of uid 1001"):
        await desk.attacher.report(job_id=7, node="k8s-1", uid=1001, task="batch", out_of_memory=True)
    with pytest.raises(NotAllowed, match="does not run on virtual node k8s-2"):
        await desk.attacher.report(job_id=7, node="k8s-2", uid=1000, task="batch", out_of_memory=True)
    assert desk.slurm.calls == []
