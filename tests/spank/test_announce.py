"""
The announcement: what is started, what is waited for, what is said, and that the submission goes on.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from _spank_k8s_burst import lib

from tests.spank.program import GATEWAY, LOGIN, Host, Plugin

AFTERWARDS = "the job is queued all the same and bursts once the agent is back"
#: Enough for a shell on a busy machine: runners that are to answer must not run into the deadline.
PATIENT = "deadline_ms=10000"


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A runner that notes its words and is content."""
    return script(tmp_path, f'printf "%s\\n" "$@" >> {tmp_path}/words; printf "%s\\n" == >> {tmp_path}/words')


def script(folder: Path, body: str) -> Path:
    """Write a shell script that stands in for k8s-burst-run."""
    path = folder / "k8s-burst-run"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def submit(runner: Path, *options: tuple[str, str | None], program: str = "sbatch", deadline: str = PATIENT) -> Plugin:
    """Submit on a login node."""
    plugin = Plugin(program, *LOGIN, f"runner={runner}", deadline)
    assert plugin.init() == 0
    for name, value in options or [("k8s-burst", None)]:
        assert plugin.option(name, value) == 0
    assert plugin.post_opt() == 0
    return plugin


def calls(folder: Path) -> list[list[str]]:
    """The words of each start of the runner."""
    words = folder / "words"
    text = words.read_text() if words.exists() else ""
    return [call.splitlines() for call in text.split("==\n")[:-1]]


@pytest.mark.parametrize("program", ["sbatch", "srun"])
@pytest.mark.parametrize("mode", ["auto", "now"])
def test_words(runner: Path, tmp_path: Path, program: str, mode: str) -> None:
    """The runner's command line, with this program's own behind it."""
    plugin = submit(runner, ("k8s-burst", mode), program=program)
    ours = Path("/proc/self/cmdline").read_bytes().decode().split("\0")[:-1]
    assert calls(tmp_path) == [
        [
            "announce",
            "--agent",
            "gateway:6821",
            "--ca",
            "/etc/k8s-burst/ca.crt",
            "--deadline-ms",
            "10000",
            "--cluster",
            "testing",
            "--mode",
            mode,
            "--",
            *ours,
        ]
    ]
    assert plugin.log == []


def test_words_with_an_image(runner: Path, tmp_path: Path) -> None:
    """The image goes along where one is given."""
    submit(runner, ("k8s-burst", None), ("k8s-burst-image", "nvcr.io#nvidia/pytorch"))
    (call,) = calls(tmp_path)
    assert call[9:14] == ["--mode", "auto", "--image", "nvcr.io#nvidia/pytorch", "--"]


def test_long_command_line_is_cut_at_a_word(runner: Path, tmp_path: Path, host: Host) -> None:
    """What is too long is left out from the first word that does not fit; the submission is announced all the same."""
    done = host.run("allocator", "k8s-burst", "--", *LOGIN, PATIENT, f"runner={runner}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    longer = subprocess.run(
        [
            "bash",
            "-c",
            'exec -a "$0" "$@"',
            "x" * 20000,
            str(host.program),
            str(host.plugin),
            "allocator",
            "k8s-burst",
            "--",
            *LOGIN,
            PATIENT,
            f"runner={runner}",
        ],
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
        check=False,
    )
    assert longer.returncode == 0
    usual, cut = calls(tmp_path)
    assert usual[usual.index("--") + 1 :][2:4] == ["allocator", "k8s-burst"]
    assert cut[-1] == "--"


@pytest.mark.parametrize(
    "options",
    [[("k8s-burst", "never")], [("k8s-burst-image", "ubuntu")], [("k8s-burst", "now"), ("k8s-burst", "never")]],
)
def test_nothing_to_announce(runner: Path, tmp_path: Path, options: list[tuple[str, str | None]]) -> None:
    """never, or an image alone."""
    assert submit(runner, *options).log == []
    assert calls(tmp_path) == []


def test_once_for_a_heterogeneous_job(runner: Path, tmp_path: Path) -> None:
    """sbatch brings init_post_opt once per component."""
    plugin = submit(runner)
    assert plugin.post_opt() == 0
    assert plugin.post_opt() == 0
    assert len(calls(tmp_path)) == 1


def test_component_that_comes_with_the_option_later(runner: Path, tmp_path: Path) -> None:
    """Only the second component asks for a burst."""
    plugin = Plugin("sbatch", *LOGIN, f"runner={runner}", PATIENT)
    plugin.init()
    assert plugin.post_opt() == 0
    plugin.option("k8s-burst", "now")
    assert plugin.post_opt() == 0
    assert len(calls(tmp_path)) == 1


def test_step_of_an_allocation_is_no_submission(runner: Path, tmp_path: Path) -> None:
    """srun takes an existing allocation by SLURM_JOB_ID; sbatch submits even from within one."""
    lib.setenv(b"SLURM_JOB_ID", b"7", 1)
    submit(runner, program="srun")
    assert calls(tmp_path) == []
    submit(runner, program="sbatch")
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("program", ["slurmstepd", "slurmd", "prolog", "nowhere"])
def test_nothing_is_announced_elsewhere(runner: Path, tmp_path: Path, program: str) -> None:
    """Only programs that submit announce."""
    plugin = Plugin("sbatch", *LOGIN, f"runner={runner}", PATIENT)
    plugin.init()
    plugin.option("k8s-burst", "now")
    lib.fake_reset(
        {"slurmstepd": lib.S_CTX_REMOTE, "slurmd": lib.S_CTX_SLURMD, "prolog": lib.S_CTX_JOB_SCRIPT}.get(
            program, lib.S_CTX_ERROR
        )
    )
    assert plugin.post_opt() == 0
    assert calls(tmp_path) == []


def test_gateway_does_not_announce(runner: Path, tmp_path: Path) -> None:
    """A relayed sbatch is marked, and the agent finds it at its next poll."""
    plugin = Plugin("sbatch", *GATEWAY, f"runner={runner}")
    plugin.init()
    plugin.option("k8s-burst")
    assert plugin.post_opt() == 0
    assert calls(tmp_path) == []


def test_answer_goes_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--parsable and $(sbatch …) keep a clean standard output."""
    plugin = submit(script(tmp_path, "echo k8s-burst: will burst; echo k8s-burst: and more >&2"))
    assert plugin.log == []
    assert capfd.readouterr() == ("", "k8s-burst: will burst\nk8s-burst: and more\n")


def test_failing_runner_has_said_why_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: its one line is enough, and the submission goes on."""
    plugin = submit(script(tmp_path, "echo k8s-burst: agent at gateway:6821 is away >&2; exit 1"))
    assert plugin.log == []
    assert capfd.readouterr().err == "k8s-burst: agent at gateway:6821 is away\n"


@pytest.mark.parametrize("how", ["missing", "not executable", "folder", "not a program"])
def test_runner_that_cant_be_started(tmp_path: Path, how: str) -> None:
    """One line, naming it."""
    path = tmp_path / "k8s-burst-run"
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(b"\0\0\0")
        path.chmod(stat.S_IRUSR if how == "not executable" else 0o755)
    reason = {"missing": "No such file or directory", "not a program": "Exec format error"}.get(
        how, "Permission denied"
    )
    assert submit(path).log == [f"spank_log: k8s-burst: can't start {path}: {reason}; {AFTERWARDS}"]


def test_runner_that_dies(tmp_path: Path) -> None:
    """It can't have said anything itself."""
    path = script(tmp_path, "kill -KILL $$")
    assert submit(path).log == [f"spank_log: k8s-burst: {path} was ended by signal 9 (Killed); {AFTERWARDS}"]


@pytest.mark.parametrize(
    "body",
    [
        "trap '' TERM INT HUP; echo $$ > pids; while :; do sleep 1000; done",
        "echo $$ > pids; exec sleep 1000",
        "sleep 1000 & echo $$ $! > pids; wait",
    ],
    ids=["ignores signals", "sleeps", "has a child"],
)
def test_hanging_runner_is_ended_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """One line, no zombie, and the process is gone with its children, whatever signals it ignores."""
    monkeypatch.chdir(tmp_path)
    read_end, write_end = os.pipe()
    stderr = os.dup(2)
    os.dup2(write_end, 2)
    try:
        plugin = submit(script(tmp_path, body), deadline="deadline_ms=3000")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write_end)
    assert plugin.log == [f"spank_log: k8s-burst: agent did not answer in 3000 ms; {AFTERWARDS}"]
    assert (tmp_path / "pids").read_text().split()
    # The end of file comes when the last of them, children included, has let go of standard error.
    with os.fdopen(read_end) as said:
        assert select.select([said], [], [], 60)[0], "somebody still holds standard error"
        assert said.read() == ""


def test_runner_starts_with_default_signals(tmp_path: Path) -> None:
    """None blocked and none ignored, whatever this program has: Ctrl-C must end it."""
    runner = script(tmp_path, f"exec grep -E '^Sig(Blk|Ign)' /proc/self/status > {tmp_path}/signals")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert submit(runner).log == []
    finally:
        signal.signal(signal.SIGHUP, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signals = dict(line.split() for line in (tmp_path / "signals").read_text().splitlines())
    ignored_mask = 1 << (signal.SIGTTOU - 1)  # it may write to a terminal that stops background writers
    of_the_c_library = 0b11 << 31  # 32 and 33, which no program can set
    assert {name: int(mask, 16) & ~of_the_c_library for name, mask in signals.items()} == {
        "SigBlk:": 0,
        "SigIgn:": ignored_mask,
    }


def test_runner_starts_with_standard_files_only(tmp_path: Path) -> None:
    """/dev/null as input, and none of the files that this program has open for itself."""
    runner = script(tmp_path, f"cd /proc/$$/fd; for fd in *; do echo $fd $(readlink $fd); done > {tmp_path}/files")
    ours = [os.open("/dev/zero", os.O_RDONLY) for _ in range(3)]
    for fd in ours:
        os.set_inheritable(fd, True)
    far = os.dup2(ours[0], 500, inheritable=True)
    try:
        assert submit(runner).log == []
    finally:
        for fd in (*ours, far):
            os.close(fd)
    files = dict(line.split(maxsplit=1) for line in (tmp_path / "files").read_text().splitlines() if " " in line)
    assert files["0"] == "/dev/null"
    assert {"0", "1", "2"} <= files.keys()
    assert "/dev/zero" not in files.values()


def test_other_children_are_left_alone(runner: Path) -> None:
    """sbatch's own children stay its own to wait for."""
    child = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert submit(runner).log == []
    assert child.wait() == 7


def test_program_that_ignores_its_children(runner: Path, tmp_path: Path) -> None:
    """With SIGCHLD ignored the kernel reaps: the runner's end is seen all the same."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert submit(runner).log == []
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert len(calls(tmp_path)) == 1


def test_program_without_standard_files(host: Host, tmp_path: Path) -> None:
    """A daemon that submits with all three closed: the runner gets /dev/null, not whatever came to be opened there."""
    runner = script(tmp_path, f'cd /proc/$$/fd; files=$(readlink 0 1 2); echo "$files" > {tmp_path}/files')
    command = [str(host.program), str(host.plugin), "allocator", "k8s-burst", "--", *LOGIN, PATIENT, f"runner={runner}"]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=environment, check=False)
    assert done.returncode == 0
    assert (tmp_path / "files").read_text() == "/dev/null\n" * 3


def test_command_line_of_very_many_words(host: Host, tmp_path: Path) -> None:
    """srun of a program with a thousand arguments: enough of them to recognise it."""
    runner = script(tmp_path, f'echo $# "$1" >> {tmp_path}/count')
    line = ["--", *LOGIN, PATIENT, f"runner={runner}", *["surplus"] * 1000]
    assert host.run("allocator", "k8s-burst", *line[:6]).returncode == 0
    done = host.run("many", "k8s-burst", *line)
    assert (done.returncode, done.stderr) == (0, "")
    few, many = (int(text.split()[0]) for text in (tmp_path / "count").read_text().splitlines())
    assert few < many == 12 + 256


def test_old_slurm_without_a_cluster_name(old_host: Host, runner: Path, tmp_path: Path) -> None:
    """slurm_conf is no part of the SPANK interface: without it the announcement only lacks the name."""
    assert old_host.run("allocator", "k8s-burst=now", "--", *LOGIN, PATIENT, f"runner={runner}").returncode == 0
    (call,) = calls(tmp_path)
    assert call[7:9] == ["--cluster", ""]


def test_built_plugin_announces_without_a_leak(host: Host, runner: Path, tmp_path: Path) -> None:
    """The plugin as installed; the leak checker looks at the end of the process."""
    done = host.run("allocator", "k8s-burst=auto", "--", *LOGIN, PATIENT, f"runner={runner}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(calls(tmp_path)) == 1
