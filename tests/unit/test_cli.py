"""
burstctl, from its words to its exit status.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from burst_agent import cli
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc

STATUS = pb.StatusResponse(
    jobs=[
        pb.JobStatus(
            job_id=7,
            uid=1000,
            job_state="RUNNING",
            partition="k8s-burst",
            burst_state="running",
            pods=[
                pb.PodStatus(namespace="c1-u1000", name="a", node_name="k8s-1", phase="Running"),
                pb.PodStatus(namespace="c1-u1000", name="b", node_name="k8s-2", phase="Pending"),
            ],
        ),
        pb.JobStatus(
            job_id=12, uid=1001, job_state="PENDING", partition="gpu", burst_state="waiting", reason="cap on pods"
        ),
    ],
    usage=[
        pb.JobUsage(
            job_id=5, user="alice", account="physics", job_state="COMPLETED", elapsed_s=7200, gpus=2, gpu_hours=4.0
        )
    ],
    problems=["slurmctld does not answer"],
)


class Admin(pb_grpc.AdminServiceServicer):
    """
    Says the above.
    """

    async def Status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:  # noqa: N802
        return STATUS


class Submit(pb_grpc.SubmitServiceServicer):
    """
    Knows job 7.
    """

    async def Announce(self, request: pb.AnnounceRequest, context: object) -> pb.AnnounceResponse:  # noqa: N802
        raise AssertionError

    async def Explain(  # noqa: N802
        self, request: pb.ExplainRequest, context: grpc.aio.ServicerContext[pb.ExplainRequest, pb.ExplainResponse]
    ) -> pb.ExplainResponse:
        if request.job_id != 7:
            await context.abort(grpc.StatusCode.NOT_FOUND, "job 8 is no flagged job")
        return pb.ExplainResponse(job=STATUS.jobs[0], reasons=["mode now", "running"])


async def _burstctl(folder: Path, *words: str) -> int:
    server = grpc.aio.server()
    pb_grpc.add_AdminServiceServicer_to_server(Admin(), server)
    pb_grpc.add_SubmitServiceServicer_to_server(Submit(), server)
    server.add_insecure_port(f"unix:{folder}/s")
    await server.start()
    try:
        return await asyncio.to_thread(cli.main, ["--socket", f"{folder}/s", *words])
    finally:
        await server.stop(0)


async def test_status_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems first, then aligned tables; a second pod on a line of its own."""
    assert await _burstctl(tmp_path, "status") == 0
    assert capsys.readouterr().out == (
        "problem: slurmctld does not answer\n"
        "\n"
        "JOB  UID   STATE    PARTITION  BURST    POD         PHASE    REASON\n"
        "7    1000  RUNNING  k8s-burst  running  c1-u1000/a  Running\n"
        "                                        c1-u1000/b  Pending\n"
        "12   1001  PENDING  gpu        waiting  -           -        cap on pods\n"
        "\n"
        "JOB  USER   ACCOUNT  STATE      SECONDS  GPUS  GPU-HOURS\n"
        "5    alice  physics  COMPLETED  7200     2     4.00\n"
    )


async def test_status_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message as JSON, every field there, named as in agent.proto."""
    assert await _burstctl(tmp_path, "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["jobs"][1]["pods"] == []
    assert status["jobs"][0]["burst_state"] == "running"
    assert (status["usage"][0]["gpus"], status["usage"][0]["gpu_hours"]) == (2, 4.0)
    assert status["usage_error"] == ""


async def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The job, then what was looked at."""
    assert await _burstctl(tmp_path, "explain", "7") == 0
    assert capsys.readouterr().out == "job 7: running\n  mode now\n  running\n"


async def test_the_agents_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its sentence, and exit status 1."""
    assert await _burstctl(tmp_path, "explain", "8") == 1
    assert capsys.readouterr() == ("", "burstctl: job 8 is no flagged job\n")


def test_no_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 3, and where it was looked for."""
    assert cli.main(["--socket", f"{tmp_path}/none", "status"]) == 3
    assert f"the agent at {tmp_path}/none does not answer" in capsys.readouterr().err


def test_status_is_for_root_on_the_agents_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Users are told what they have."""
    assert cli.main(["--agent", "localhost:1", "status"]) == 2
    assert "burstctl explain JOB" in capsys.readouterr().err


def test_a_ca_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named."""
    assert cli.main(["--agent", "localhost:1", "--ca", f"{tmp_path}/ca", "explain", "7"]) == 2
    assert f"{tmp_path}/ca: can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent = 5", "agent: only agent and ca can be set, both strings"),
        ("host = 'x'", "host: only agent and ca can be set"),
        ("agent", "can't be read"),
        (None, "don't know where the agent is"),
    ],
)
def test_its_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str) -> None:
    """What is wrong with them, and exit status 2."""
    path = tmp_path / "burstctl.toml"
    if text is not None:
        path.write_text(text)
    assert cli.main(["--config", str(path), "--agent-settings", f"{tmp_path}/agent.toml", "explain", "7"]) == 2
    assert said in capsys.readouterr().err


def test_words_that_make_no_sense() -> None:
    """argparse's exit status."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "seven"])
    assert caught.value.code == 2
