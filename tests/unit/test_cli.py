"""
burstctl, from its words to its exit status.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import grpc
import pytest
from burst_agent import cli, cli_agent, cli_commands, cli_top
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc

from .fakes import SETTINGS

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


BUDGET = pb.BudgetResponse(
    caps=[
        pb.Cap(what="pods of all users", committed=2, cap=64, setting="max_pods"),
        pb.Cap(what="money of a month", spent=7, committed=2.5, cap=10, unit="EUR", setting="max_cost_per_month"),
    ],
    accounts=[pb.Spending(account="physics", spent=7, committed=2.5)],
    currency="EUR",
    unknown="slurmdbd is away",
    gpu_hours_spent=3,
    pod_start_median_s=12,
    pod_start_p80_s=90,
)

TARGETS = pb.TargetsResponse(
    currency="EUR",
    targets=[
        pb.TargetStatus(name="east", state="unreachable", why="target east does not answer", preference=1.5, pods=2),
        pb.TargetStatus(
            name="west", state="paused", spot=True, gpus=3, gpu_hour={"a100": 2.5, "*": 1}, cpu_hour=0.04,
            pod_start_p80_s=90,
            pauses=[pb.TargetPause(shape="all pods", why="no room", until=1, failures=2)],
        ),
    ],
)  # fmt: skip


class Admin(pb_grpc.AdminServiceServicer):
    """
    Says the above.
    """

    async def Status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:  # noqa: N802
        return STATUS

    async def Budget(self, request: pb.BudgetRequest, context: object) -> pb.BudgetResponse:  # noqa: N802
        return BUDGET

    async def Targets(self, request: pb.TargetsRequest, context: object) -> pb.TargetsResponse:  # noqa: N802
        return TARGETS


class Submit(pb_grpc.SubmitServiceServicer):
    """
    Knows job 7.
    """

    async def Announce(self, request: pb.AnnounceRequest, context: object) -> pb.AnnounceResponse:  # noqa: N802
        submission = pb.Submission.FromString(request.submission)
        assert submission.only_asks
        assert request.munge_credential == f"munged {hashlib.sha256(request.submission).hexdigest()}"
        seen = (
            submission.cluster,
            submission.mode,
            submission.max_cost,
            list(submission.directives),
            submission.expected_start,
        )
        return pb.AnnounceResponse(verdict=pb.VERDICT_WILL_BURST, message="will burst", reasons=[repr(seen)])

    async def Explain(  # noqa: N802
        self, request: pb.ExplainRequest, context: grpc.aio.ServicerContext[pb.ExplainRequest, pb.ExplainResponse]
    ) -> pb.ExplainResponse:
        if request.job_id != 7:
            await context.abort(grpc.StatusCode.NOT_FOUND, "job 8 is no flagged job")
        return pb.ExplainResponse(job=STATUS.jobs[0], reasons=["mode now", "running"])

    async def Mine(self, request: pb.MineRequest, context: object) -> pb.MineResponse:  # noqa: N802
        assert request.munge_credential == "munged mine"
        return pb.MineResponse(jobs=STATUS.jobs[1:], caps=BUDGET.caps[1:], accounts=BUDGET.accounts, currency="EUR")


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
        cli.main(["status", "--uid", "seven"])
    assert caught.value.code == 2


async def test_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is unknown first, then caps with what is left, then accounts."""
    assert await _burstctl(tmp_path, "budget") == 0
    assert capsys.readouterr().out == (
        "problem: what was spent is not known: slurmdbd is away\n"
        "\n"
        "CAP                SPENT  COMMITTED  ALLOWED  LEFT  UNIT  SETTING\n"
        "pods of all users  -      2          64       62    -     max_pods\n"
        "money of a month   7.00   2.50       10.00    0.50  EUR   max_cost_per_month\n"
        "\n"
        "ACCOUNT  SPENT EUR  COMMITTED EUR\n"
        "physics  7.00       2.50\n"
        "\n"
        "GPU-hours this month: 3.00 spent, 0.00 committed\n"
        "\n"
        "pods start within 12 s (half of them), 2 min (four of five)\n"
    )
    assert await _burstctl(tmp_path, "budget", "--json") == 0
    assert json.loads(capsys.readouterr().out)["caps"][1]["cap"] == 10


async def test_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each, then what keeps pods from being made; for root alone."""
    assert await _burstctl(tmp_path, "targets") == 0
    assert capsys.readouterr().out == (
        "TARGET  STATE        PREFERENCE  KIND  PODS  GPUS  GPU EUR/h          CPU EUR/h  POD EUR/h  START\n"
        "east    unreachable  1.5         -     2     0     -                  0.00       0.00       -\n"
        "west    paused       0           spot  0     3     * 1.00, a100 2.50  0.04       0.00       2 min\n"
        "\n"
        "east:\n"
        "  target east does not answer\n"
        "\n"
        "west:\n"
        "  not made for 0 s more: all pods: no room (2 times)\n"
    )
    assert await _burstctl(tmp_path, "targets", "--json") == 0
    assert json.loads(capsys.readouterr().out)["targets"][1]["gpu_hour"]["a100"] == 2.5
    monkeypatch.setattr(cli_agent.Where, "as_root", property(lambda _: False))
    assert await _burstctl(tmp_path, "targets") == 2
    assert "only by root" in capsys.readouterr().err


async def test_budget_of_an_ordinary_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not root on the agent's host: MUNGE says whose it is, and nobody else's is asked for."""
    _commands(tmp_path, monkeypatch, munge='echo "munged $2"')
    monkeypatch.setattr(cli_agent.Where, "as_root", property(lambda _: False))
    assert await _burstctl(tmp_path, "budget") == 0
    said = capsys.readouterr().out
    assert "money of a month   7.00   2.50" in said.replace("money of a month  ", "money of a month   ")
    assert "pods of all users" not in said
    assert "physics  7.00       2.50\n" in said
    assert await _burstctl(tmp_path, "top", "--once") == 0
    assert "12   1001  waiting  gpu        -       -      0.00    0.00     cap on pods\n" in capsys.readouterr().out


async def test_top_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that sums up, problems, then jobs: what runs first."""
    assert await _burstctl(tmp_path, "top", "--once") == 0
    head, *rest = capsys.readouterr().out.splitlines()
    assert head[8:] == (
        "  1 running, 0 moved, 0 provisioning, 1 waiting, 0 refused; 0.00  so far, 0.00 to come at most"
    )
    assert rest == [
        "problem: slurmctld does not answer",
        "",
        "JOB  UID   STATE    PARTITION  TARGET  SINCE  SO FAR  TO COME  REASON",
        "7    1000  running  k8s-burst  -       -      0.00    0.00",
        "12   1001  waiting  gpu        -       -      0.00    0.00     cap on pods",
    ]
    assert await _burstctl(tmp_path, "top", "--once", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    known = json.loads(line)
    assert [job["job_id"] for job in known["jobs"]] == [7, 12]
    assert known["problems"] == ["slurmctld does not answer"]
    assert "usage" not in known


def test_top_once_without_an_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As any other question; a live one is asked again instead."""
    assert cli.main(["--socket", f"{tmp_path}/none", "top", "--once"]) == 3
    assert "does not answer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["top", "--every", "0"])


class _Looks:
    """An agent that is away at every second look, and a user who has seen enough after some."""

    def __init__(self, enough: int) -> None:
        self.left = enough

    def __call__(self) -> pb.StatusResponse:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        if self.left % 2 == 0:
            raise grpc.RpcError
        jobs = [pb.JobStatus(job_id=number, burst_state="running", since=1, cost_so_far=1.5) for number in range(50)]
        return pb.StatusResponse(jobs=[*jobs, pb.JobStatus(job_id=99, burst_state="done")], currency="EUR")


@pytest.mark.parametrize("as_json", [False, True])
def test_top_into_a_pipe(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """One table, or one line of JSON, after the other, without a control character; an agent that is away is said."""
    cli_top.run(_Looks(4), cli_top.Asked(once=False, as_json=as_json, every_s=0), lambda _: "the agent is away")
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("the agent is away") == 2
    assert ("75.00 EUR so far" in said) is not as_json
    if as_json:
        assert [len(json.loads(line)["jobs"]) for line in said.splitlines()] == [50, 0, 50, 0]


def test_top_in_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen is painted over, no line wraps, none scrolls; at the end it is what it was."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 10)))
    cli_top.run(_Looks(2), cli_top.Asked(once=False, as_json=False, every_s=0), lambda _: "the agent is away")
    said = capsys.readouterr().out
    assert said.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
    assert said.endswith("\x1b[J\x1b[?1049l\x1b[?25h")
    first = said.split("\x1b[H")[1].split("\x1b[J")[0].replace("\x1b[K", "").split("\n")
    assert len(first) == 10
    assert max(map(len, first)) <= 40
    assert first[-1] == "… and 44 more"


def _commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Stand-ins for Slurm's and MUNGE's commands, in front of PATH."""
    programs = folder / "bin"
    programs.mkdir()
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


async def test_explain_a_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm is asked as the user for the start here, the agent for the rest; each option's worth is listed."""
    _commands(
        tmp_path,
        monkeypatch,
        munge='echo "munged $2"',
        scontrol='echo "ClusterName             = c1"',
        sbatch='echo "sbatch: Job 9 to start at 2026-03-01T10:00:00 using 1 processors on nodes n1 in partition p" >&2',
    )
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --k8s-burst=now -n 4 -C fast --mystery=1\ntrue\n")
    assert await _burstctl(tmp_path, "explain", str(script), "--k8s-burst-max-cost=2.5") == 0
    when = int(datetime(2026, 3, 1, 10).timestamp())
    seen = ("c1", pb.BURST_MODE_NOW, "2.5", ["#SBATCH --k8s-burst=now -n 4 -C fast --mystery=1"], when)
    assert capsys.readouterr().out == (
        "will burst\n"
        "  Slurm: Job 9 to start at 2026-03-01T10:00:00 using 1 processors on nodes n1 in partition p\n"
        f"  {seen!r}\n"
        "\n"
        "OPTION                    IN A POD  WHY\n"
        "--k8s-burst=now           honoured\n"
        "--ntasks=4                honoured\n"
        "--constraint=fast         refused   virtual nodes have no features\n"
        "--mystery=1               unknown\n"
        "--k8s-burst-max-cost=2.5  honoured\n"
    )
    assert await _burstctl(tmp_path, "explain", str(script), "--json") == 0
    assert json.loads(capsys.readouterr().out)["options"][2]["in_a_pod"] == "refused"


@pytest.mark.parametrize(
    ("job", "asked"),
    [("7", ""), ("7_[0-3,9%2]", ""), ("5_3", "5_3"), ("5+1", "5+1"), ("6_1", "6_1")],
)
async def test_explain_a_job_as_squeue_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, job: str, asked: str
) -> None:
    """A task that was split off its array and a component of a heterogeneous job have job ids, which Slurm tells."""
    scontrol = f"""echo "$@" > {tmp_path}/asked
case "$*" in *show\\ job\\ 5[_+]*) echo 'JobId=7 ArrayJobId=5 UserId=a' ;; *) echo 'Invalid job id specified' >&2; exit 1; esac"""
    _commands(tmp_path, monkeypatch, scontrol=scontrol)
    known = job.startswith(("7", "5"))
    assert await _burstctl(tmp_path, "explain", job) == (0 if known else 2)
    said = capsys.readouterr()
    assert said.out == ("job 7: running\n  mode now\n  running\n" if known else "")
    assert ("Slurm does not tell the job id of 6_1: Invalid job id specified" in said.err) is not known
    assert ((tmp_path / "asked").read_text().split()[-1] if asked else "") == asked


@pytest.mark.parametrize("scontrol", ["", "echo 'Unable to contact slurm controller' >&2; exit 1", "exec sleep 60"])
async def test_explain_without_slurm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, scontrol: str
) -> None:
    """No command, no controller, no answer: a sentence, and exit status 2."""
    monkeypatch.setattr(cli_commands, "_DEADLINE_S", 0.2 if "sleep" in scontrol else 20)
    _commands(
        tmp_path, monkeypatch, munge="echo munged", sbatch="exit 1", **({"scontrol": scontrol} if scontrol else {})
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin" if scontrol else f"{tmp_path}/bin")
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n")
    for job in (str(script), "5_3"):
        assert await _burstctl(tmp_path, "explain", job) == 2
        said = capsys.readouterr().err
        assert said.startswith("burstctl: ")
        assert "scontrol show" in said or "Slurm does not tell" in said or "scontrol --oneliner show" in said


def test_root_is_told_where_the_agent_is_by_settings_that_are_wrong(tmp_path: Path) -> None:
    """The agent goes by those from before, and says so."""
    settings = tmp_path / "agent.toml"
    settings.write_text("[listen]\nsocket = '/run/other.sock'\n[policy]\nmax_pods = 'many'\n")
    assert cli_agent._socket(settings) == Path("/run/other.sock")
    settings.write_text("[listen]\nsocket = 5\n")
    assert cli_agent._socket(settings) == Path("/run/k8s-burst/agent.sock")


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("cli", ("grpc", "google.protobuf", "pydantic", "burst_agent.simulate", "burst_agent.policy")),
        ("cli_agent", ("pydantic", "burst_agent.simulate", "burst_agent.policy")),
        ("cli_policy", ("grpc", "google.protobuf", "burst_agent.simulate")),
    ],
)
def test_a_command_imports_what_it_needs(module: str, needless: Sequence[str]) -> None:
    """And nothing else: that is most of what a call costs."""
    code = f"import sys, burst_agent.{module}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "agent")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(needless) == set()


async def test_explain_what_is_no_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there."""
    assert await _burstctl(tmp_path, "explain", str(tmp_path / "none.sh")) == 2
    assert "is neither a job id nor a script" in capsys.readouterr().err


def test_policy_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes fail, rules in each other's way are said; no agent is needed."""
    file = tmp_path / "p.toml"
    file.write_text("[[policy.rules]]\nname='a'\ndeny='x'\n[[policy.rules]]\nname='b'\nuser='u'\nmax_wait='1h'\n")
    assert cli.main(["policy", "check", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{file}: 2 rules, 1 warning\n"
    assert said.err == f"{file}:4: rule b never wins: rule a comes first and fits whatever it fits\n"
    file.write_text("[policy]\nmin_gain = '5 weeks'\n")
    assert cli.main(["policy", "check", str(file)]) == 2
    assert f"burstctl: {file}:2: policy.min_gain = '5 weeks': 'weeks' is no unit" in capsys.readouterr().err


def test_policy_check_looks_at_the_targets_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At all settings where they are an agent's: what passes here is what the agent takes at SIGHUP."""
    file = tmp_path / "agent.toml"
    file.write_text(f"{SETTINGS}[policy.prices.elsewhere]\ncpu_hour = 1\n")
    assert cli.main(["policy", "check", str(file)]) == 2
    assert "prices.elsewhere: no target has this name; there are default" in capsys.readouterr().err
    file.write_text("[[targets]]\nname = 'near'\n[policy.prices.elsewhere]\ncpu_hour = 1\n")
    assert cli.main(["policy", "check", str(file)]) == 2
    assert "there are near" in capsys.readouterr().err
    file.write_text(f"{SETTINGS}[log]\nlevel = 'loud'\n")
    assert cli.main(["policy", "check", str(file)]) == 2
    assert "log.level = 'loud'" in capsys.readouterr().err
    file.write_text(f"{SETTINGS}[[policy.rules]]\nname = 'a'\nuser = 'x'\ntargets = 'defualt'\n")
    assert cli.main(["policy", "check", str(file)]) == 0
    line = len(file.read_text().splitlines())
    said = f"{file}:{line}: rule a: no target is called defualt, so jobs that fit it never burst; there are default\n"
    assert capsys.readouterr().err == said
