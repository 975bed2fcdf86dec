"""
The log and /metrics.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import urllib.request
from pathlib import Path

import pytest
import structlog
from burst_agent.errors import SettingsError
from burst_agent.metrics import Metrics
from burst_agent.model import BurstState
from burst_agent.observability import serve_metrics, set_up_log
from burst_agent.settings import Log

from .fakes import make_job, make_pod


@pytest.fixture(autouse=True)
def log_as_before() -> object:
    """The set-up is the process's: put it back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield None
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, those of libraries and tracebacks too."""
    set_up_log(Log(format="json"))
    structlog.get_logger("a").info("move_job", job_id=7)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        structlog.get_logger("a").exception("job_failed", job_id=7)
    logging.getLogger("library").warning("it says %s", "so")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["move_job", "job_failed", "it says so"]
    assert (lines[0]["job_id"], lines[0]["level"]) == (7, "info")
    assert "ZeroDivisionError" in lines[1]["exception"]


def test_logfmt_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, event, job first; what is below the level is not there."""
    set_up_log(Log(level="warning"))
    structlog.get_logger("a").info("quiet")
    structlog.get_logger("a").warning("try_again", error="two words", job_id=7)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("timestamp=")
    assert line.endswith(' level=warning event=try_again job_id=7 error="two words"')


def test_metrics_over_http() -> None:
    """What a round saw, counted actions, timed calls and their errors."""
    metrics = Metrics()
    pod = make_pod(make_job())
    metrics.world([BurstState.RUNNING, BurstState.WAITING], ["cap on pods", ""], [pod])
    metrics.action("move_job")
    metrics.problems(2)
    metrics.gain(600)
    metrics.spending([("physics", 7.5, 2.5)], (3, 4))
    metrics.pod_starts("east", lambda share, _: share * 100)
    metrics.target("east", reachable=False, pauses=2, gpus=3)
    with metrics.tick(), metrics.call("slurmctld", "job"):
        pass
    with pytest.raises(ValueError, match="x"), metrics.call("kubernetes", "GET"):
        raise ValueError("x")  # noqa: EM101
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = serve_metrics(f"127.0.0.1:{port}", metrics)
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
        with pytest.raises(SettingsError, match=f"listen.metrics: can't listen on 127.0.0.1:{port}"):
            serve_metrics(f"127.0.0.1:{port}", metrics)
    finally:
        stop()
    for line in (
        'k8s_burst_jobs{state="running"} 1.0',
        'k8s_burst_jobs{state="moved"} 0.0',
        'k8s_burst_pods{phase="Running",target="default"} 1.0',
        'k8s_burst_decisions{reason="cap on pods"} 1.0',
        'k8s_burst_actions_total{kind="move_job"} 1.0',
        "k8s_burst_problems 2.0",
        "k8s_burst_tick_seconds_count 1.0",
        "k8s_burst_expected_gain_seconds_sum 600.0",
        'k8s_burst_cost{account="physics",kind="spent"} 7.5',
        'k8s_burst_cost{account="physics",kind="committed"} 2.5',
        'k8s_burst_gpu_hours{kind="committed"} 4.0',
        'k8s_burst_pod_start_seconds{quantile="0.8",target="east"} 80.0',
        'k8s_burst_target_reachable{target="east"} 0.0',
        'k8s_burst_target_pauses{target="east"} 2.0',
        'k8s_burst_target_gpus{target="east"} 3.0',
        'k8s_burst_call_seconds_count{call="job",service="slurmctld"} 1.0',
        'k8s_burst_call_errors_total{call="GET",error="ValueError",service="kubernetes"} 1.0',
    ):
        assert line in text


def test_the_dashboard_asks_for_what_is_there() -> None:
    """Every metric that containers/grafana names is one of the agent's."""
    dashboard = json.loads((Path(__file__).parents[2] / "containers/grafana/k8s-burst.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"k8s_burst_[a-z_]+", target["expr"])
    }
    known = {metric.name for metric in Metrics().registry.collect()}
    assert asked
    assert {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in asked} <= known
