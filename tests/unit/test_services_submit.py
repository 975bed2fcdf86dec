"""
What users are told of their submissions and their jobs, and of nobody else's.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from burst_agent import history
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc
from burst_agent.model import Accounts, JobUsage, Partition

from .fake_kube import FakeKube
from .fakes import make_job
from .house import FakeAccounting, make_house
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
        (announcement(utc_offset_s=86400), Code.INVALID_ARGUMENT, "submission.utc_offset_s"),
    ],
    ids=["none", "forged", "for-another", "cluster", "mode", "image", "clock"],
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
        dear = await stub.Announce(announcement(command_line=["sbatch", "-t", "120", "x"], mode=pb.BURST_MODE_NOW))
        assert dear.message == "will not burst: asks for more money of a month than allowed (up to 4.00 EUR)"
        assert "rule no-bio does not fit: account (none) is not bio" in dear.reasons
        assert dear.reasons[-1].endswith("4.00 EUR more asked, 3.00 EUR allowed (max_cost_per_month)")
        array = announcement(command_line=["sbatch", "-a", "0-9", "x"], mode=pb.BURST_MODE_NOW)
        assert (await stub.Announce(array)).message.endswith(", at most 2.00 EUR a task; will burst")


QUEUES = (
    Partition("gpu", default=True, time_limit_min=60, waiting=3, starts_per_hour=8.0),
    Partition("cpu", default=False, time_limit_min=None, starts_per_hour=60.0),
    Partition("stuck", default=False, time_limit_min=30, waiting=9),
)


async def test_announce_says_when(tmp_path: Path) -> None:
    """
    Here by the queue of the partition that it gets into, and the moment to burst by that; what is not known is left out.
    By the user's own clock.
    """
    house = make_house()
    house.slurm.queues = QUEUES
    more = "min_gain = '10 min'\nmax_wait = '2 h'\n[policy.prices.default]\npod_hour = 2\n"
    async with serving(tmp_path, house, more=more) as desk, desk.tls(desk.login) as channel:
        await house.loop.tick()
        stub = pb_grpc.SubmitServiceStub(channel)

        async def said(*words: str, **more: Any) -> str:
            more = {"utc_offset_s": 2 * 3600, **more}
            return (await stub.Announce(announcement(command_line=["sbatch", *words, "x"], **more))).message

        assert await said() == (
            "expected here 03:03, in Kubernetes 02:35, at most 2.00 EUR; will burst if still waiting at 02:34"
        )
        queue = replace(QUEUES[0], starts_per_hour=240)
        house.slurm.queues = (queue, *QUEUES[1:])
        await house.loop.tick()
        assert await said("-t", "30") == (
            "expected here 02:34, in Kubernetes 04:34, at most 1.00 EUR; will burst if still waiting at 04:33"
        )
        assert await said("-p", "stuck") == (
            "in Kubernetes 02:35, at most 1.00 EUR; will burst if still waiting at 02:34"
        )
        assert (await said("-p", "stuck,gpu")).startswith("expected here ")
        unlimited = await said("-p", "cpu", utc_offset_s=-3600)
        assert unlimited == "in Kubernetes 23:35, at most 1440.00 EUR; will burst if still waiting at 23:34"
        assert (await said("-p", "cpu", "-t", "60", max_cost="2")).endswith(
            " 2.00 EUR; will burst if still waiting at 02:34"
        )
        assert "at most 2.00 EUR" in await said(max_cost="2")


async def test_announce_names_the_target_that_it_would_go_to(tmp_path: Path) -> None:
    """Of several, the one that may have it now, with its price; while none may, what is against it."""
    targets = """
max_pods = 1
[[policy.rules]]
name = "far"
user = "user1001"
targets = "west"
[policy.prices.east]
pod_hour = 2
[policy.prices.west]
pod_hour = 3
[[targets]]
name = "east"
preference = 1
max_pods = 0
[[targets]]
name = "west"
[[targets.pods.volumes]]
path = "/scratch"
hostPath = { path = "/scratch" }
"""
    house = make_house()
    house.others = {name: FakeKube(house.clock, name) for name in ("east", "west")}
    async with serving(tmp_path, house, more=targets) as desk, desk.tls(desk.login) as channel:
        await house.loop.tick()
        stub = pb_grpc.SubmitServiceStub(channel)
        assert (await stub.Announce(announcement(mode=pb.BURST_MODE_NOW))).message == (
            "in west 00:34, at most 3.00 EUR; will burst"
        )
        house.slurm.submit(make_job())
        await house.settle()
        assert (await stub.Announce(announcement())).message == (
            "in Kubernetes 00:35, at most 3.00 EUR; will burst if still waiting at 00:34"
            " and nothing holds it up then (now: cap on pods of all users is reached)"
        )


async def test_announce_knows_the_users_default_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules and caps that are about accounts; slurmdbd that takes its time holds nobody up, and is heard later."""
    rules = """
max_cost_per_account_per_month = { chem = 1 }
[policy.prices.default]
pod_hour = 2
[[policy.rules]]
name = "no-bio"
account = "bio"
deny = "biology has its own cluster"
"""
    monkeypatch.setattr(history, "ACCOUNTS_PATIENCE_S", 60.0)
    house = make_house()
    house.accounting = SlurmdbdTakesItsTime()
    house.accounting.may_charge = {"user1000": ["bio", "chem"], "user1001": ["chem"]}
    async with serving(tmp_path, house, more=rules) as desk, desk.tls(desk.login) as channel:
        await house.history.read(house.loop.terms)
        await house.loop.tick()
        stub = pb_grpc.SubmitServiceStub(channel)
        assert (await stub.Announce(announcement())).verdict == pb.VERDICT_WILL_BURST
        house.accounting.answers.set()
        again = announcement(command_line=["sbatch", "-J", "again", "x"])
        assert "biology" in (await stub.Announce(again)).message
        named = announcement(command_line=["sbatch", "-A", "phys", "x"])
        assert (await stub.Announce(named)).verdict == pb.VERDICT_WILL_BURST
        assert "money of account chem than allowed" in (await stub.Announce(announcement(1001))).message
        assert house.accounting.asked_for == ["user1000", "user1001"]


class SlurmdbdTakesItsTime(FakeAccounting):
    """
    Says nothing of accounts until ``answers`` is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def accounts(self, user: str) -> Accounts:
        known = await super().accounts(user)
        await self.answers.wait()
        return known


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
