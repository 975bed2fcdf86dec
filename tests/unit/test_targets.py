"""
Several Kubernetes clusters: what each knows of its own, and what happens when one is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from burst_agent import settings
from burst_agent.attach import Ready
from burst_agent.clusters import Clusters
from burst_agent.errors import KubeRefused, KubeUnavailable, SettingsError
from burst_agent.model import ApiEndpoint, JobState, Pod, Tres
from burst_agent.ports import Manifest

from .fake_kube import FakeKube, KubeIsAway
from .fake_slurm import FakeSlurm
from .fakes import SETTINGS, VirtualClock, make_job, make_node, make_settings
from .house import House

TWO = "[[targets]]\nname = 'east'\npreference = 1\n[[targets]]\nname = 'west'\n"


class KubeHangs(FakeKube):
    """
    The API server takes the question and says nothing until it is let go.
    """

    def __init__(self, clock: VirtualClock, target: str) -> None:
        super().__init__(clock, target)
        self.go = asyncio.Event()

    async def pods(self) -> Sequence[Pod]:
        await self.go.wait()
        return await super().pods()


class KubeOf(KubeIsAway):
    """
    A cluster with an address of its own, away when told.
    """

    away = False

    def endpoint(self) -> ApiEndpoint:
        return ApiEndpoint(f"https://{self.target}:6443", b"CA", "")

    async def pod(self, namespace: str, name: str) -> Pod | None:
        await self.pods()
        return await super().pod(namespace, name)

    async def delete_pod(self, pod: Pod) -> None:
        await self.pods()
        await super().delete_pod(pod)


def two(more: str = "", east: type[FakeKube] = KubeOf, own: str = "") -> tuple[House, FakeKube, FakeKube]:
    """An agent with two targets, of which the first is preferred."""
    clock = VirtualClock()
    east_kube, west_kube = east(clock, "east"), KubeOf(clock, "west")
    house = House(
        FakeSlurm(make_node("k8s-1"), make_node("k8s-2")),
        east_kube,
        clock,
        make_settings(more + TWO.replace("[[targets]]\nname = 'west'", f"{own}\n[[targets]]\nname = 'west'")),
        others={"west": west_kube},
    )
    return house, east_kube, west_kube


async def start(house: House) -> None:
    """Let the job's pods run, and the job on them."""
    await house.settle()
    for kube in (house.kube, *house.others.values()):
        kube.run_pods()
    await house.settle()
    house.slurm.schedule()
    await house.settle()


async def test_one_that_says_nothing_holds_up_no_other() -> None:
    """The round goes on without it, and comes again at once when it answers."""
    house, east, west = two(east=KubeHangs)
    assert isinstance(east, KubeHangs)
    job_id = house.slurm.submit(make_job())
    await house.loop.tick()
    assert list(house.loop.view.problems) == ["target east does not answer"]
    assert [pod.job_id for pod in west.by_name.values()] == [job_id]
    waking = asyncio.create_task(house.clusters.watch(house.loop.wake))
    await house.loop.tick()
    east.go.set()
    await asyncio.wait_for(house.loop._wake.wait(), 60)
    await house.loop.tick()
    assert not house.loop.view.problems
    waking.cancel()
    await house.clusters.close()


async def test_the_first_look_is_more_patient() -> None:
    """What is slow to answer at the agent's start is not passed over for that."""
    clock = VirtualClock()
    slow = KubeHangs(clock, "east")
    clusters = Clusters({"east": slow}, clock, patience_s=0, first_patience_s=60)
    looking = asyncio.create_task(clusters.look())
    for _ in range(20):  # many times what later looks would wait
        await asyncio.sleep(0)
    assert not looking.done()
    slow.go.set()
    assert not (await asyncio.wait_for(looking, 60)).away
    slow.go.clear()
    assert "east" in (await clusters.look()).away
    await clusters.close()


async def test_a_running_job_whose_target_is_away() -> None:
    """Its pods are neither there nor gone, also after a restart of the agent; then they are what the target says."""
    house, east, west = two()
    job_id = house.slurm.submit(make_job())
    await start(house)
    assert house.state(job_id) == "running"
    assert "target=east" in house.slurm.jobs[job_id].admin_comment
    east.away = True  # type: ignore[attr-defined]
    for _ in range(2):
        calls = len(house.slurm.calls)
        await house.settle()
        house.clock.time += 10_000
        await house.settle()
        assert house.slurm.calls[calls:] == []
        assert not west.by_name
        assert house.loop.view.entries[job_id].step.reason.startswith("target east can't be asked")
        house.restart()
    east.away = False  # type: ignore[attr-defined]
    await house.settle()
    assert house.state(job_id) == "running"
    east.by_name.clear()
    await house.settle()
    assert house.slurm.jobs[job_id].restart_count == 1


async def test_caps_count_pods_that_can_not_be_seen() -> None:
    """A target that is away frees no room."""
    house, east, west = two("max_gpus = 1\n")
    house.slurm.submit(make_job())
    await start(house)
    east.away = True  # type: ignore[attr-defined]
    house.restart()
    second = house.slurm.submit(make_job(8))
    await house.settle()
    assert not west.by_name
    assert "cap on GPUs" in house.slurm.jobs[second].admin_comment


async def test_a_job_waits_for_its_pods_there_only_for_a_while() -> None:
    """Then it goes elsewhere; the pods that it had are deleted when they are seen again."""
    house, east, west = two()
    job_id = house.slurm.submit(make_job())
    await house.settle()
    assert len(east.by_name) == 1
    east.away = True  # type: ignore[attr-defined]
    await house.settle()
    assert not west.by_name
    assert house.state(job_id) == "provisioning"
    house.clock.time += 61
    await house.settle()
    assert len(west.by_name) == 1
    assert "target=west" in house.slurm.jobs[job_id].admin_comment
    east.away = False  # type: ignore[attr-defined]
    await house.settle()
    assert not east.by_name
    assert len(west.by_name) == 1
    await start(house)
    assert house.state(job_id) == "running"


async def test_a_moved_job_whose_target_is_away() -> None:
    """Slurm has its time to start it; then it goes back to its own queue."""
    house, east, _ = two()
    job_id = house.slurm.submit(make_job())
    await house.settle()
    east.run_pods()
    await house.settle()
    assert house.slurm.jobs[job_id].partition == "k8s-burst"
    east.away = True  # type: ignore[attr-defined]
    await house.settle()
    assert house.slurm.jobs[job_id].partition == "k8s-burst"
    house.clock.time += 61
    await house.settle()
    assert house.slurm.jobs[job_id].partition == "gpu"


async def test_a_job_that_started_without_pods() -> None:
    """Gets them at the first target that answers, which is written down, and no second ones elsewhere."""
    house, east, west = two()
    east.away = True  # type: ignore[attr-defined]
    job = make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",), start_time=2000)
    job_id = house.slurm.submit(job)
    await house.settle()
    assert len(west.by_name) == 1
    assert "target=west" in house.slurm.jobs[job_id].admin_comment
    east.away = False  # type: ignore[attr-defined]
    await house.settle()
    assert not east.by_name


async def test_a_gateway_is_sent_to_the_right_one() -> None:
    """API server and token are of the target that has the pod; of one that is away nothing is said."""
    house, east, west = two()
    job_id = house.slurm.submit(make_job())
    await start(house)
    attacher = house.attacher()
    answer = await attacher.attach(job_id=job_id, node="k8s-1", uid=1000)
    assert isinstance(answer, Ready)
    assert answer.endpoint.url == "https://east:6443"
    assert (east.tokens, west.tokens) == (1, 0)
    house.slurm.change(job_id, admin_comment="")
    answer = await attacher.attach(job_id=job_id, node="k8s-1", uid=1000)
    assert isinstance(answer, Ready)
    east.away = True  # type: ignore[attr-defined]
    with pytest.raises(KubeUnavailable):
        await attacher.attach(job_id=job_id, node="k8s-1", uid=1000)


def test_a_targets_own_pods() -> None:
    """What [targets.pods] names is another there; the rest is as everywhere."""
    loaded = make_settings(TWO + "[targets.pods]\nimage = 'other/user:2'\npriority_class = 'low'\n")
    west = loaded.pods_at("west")
    assert (west.image, west.priority_class, west.supervisor_image) == ("other/user:2", "low", "site/pod:1")
    assert loaded.pods_at("east") == loaded.pods_at("gone") == loaded.pods


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (TWO.replace("west", "east"), "targets: two are called east"),
        ("[[targets]]\n", "targets[1].name is missing and has no default"),
        (TWO + "[targets.pods]\nimage = 'a b'\n", "targets[2].pods.image = 'a b': image 'a b' is no"),
        (TWO + "[targets.pods]\nimagine = 'a'\n", "targets[2].pods.imagine is no setting"),
        (TWO + "staging = '5 weeks'\n", "targets[2].staging = '5 weeks'"),
        (TWO + "labels = { 'k8s-burst.slurm/uid' = '0' }\n", "is one of the agent's own labels"),
        (TWO + "[[targets.shapes]]\ncpus = 0\nmemory_mib = 1\n", "targets[2].shapes[1].cpus = 0"),
        ("[policy.prices.north]\npod_hour = 1\n" + TWO, "policy: prices.north: no target has this name; there are"),
    ],
)
def test_mistakes(more: str, said: str) -> None:
    """Each is named with its field and its line."""
    with pytest.raises(SettingsError) as caught:
        make_settings(more)
    assert said in str(caught.value)
    last = len((SETTINGS + more).splitlines())
    if "[2]" in said:
        assert str(caught.value).startswith(f"test.toml:{last}:" if "shapes" not in said else f"test.toml:{last - 1}:")


def test_no_target_at_all() -> None:
    """Is a mistake; none named is one called default."""
    with pytest.raises(SettingsError, match="targets"):
        settings.parse(f"targets = []\n{SETTINGS}", source="test.toml")
    assert [target.name for target in make_settings().targets] == ["default"]


class KubeRefusesNode(KubeOf):
    """
    One pod of a job is made, the one behind k8s-2 is refused.
    """

    async def create_pod(self, manifest: Manifest) -> None:
        if manifest["spec"]["hostname"] == "k8s-2":
            msg = "exceeded quota: k8s-burst"
            raise KubeRefused(msg)
        await super().create_pod(manifest)


class KubeFailsToMake(KubeOf):
    """
    The API server answers questions, and fails at whatever is to be made.
    """

    async def create_pod(self, manifest: Manifest) -> None:
        msg = "the API server is overloaded"
        raise KubeUnavailable(msg)


async def test_no_room_there() -> None:
    """After the target's own patience, at once elsewhere; another job of that shape does not even try."""
    house, east, west = two(own="unschedulable = '2 min'")
    job_id = house.slurm.submit(make_job())
    await house.settle()
    east.fail_pods("Unschedulable", message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    await house.settle()
    house.clock.time += 119
    assert await house.quiet()
    house.clock.time += 2
    await house.settle()
    assert not east.by_name
    assert [pod.job_id for pod in west.by_name.values()] == [job_id]
    comment = house.slurm.jobs[job_id].admin_comment
    assert "target=west" in comment
    told = "reason=not at east: target east has no room: 0/1 nodes are available"
    assert told in comment
    await start(house)
    assert house.state(job_id) == "running"
    assert told in house.slurm.jobs[job_id].admin_comment
    assert any(told.removeprefix("reason=") in line for line in house.loop.view.entries[job_id].reasons)
    other = house.slurm.submit(make_job(8))
    small = house.slurm.submit(make_job(9, requested=Tres(cpus=1, memory_mib=1, nodes=1)))
    await house.settle()
    assert {pod.job_id for pod in west.by_name.values()} == {job_id, other}
    assert {pod.job_id for pod in east.by_name.values()} == {small}


async def test_a_pause_ends_with_a_success() -> None:
    """When it is over one job tries; once its pod runs, all go there again."""
    house, east, _ = two()
    house.slurm.submit(make_job(requested=Tres(cpus=1, nodes=1)))
    await house.settle()
    east.fail_pods("Unschedulable")
    house.clock.time += 301
    await house.settle()
    house.clock.time += 31
    tries = [house.slurm.submit(make_job(number, requested=Tres(cpus=1, nodes=1))) for number in (8, 9)]
    await house.settle()
    assert [pod.job_id for pod in east.by_name.values()] == tries[:1]
    east.run_pods()
    await house.settle()
    last = house.slurm.submit(make_job(10, requested=Tres(cpus=1, nodes=1)))
    await house.settle()
    assert last in {pod.job_id for pod in east.by_name.values()}


async def test_an_image_that_can_not_be_pulled_there() -> None:
    """Other images go on there."""
    house, east, west = two()
    job_id = house.slurm.submit(make_job())
    await house.settle()
    east.fail_pods("ErrImageNeverPull", message="not there")
    await house.settle()
    assert [pod.job_id for pod in west.by_name.values()] == [job_id]
    assert "not at east: pod k8s-burst-7-0-k8s-1 can't start (ErrImageNeverPull" in (
        house.slurm.jobs[job_id].admin_comment
    )
    other = house.slurm.submit(make_job(8, admin_comment="k8s-burst=now image=other:1"))
    await house.settle()
    assert [pod.job_id for pod in east.by_name.values()] == [other]


async def test_no_half_of_a_job_stays_behind() -> None:
    """A target that refuses one of two pods gets none of them."""
    house, east, west = two(east=KubeRefusesNode)
    job_id = house.slurm.submit(make_job(min_nodes=2, requested=Tres(cpus=2, nodes=2)))
    await house.settle()
    assert not east.by_name
    assert sorted(pod.node for pod in west.by_name.values()) == ["k8s-1", "k8s-2"]
    assert "not at east: exceeded quota" in house.slurm.jobs[job_id].admin_comment


async def test_one_that_fails_to_make_pods() -> None:
    """Is left alone for all pods; an agent that is started anew tries it once more."""
    house, _, west = two(east=KubeFailsToMake)
    house.slurm.submit(make_job())
    house.slurm.submit(make_job(8, requested=Tres(cpus=1, nodes=1)))
    await house.settle()
    assert len(west.by_name) == 2
    house.restart()
    await house.settle()
    third = house.slurm.submit(make_job(9, requested=Tres(cpus=1, nodes=1)))
    await house.settle()
    assert "target=west" in house.slurm.jobs[third].admin_comment


async def test_a_restart_with_pods_at_both() -> None:
    """Each job goes on with its own: the target is in admin_comment and in the pods' labels."""
    house, east, west = two(east=KubeOf)
    first = house.slurm.submit(make_job())
    await house.settle()
    east.away = True  # type: ignore[attr-defined]
    second = house.slurm.submit(make_job(8))
    await house.settle()
    east.away = False  # type: ignore[attr-defined]
    house.restart()
    await start(house)
    assert (house.state(first), house.state(second)) == ("running", "running")
    assert [pod.job_id for pod in east.by_name.values()] == [first]
    assert [pod.job_id for pod in west.by_name.values()] == [second]
    assert not any(call.startswith("delete") for call in east.calls + west.calls)
