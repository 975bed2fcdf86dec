"""
A task's bytes: all of them, in order, once, whatever is cut on the way; soon; and never more than fits.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

#: A byte that is lost once in two runs is lost.
pytestmark = pytest.mark.flaky(reruns=0)

BURST = ("--gres=gpu:1", "--k8s-burst=now")
OUTPUT_BYTES = 1_000_000_000
INPUT_BYTES = 100_000_000

#: A hundred times: takes in a hundredth of the input, writes a hundredth of the output. What goes wrong with the input
#: ends the job with a code other than 7.
BOTH_WAYS = """
set -o pipefail
exec 3>&1 4<&0
for i in $(seq 100); do
  head -c 1000000 <&4 >&5 || exit 1
  head -c 10000000 /dev/urandom
done 5> >(sha256sum > in-$SLURM_JOB_ID.sum) | tee /dev/fd/3 | sha256sum > out-$SLURM_JOB_ID.sum || exit 2
[ "$(wc -c <&4)" = 0 ] || exit 3
exit 7
"""


def sha256(path: Path) -> str:
    """The checksum of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def workspace(sandbox: Sandbox) -> Iterator[Path]:
    """A folder in alice's home, seen from outside, for what is large: gone afterwards."""
    home, (uid, gid) = sandbox.home("alice"), sandbox.ids("alice")
    folder = home / "streams"
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    os.chown(folder, uid, gid)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def processes(sandbox: Sandbox, host: str, pattern: str) -> list[str]:
    """Pids, in the host's PID namespace, of the processes whose command line matches."""
    # node0's namespace holds those of all hosts and pods.
    return sandbox.run(["pgrep", "-f", "--", pattern], host=host).stdout.split()


def kill(sandbox: Sandbox, host: str, pattern: str) -> None:
    """End such processes at once, as soon as there is one."""
    pids = until(f"a process on {host} like {pattern!r}", lambda: processes(sandbox, host, pattern))
    sandbox.run(["kill", "-KILL", *pids], host=host)


def streams_opened(sandbox: Sandbox, job_id: int) -> int:
    """How often gatewayd has opened a stream to the pod of a job."""
    log = sandbox.service("k8s-burst-gatewayd").log.read_text(encoding="utf-8", errors="replace")
    return sum('msg="stream opened"' in line and f" job={job_id} " in line for line in log.splitlines())


def strike(accident: Callable[[], None], opened: Callable[[], int], told: str) -> None:
    """Let an accident happen until it was seen to end a stream: one that comes between two streams ends none."""
    before = opened()

    def struck() -> bool:
        accident()
        deadline = time.monotonic() + 40
        while opened() <= before and time.monotonic() < deadline:
            time.sleep(0.2)
        return opened() > before

    until(f"another stream, after {told}", struck, patience_s=300)


def test_every_byte_comes_once_whatever_is_cut(
    alice: SlurmUser, full: int, sandbox: Sandbox, pods: Pods, workspace: Path
) -> None:
    """
    A gigabyte out and a tenth of it in, while exec connections are cut five times, on the gateway's side and in the
    pod, gatewayd is killed, and the API server is restarted: the checksums are right, and so is the exit code.
    """
    source = workspace / "input"
    source.write_bytes(random.randbytes(INPUT_BYTES))
    job_id = alice.submit(
        BOTH_WAYS, *BURST, "--chdir=/home/alice/streams", "--input=input", "--output=output", "--error=error"
    )
    output = workspace / "output"

    def cut_tcp() -> None:
        sandbox.run(["ss", "-K", "-tn", "state", "established", "dport", "=", "6443"], host="gateway", check=True)

    def cut_exec() -> None:
        kill(sandbox, "node0", "^/k8s-burst/bin/k8s-burst-pod attach")

    def kill_gatewayd() -> None:
        sandbox.service("k8s-burst-gatewayd").kill("KILL")
        sandbox.service("k8s-burst-gatewayd").start()

    def restart_api_server() -> None:
        server = sandbox.service("kube-apiserver")
        if server.alive:
            server.kill("KILL")

        # Its start has time limits of its own, after which it ends: who runs it starts it again, as here.
        def ready() -> bool:
            server.start()
            return sandbox.api.ready()

        until("the API server to be ready", ready)

    accidents: list[Callable[[], None]] = [cut_tcp] * 3 + [cut_exec] * 2 + [kill_gatewayd, restart_api_server]
    random.shuffle(accidents)
    moments = sorted(random.randrange(OUTPUT_BYTES // 50, OUTPUT_BYTES * 3 // 4) for _ in accidents)
    told = f"{[(accident.__name__, moment) for accident, moment in zip(accidents, moments, strict=True)]}"
    until("the first output", lambda: output.exists() and output.stat().st_size)
    for accident, moment in zip(accidents, moments, strict=True):
        until(f"{moment} bytes, of {told}", lambda moment=moment: output.stat().st_size >= moment, patience_s=180)
        strike(accident, lambda: streams_opened(sandbox, job_id), told)
    job = alice.wait_end(job_id, patience_s=180)
    assert job["ExitCode"] == "7:0", (workspace / "error").read_text()
    assert streams_opened(sandbox, job_id) >= 1 + len(accidents), told
    assert output.stat().st_size == OUTPUT_BYTES, told
    sums = [workspace / f"{way}-{job_id}.sum" for way in ("in", "out")]
    until("the sums", lambda: all(path.exists() and path.stat().st_size for path in sums))
    assert [path.read_text().split()[0] for path in sums] == [sha256(source), sha256(output)], told


#: Seconds from a task's writing of a line to the line in the job's output file.
VISIBLE_S = 1.0


def test_output_is_seen_while_the_job_runs(alice: SlurmUser, full: int, workspace: Path) -> None:
    """
    Each line is in the output file before the job writes the next, which it does only when told that it was seen.

    The quickest of them shows that nothing is kept back for a time; the others say how busy the machine is.
    """
    lines = 4
    job_id = alice.submit(
        f"for i in $(seq {lines}); do echo line $i $EPOCHREALTIME;"
        " until [ -e $HOME/streams/seen-$SLURM_JOB_ID-$i ]; do sleep 0.05; done; done",
        *BURST,
        "--output=streams/seen-%j.out",
    )
    output, took = workspace / f"seen-{job_id}.out", []
    for number in range(1, lines + 1):

        def written(number: int = number) -> float | None:
            found = re.search(rf"^line {number} (\S+)\n", output.read_text() if output.exists() else "", re.MULTILINE)
            return float(found[1]) if found else None

        at = until(f"line {number}", written)
        took.append(output.stat().st_mtime - at)
        (workspace / f"seen-{job_id}-{number}").touch()
    assert alice.wait_end(job_id)["ExitCode"] == "0:0"
    assert min(took) < VISIBLE_S, f"lines took {took} s"


#: MiB of resident memory that each may have while a fast reader has stopped: windows of 8 MiB, and Go beside them.
MOST_MIB = {
    "^/k8s-burst/bin/k8s-burst-pod supervise .*--job-id {job} ": 64,
    "^/usr/libexec/k8s-burst/k8s-burst-run launch .*--job {job} ": 48,
    "^/usr/libexec/k8s-burst/k8s-burst-gatewayd": 96,
}

#: What all buffers on the way may hold: two windows, gatewayd's, and a few pipes and sockets.
MOST_ON_THE_WAY = 40 << 20


def resident_mib(sandbox: Sandbox, pattern: str) -> list[float]:
    """Resident memory of processes, in MiB."""
    script = 'for p in $(pgrep -f -- "$1"); do grep VmRSS: /proc/$p/status; done'
    lines = sandbox.run(["sh", "-c", script, "-", pattern], host="node0").stdout.splitlines()
    return [int(line.split()[1]) / 1024 for line in lines]


def test_a_writer_that_nobody_reads_blocks(alice: SlurmUser, full: int, sandbox: Sandbox, workspace: Path) -> None:
    """A reader takes 100 MB as fast as it can, then no more: the task stops writing, and nobody's memory grows."""
    read = 100_000_000
    alice.run("mkfifo", "streams/pipe")
    reader = [
        "bash",
        "-c",
        f"exec 3<>streams/pipe; echo open; head -c {read} <&3 > /dev/null; echo read; sleep infinity",
    ]
    with sandbox.popen(reader, user="alice") as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        job_id = alice.submit(
            "i=0; while head -c 1000000 /dev/zero; do i=$((i+1)); echo $i >&2; done",
            *BURST,
            "--output=streams/pipe",
            "--error=streams/progress",
        )
        assert holder.stdout.readline() == "read\n"

        def written() -> int:
            return len((workspace / "progress").read_text().split()) * 1_000_000

        seen = [-1]

        def stopped() -> bool:
            seen.append(written())
            # As long as anybody has room, a megabyte comes far more often than 20 looks.
            return len(seen) > 20 and seen[-20] == seen[-1]

        until("the task to write no more", stopped)
        assert read <= written() + 1_000_000
        assert written() - read <= MOST_ON_THE_WAY
        for pattern, most in MOST_MIB.items():
            sizes = resident_mib(sandbox, pattern.format(job=job_id))
            assert sizes, pattern
            assert max(sizes) <= most, pattern
        assert alice.state(job_id) == "RUNNING"
        alice.run("scancel", str(job_id))
        assert alice.wait_end(job_id)["JobState"] == "CANCELLED"
        holder.kill()
