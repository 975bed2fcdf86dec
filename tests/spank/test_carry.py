"""
An srun in a pod whose tasks run on an ordinary node: they find the caller's environment, not the gateway's.
"""

from __future__ import annotations

import pytest
from _spank_k8s_burst import lib

from tests.spank.program import GATEWAY, LOGIN, Plugin


def task(line: tuple[str, ...], **variables: str) -> Plugin:
    """A task with these variables, at its start."""
    plugin = Plugin("slurmstepd", *line)
    plugin.job()
    for name, value in variables.items():
        lib.fake_step_env(name.encode(), value.encode())
    plugin.init()
    return plugin


def test_names_are_given_back() -> None:
    """PATH takes the place of the gateway's; what slurmstepd has set for the new step stays."""
    plugin = task(
        LOGIN, PATH="/usr/bin", K8S_BURST_VAR_PATH="/home/a/bin:/usr/bin", K8S_BURST_VAR_LD_LIBRARY_PATH="/home/a=lib",
        PMIX_RANK="3", K8S_BURST_VAR_PMIX_RANK="0", K8S_BURST_VAR_EMPTY="", SLURM_K8S_BURST_CWD="/scratch", HOME="/home/a",
    )  # fmt: skip
    assert plugin.task_init() == 0
    wanted = {
        "PATH": "/home/a/bin:/usr/bin",
        "LD_LIBRARY_PATH": "/home/a=lib",
        "PMIX_RANK": "3",
        "EMPTY": "",
        "HOME": "/home/a",
    }
    assert {name: plugin.step(name) for name in wanted} == wanted
    carried = [f"K8S_BURST_VAR_{name}" for name in wanted]
    assert [plugin.step(name) for name in (*carried, "SLURM_K8S_BURST_CWD")] == [None] * 6
    assert plugin.log == []
    assert plugin.argv == ["true"]


def test_what_only_launchers_carry_out_is_said() -> None:
    """srun's --task-prolog from within a pod, for a task on an ordinary node: it does not run, and its user hears of it."""
    plugin = task(LOGIN, SLURM_K8S_BURST_TASK_PROLOG="/home/a/prolog")
    assert plugin.task_init() == 0
    assert plugin.step("SLURM_K8S_BURST_TASK_PROLOG") is None
    assert len(plugin.log) == 1
    assert "--task-prolog" in plugin.log[0]


def test_a_task_of_no_pod_stays_as_it_is() -> None:
    """All other tasks of the cluster."""
    plugin = task(LOGIN, PATH="/usr/bin", K8S_BURST_VARIABLE="mine")
    assert plugin.task_init() == 0
    assert (plugin.step("PATH"), plugin.step("K8S_BURST_VARIABLE"), plugin.log) == ("/usr/bin", "mine", [])


def test_on_a_gateway_it_is_the_launchers() -> None:
    """The launcher itself runs with the gateway's PATH."""
    plugin = task(GATEWAY, PATH="/usr/bin", K8S_BURST_VAR_PATH="/evil")
    assert plugin.task_init() == 0
    assert (plugin.step("PATH"), plugin.step("K8S_BURST_VAR_PATH")) == ("/usr/bin", "/evil")


@pytest.mark.parametrize("lost", [lib.S_JOB_ENV, None])
def test_a_failure_ends_no_task(lost: int | None) -> None:
    """Said where there is something to say, and once."""
    plugin = task(LOGIN, PATH="/usr/bin", K8S_BURST_VAR_PATH="/home/a/bin", K8S_BURST_VAR_ENV="x")
    if lost is None:
        lib.fake_refuse(True)
    else:
        lib.fake_lose_item(lost)
    assert plugin.task_init() == 0
    assert plugin.step("PATH") == "/usr/bin"
    assert len(plugin.log) == (1 if lost is None else 0)
