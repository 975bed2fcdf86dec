"""
The sandbox itself: several live side by side, and whatever happens to one, nothing of it is left.

These tests start sandboxes of their own; most without k8s-burst, which is what takes longest to build.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox, SandboxError
from sandbox.cache import Cache
from sandbox.steps import Steps

from tests.cluster.user import SlurmUser, until

CONTAINERS = Path(__file__).resolve().parents[2] / "containers"
IMAGE = "localhost/k8s-burst/debian:13"


def cli(*words: str, group: bool = False, **environment: str) -> subprocess.Popen[str]:
    """Start the sandbox's command line as a process of its own."""
    return subprocess.Popen(
        # Who runs the tests in the background may have them ignore Ctrl-C.
        ["env", "--default-signal=INT", sys.executable, "-m", "sandbox", *words],
        env={**os.environ, "PYTHONPATH": str(CONTAINERS), **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0 if group else None,
    )  # fmt: skip


def traces(word: str) -> list[str]:
    """All that this machine has with a word in its name: processes, mounts in any view, cgroups, directories."""
    found = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{word}*")]
    found += [str(path) for path in Path("/var/tmp/k8s-burst-sandbox").glob(f"*{word}*")]
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            if word.encode() in (process / "cmdline").read_bytes():
                found.append(f"{process}/cmdline")
            if word in (process / "mountinfo").read_text():
                found.append(f"{process}/mountinfo")
        except OSError:
            continue
    return found


def interfaces() -> list[str]:
    """The network interfaces of this machine."""
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a sandbox, which is removed afterwards whatever the test did."""
    word = f"t{os.getpid()}x{os.urandom(2).hex()}"
    yield word
    Sandbox(word).down()


@pytest.fixture
def plain(name: str) -> Sandbox:
    """A sandbox of its own, without k8s-burst."""
    bench = Sandbox(name)
    bench.up(burst=False)
    return bench


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A sandbox without k8s-burst, for all tests that leave it whole."""
    bench = Sandbox(f"t{os.getpid()}-shared")
    try:
        bench.up(burst=False)
        yield bench
    finally:
        bench.down()


def test_two_live_side_by_side_and_leave_nothing(name: str) -> None:
    """Jobs and pods run in each, neither sees the other's, and after down the machine is as it was."""
    before = interfaces()
    pair = [Sandbox(f"{name}-{letter}") for letter in "ab"]
    try:
        for bench in pair:
            bench.up(burst=False)
        for bench in pair:
            bench.run(["touch", f"mark-{bench.name}"], user="alice", check=True)
        for bench in pair:
            assert use_slurm(bench) == f"mark-{bench.name}\n"
            assert use_kubernetes(bench) == f"{bench.name}\n"
        assert interfaces() == before, "a sandbox made an interface on the machine"
    finally:
        for bench in pair:
            bench.down()
    assert interfaces() == before
    assert traces(name) == []


def use_slurm(bench: Sandbox) -> str:
    """
    Run jobs as alice on a real and on two virtual nodes, check the accounting, and give what a job sees in the home
    directory.
    """
    alice = SlurmUser(bench, "alice")
    assert alice.run("srun", "-p", "gpu", "hostname").stdout == "gpu0\n"
    nodes = alice.run("srun", "-p", "k8s-burst", "-w", "k8s-[0-1]", "printenv", "SLURMD_NODENAME").stdout
    assert sorted(nodes.split()) == ["k8s-0", "k8s-1"]
    seen = alice.run("srun", "-p", "gpu", "ls").stdout

    def recorded() -> bool:
        lines = alice.run("sacct", "-n", "-X", "-P", "-o", "Partition,NodeList,State,Account").stdout.split()
        return lines == [
            "gpu|gpu0|COMPLETED|physics",
            "k8s-burst|k8s-[0-1]|COMPLETED|physics",
            "gpu|gpu0|COMPLETED|physics",
        ]

    until("the jobs to be in the accounting", recorded)
    return seen


def use_kubernetes(bench: Sandbox) -> str:
    """Run a pod with GPUs, and give what it printed."""
    manifest = f"""
        {{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "probe"}}, "spec": {{
          "restartPolicy": "Never",
          "containers": [{{"name": "probe", "image": "{IMAGE}", "imagePullPolicy": "Never",
            "command": ["python3", "-c", "import os; print(os.environ['WORD'])"],
            "env": [{{"name": "WORD", "value": "{bench.name}"}}],
            "resources": {{"limits": {{"nvidia.com/gpu": "8"}}}}}}]}}}}
    """
    bench.kubectl("apply", "--filename=-", input=manifest)
    bench.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/probe", "--timeout=90s")
    return bench.kubectl("logs", "probe").stdout


@pytest.mark.parametrize(
    "reached", ["hosts/node0/init", "hosts/gateway/init", "services/kube-apiserver", "services/slurmctld"]
)
def test_a_start_that_was_killed_leaves_nothing_after_down(name: str, reached: str) -> None:
    """kill -9 in the middle of up, at several points; down then removes what there is."""
    bench = Sandbox(name)
    up = cli("up", "--without-burst", "--name", name)
    try:
        until(
            f"{reached} of a sandbox that starts", lambda: (bench.directory / reached).exists() or up.poll() is not None
        )
        assert up.poll() is None, up.stderr and up.stderr.read()
    finally:
        up.kill()
        up.communicate()
    assert not bench.is_up
    assert traces(name), "the start had not begun"
    bench.down()
    assert traces(name) == []


def test_an_interrupted_start_ends_and_says_what_to_do(name: str) -> None:
    """Ctrl-C in the middle of up, which a terminal sends to the whole process group."""
    bench = Sandbox(name)
    up = cli("up", "--without-burst", "--name", name, group=True)
    until("the gateway", (bench.directory / "hosts/gateway/init").exists)
    os.killpg(up.pid, signal.SIGINT)
    _, errors = up.communicate(timeout=60)
    assert up.returncode == 128 + signal.SIGINT
    assert "down" in errors
    assert "is up after" not in errors
    bench.down()
    assert traces(name) == []


def test_a_start_that_failed_can_be_looked_at_but_not_repeated(name: str) -> None:
    """up after a killed up says what to do instead of mixing two starts."""
    bench = Sandbox(name)
    up = cli("up", "--without-burst", "--name", name)
    until("the first host", (bench.directory / "hosts/node0/init").exists)
    up.kill()
    up.communicate()
    with pytest.raises(SandboxError, match="down"):
        bench.up(burst=False)


def test_a_killed_build_leaves_no_process_and_nothing_that_looks_finished(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """kill -9 while the root file system is being made: its processes end, and the next build begins anew."""
    cache = Path(f"/var/tmp/k8s-burst-cache-{name}")
    up = cli("up", "--without-burst", "--name", name, K8S_BURST_CACHE=str(cache))
    try:
        until("the build to be under way", lambda: any(cache.glob("rootfs/.*.unfinished/*")) or up.poll() is not None)
        assert up.poll() is None, up.stderr and up.stderr.read()
        assert any(str(cache) in trace for trace in command_lines()), "no process works on the cache"
        up.kill()
        up.communicate()
        until("the build's processes to end", lambda: not any(str(cache) in line for line in command_lines()))
        assert [path.name for path in (cache / "rootfs").iterdir() if not path.name.startswith(".")] == []
    finally:
        up.kill()
        up.communicate()
        shutil.rmtree(cache)


def test_the_cache_keeps_what_is_mounted_however_old(name: str) -> None:
    """A layer that a host's root stands on is not forgotten before the host is gone."""
    cache = Cache(Path(f"/var/tmp/k8s-burst-cache-{name}"), Steps(None))
    layer = cache.entry("kind", "key", "it", lambda directory: (directory / "upper").mkdir())
    os.utime(layer, (0, 0))
    script = 'mount -t tmpfs none /mnt; mkdir /mnt/u /mnt/w; mount -t overlay -o "$1" none /mnt; echo ready; exec sleep infinity'
    options = f"lowerdir={layer},upperdir=/mnt/u,workdir=/mnt/w"
    host = subprocess.Popen(
        ["unshare", "--mount", "sh", "-euc", script, "-", options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout
        assert host.stdout.readline() == "ready\n"
        cache.forget()
        assert layer.is_dir()
        host.kill()
        host.wait()
        cache.forget()
        assert not layer.exists()
    finally:
        host.kill()
        host.wait()
        assert host.stdout
        host.stdout.close()
        shutil.rmtree(cache.root)


def command_lines() -> list[str]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_down_finds_a_sandbox_whose_files_are_gone(plain: Sandbox) -> None:
    """The directory removed under a running sandbox: down still ends all of it."""
    pods = plain.directory / "node"
    subprocess.run(["rm", "-rf", "--one-file-system", str(plain.directory)], check=False)
    assert not pods.exists()
    plain.down()
    assert traces(plain.name) == []


def test_down_of_nothing_is_no_error_and_never_touches_other_directories(name: str, tmp_path: Path) -> None:
    """down can be repeated; a directory that no sandbox made stays."""
    Sandbox(name).down()
    Sandbox(name).down()
    (tmp_path / "precious").touch()
    with pytest.raises(SandboxError, match="not a sandbox"):
        Sandbox(name, directory=tmp_path).down()
    assert (tmp_path / "precious").exists()


def test_commands_have_their_streams_exit_code_and_signals(shared: Sandbox) -> None:
    """run is transparent, from Python and from the command line, and a signal reaches the command itself."""
    done = shared.run(["sh", "-c", "cat; echo err >&2; id -un; pwd; exit 7"], user="carol", host="login", input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\ncarol\n/home/carol\n", "err\n")
    process = shared.popen(
        ["sh", "-c", "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done"], user="bob"
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=60)[0] == "caught\n"
    assert process.returncode == 3
    shown = cli("run", "--name", shared.name, "--user", "alice", "--", "sh", "-c", "echo out; echo err >&2; exit 9")
    output, errors = shown.communicate(timeout=60)
    assert (shown.returncode, output, errors) == (9, "out\n", "err\n")


@pytest.mark.parametrize("group", [False, True])
def test_signals_of_the_command_line_reach_the_command_once(shared: Sandbox, group: bool) -> None:
    """TERM to `sandbox run`, or to its whole process group as `timeout` sends it, is the command's to handle."""
    script = "n=0; trap 'echo caught; n=$((n+1))' TERM; echo ready; until [ $n -gt 0 ]; do sleep 0.1; done; exit $n"
    process = cli("run", "--name", shared.name, "--user", "alice", "--", "sh", "-c", script, group=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "caught\n"
    assert process.returncode == 1


def test_services_die_and_come_back(shared: Sandbox) -> None:
    """Each service can be killed and started; ensure_services brings back whatever is down, GPUs included."""
    for name in ("slurmctld", "slurmd-k8s-3", "kubelet", "munged-login"):
        shared.service(name).kill("KILL")
        assert not shared.service(name).alive
    shared.ensure_services()
    assert all(shared.service(name).alive for name in shared.plans())
    assert use_kubernetes(shared) == f"{shared.name}\n"
    until("Slurm to answer", lambda: "gpu0" in SlurmUser(shared, "alice").run("srun", "hostname", check=False).stdout)
    with pytest.raises(SandboxError, match="there is no service"):
        shared.service("slurmrestd")


def test_a_host_crashes_and_boots_again_with_its_disk(shared: Sandbox) -> None:
    """All of the gateway gone at once: the other hosts live on, its disk is as it was, and its nodes come back."""
    alice = SlurmUser(shared, "alice")
    mark = shared.path("gateway", "/var/lib/mark")
    mark.touch()
    shared.crash_host("gateway")
    assert not mark.exists()
    assert alice.run("srun", "-p", "gpu", "hostname").stdout == "gpu0\n"
    shared.boot_host("gateway")
    shared.ensure_services()
    assert shared.path("gateway", "/var/lib/mark").exists()
    asked = ("srun", "-p", "k8s-burst", "-w", "k8s-7", "printenv", "SLURMD_NODENAME")
    until("a virtual node to work again", lambda: alice.run(*asked, check=False).stdout == "k8s-7\n")
    with pytest.raises(SandboxError, match="down"):
        shared.crash_host("node0")


def test_two_local_nodes_stand_beside_the_virtual_ones(shared: Sandbox) -> None:
    """Partition native: a step on two hosts, each with a name, two GPUs, a /tmp and a network address of its own."""
    script = "touch /tmp/$SLURM_PROCID; echo $(hostname) $CUDA_VISIBLE_DEVICES $(ls /tmp) $(hostname -i)"
    done = SlurmUser(shared, "alice").run("srun", "-p", "native", "-N2", "--gres=gpu:2", "sh", "-c", script)
    assert sorted(done.stdout.splitlines()) == ["native0 0,1 0 10.89.0.16", "native1 0,1 1 10.89.0.17"]


def test_virtual_nodes_have_a_tmp_of_their_own_and_all_hosts_one_home(shared: Sandbox) -> None:
    """/tmp is private to a virtual node though they share a host; /home is the same directory everywhere."""
    alice = SlurmUser(shared, "alice")
    alice.run("srun", "-p", "k8s-burst", "-w", "k8s-0", "touch", "/tmp/mark", "from-k8s-0")
    assert alice.run("srun", "-p", "k8s-burst", "-w", "k8s-0", "ls", "/tmp").stdout == "mark\n"
    assert alice.run("srun", "-p", "k8s-burst", "-w", "k8s-1", "ls", "/tmp").stdout == ""
    for host in ("ctl", "gateway", "gpu0", "node0"):
        assert shared.path(host, "/home/alice/from-k8s-0").exists()


def test_nothing_of_the_machine_is_changed_by_the_node(name: str) -> None:
    """The kubelet wants other kernel settings than the machine has: it finds them, and the machine keeps its own."""
    names = (
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
    )
    before = [Path("/proc/sys", setting).read_text() for setting in names]
    bench = Sandbox(name)
    bench.up(burst=False)
    assert [bench.path("node0", f"/proc/sys/{setting}").read_text() for setting in names] == [
        "1\n",
        "0\n",
        "10\n",
        "1\n",
        "1000000\n",
    ]
    assert [Path("/proc/sys", setting).read_text() for setting in names] == before
