"""
What gatewayd is told of pods.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.errors import KubeRefused, SlurmUnavailable
from burst_agent.model import Job, JobState
from burst_agent.services import status_of

from .fake_kube import FakeKube
from .fake_slurm import FakeSlurm
from .fakes import make_job, make_pod
from .house import make_house
from .serving import refused, serving

Code = grpc.StatusCode


class SlurmIsAwayForOneJob(FakeSlurm):
    """
    The list came a moment ago; now nobody answers.
    """

    async def job(self, job_id: int) -> Job:
        msg = "slurmctld does not answer"
        raise SlurmUnavailable(msg)


class KubeBreaksItsPromise(FakeKube):
    """
    Raises what no port may raise.
    """

    async def pod(self, namespace: str, name: str) -> None:
        raise ZeroDivisionError


async def test_attach_all_three_outcomes(tmp_path: Path) -> None:
    """Ready with everything that gatewayd needs, pending, lost."""
    house = make_house()
    job = make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",), admin_comment="")
    house.slurm.submit(job)
    request = pb.AttachRequest(job_id=7, node_name="k8s-1", uid=1000)
    async with serving(tmp_path, house) as desk, desk.local() as channel:
        stub = pb_grpc.GatewayServiceStub(channel)
        pending = await stub.Attach(request)
        assert pending.pending.retry_after_ms > 0
        house.kube.change(make_pod(job))
        ready = (await stub.Attach(request)).ready
        assert (ready.api_server, ready.certificate_authority_pem) == ("https://kube:6443", b"CA")
        assert (ready.namespace, ready.pod, ready.container) == ("c1-u1000", "k8s-burst-7-0-k8s-1", "job")
        assert list(ready.command) == ["/k8s-burst/bin/k8s-burst-pod", "attach", "--dir", "/k8s-burst"]
        assert ready.token.startswith("token-1")
        house.kube.change(make_pod(job), terminating=True)
        lost = (await stub.Attach(request)).lost
        assert lost.message == "pod k8s-burst-7-0-k8s-1 was deleted; the job is requeued"


async def test_what_is_away_is_unavailable(tmp_path: Path) -> None:
    """gatewayd tries again."""
    async with serving(tmp_path, make_house(slurm=SlurmIsAwayForOneJob)) as desk, desk.local() as channel:
        code, said = await refused(pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7)))
        assert (code, said) == (Code.UNAVAILABLE, "slurmctld does not answer")


async def test_what_nobody_foresaw_is_told_without_its_insides(tmp_path: Path) -> None:
    """The log has the traceback; callers get a sentence."""
    house = make_house(kube=KubeBreaksItsPromise)
    house.slurm.submit(make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",)))
    async with serving(tmp_path, house) as desk, desk.local() as channel:
        request = pb.AttachRequest(job_id=7, node_name="k8s-1", uid=1000)
        code, said = await refused(pb_grpc.GatewayServiceStub(channel).Attach(request))
        assert (code, said) == (Code.INTERNAL, "the agent failed; its log says how")


def test_what_kubernetes_refuses_ends_no_task() -> None:
    """gatewayd asks again on UNAVAILABLE; any other status is the launcher's end."""
    assert status_of(KubeRefused("pods is forbidden")) is grpc.StatusCode.UNAVAILABLE
