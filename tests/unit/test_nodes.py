"""
Jobs on several nodes: all of their pods or none.
"""

from __future__ import annotations

from dataclasses import replace

from burst_agent.attach import Gone, Ready, Waiting
from burst_agent.errors import KubeRefused
from burst_agent.model import JobState, Request, Share, Tres
from burst_agent.ports import Manifest

from .fake_kube import FakeKube
from .fakes import make_job, make_node
from .house import House, make_house

REQUEST = Request(min_nodes=2, max_nodes=2, tasks=3, cpus=3, memory_mib_per_cpu=100, gpus_per_node=1)
JOB = make_job(min_nodes=2, max_nodes=2, requested=Tres(cpus=3, memory_mib=300, nodes=2, gpus=2), request=REQUEST)
SHARES = (
    Share("k8s-1", Tres(cpus=2, memory_mib=200, nodes=1, gpus=1), (3,)),
    Share("k8s-2", Tres(cpus=1, memory_mib=100, nodes=1, gpus=1), (0,)),
)


class KubeHasRoomForOne(FakeKube):
    """
    The quota allows one pod.
    """

    async def create_pod(self, manifest: Manifest) -> None:
        if self.by_name:
            self.calls.append(f"refuse {manifest['metadata']['name']}")
            msg = "exceeded quota: k8s-burst"
            raise KubeRefused(msg)
        await super().create_pod(manifest)


class KubeLosesTheAgent(FakeKube):
    """
    The agent is killed after its first pod.
    """

    killed = False

    async def create_pod(self, manifest: Manifest) -> None:
        if not self.killed:
            await super().create_pod(manifest)
        self.killed = bool(self.by_name)


def _names(house: House) -> list[str]:
    return sorted(pod.name for pod in house.kube.by_name.values())


async def _to_running(house: House) -> None:
    house.slurm.submit(JOB)
    await house.settle()
    house.kube.run_pods()
    await house.settle()
    house.slurm.allocations[7] = SHARES
    house.slurm.schedule()
    await house.settle()
    assert house.state(7) == "running"


async def test_two_nodes_go_all_the_way() -> None:
    """Each pod as large as its share; the job moves onto both nodes at once, when both run."""
    house = make_house()
    house.slurm.submit(JOB)
    await house.settle()
    assert _names(house) == ["k8s-burst-7-0-k8s-1", "k8s-burst-7-0-k8s-2"]
    assert [pod.size for pod in house.kube.by_name.values()] == [share.size for share in SHARES]
    first, second = house.kube.by_name.values()
    house.kube.change(first, running=True)
    await house.settle()
    assert house.slurm.jobs[7].partition == "gpu", "moved before all pods run"
    house.kube.change(second, running=True)
    await house.settle()
    job = house.slurm.jobs[7]
    assert (job.partition, job.required_nodes, job.min_nodes, job.max_nodes) == ("k8s-burst", "k8s-1,k8s-2", 2, 2)
    house.slurm.allocations[7] = SHARES
    house.slurm.schedule()
    await house.settle()
    assert house.state(7) == "running"
    assert await house.quiet()
    house.slurm.end(7)
    await house.settle()
    assert not house.kube.by_name


async def test_one_node_that_is_enough() -> None:
    """Tasks that fit on one node get one, and the count of nodes is remembered for the way back."""
    house = make_house()
    house.slurm.submit(make_job(request=Request(tasks=16, cpus=16, memory_mib_per_cpu=1)))
    await house.settle()
    assert _names(house) == ["k8s-burst-7-0-k8s-1"]
    assert " nodes=1-0 " in house.slurm.jobs[7].admin_comment


async def test_half_a_job_is_given_up() -> None:
    """The second pod is refused: the first goes, and the next try waits."""
    house = make_house(kube=KubeHasRoomForOne)
    house.slurm.submit(JOB)
    await house.settle()
    assert not house.kube.by_name
    assert "exceeded quota" in house.slurm.jobs[7].admin_comment
    assert house.state(7) == "waiting"
    assert await house.quiet()
    house.clock.time += 31
    await house.settle()
    assert [call.split()[0] for call in house.kube.calls] == ["create", "refuse", "delete"] * 2


async def test_the_agent_is_killed_between_two_pods() -> None:
    """The next one finds half a job: it gives it up, and makes it anew at once."""
    house = make_house(kube=KubeLosesTheAgent)
    house.slurm.submit(JOB)
    await house.loop.tick()
    assert len(house.kube.by_name) == 1
    house.restart()
    await house.loop.tick()
    assert not house.kube.by_name
    house.kube.killed = False  # type: ignore[attr-defined]
    await house.loop.tick()
    assert len(house.kube.by_name) == 1, "the fake kills again: nothing waited for a back-off"


async def test_a_pod_that_fails_takes_the_others_with_it() -> None:
    """All are given up, once, and the reason is told."""
    house = make_house()
    house.slurm.submit(JOB)
    await house.settle()
    first, second = house.kube.by_name.values()
    house.kube.change(first, running=True)
    house.kube.change(second, reason="ErrImageNeverPull")
    await house.settle()
    assert not house.kube.by_name
    assert "pod k8s-burst-7-0-k8s-2 can't start (ErrImageNeverPull)" in house.slurm.jobs[7].admin_comment


async def test_a_pod_that_goes_before_the_move_stops_it() -> None:
    """The other one alone is no job."""
    house = make_house()
    house.slurm.submit(JOB)
    await house.settle()
    await house.kube.delete_pod(next(iter(house.kube.by_name.values())))
    house.kube.run_pods()
    await house.loop.tick()
    assert house.slurm.jobs[7].partition == "gpu"
    assert not house.kube.by_name


async def test_a_pod_that_goes_after_the_move_brings_the_job_back() -> None:
    """To its own queue, with the count of nodes that it had, and without the other pod."""
    house = make_house()
    house.slurm.submit(JOB)
    await house.settle()
    house.kube.run_pods()
    await house.settle()
    assert house.slurm.jobs[7].partition == "k8s-burst"
    await house.kube.delete_pod(next(iter(house.kube.by_name.values())))
    await house.settle()
    job = house.slurm.jobs[7]
    assert (job.partition, job.required_nodes, job.min_nodes, job.max_nodes) == ("gpu", "", 2, 2)
    assert not house.kube.by_name


async def test_one_pod_lost_requeues_all() -> None:
    """The others go with the run that they were made for."""
    house = make_house()
    await _to_running(house)
    house.kube.change(next(iter(house.kube.by_name.values())), terminating=True)
    await house.settle()
    assert house.slurm.jobs[7].restart_count == 1
    assert house.slurm.calls.count("requeue 7") == 1
    house.slurm.allocations.clear()
    house.kube.run_pods()
    await house.settle()
    assert {pod.restart for pod in house.kube.by_name.values() if not pod.terminating} <= {1}


async def test_pods_smaller_than_allocated_are_made_anew() -> None:
    """slurmctld divided the tasks otherwise: the pod that is too small is replaced before any task gets into it."""
    house = make_house()
    house.slurm.submit(JOB)
    await house.settle()
    house.kube.run_pods()
    await house.settle()
    first, second = SHARES
    house.slurm.allocations[7] = (
        replace(first, size=replace(first.size, cpus=1, memory_mib=100)),
        replace(second, size=replace(second.size, cpus=2, memory_mib=200)),
    )
    house.slurm.schedule()
    answer = await house.attacher().attach(job_id=7, node="k8s-2", uid=1000)
    assert isinstance(answer, Waiting)
    assert "slurmctld allocated 2 CPUs, 200 MiB, 1 GPUs" in answer.message
    await house.settle()
    assert house.state(7) == "provisioning"
    house.kube.run_pods()
    await house.settle()
    assert house.state(7) == "running"
    assert {pod.node: pod.size.cpus for pod in house.kube.by_name.values() if pod.size} == {"k8s-1": 2, "k8s-2": 2}
    assert isinstance(await house.attacher().attach(job_id=7, node="k8s-2", uid=1000), Ready)


async def test_who_is_who_is_told_at_attach() -> None:
    """Addresses of all pods, this one's first, and the GPUs of this node; not before all pods run."""
    house = make_house()
    await _to_running(house)
    answer = await house.attacher().attach(job_id=7, node="k8s-2", uid=1000)
    assert isinstance(answer, Ready)
    addresses = {pod.node: pod.address for pod in house.kube.by_name.values()}
    assert answer.hosts == ((addresses["k8s-2"], "k8s-2"), (addresses["k8s-1"], "k8s-1"))
    assert answer.gpu_indices == (0,)
    house.slurm.change(7, completing=True)
    last = await house.attacher().attach(job_id=7, node="k8s-2", uid=1000)
    assert isinstance(last, Ready)
    assert last.hosts == ()


async def test_attach_waits_for_the_other_pod() -> None:
    """A job that started without pods: its first task would not find the others."""
    house = make_house()
    house.slurm.submit(
        replace(JOB, partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1", "k8s-2"), start_time=2000)
    )
    house.slurm.allocations[7] = SHARES
    await house.settle()
    first, second = house.kube.by_name.values()
    assert [first.size, second.size] == [share.size for share in SHARES]
    house.kube.change(first, running=True)
    assert isinstance(await house.attacher().attach(job_id=7, node="k8s-1", uid=1000), Waiting)
    house.kube.change(second, running=True)
    assert isinstance(await house.attacher().attach(job_id=7, node="k8s-1", uid=1000), Ready)


async def test_attach_after_the_other_pod_was_lost() -> None:
    """What the loop is about to do is told: the job is requeued."""
    house = make_house()
    await _to_running(house)
    house.kube.change(next(iter(house.kube.by_name.values())), terminating=True)
    answer = await house.attacher().attach(job_id=7, node="k8s-2", uid=1000)
    assert isinstance(answer, Gone)
    assert "requeued" in answer.message


async def test_arrays_of_two_nodes() -> None:
    """As many tasks as have room for both of their pods."""
    house = make_house(nodes=[make_node(f"k8s-{index}") for index in range(5)])
    house.slurm.submit(replace(JOB, array_job_id=7, array_tasks=(1, 2, 3), request=replace(REQUEST, gpus_per_node=4)))
    await house.settle()
    assert len(house.kube.by_name) == 4
    assert sum(house.state(job_id) == "provisioning" for job_id in house.slurm.jobs) == 2


async def test_an_exclusive_job_goes_where_nothing_is() -> None:
    """Not beside a job of Slurm's, nor beside one that is promised a pod."""
    house = make_house(nodes=[make_node(f"k8s-{index}") for index in range(1, 4)])
    house.slurm.submit(make_job(1, partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",), allocated=Tres(1)))
    house.slurm.submit(make_job(2))
    await house.settle()
    house.slurm.submit(make_job(3, request=Request(whole_nodes=True, memory_mib_per_cpu=1)))
    await house.settle()
    nodes = {pod.job_id: pod.node for pod in house.kube.by_name.values()}
    assert nodes[3] not in (nodes[1], nodes[2])
    house.slurm.submit(make_job(4))
    await house.settle()
    assert {pod.node for pod in house.kube.by_name.values() if pod.job_id == 4} != {nodes[3]}
