"""
The adapter against an API server that is small, and sometimes broken.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from burst_agent import names
from burst_agent.errors import KubeRefused, KubeUnavailable, SettingsError
from burst_agent.kube import Kube
from burst_agent.kube.adapter import PATHS
from burst_agent.kube.cache import PodCache
from burst_agent.model import PodPhase
from burst_agent.namespaces import KINDS, objects
from burst_agent.podspec import claim_name
from burst_agent.settings import Settings

from .fake_api import CREATED, FakeApi, serving
from .fakes import TEMPLATE, make_settings

NAMESPACE = "/api/v1/namespaces/c1-u1000"
PODS = f"{NAMESPACE}/pods"
NAME = "k8s-burst-7-0-k8s-1"
LABELS = names.labels(cluster="c1", target="default", job_id=7, restart=0, node="k8s-1", uid=1000)
OURS = names.namespace_labels("c1", 1000)


def _pod(name: str = NAME, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "c1-u1000", "labels": LABELS},
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]},
        "status": {"phase": "Pending", **status},
    }


@dataclass
class Desk:
    """
    The adapter and what it talks to.
    """

    api: FakeApi
    kube: Kube
    news: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """With the watch on, once it has begun."""
        task = asyncio.create_task(self.kube.watch(lambda: self.news.put_nowait(None)))
        try:
            await self.news.get()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _settings(folder: Path, url: str, more: str = "") -> Settings:
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        f"""
        apiVersion: v1
        kind: Config
        clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
        users: [{{name: u, user: {{token: first}}}}]
        contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
        current-context: x
        """
    )
    return make_settings(f'[[targets]]\nname = "default"\nkubeconfig = "{kubeconfig}"\n{more}')


@asynccontextmanager
async def _desk(folder: Path, more: str = "") -> AsyncIterator[Desk]:
    api = FakeApi()
    async with serving(api) as url:
        settings = _settings(folder, url, more)
        kube = Kube(settings, settings.targets[0], lambda _: nullcontext())
        await kube.open()
        try:
            yield Desk(api, kube)
        finally:
            await kube.close()


async def test_a_pods_life(tmp_path: Path) -> None:
    """Made, seen, made again without effect, deleted by uid, deleted again without effect."""
    async with _desk(tmp_path) as desk:
        desk.api.put(NAMESPACE, {})
        await desk.kube.create_pod(_pod())
        await desk.kube.create_pod(_pod())
        (pod,) = await desk.kube.pods()
        assert (pod.namespace, pod.name, pod.job_id, pod.restart, pod.node) == ("c1-u1000", NAME, 7, 0, "k8s-1")
        assert (pod.user_uid, pod.phase, pod.gpus, pod.running) == (1000, PodPhase.PENDING, 2, False)
        assert pod.created == 1767323045.0
        await desk.kube.delete_pod(pod)
        assert (await desk.kube.pods())[0].terminating
        del desk.api.objects[f"{PODS}/{NAME}"]
        await desk.kube.delete_pod(pod)
        assert await desk.kube.pods() == []


@pytest.mark.parametrize(("status", "warned"), [(None, True), (403, False), (422, False), (503, False)])
async def test_a_cluster_without_the_fence(tmp_path: Path, status: int | None, warned: bool) -> None:
    """Said where a volume of the node's root would be taken; not where it is refused, or nobody answers."""
    async with _desk(tmp_path) as desk:
        if status:
            desk.api.broken["POST /api/v1/persistentvolumes"] = (status, {"message": "no"})
        with structlog.testing.capture_logs() as logs:
            await desk.kube.look_at_fence()
        assert [entry["target"] for entry in logs if entry["event"] == "no_fence"] == ["default"] * warned
        assert desk.api.queries == [{"dryRun": "All"}]


async def test_a_pod_of_the_same_name_made_later_is_not_deleted(tmp_path: Path) -> None:
    """The uid is a condition of the deletion."""
    async with _desk(tmp_path) as desk:
        desk.api.put(f"{PODS}/{NAME}", _pod())
        (pod,) = await desk.kube.pods()
        desk.api.objects[f"{PODS}/{NAME}"]["metadata"]["uid"] = "another"
        await desk.kube.delete_pod(pod)
        assert "deletionTimestamp" not in desk.api.objects[f"{PODS}/{NAME}"]["metadata"]


async def test_a_pod_that_kueue_holds(tmp_path: Path) -> None:
    """Its webhook adds a label and a gate; when the gate goes is noted, as Kubernetes does not tell."""
    async with _desk(tmp_path) as desk:
        desk.api.put(NAMESPACE, {})
        queued = {names.KUEUE_QUEUE_LABEL: "slurm"}
        there = _pod()
        there["metadata"]["labels"] = {**LABELS, **queued, "kueue.x-k8s.io/managed": "true"}
        there["spec"]["schedulingGates"] = [{"name": names.KUEUE_GATE}]
        desk.api.put(f"{PODS}/{NAME}", there)
        asked = _pod()
        asked["metadata"]["labels"] = {**LABELS, **queued}
        await desk.kube.create_pod(asked)
        (pod,) = await desk.kube.pods()
        assert (pod.gated, pod.admitted, pod.reason) == (True, 0.0, "SchedulingGated")
        began = time.time()
        del there["spec"]["schedulingGates"]
        there["metadata"]["uid"] = pod.uid
        desk.api.put(f"{PODS}/{NAME}", there)
        (pod,) = await desk.kube.pods()
        assert not pod.gated
        assert pod.placeable == pod.admitted >= began
        assert (await desk.kube.pods())[0].admitted == pod.admitted
        # An agent that has just started takes the time in the queue for nobody's fault.
        async with _desk(tmp_path) as other:
            other.api.put(f"{PODS}/{NAME}", there)
            (seen,) = await other.kube.pods()
            assert seen.admitted >= pod.admitted
            (again,) = await other.kube.pods()
            assert again.admitted == seen.admitted


async def test_somebody_elses_pod_of_that_name(tmp_path: Path) -> None:
    """Is not taken for ours."""
    async with _desk(tmp_path) as desk:
        desk.api.put(NAMESPACE, {})
        there = _pod()
        there["metadata"]["labels"] = {**LABELS, names.JOB_LABEL: "8"}
        desk.api.put(f"{PODS}/{NAME}", there)
        with pytest.raises(KubeRefused, match="not this job's"):
            await desk.kube.create_pod(_pod())


async def test_one_pod(tmp_path: Path) -> None:
    """Asked for by name: ours, nobody's, or not there."""
    async with _desk(tmp_path) as desk:
        assert await desk.kube.pod("c1-u1000", NAME) is None
        desk.api.put(
            f"{PODS}/{NAME}", _pod(phase="Running", containerStatuses=[{"name": "job", "state": {"running": {}}}])
        )
        pod = await desk.kube.pod("c1-u1000", NAME)
        assert pod is not None
        assert pod.running
        foreign = _pod()
        foreign["metadata"]["labels"] = {**LABELS, names.CLUSTER_LABEL: "c2"}
        desk.api.put(f"{PODS}/{NAME}", foreign)
        assert await desk.kube.pod("c1-u1000", NAME) is None


async def test_a_token_is_bound_to_the_pod(tmp_path: Path) -> None:
    """By name and uid, for the shortest time."""
    async with _desk(tmp_path) as desk:
        desk.api.put(f"{PODS}/{NAME}", _pod())
        (pod,) = await desk.kube.pods()
        token = await desk.kube.pod_token(pod)
        assert (token.secret, token.expires) == ("secret", 1767323645.0)
        assert "secret" not in repr(token)
        asked = desk.api.objects[f"{NAMESPACE}/serviceaccounts/k8s-burst/token"]
        assert asked["spec"] == {
            "expirationSeconds": 600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": NAME, "uid": pod.uid},
        }


async def test_a_namespace_is_made_once(tmp_path: Path) -> None:
    """Then it is known; when it turns out to be gone it is made anew."""
    async with _desk(tmp_path) as desk:
        wanted = objects(make_settings(), 1000, TEMPLATE, "default")
        await desk.kube.ensure_namespace(wanted)
        assert desk.api.objects[NAMESPACE]["metadata"]["labels"].items() >= OURS.items()
        before = len(desk.api.requests)
        await desk.kube.ensure_namespace(wanted)
        assert len(desk.api.requests) == before
        more = objects(make_settings("max_pods_per_user = 5"), 1000, TEMPLATE, "default")
        await desk.kube.ensure_namespace(more)
        said = desk.api.objects[NAMESPACE]["metadata"]["annotations"]
        assert said == {"max-pods": "11"}, "caps may be changed while the agent runs"
        del desk.api.objects[NAMESPACE]
        with pytest.raises(KubeUnavailable, match="made anew"):
            await desk.kube.create_pod(_pod())
        await desk.kube.ensure_namespace(more)
        await desk.kube.create_pod(_pod())


async def test_a_new_namespace_refuses_pods_for_a_moment(tmp_path: Path) -> None:
    """Its quota is not counted yet: worth another try; in a namespace made by an earlier agent it is a refusal."""
    async with _desk(tmp_path) as desk:
        desk.api.broken[f"POST {PODS}"] = (403, {"message": "status unknown for quota: k8s-burst"})
        desk.api.put(NAMESPACE, {})
        with pytest.raises(KubeRefused, match="status unknown"):
            await desk.kube.create_pod(_pod())
        del desk.api.objects[NAMESPACE]
        await desk.kube.ensure_namespace(objects(make_settings(), 1000, TEMPLATE, "default"))
        with pytest.raises(KubeUnavailable, match="made a moment ago"):
            await desk.kube.create_pod(_pod())


async def test_a_namespace_asked_for_at_once_is_made_once(tmp_path: Path) -> None:
    """Two jobs of one user in one round."""
    async with _desk(tmp_path) as desk:
        wanted = objects(make_settings(), 1000, TEMPLATE, "default")
        await asyncio.gather(*(desk.kube.ensure_namespace(wanted) for _ in range(3)))
        assert desk.api.requests.count(f"PATCH {NAMESPACE}") == 1


@pytest.mark.parametrize("labels", [{}, {**OURS, names.CLUSTER_LABEL: "c2"}, {**OURS, names.UID_LABEL: "1"}])
async def test_a_namespace_that_is_not_ours(tmp_path: Path, labels: dict[str, str]) -> None:
    """Is left alone."""
    async with _desk(tmp_path) as desk:
        desk.api.put(NAMESPACE, {"metadata": {"labels": labels}})
        with pytest.raises(KubeRefused, match="exists and is not"):
            await desk.kube.ensure_namespace(objects(make_settings(), 1000, TEMPLATE, "default"))
        assert not any(request.startswith("PATCH") for request in desk.api.requests)


async def test_a_namespace_that_is_going(tmp_path: Path) -> None:
    """Is waited for."""
    async with _desk(tmp_path) as desk:
        desk.api.put(NAMESPACE, {"metadata": {"labels": OURS, "deletionTimestamp": "2026-01-02T03:04:05Z"}})
        with pytest.raises(KubeUnavailable, match="being deleted"):
            await desk.kube.ensure_namespace(objects(make_settings(), 1000, TEMPLATE, "default"))


async def test_a_local_queue(tmp_path: Path) -> None:
    """Is made in the version of Kueue's API that the cluster has; where it has none, that is said."""
    more = 'kueue_queue = "q"\nkueue_cluster_queue = "hpc"'
    queue = "/apis/kueue.x-k8s.io/v1beta9/namespaces/c1-u1000/localqueues/q"
    async with _desk(tmp_path, more) as desk:
        wanted = objects(make_settings(f'[[targets]]\nname = "default"\n{more}'), 1000, TEMPLATE, "default")
        with pytest.raises(KubeRefused, match="the cluster has no Kueue"):
            await desk.kube.ensure_namespace(wanted)
        desk.api.put("/apis/kueue.x-k8s.io", {"preferredVersion": {"groupVersion": "kueue.x-k8s.io/v1beta9"}})
        await desk.kube.ensure_namespace(wanted)
        made = desk.api.objects[queue]
        assert (made["apiVersion"], made["spec"]) == ("kueue.x-k8s.io/v1beta9", {"clusterQueue": "hpc"})


async def test_a_volume_left_by_an_earlier_namespace_is_freed(tmp_path: Path) -> None:
    """Its claim is another one of the same name."""
    settings = make_settings("[[pods.volumes]]\npath = '/home'\nhostPath = { path = '/home' }")
    volume = f"/api/v1/persistentvolumes/c1-u1000-{claim_name(settings.pods.volumes[0])}"
    async with _desk(tmp_path) as desk:
        desk.api.put(volume, {"metadata": {"labels": OURS}, "status": {"phase": "Released"}})
        await desk.kube.ensure_namespace(objects(settings, 1000, TEMPLATE, "default"))
        assert desk.api.objects[volume]["spec"]["claimRef"] == {"uid": None, "resourceVersion": None}


async def test_a_volume_that_is_not_ours(tmp_path: Path) -> None:
    """Whoever made one of that name: it is not pointed elsewhere."""
    settings = make_settings("[[pods.volumes]]\npath = '/home'\nhostPath = { path = '/home' }")
    name = f"c1-u1000-{claim_name(settings.pods.volumes[0])}"
    async with _desk(tmp_path) as desk:
        desk.api.put(f"/api/v1/persistentvolumes/{name}", {"spec": {}})
        with pytest.raises(KubeRefused, match=f"PersistentVolume {name} exists and is not of"):
            await desk.kube.ensure_namespace(objects(settings, 1000, TEMPLATE, "default"))


def test_every_kind_of_a_template_has_its_place() -> None:
    """What namespaces.py lets through the adapter can make."""
    assert PATHS.keys() == KINDS


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, KubeUnavailable), (503, KubeUnavailable), (429, KubeUnavailable), (403, KubeRefused), (422, KubeRefused)],
)
async def test_errors_in_our_words(tmp_path: Path, status: int, error: type[Exception]) -> None:
    """Worth another try or not, with the API server's sentence."""
    async with _desk(tmp_path) as desk:
        desk.api.broken["GET /api/v1/pods"] = (status, {"message": "because of " + "x" * 9000})
        with pytest.raises(error, match="GET /api/v1/pods: because of x") as caught:
            await desk.kube.pods()
        assert len(str(caught.value)) < 600


async def test_nobody_there(tmp_path: Path) -> None:
    """A closed port."""
    async with _desk(tmp_path) as desk:
        pass
    await desk.kube.open()
    with pytest.raises(KubeUnavailable, match="GET /api/v1/pods"):
        await desk.kube.pods()
    await desk.kube.close()


async def test_a_deadline(tmp_path: Path) -> None:
    """An API server that accepts and says nothing."""
    async with _desk(tmp_path, "[kubernetes]\ndeadline_s = 0.1") as desk:
        desk.api.stuck = True
        with pytest.raises(KubeUnavailable, match="TimeoutError"):
            await desk.kube.pods()


async def test_a_credential_that_was_renewed(tmp_path: Path) -> None:
    """The kubeconfig is read again when the API server no longer knows us."""
    async with _desk(tmp_path) as desk:
        desk.api.broken["GET /api/v1/pods"] = (401, {"message": "Unauthorized"})
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(kubeconfig.read_text().replace("token: first", "token: second"))
        with pytest.raises(KubeRefused, match="Unauthorized"):
            await desk.kube.pods()
        assert desk.api.requests.count("GET /api/v1/pods") == 2
        desk.api.broken.clear()
        assert await desk.kube.pods() == []


async def test_many_are_told_at_once_that_the_credential_is_no_good(tmp_path: Path) -> None:
    """Each asks again with the kubeconfig as it is then; none finds the connections of another closed under it."""
    async with _desk(tmp_path, "[kubernetes]\ndeadline_s = 60") as desk:
        desk.api.broken["GET /api/v1/pods"] = (401, {"message": "Unauthorized"})
        answers = await asyncio.gather(*(desk.kube.pods() for _ in range(40)), return_exceptions=True)
        assert {(type(answer), str(answer)) for answer in answers} == {
            (KubeRefused, "Kubernetes: GET /api/v1/pods: Unauthorized")
        }


async def test_a_kubeconfig_that_is_no_good_at_the_moment(tmp_path: Path) -> None:
    """Half written, or its program fails: that is said, the program is asked again, and the next good one is used."""
    async with _desk(tmp_path) as desk:
        kubeconfig = tmp_path / "kubeconfig"
        good = kubeconfig.read_text()
        failing = "exec: {apiVersion: client.authentication.k8s.io/v1, command: 'false'}"
        desk.api.broken["GET /api/v1/pods"] = (401, {"message": "Unauthorized"})
        for bad, said in (
            ("", "can't be used"),
            ("{", "can't be used"),
            ("- a", "can't be used"),
            ("clusters: []", "current-context"),
            (good.replace("token: first", failing), "no credential"),
        ):
            kubeconfig.write_text(bad)
            with pytest.raises(KubeUnavailable, match=said):
                await desk.kube.pods()
        kubeconfig.write_text(good)
        desk.api.broken["GET /api/v1/pods"] = (403, {"message": 'User "system:anonymous" cannot list pods'})
        with pytest.raises(KubeRefused, match="anonymous"):
            await desk.kube.pods()
        assert desk.api.requests[-2:] == ["GET /api/v1/pods"] * 2, "asked again with what is in the file now"


async def test_a_kubeconfig_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program for credentials that hangs holds nothing up for longer than a request may take."""
    async with _desk(tmp_path, "[kubernetes]\ndeadline_s = 0.2") as desk:
        desk.api.broken["GET /api/v1/pods"] = (401, {"message": "Unauthorized"})
        monkeypatch.setattr("burst_agent.kube.api._read", lambda *_: asyncio.Event().wait())
        with pytest.raises(KubeUnavailable):
            await desk.kube.pods()


async def test_certificates_that_were_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has put them into files of /tmp, which a cleaner empties; the kubeconfig is read again all the same."""
    settings = _settings(tmp_path, "https://127.0.0.1:1")
    kubeconfig = tmp_path / "kubeconfig"
    data = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kubeconfig.write_text(kubeconfig.read_text().replace('server: "', f'certificate-authority-data: {data}, server: "'))
    kube = Kube(settings, settings.targets[0], lambda _: nullcontext())
    await kube.open()
    (swept,) = (file for file in tmp_path.iterdir() if file != kubeconfig)
    swept.unlink()
    await kube.open()
    await kube.close()


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """Named."""
    settings = make_settings(f'[[targets]]\nname = "east"\nkubeconfig = "{tmp_path}/none"')
    with pytest.raises(SettingsError, match=r"target east: kubeconfig .*/none can't be used"):
        await Kube(settings, settings.targets[0], lambda _: nullcontext()).open()


async def test_where_gateways_go(tmp_path: Path) -> None:
    """Where the settings say, else where the kubeconfig does."""
    async with _desk(tmp_path) as desk:
        assert desk.kube.endpoint().url.startswith("http://127.0.0.1:")
    async with _desk(tmp_path, 'api_server = "https://kube.example.org:6443"') as desk:
        assert desk.kube.endpoint().url == "https://kube.example.org:6443"


async def test_the_watch_keeps_pods_current_without_listing(tmp_path: Path) -> None:
    """News come as events; what changed nothing wakes nobody; looking asks nothing."""
    async with _desk(tmp_path) as desk:
        thing = desk.api.put(f"{PODS}/{NAME}", _pod())
        async with desk.watching():
            assert len(await desk.kube.pods()) == 1
            thing["metadata"]["resourceVersion"] = "200"
            desk.api.events.put_nowait({"type": "MODIFIED", "object": thing})
            running = {"phase": "Running", "containerStatuses": [{"name": "job", "state": {"running": {}}}]}
            newer = {**thing, "metadata": {**thing["metadata"], "resourceVersion": "201"}, "status": running}
            desk.api.events.put_nowait({"type": "MODIFIED", "object": newer})
            await desk.news.get()
            assert (await desk.kube.pods())[0].running
            desk.api.events.put_nowait({"type": "MODIFIED", "object": thing})
            gone = {**newer, "metadata": {**newer["metadata"], "resourceVersion": "202"}}
            desk.api.events.put_nowait({"type": "DELETED", "object": gone})
            await desk.news.get()
            assert await desk.kube.pods() == []
            assert desk.news.empty()
        assert desk.api.requests.count("GET /api/v1/pods") == 2, "one list, one watch"


async def test_what_is_gone_stays_gone(tmp_path: Path) -> None:
    """The answer to an own deletion may come after the pod's last event, and that event after a pod of the same name."""
    async with _desk(tmp_path) as desk:
        path = f"{PODS}/{NAME}"
        thing = desk.api.put(path, _pod())
        async with desk.watching():
            (pod,) = await desk.kube.pods()
            doomed = {**thing, "metadata": {**thing["metadata"], "deletionTimestamp": CREATED}}
            desk.api.events.put_nowait({"type": "DELETED", "object": doomed})
            await desk.news.get()
            desk.api.broken[f"DELETE {path}"] = (200, doomed)
            await desk.kube.delete_pod(pod)
            assert await desk.kube.pods() == []
            desk.api.put("/api/v1/namespaces/c1-u1000", {})
            del desk.api.objects[path]
            await desk.kube.create_pod(_pod())
            (anew,) = await desk.kube.pods()
            assert anew.uid != pod.uid
            other = desk.api.put(f"{PODS}/other", _pod("other"))
            for event in ({"type": "DELETED", "object": doomed}, {"type": "ADDED", "object": other}):
                desk.api.events.put_nowait(event)
            await desk.news.get()
            assert len(await desk.kube.pods()) == 2


class Lists:
    """
    Lists of pods that are answered when a test says so.
    """

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[dict[str, Any]]] = asyncio.Queue()

    async def call(self, *_: object, **__: object) -> dict[str, Any]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return await answer


def _listed(version: int, *things: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": things}


def _known_pod(version: int) -> dict[str, Any]:
    more = {"uid": "u", "creationTimestamp": CREATED, "resourceVersion": str(version)}
    return {**_pod(), "metadata": {**_pod()["metadata"], **more}}


async def test_two_lists_at_once_bring_nothing_back() -> None:
    """The loop looks while the watch begins: an older answer is never taken after a newer one."""
    lists = Lists()
    cache = PodCache(lists, cluster="c1", target="default", gpu_resource="g", watch_s=1)  # type: ignore[arg-type]
    looks = [asyncio.create_task(cache.pods()) for _ in range(2)]
    first = await lists.asked.get()
    for _ in range(10):  # the other look has every chance to ask as well
        await asyncio.sleep(0)
    assert lists.asked.empty()
    first.set_result(_listed(100, _known_pod(90)))
    (await lists.asked.get()).set_result(_listed(110))
    await asyncio.gather(*looks)
    assert cache.known() == []


async def test_what_was_made_while_a_list_was_on_its_way_is_kept() -> None:
    """The list is older; the next one tells."""
    lists = Lists()
    cache = PodCache(lists, cluster="c1", target="default", gpu_resource="g", watch_s=1)  # type: ignore[arg-type]
    for listed, kept in ((100, 1), (110, 0)):
        look = asyncio.create_task(cache.pods())
        answer = await lists.asked.get()
        if kept:
            cache.enter(_known_pod(105))
        answer.set_result(_listed(listed))
        assert len(await look) == kept


async def test_the_watch_goes_on_where_it_ended(tmp_path: Path) -> None:
    """From the last version seen, bookmarks among them; a version that is too old means a new list."""
    async with _desk(tmp_path) as desk:
        async with desk.watching():
            desk.api.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "300"}}})
            desk.api.events.put_nowait(None)
            desk.api.events.put_nowait({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
            await desk.news.get()
        assert desk.api.watched_from[:2] == ["100", "300"]


async def test_without_the_watch_looking_asks(tmp_path: Path) -> None:
    """An API server that is away is noticed at the next look, not when a watch ends."""
    async with _desk(tmp_path) as desk, desk.watching():
        desk.api.broken["GET /api/v1/pods"] = (503, {"message": "away"})
        desk.api.events.put_nowait({"type": "ERROR", "object": {"code": 500, "message": "broken"}})
        await desk.news.get()
        with pytest.raises(KubeUnavailable, match="away"):
            await desk.kube.pods()
