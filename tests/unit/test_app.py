"""
The agent as a process: its parts together, its settings, its end.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from burst_agent._pb.burst.v1 import agent_pb2 as pb
from burst_agent._pb.burst.v1 import agent_pb2_grpc as pb_grpc

from .fake_api import FakeApi, serving
from .fakes import SETTINGS

AGENT = (sys.executable, "-m", "burst_agent")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "agent")}


def _config(folder: Path, url: str = "http://127.0.0.1:1", more: str = "") -> Path:
    (folder / "kubeconfig").write_text(
        f"""
        apiVersion: v1
        kind: Config
        clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
        users: [{{name: u, user: {{token: t}}}}]
        contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
        current-context: x
        """
    )
    config = folder / "agent.toml"
    listen = f'[listen]\nsocket = "{folder}/agent.sock"\nmetrics = ""\n'
    kubernetes = f'[[targets]]\nname = "default"\nkubeconfig = "{folder}/kubeconfig"\n[kubernetes]\n{more}\n'
    config.write_text(SETTINGS + listen + kubernetes)
    return config


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*AGENT, *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


async def _told(process: asyncio.subprocess.Process, event: bytes) -> bytes:
    """Read the log until it tells of an event."""
    log = b""
    assert process.stderr is not None
    while event not in log:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, log
        log += line
    return log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_runs_without_slurm_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """What is away is a problem that it tells, not its end; a signal is, with exit status 0."""
    async with serving(FakeApi()) as url:
        config = _config(tmp_path, url)
        process = await asyncio.create_subprocess_exec(
            *AGENT, "--config", str(config), env=ENVIRONMENT, stderr=asyncio.subprocess.PIPE
        )
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/agent.sock") as channel:
            stub = pb_grpc.AdminServiceStub(channel)
            status = await stub.Status(pb.StatusRequest(), wait_for_ready=True, timeout=60)
            while "just started" in status.problems[0]:
                status = await stub.Status(pb.StatusRequest(), timeout=60)
            assert len(status.problems) == 1
            good, log = config.read_text(), b""
            config.write_text(f"{good}[policy.prices.east]\n")
            process.send_signal(signal.SIGHUP)
            log += await _told(process, b"event=reload_refused")
            status = await stub.Status(pb.StatusRequest(), timeout=60)
            assert "prices.east: no target has this name" in status.problems[0], "until settings are good again"
            config.write_text(f'{good}[[targets]]\nname = "east"\n[[policy.rules]]\nname = "r"\ntargets = "esat"\n')
            process.send_signal(signal.SIGHUP)
            log += await _told(process, b"event=restart_needed")
            status = await stub.Status(pb.StatusRequest(), timeout=60)
            assert len(status.problems) == 1
        process.send_signal(number)
        _, rest = await asyncio.wait_for(process.communicate(), 60)
        log += rest
    assert process.returncode == 0
    assert b"event=cannot_look" in log
    assert b"event=reloaded" in log
    assert re.search(rb"event=policy_warning .*no target is called esat", log)
    assert re.search(rb"event=restart_needed .*targets", log), "SIGHUP reloads the policy alone, and says so"
    assert b"Traceback" not in log
    assert not (tmp_path / "agent.sock").exists()


async def test_a_target_whose_kubeconfig_is_not_there(tmp_path: Path) -> None:
    """Is named, and holds up neither the agent nor the other target."""
    async with serving(FakeApi()) as url:
        config = _config(tmp_path, url)
        config.write_text(f'{config.read_text()}[[targets]]\nname = "east"\nkubeconfig = "{tmp_path}/none"\n')
        process = await asyncio.create_subprocess_exec(
            *AGENT, "--config", str(config), env=ENVIRONMENT, stderr=asyncio.subprocess.PIPE
        )
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/agent.sock") as channel:
            stub = pb_grpc.AdminServiceStub(channel)
            await stub.Status(pb.StatusRequest(), wait_for_ready=True, timeout=60)
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    said = [line for line in log.decode().splitlines() if "event=target_unusable" in line]
    assert len(said) == 1
    assert f"kubeconfig {tmp_path}/none can't be used" in said[0]
    assert "target=east" in said[0]


def test_check(tmp_path: Path) -> None:
    """The settings, and nothing else."""
    config = _config(tmp_path)
    assert _run("--check", "--config", str(config)).returncode == 0
    config.write_text(config.read_text() + "[slum]\n")
    line = len(config.read_text().splitlines())
    done = _run("--check", "--config", str(config))
    assert done.returncode == 2
    assert done.stderr == f"k8s-burst-agent: {config}:{line}: slum is no setting; look for a spelling mistake\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [(None, "kubernetes.namespace_template"), ("kind: Secret", "first object must be the Namespace")],
)
def test_a_template_that_cannot_be_used(tmp_path: Path, template: str | None, said: str) -> None:
    """Said at the start, not at the first job."""
    path = tmp_path / "template.yaml"
    if template:
        path.write_text(template)
    done = _run("--config", str(_config(tmp_path, more=f'namespace_template = "{path}"')))
    assert done.returncode == 2
    assert said in done.stderr
