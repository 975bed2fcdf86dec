"""
Bytes out of a pod and into it, in MB/s, beside ``kubectl exec`` to the same pod: in turn, so that a ratio means something.

A measurement goes from a file that is touched in the pod just before the first byte to the last change of the file that
the last byte is in, or that is touched after it: the same for both. Start-up is not in it. Between the clocks of the
two there is nothing: all hosts are one machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import Sandbox, node

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

MEGABYTES = 256
_FOLDER = "bench-streams"
_PROGRAM = "/usr/local/bin/kubectl"
_CONFIG = "/root/admin.conf"


@dataclass
class Speeds:
    """
    MB/s of each run, in order, of the job's own stream and of kubectl exec.
    """

    job: list[float] = field(default_factory=list)
    kubectl: list[float] = field(default_factory=list)


#: Run number $1 when $2/go-$1 is there. `out` writes to standard output, `in` reads from standard input.
_SCRIPT = """
cd {folder}
touch up
for i in $(seq {runs}); do
  until [ -e go-$i ]; do sleep 0.05; done
  touch began-$i
  {transfer}
  touch ended-$i
done
sleep infinity
"""
_TRANSFER = {"out": "head -c {size} /dev/zero", "in": "head -c {size} > /dev/null"}


def measure(sandbox: Sandbox, alice: SlurmUser, pods: Pods, runs: int) -> dict[str, Speeds]:
    """Give the speeds by direction, ``out`` of the pod and ``in``."""
    return {direction: _measure(sandbox, alice, pods, runs, direction) for direction in _TRANSFER}


def _measure(sandbox: Sandbox, alice: SlurmUser, pods: Pods, runs: int, direction: str) -> Speeds:
    size = MEGABYTES * 1_000_000
    transfer = _TRANSFER[direction].format(size=size)
    alice.shell(
        f"rm -rf {_FOLDER}; mkdir {_FOLDER}; [ {direction} = out ] || head -c {size * runs} /dev/zero > {_FOLDER}/source"
    )
    folder = sandbox.home("alice") / _FOLDER
    blocker = alice.submit("sleep infinity", "--gres=gpu:1", "--exclusive", "--output=/dev/null")
    alice.wait_state(blocker, "RUNNING")
    source = [f"--input={_FOLDER}/source"] if direction == "in" else []
    job_id = alice.submit(
        _SCRIPT.format(folder=_FOLDER, runs=runs, transfer=transfer),
        *("--gres=gpu:1", "--k8s-burst=now", f"--output={_FOLDER}/sink", *source),
    )
    until("the task to run", (folder / "up").exists)
    pod = pods.running(job_id)[0]["metadata"]
    _bring_kubectl(sandbox)
    speeds = Speeds()
    for number in range(1, runs + 1):
        speeds.job.append(
            MEGABYTES / _job_s(folder, number, lambda got=number: direction == "in" or _size(folder) >= size * got)
        )
        speeds.kubectl.append(MEGABYTES / _kubectl_s(sandbox, folder, pod, transfer, direction, size))
    alice.run("scancel", str(job_id), str(blocker))
    until("the pod to be gone", lambda: not pods.of(job_id))
    alice.shell(f"rm -rf {_FOLDER}")
    return speeds


def _size(folder: Path) -> int:
    return (folder / "sink").stat().st_size


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _job_s(folder: Path, number: int, all_came: Callable[[], bool]) -> float:
    (folder / f"go-{number}").touch()
    ended = folder / f"ended-{number}"
    until("all bytes", lambda: ended.exists() and all_came(), patience_s=300)
    return max(_changed(ended), _changed(folder / "sink")) - _changed(folder / f"began-{number}")


def _bring_kubectl(sandbox: Sandbox) -> None:
    """Have on the gateway what only the node has: from there, the bytes' way to the API server would be another one."""
    there, here = sandbox.host(node.NODE), sandbox.host("gateway")
    for source, target in ((_PROGRAM, _PROGRAM), (node.ADMIN_CONFIG, _CONFIG)):
        shutil.copyfile(there.path(source), here.path(target))
        here.path(target).chmod(0o700)


def _kubectl_s(sandbox: Sandbox, folder: Path, pod: dict[str, str], transfer: str, direction: str, size: int) -> float:
    inside = f"cd /home/alice/{_FOLDER}; touch began; {transfer}; touch ended"
    exec_ = f"kubectl exec -i -n {pod['namespace']} {pod['name']} -- sh -c '{inside}'"
    pipe = (
        f"head -c {size} {folder}/source | {exec_}" if direction == "in" else f"{exec_} < /dev/null > {folder}/kubectl"
    )
    home = f"/home/alice/{_FOLDER}"
    command = pipe.replace(str(folder), home)
    sandbox.run(["sh", "-c", command], host="gateway", env={"KUBECONFIG": _CONFIG}, check=True)
    last = max(_changed(path) for path in (folder / "ended", folder / "kubectl") if path.exists())
    return last - _changed(folder / "began")
