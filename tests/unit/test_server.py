"""
The services as clients see them: over a real unix socket and real TLS on the loopback interface.
"""

from __future__ import annotations

import hashlib
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.attach import Attacher
from burst_agent.errors import AccountingMissing, KubeRefused, NotAuthenticated, SettingsError, SlurmUnavailable
from burst_agent.model import Job, JobState, JobUsage
from burst_agent.server import Server, status_of

from .fake_kube import FakeKube
from .fake_slurm import FakeSlurm
from .fakes import make_job, make_pod
from .house import FakeUsers, House, make_house

Code = grpc.StatusCode


class FakeMunge:
    """
    Credentials are ``UID:PAYLOAD``, and good once.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def decode(self, credential: str) -> tuple[int, int, bytes]:
        uid, colon, payload = credential.partition(":")
        if not colon or credential in self.seen:
            msg = "the MUNGE credential is forged or was used before"
            raise NotAuthenticated(msg)
        self.seen.add(credential)
        return int(uid), int(uid), payload.encode()


class FakeAccounting:
    """
    One finished job.
    """

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        assert (partition, limit) == ("k8s-burst", 100)
        assert since < 2000
        return [JobUsage(5, "alice", "physics", "COMPLETED", 7200, 2)]

    async def accounts(self, user: str) -> Sequence[str]:
        return []

    async def close(self) -> None:
        pass


class AccountingIsNotInstalled(FakeAccounting):
    """
    No sacct.
    """

    async def finished_jobs(self, *, partition: str, since: int, limit: int) -> Sequence[JobUsage]:
        msg = "install Slurm's commands"
        raise AccountingMissing(msg)


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


@dataclass
class Desk:
    """
    A running server.
    """

    house: House
    socket: Path
    login: str
    gateway: str
    ca: trustme.CA

    @asynccontextmanager
    async def local(self) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            yield channel

    @asynccontextmanager
    async def tls(self, address: str, client: trustme.LeafCert | None = None) -> AsyncIterator[grpc.aio.Channel]:
        key = client.private_key_pem.bytes() if client else None
        chain = client.cert_chain_pems[0].bytes() if client else None
        credentials = grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, chain)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            yield channel


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _serving(
    tmp_path: Path, house: House | None = None, accounting: FakeAccounting | None = None, more: str = ""
) -> AsyncIterator[Desk]:
    ca = trustme.CA()
    certificate = ca.issue_cert("localhost")
    (tmp_path / "key").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "crt").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (tmp_path / "ca").write_bytes(ca.cert_pem.bytes())
    login, gateway = (f"localhost:{_free_port()}" for _ in range(2))
    listen = f"""
        [listen]
        socket = "{tmp_path}/run/agent.sock"
        metrics = ""
        [listen.login]
        address = "{login}"
        certificate = "{tmp_path}/crt"
        key = "{tmp_path}/key"
        [listen.gateway]
        address = "{gateway}"
        certificate = "{tmp_path}/crt"
        key = "{tmp_path}/key"
        client_ca = "{tmp_path}/ca"
    """
    house = house or make_house()
    house.settings = make_house(more=more + listen).settings
    house.restart()
    attacher = Attacher(
        slurm=house.slurm,
        clusters=house.clusters,
        clock=house.clock,
        cluster="c1",
        site=house.loop.site,
        wake=house.loop.wake,
    )
    server = Server(
        settings=house.settings,
        loop=house.loop,
        attacher=attacher,
        munge=FakeMunge(),
        users=FakeUsers(),
        accounting=accounting or FakeAccounting(),
        clock=house.clock,
    )
    await server.start()
    try:
        yield Desk(house, tmp_path / "run" / "agent.sock", login, gateway, ca)
    finally:
        await server.stop(0)


def _announcement(uid: int = 1000, **changes: object) -> pb.AnnounceRequest:
    fields = {"cluster": "c1", "mode": pb.BURST_MODE_AUTO, "command_line": ["sbatch", "x"], **changes}
    submission = pb.Submission(**fields).SerializeToString()  # type: ignore[arg-type]
    digest = hashlib.sha256(submission).hexdigest()
    return pb.AnnounceRequest(munge_credential=f"{uid}:{digest}", submission=submission)


async def _refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[Code, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_announce_promises(tmp_path: Path) -> None:
    """What will become of the submission, in one line; and the agent looks out for it."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        await desk.house.loop.tick()
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(_announcement())
        assert answer.verdict == pb.VERDICT_WILL_BURST
        assert answer.message == "in Kubernetes 00:35; will burst if still waiting at 00:34"
        now = await pb_grpc.SubmitServiceStub(channel).Announce(_announcement(mode=pb.BURST_MODE_NOW))
        assert now.message == "in Kubernetes 00:34; will burst"


async def test_announce_while_something_is_away(tmp_path: Path) -> None:
    """Still a promise, with its condition."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(_announcement())
        assert answer.verdict == pb.VERDICT_WILL_BURST
        assert answer.message.startswith("will burst once Slurm and Kubernetes answer the agent again")


@pytest.mark.parametrize(
    ("request_", "said"),
    [(_announcement(uid=0), "root"), (_announcement(mode=pb.BURST_MODE_NEVER), "--k8s-burst=never")],
    ids=["root", "never"],
)
async def test_announce_what_will_not_burst(tmp_path: Path, request_: pb.AnnounceRequest, said: str) -> None:
    """The submission goes on as any."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(request_)
        assert answer.verdict == pb.VERDICT_WILL_NOT_BURST
        assert said in answer.message


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (pb.AnnounceRequest(), Code.UNAUTHENTICATED, "needed"),
        (pb.AnnounceRequest(munge_credential="forged"), Code.UNAUTHENTICATED, "forged"),
        (pb.AnnounceRequest(munge_credential="1000:other", submission=b"x"), Code.UNAUTHENTICATED, "not for this"),
        (_announcement(cluster="c2"), Code.INVALID_ARGUMENT, "submission.cluster"),
        (_announcement(mode=0), Code.INVALID_ARGUMENT, "submission.mode"),
        (_announcement(image="/x.sqsh"), Code.INVALID_ARGUMENT, "submission.image"),
    ],
    ids=["none", "forged", "for-another", "cluster", "mode", "image"],
)
async def test_announce_refuses(tmp_path: Path, request_: pb.AnnounceRequest, code: Code, said: str) -> None:
    """Statuses as agent.proto lists them."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        refusal = await _refused(pb_grpc.SubmitServiceStub(channel).Announce(request_))
    assert refusal[0] is code
    assert said in refusal[1]


async def test_a_credential_is_good_once(tmp_path: Path) -> None:
    """As munged sees to."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        request = _announcement()
        await pb_grpc.SubmitServiceStub(channel).Announce(request)
        assert (await _refused(pb_grpc.SubmitServiceStub(channel).Announce(request)))[0] is Code.UNAUTHENTICATED


async def test_explain_shows_users_their_own_jobs(tmp_path: Path) -> None:
    """Whose it is decides; the credential must be for this very job id."""
    house = make_house()
    async with _serving(tmp_path, house) as desk, desk.tls(desk.login) as channel:
        house.slurm.submit(make_job(features="fast"))
        await house.settle()
        stub = pb_grpc.SubmitServiceStub(channel)
        answer = await stub.Explain(pb.ExplainRequest(munge_credential="1000:7", job_id=7))
        assert (answer.job.job_id, answer.job.burst_state) == (7, "refused")
        assert any("fast" in reason for reason in answer.reasons)
        for credential, job_id, code in (
            ("1001:7", 7, Code.PERMISSION_DENIED),
            ("0:7", 7, Code.PERMISSION_DENIED),
            ("1000:8", 7, Code.UNAUTHENTICATED),
            ("1000:9", 9, Code.NOT_FOUND),
            ("", 7, Code.UNAUTHENTICATED),
        ):
            request = pb.ExplainRequest(munge_credential=credential, job_id=job_id)
            assert (await _refused(stub.Explain(request)))[0] is code


async def test_root_on_the_socket_sees_every_job(tmp_path: Path) -> None:
    """No credential needed: who can open the socket is root."""
    house = make_house()
    async with _serving(tmp_path, house) as desk, desk.local() as channel:
        house.slurm.submit(make_job())
        await house.settle()
        answer = await pb_grpc.SubmitServiceStub(channel).Explain(pb.ExplainRequest(job_id=7))
        assert [pod.name for pod in answer.job.pods] == ["k8s-burst-7-0-k8s-1"]
        assert answer.job.pods[0].phase == "Pending"


async def test_the_socket_is_roots(tmp_path: Path) -> None:
    """Nobody else may connect, not for a moment; it goes with the server."""
    async with _serving(tmp_path) as desk:
        mode = desk.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not desk.socket.exists()


async def test_each_listener_serves_only_its_callers(tmp_path: Path) -> None:
    """The login port answers no gateway, the gateway port no user."""
    async with _serving(tmp_path) as desk:
        async with desk.tls(desk.login) as channel:
            attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7))
            assert (await _refused(attach))[0] is Code.UNIMPLEMENTED
            status = pb_grpc.AdminServiceStub(channel).Status(pb.StatusRequest())
            assert (await _refused(status))[0] is Code.UNIMPLEMENTED
        async with desk.tls(desk.gateway, desk.ca.issue_cert("gateway")) as channel:
            announce = pb_grpc.SubmitServiceStub(channel).Announce(_announcement())
            assert (await _refused(announce))[0] is Code.UNIMPLEMENTED
            attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7))
            assert (await _refused(attach))[0] is Code.PERMISSION_DENIED


async def test_the_gateway_port_wants_a_certificate_of_its_authority(tmp_path: Path) -> None:
    """None, or one of another authority, gets no answer."""
    async with _serving(tmp_path) as desk:
        for client in (None, trustme.CA().issue_cert("gateway")):
            async with desk.tls(desk.gateway, client) as channel:
                attach = pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7), timeout=5)
                assert (await _refused(attach))[0] is Code.UNAVAILABLE


async def test_attach_all_three_outcomes(tmp_path: Path) -> None:
    """Ready with everything that gatewayd needs, pending, lost."""
    house = make_house()
    job = make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",), admin_comment="")
    house.slurm.submit(job)
    request = pb.AttachRequest(job_id=7, node_name="k8s-1", uid=1000)
    async with _serving(tmp_path, house) as desk, desk.local() as channel:
        stub = pb_grpc.GatewayServiceStub(channel)
        pending = await stub.Attach(request)
        assert pending.pending.retry_after_ms > 0
        house.kube.change(make_pod(job))
        ready = (await stub.Attach(request)).ready
        assert (ready.api_server, ready.certificate_authority_pem) == ("https://kube:6443", b"CA")
        assert (ready.namespace, ready.pod, ready.container) == ("c1-u1000", "k8s-burst-7-0-k8s-1", "job")
        assert list(ready.command) == ["/k8s-burst/bin/k8s-burst-pod", "attach", "--dir", "/k8s-burst"]
        assert ready.token.startswith("token-1")
        assert ready.token_expires.seconds == 2600
        house.kube.change(make_pod(job), terminating=True)
        lost = (await stub.Attach(request)).lost
        assert lost.message == "pod k8s-burst-7-0-k8s-1 was deleted; the job is requeued"


async def test_what_is_away_is_unavailable(tmp_path: Path) -> None:
    """gatewayd tries again."""
    async with _serving(tmp_path, make_house(slurm=SlurmIsAwayForOneJob)) as desk, desk.local() as channel:
        code, said = await _refused(pb_grpc.GatewayServiceStub(channel).Attach(pb.AttachRequest(job_id=7)))
        assert (code, said) == (Code.UNAVAILABLE, "slurmctld does not answer")


async def test_what_nobody_foresaw_is_told_without_its_insides(tmp_path: Path) -> None:
    """The log has the traceback; callers get a sentence."""
    house = make_house(kube=KubeBreaksItsPromise)
    house.slurm.submit(make_job(partition="k8s-burst", state=JobState.RUNNING, nodes=("k8s-1",)))
    async with _serving(tmp_path, house) as desk, desk.local() as channel:
        request = pb.AttachRequest(job_id=7, node_name="k8s-1", uid=1000)
        code, said = await _refused(pb_grpc.GatewayServiceStub(channel).Attach(request))
        assert (code, said) == (Code.INTERNAL, "the agent failed; its log says how")


async def test_status(tmp_path: Path) -> None:
    """Jobs, pods, usage and problems; one user's where asked."""
    house = make_house()
    async with _serving(tmp_path, house) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        assert (await stub.Status(pb.StatusRequest())).problems
        house.slurm.submit(make_job(7))
        house.slurm.submit(make_job(8, uid=1001))
        await house.settle()
        status = await stub.Status(pb.StatusRequest())
        assert [job.job_id for job in status.jobs] == [7, 8]
        assert not status.problems
        assert (status.usage[0].gpu_hours, status.usage[0].gpus) == (4.0, 2)
        assert [job.job_id for job in (await stub.Status(pb.StatusRequest(uid=1001))).jobs] == [8]


async def test_status_without_accounting(tmp_path: Path) -> None:
    """It says what to install; the rest is there."""
    async with _serving(tmp_path, accounting=AccountingIsNotInstalled()) as desk, desk.local() as channel:
        status = await pb_grpc.AdminServiceStub(channel).Status(pb.StatusRequest())
        assert status.usage_error == "install Slurm's commands"


async def test_messages_are_capped(tmp_path: Path) -> None:
    """What is too large is refused before it is read."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        request = pb.AnnounceRequest(submission=b"x" * 300_000)
        refusal = await _refused(pb_grpc.SubmitServiceStub(channel).Announce(request))
        assert refusal[0] is Code.RESOURCE_EXHAUSTED


async def test_a_second_agent_does_not_start(tmp_path: Path) -> None:
    """Two loops would fight over the same jobs; a socket that nobody answers is left over and taken."""
    async with _serving(tmp_path) as desk:
        with pytest.raises(SettingsError, match="another agent"):
            async with _serving(tmp_path):
                pass
        assert desk.socket.exists()
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(tmp_path / "run" / "agent.sock"))
    async with _serving(tmp_path):
        pass


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Named, with its section."""
    async with _serving(tmp_path) as desk:
        other = tmp_path / "other"
        other.mkdir()
        taken = desk.house.settings.listen.login
        house = make_house()
        async with _serving(other, house):
            settings = house.settings.model_copy(
                update={"listen": house.settings.listen.model_copy(update={"login": taken, "socket": other / "s"})}
            )
            server = Server(
                settings=settings,
                loop=house.loop,
                attacher=None,  # type: ignore[arg-type]
                munge=FakeMunge(),
                users=FakeUsers(),
                accounting=FakeAccounting(),
                clock=house.clock,
            )
            with pytest.raises(SettingsError, match=r"listen\.login: can't listen on"):
                await server.start()
            await server.stop(0)


async def test_announce_foretells(tmp_path: Path) -> None:
    """Rules by what the command line and the script ask for, the price, and a cap that is in the way."""
    rules = """
[[policy.rules]]
name = "no-bio"
account = "bio"
deny = "biology has its own cluster"
[policy.prices.default]
pod_hour = 2
"""
    async with _serving(tmp_path, more="max_cost_per_month = 3" + rules) as desk, desk.tls(desk.login) as channel:
        await desk.house.history.read(desk.house.loop.terms)
        await desk.house.loop.tick()
        stub = pb_grpc.SubmitServiceStub(channel)
        denied = await stub.Announce(_announcement(directives=["#SBATCH -A bio"]))
        assert denied.verdict == pb.VERDICT_WILL_NOT_BURST
        assert denied.message.startswith("will not burst: biology has its own cluster (up to ")
        hour = _announcement(command_line=["sbatch", "-A", "chem", "-t", "60", "x"], mode=pb.BURST_MODE_NOW)
        assert (await stub.Announce(hour)).message.endswith(", at most 2.00 EUR; will burst")
        limited = _announcement(command_line=["sbatch", "-t", "60", "x"], max_cost="1.5")
        assert (await stub.Announce(limited)).message == (
            "will not burst: may cost more than its --k8s-burst-max-cost allows (up to 2.00 EUR)"
        )
        held = await stub.Announce(_announcement(command_line=["sbatch", "-t", "120", "x"], mode=pb.BURST_MODE_NOW))
        assert held.message.endswith("; will burst, but not yet: asks for more money of a month than allowed")
        assert "rule no-bio does not fit: account (none) is not bio" in held.reasons


async def test_asking_only_wakes_nobody(tmp_path: Path) -> None:
    """burstctl explain SCRIPT is no announcement; the start that Slurm told the user is shown."""
    async with _serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        await desk.house.loop.tick()
        woken: list[bool] = []
        desk.house.loop.announce = lambda: woken.append(True)  # type: ignore[method-assign]
        asked = _announcement(only_asks=True, expected_start=int(desk.house.clock.now()) + 600)
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(asked)
        assert answer.message.startswith("expected here ")
        at_once = _announcement(only_asks=True, expected_start=int(desk.house.clock.now()))
        assert (await pb_grpc.SubmitServiceStub(channel).Announce(at_once)).message.startswith("expected here ")
        assert not woken


async def test_budget(tmp_path: Path) -> None:
    """For root alone: caps, what is left, what accounts spend."""
    async with _serving(tmp_path) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        code, said = await _refused(stub.Budget(pb.BudgetRequest()))
        assert (code, "has not looked yet" in said) == (Code.UNAVAILABLE, True)
        await desk.house.loop.tick()
        answer = await stub.Budget(pb.BudgetRequest())
        assert [cap.setting for cap in answer.caps] == ["max_pods", "max_gpus"]
        assert answer.unknown
        async with desk.tls(desk.login) as login:
            code, _ = await _refused(pb_grpc.AdminServiceStub(login).Budget(pb.BudgetRequest()))
            assert code == Code.UNIMPLEMENTED


async def test_targets(tmp_path: Path) -> None:
    """For root alone: what each target holds, what it costs, and what keeps pods from it."""
    async with _serving(tmp_path) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        code, _ = await _refused(stub.Targets(pb.TargetsRequest()))
        assert code == Code.UNAVAILABLE
        job_id = desk.house.slurm.submit(make_job())
        await desk.house.settle()
        (target,) = (await stub.Targets(pb.TargetsRequest())).targets
        assert (target.name, target.state, target.pods, target.gpus) == ("default", "ok", 1, 1)
        desk.house.kube.fail_pods("ErrImageNeverPull", message="not there")
        await desk.house.settle()
        (target,) = (await stub.Targets(pb.TargetsRequest())).targets
        (pause,) = target.pauses
        assert (target.state, target.pods, pause.shape) == ("paused", 0, "pods of the default image")
        assert (pause.failures, pause.until > desk.house.clock.now(), "not there" in pause.why) == (1, True, True)
        assert "paused" not in desk.house.slurm.jobs[job_id].admin_comment
        async with desk.tls(desk.login) as login:
            code, _ = await _refused(pb_grpc.AdminServiceStub(login).Targets(pb.TargetsRequest()))
            assert code == Code.UNIMPLEMENTED


async def test_mine_is_the_callers_own(tmp_path: Path) -> None:
    """
    Own jobs, own caps, own accounts, whose money is everybody's of that account; of other users' jobs and accounts not a
    word, however often a credential is tried.
    """
    money = """
max_cost_per_month = 100
max_cost_per_account_per_month = { "*" = 10 }
[policy.prices.default]
pod_hour = 2
"""
    house = make_house()
    house.accounting.jobs = [
        JobUsage(1, "user1000", "physics", "COMPLETED", 900, 0, start=100, cpus=1),
        JobUsage(2, "user1001", "secret", "COMPLETED", 1800, 0, start=100, cpus=1),
    ]
    async with _serving(tmp_path, house, more=money) as desk, desk.tls(desk.login) as channel:
        stub = pb_grpc.SubmitServiceStub(channel)
        early = await _refused(stub.Mine(pb.MineRequest(munge_credential="7:mine")))
        assert early[0] is Code.UNAVAILABLE
        await house.history.read(house.loop.terms)
        house.slurm.submit(make_job(7, account="chem", time_limit_min=60))
        house.slurm.submit(make_job(8, account="hidden", uid=1001, time_limit_min=60))
        await house.settle()
        own = await stub.Mine(pb.MineRequest(munge_credential="1000:mine"))
        assert [(job.job_id, job.burst_state, job.cost_to_come) for job in own.jobs] == [(7, "provisioning", 2.0)]
        assert [(one.account, one.spent, one.committed) for one in own.accounts] == [
            ("chem", 0.0, 2.0),
            ("physics", 0.5, 0.0),
        ]
        assert [cap.what for cap in own.caps] == [
            "pods of this user",
            "GPUs of this user",
            "money of account chem",
            "money of account physics",
        ]
        assert (own.caps[0].committed, own.currency) == (1, "EUR")
        assert "secret" not in str(own)
        assert "hidden" not in str(own)
        house.accounting.may_charge = {"user1002": ["bio"]}
        newcomer = await stub.Mine(pb.MineRequest(munge_credential="1002:mine"))
        assert [cap.what for cap in newcomer.caps][2:] == ["money of account bio"]
        stranger = await stub.Mine(pb.MineRequest(munge_credential="1003:mine"))
        assert not stranger.jobs
        assert not stranger.accounts
        assert [cap.committed for cap in stranger.caps] == [0, 0]
        for credential in ("", "forged", "1000:mine", "1000:7", "1000:"):
            refusal = await _refused(stub.Mine(pb.MineRequest(munge_credential=credential)))
            assert refusal[0] is Code.UNAUTHENTICATED


async def test_mine_wants_a_credential_on_the_socket_too(tmp_path: Path) -> None:
    """No listener proves who else is meant: root has Status and Budget."""
    async with _serving(tmp_path) as desk, desk.local() as channel:
        refusal = await _refused(pb_grpc.SubmitServiceStub(channel).Mine(pb.MineRequest()))
        assert refusal[0] is Code.UNAUTHENTICATED


async def test_status_tells_where_since_when_and_what_it_costs(tmp_path: Path) -> None:
    """What burstctl top shows; slurmdbd is not asked for that."""
    house, prices = make_house(), "[policy.prices.default]\npod_hour = 2\n"
    async with _serving(tmp_path, house, AccountingIsNotInstalled(), prices) as desk, desk.local() as channel:
        stub = pb_grpc.AdminServiceStub(channel)
        house.slurm.submit(make_job(7, time_limit_min=120, submit_time=500))
        house.slurm.submit(
            make_job(
                8, state=JobState.RUNNING, partition="k8s-burst", nodes=("k8s-2",), start_time=400, time_limit_min=60
            )
        )
        house.slurm.submit(make_job(9, features="fast", submit_time=600))
        await house.settle()
        status = await stub.Status(pb.StatusRequest(without_usage=True))
        now = house.clock.now()
        ran = (now - 400) / 1800
        assert [(job.job_id, job.target, job.since, job.cost_to_come) for job in status.jobs] == [
            (7, "default", int(now), 4.0),
            (8, status.jobs[1].target, 400, pytest.approx(2 - ran)),
            (9, "", 600, 0.0),
        ]
        assert [job.cost_so_far for job in status.jobs] == [0.0, pytest.approx(ran), 0.0]
        assert (status.currency, status.usage_error) == ("EUR", "")


def test_what_kubernetes_refuses_ends_no_task() -> None:
    """gatewayd asks again on UNAVAILABLE; any other status is the launcher's end."""
    assert status_of(KubeRefused("pods is forbidden")) is grpc.StatusCode.UNAVAILABLE
