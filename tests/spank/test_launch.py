"""
The launcher before each task on a gateway, and what happens where it can't be put there.
"""

from __future__ import annotations

import socket

import pytest
from _spank_k8s_burst import lib

from tests.spank.program import GATEWAY, LOGIN, Host, Plugin

WORDS = "/usr/libexec/k8s-burst/k8s-burst-run launch --socket /run/k8s-burst/gatewayd.sock --give-up-s 1800"


def on_gateway(**job: int | str | None) -> Plugin:
    """Start a task on a gateway up to its task_init."""
    plugin = Plugin("slurmstepd", *GATEWAY)
    plugin.job(**job)  # type: ignore[arg-type]
    assert plugin.init() == 0
    assert plugin.post_opt() == 0
    return plugin


@pytest.mark.parametrize(
    ("step_id", "word"),
    [
        (lib.SLURM_BATCH_SCRIPT, "batch"),
        (lib.SLURM_INTERACTIVE_STEP, "interactive"),
        (0, "0"),
        (17, "17"),
        (lib.SLURM_MAX_NORMAL_STEP_ID, str(lib.SLURM_MAX_NORMAL_STEP_ID)),
    ],
)
def test_launcher_stands_before_the_task(step_id: int, word: str) -> None:
    """The exact words, with the task's own argv behind."""
    plugin = on_gateway(step_id=step_id)
    assert plugin.task_init() == 0
    assert plugin.argv == [
        *WORDS.split(),
        "--job",
        "42",
        "--step",
        word,
        "--task",
        "3",
        "--node",
        "k8s-1",
        "--",
        "true",
    ]
    assert plugin.log == []


def test_ports_that_slurmstepd_listens_at_are_the_launchers_to_reach() -> None:
    """Only what listens at 127.0.0.1 in this very process, as Slurm's PMIx server does: no word of the user's counts."""
    with (
        socket.create_server(("127.0.0.1", 0)) as pmix,
        socket.create_server(("0.0.0.0", 0)),
        socket.socket() as bound,
    ):
        bound.bind(("127.0.0.1", 0))
        plugin = on_gateway()
        assert plugin.task_init() == 0
        port = str(pmix.getsockname()[1])
    assert plugin.argv[-5:] == ["k8s-1", "--port", port, "--", "true"]
    assert plugin.argv.count("--port") == 1


def test_words_of_the_line_and_largest_numbers() -> None:
    """The line's own socket, runner and time; ids as long as Slurm's."""
    plugin = on_gateway(job_id=2**32 - 1, rank=2**32 - 2, step_id=1, uid=2**32 - 2, node="k" * 255)
    assert plugin.task_init("role=gateway", "socket=/s", "runner=/r", "give_up_s=604800", "commands=/c") == 0
    ids = "--job 4294967295 --step 1 --task 4294967294"
    assert (
        plugin.argv[:-1]
        == f"/r launch --socket /s --give-up-s 604800 {ids} --node {'k' * 255} --commands /c --".split()
    )


@pytest.mark.parametrize("mode", ["auto", "never", None])
def test_launcher_does_not_depend_on_the_option(mode: str | None) -> None:
    """--export=NONE loses the option, so a gateway never looks at it."""
    plugin = on_gateway()
    if mode:
        plugin.option("k8s-burst", mode, remote=True)
    assert plugin.task_init() == 0
    assert plugin.argv[0].endswith("k8s-burst-run")


def test_ordinary_node_runs_the_task_itself() -> None:
    """role=login prepends nothing."""
    plugin = Plugin("slurmstepd", *LOGIN)
    plugin.job()
    plugin.init()
    assert plugin.task_init() == 0
    assert plugin.argv == ["true"]


def test_host_with_both_roles() -> None:
    """Two lines in plugstack.conf: the login one does not undo the gateway one."""
    plugin = on_gateway()
    assert plugin.init(*LOGIN) == 0
    assert plugin.task_init(*GATEWAY) == 0
    assert plugin.task_init(*LOGIN) == 0
    assert plugin.argv.count("launch") == 1


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (lib.S_JOB_ID, "unknown job"),
        (lib.S_JOB_UID, "job 42: can't launch its task: slurmstepd does not tell uid"),
        (lib.S_JOB_STEPID, "job 42: can't launch its task: slurmstepd does not tell step id"),
        (lib.S_TASK_GLOBAL_ID, "job 42: can't launch its task: slurmstepd does not tell task rank"),
    ],
)
def test_missing_item_ends_the_task(lost: int, named: str) -> None:
    """Without one of its words there is no launcher, so the task must not run here."""
    plugin = on_gateway()
    lib.fake_lose_item(lost)
    assert plugin.task_exit() == 1
    assert named in plugin.log[0]


@pytest.mark.parametrize("node", [None, "k" * 256])
def test_missing_node_name_ends_the_task(node: str | None) -> None:
    """No name, or one that is none."""
    plugin = on_gateway(node=node)
    assert plugin.task_exit() == 1
    assert "does not tell SLURMD_NODENAME" in plugin.log[0]


@pytest.mark.parametrize("step_id", [lib.SLURM_EXTERN_CONT, lib.SLURM_PENDING_STEP, lib.SLURM_MAX_NORMAL_STEP_ID + 1])
def test_step_of_unknown_kind_ends_the_task(step_id: int) -> None:
    """Slurm starts no task in these; should it ever, not on the gateway."""
    plugin = on_gateway(step_id=step_id)
    assert plugin.task_exit() == 1
    assert f"job 42: step {step_id:#x} is of an unknown kind" in plugin.log[0]


def test_root_is_refused() -> None:
    """uid 0 never gets a pod."""
    plugin = on_gateway(uid=0)
    assert plugin.task_exit() == 1
    assert plugin.log == [
        "error: k8s-burst: job 42: root's jobs don't run in Kubernetes; submit it as an ordinary user"
    ]


def test_oci_container_is_refused() -> None:
    """slurmstepd would hand a step with --container to an OCI runtime on the gateway, past the launcher."""
    plugin = on_gateway()
    lib.fake_oci(True)
    assert plugin.task_exit() == 1
    assert plugin.log == ["error: k8s-burst: job 42: --container can't be used in Kubernetes; use --k8s-burst-image"]


def test_refused_prepend_ends_the_task() -> None:
    """Slurm's own refusal."""
    plugin = on_gateway()
    lib.fake_refuse(True)
    assert plugin.task_exit() == 1
    assert "job 42: can't put the launcher before its task" in plugin.log[0]


@pytest.mark.parametrize("line", [("role=gateway", "give_up=1"), ("rol=gateway",), ("role=",), ("socket=/s",)])
def test_wrong_line_ends_the_task(line: tuple[str, ...]) -> None:
    """Even where the line says `optional`, so that Slurm ignores what init returned."""
    plugin = on_gateway()
    assert plugin.task_exit(*line) == 1
    assert plugin.log[0].startswith("error: k8s-burst: plugstack.conf: ")


def test_old_slurm_ends_the_task(old_host: Host) -> None:
    """Without spank_prepend_task_argv the plugin still loads, and ends the task with a sentence."""
    done = old_host.run("remote", "--", *GATEWAY)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""


def test_old_slurm_does_not_start_as_gateway(old_host: Host) -> None:
    """slurmd says so before any job comes."""
    done = old_host.run("slurmd", "--", *GATEWAY)
    assert (done.returncode, done.stderr) == (1, "")
    assert (
        done.stdout
        == "error: k8s-burst: this Slurm can't put a launcher before a task; gateways need Slurm 23.11 or newer\n"
    )


def test_old_slurm_as_login_node(old_host: Host) -> None:
    """Elsewhere nothing of it is needed."""
    done = old_host.run("slurmd", "--", *LOGIN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_built_plugin_launches(host: Host) -> None:
    """The plugin as installed, without a leak."""
    done = host.run("remote", "--", *GATEWAY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{WORDS} --job 42 --step 0 --task 3 --node k8s-1 -- true\n"
