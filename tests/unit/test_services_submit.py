"""
What users are told of their submissions and their jobs, and of nobody else's.
"""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.model import JobUsage

from .fakes import make_job
from .house import make_house
from .serving import announcement, refused, serving

Code = grpc.StatusCode


async def test_announce_promises(tmp_path: Path) -> None:
    """What will become of the submission, in one line; and the agent looks out for it."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        await desk.house.loop.tick()
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(announcement())
        assert answer.verdict == pb.VERDICT_WILL_BURST
        assert answer.message == "in Kubernetes 00:35; will burst if still waiting at 00:34"
        now = await pb_grpc.SubmitServiceStub(channel).Announce(announcement(mode=pb.BURST_MODE_NOW))
        assert now.message == "in Kubernetes 00:34; will burst"


async def test_announce_while_something_is_away(tmp_path: Path) -> None:
    """Still a promise, with its condition."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(announcement())
        assert answer.verdict == pb.VERDICT_WILL_BURST
        assert answer.message.startswith("will burst once Slurm and Kubernetes answer the agent again")


@pytest.mark.parametrize(
    ("request_", "said"),
    [(announcement(uid=0), "root"), (announcement(mode=pb.BURST_MODE_NEVER), "--k8s-burst=never")],
    ids=["root", "never"],
)
async def test_announce_what_will_not_burst(tmp_path: Path, request_: pb.AnnounceRequest, said: str) -> None:
    """The submission goes on as any."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(request_)
        assert answer.verdict == pb.VERDICT_WILL_NOT_BURST
        assert said in answer.message


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (pb.AnnounceRequest(), Code.UNAUTHENTICATED, "needed"),
        (pb.AnnounceRequest(munge_credential="forged"), Code.UNAUTHENTICATED, "forged"),
        (pb.AnnounceRequest(munge_credential="1000:other", submission=b"x"), Code.UNAUTHENTICATED, "not for this"),
        (announcement(cluster="c2"), Code.INVALID_ARGUMENT, "submission.cluster"),
        (announcement(mode=0), Code.INVALID_ARGUMENT, "submission.mode"),
        (announcement(image="/x.sqsh"), Code.INVALID_ARGUMENT, "submission.image"),
    ],
    ids=["none", "forged", "for-another", "cluster", "mode", "image"],
)
async def test_announce_refuses(tmp_path: Path, request_: pb.AnnounceRequest, code: Code, said: str) -> None:
    """Statuses as agent.proto lists them."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        refusal = await refused(pb_grpc.SubmitServiceStub(channel).Announce(request_))
    assert refusal[0] is code
    assert said in refusal[1]


async def test_a_credential_is_good_once(tmp_path: Path) -> None:
    """As munged sees to."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        request = announcement()
        await pb_grpc.SubmitServiceStub(channel).Announce(request)
        assert (await refused(pb_grpc.SubmitServiceStub(channel).Announce(request)))[0] is Code.UNAUTHENTICATED


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
    async with serving(tmp_path, more="max_cost_per_month = 3" + rules) as desk, desk.tls(desk.login) as channel:
        await desk.house.history.read(desk.house.loop.terms)
        await desk.house.loop.tick()
        stub = pb_grpc.SubmitServiceStub(channel)
        denied = await stub.Announce(announcement(directives=["#SBATCH -A bio"]))
        assert denied.verdict == pb.VERDICT_WILL_NOT_BURST
        assert denied.message.startswith("will not burst: biology has its own cluster (up to ")
        denied = await stub.Announce(announcement(directives=["#SBATCH -A bio --reservation=lab"]))
        assert denied.message == "will not burst: biology has its own cluster"
        hour = announcement(command_line=["sbatch", "-A", "chem", "-t", "60", "x"], mode=pb.BURST_MODE_NOW)
        assert (await stub.Announce(hour)).message.endswith(", at most 2.00 EUR; will burst")
        limited = announcement(command_line=["sbatch", "-t", "60", "x"], max_cost="1.5")
        assert (await stub.Announce(limited)).message == (
            "will not burst: may cost more than its --k8s-burst-max-cost allows (up to 2.00 EUR)"
        )
        held = await stub.Announce(announcement(command_line=["sbatch", "-t", "120", "x"], mode=pb.BURST_MODE_NOW))
        assert held.message.endswith("; will burst, but not yet: asks for more money of a month than allowed")
        assert "rule no-bio does not fit: account (none) is not bio" in held.reasons


async def test_asking_only_wakes_nobody(tmp_path: Path) -> None:
    """burstctl explain SCRIPT is no announcement; the start that Slurm told the user is shown."""
    async with serving(tmp_path) as desk, desk.tls(desk.login) as channel:
        await desk.house.loop.tick()
        woken: list[bool] = []
        desk.house.loop.announce = lambda: woken.append(True)  # type: ignore[method-assign]
        asked = announcement(only_asks=True, expected_start=int(desk.house.clock.now()) + 600)
        answer = await pb_grpc.SubmitServiceStub(channel).Announce(asked)
        assert answer.message.startswith("expected here ")
        at_once = announcement(only_asks=True, expected_start=int(desk.house.clock.now()))
        assert (await pb_grpc.SubmitServiceStub(channel).Announce(at_once)).message.startswith("expected here ")
        assert not woken


async def test_explain_shows_users_their_own_jobs(tmp_path: Path) -> None:
    """Whose it is decides; the credential must be for this very job id."""
    house = make_house()
    async with serving(tmp_path, house) as desk, desk.tls(desk.login) as channel:
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
            assert (await refused(stub.Explain(request)))[0] is code


async def test_root_on_the_socket_sees_every_job(tmp_path: Path) -> None:
    """No credential needed: who can open the socket is root."""
    house = make_house()
    async with serving(tmp_path, house) as desk, desk.local() as channel:
        house.slurm.submit(make_job())
        await house.settle()
        answer = await pb_grpc.SubmitServiceStub(channel).Explain(pb.ExplainRequest(job_id=7))
        assert [pod.name for pod in answer.job.pods] == ["k8s-burst-7-0-k8s-1"]
        assert answer.job.pods[0].phase == "Pending"


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
    async with serving(tmp_path, house, more=money) as desk, desk.tls(desk.login) as channel:
        stub = pb_grpc.SubmitServiceStub(channel)
        early = await refused(stub.Mine(pb.MineRequest(munge_credential="7:mine")))
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
            refusal = await refused(stub.Mine(pb.MineRequest(munge_credential=credential)))
            assert refusal[0] is Code.UNAUTHENTICATED


async def test_mine_wants_a_credential_on_the_socket_too(tmp_path: Path) -> None:
    """No listener proves who else is meant: root has Status and Budget."""
    async with serving(tmp_path) as desk, desk.local() as channel:
        refusal = await refused(pb_grpc.SubmitServiceStub(channel).Mine(pb.MineRequest()))
        assert refusal[0] is Code.UNAUTHENTICATED
