"""
Jobs on several nodes: several pods that are one machine to their programs. The partition's second node is away, so jobs
on two nodes burst.
"""

from __future__ import annotations

from tests.cluster.pods import Pods
from tests.cluster.user import SlurmUser, until

TWO = ("-N2", "--gres=gpu:1", "--k8s-burst=now")

#: Every task serves, by TCP and UDP, and then asks every task by the name of its node; the first one prints all answers.
PROBE = r"""
import os, socket, threading, time
names = os.popen("getent hosts $NAMES | awk '{print $2}'").read().split()
me, rank = os.environ["SLURMD_NODENAME"], int(os.environ["SLURM_PROCID"])
tcp = socket.create_server(("", 7100))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 7100))
def serve_tcp():
    while True:
        peer, _ = tcp.accept()
        peer.sendall(me.encode())
        peer.close()
def serve_udp():
    while True:
        _, peer = udp.recvfrom(100)
        udp.sendto(me.encode(), peer)
for serve in (serve_tcp, serve_udp):
    threading.Thread(target=serve, daemon=True).start()
def ask_tcp(name):
    while True:
        try:
            with socket.create_connection((name, 7100)) as there:
                return there.recv(100).decode()
        except ConnectionRefusedError:
            time.sleep(0.05)
def ask_udp(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(1)
        while True:
            there.sendto(b"?", (name, 7100))
            try:
                return there.recv(100).decode()
            except TimeoutError:
                pass
for name in names:
    print(me, "asked", name, ask_tcp(name), ask_udp(name), flush=True)
open(f"asked-{os.environ['SLURM_JOB_ID']}-{rank}", "w").close()
while not all(os.path.exists(f"asked-{os.environ['SLURM_JOB_ID']}-{other}") for other in range(2)):
    time.sleep(0.05)
"""


def nodes_of(job: dict[str, str]) -> list[str]:
    """The nodes of a job on two virtual nodes whose numbers follow each other."""
    first, last = job["NodeList"].removeprefix("k8s-[").rstrip("]").replace(",", "-").split("-")
    return [f"k8s-{first}", f"k8s-{last}"]


def addresses(pods: Pods, job_id: int) -> dict[str, str]:
    """Address of each running pod of a job, by node."""
    return {pod["spec"]["hostname"]: pod["status"]["podIP"] for pod in pods.running(job_id)}


def test_two_pods_are_one_machine(alice: SlurmUser, full: int, pods: Pods) -> None:
    """
    Names, addresses, TCP and UDP both ways, and the pod's own GPU numbers, whichever Slurm counts; after a requeue too.
    """
    single = alice.submit("sleep infinity", "--gres=gpu:1", "--k8s-burst=now")
    alice.wait_state(single, "RUNNING")
    alice.run("tee", "probe.py", stdin=PROBE)
    job_id = alice.submit(
        "run=${SLURM_RESTART_COUNT:-0}; hostname -i > self-$SLURM_JOB_ID-$run; getent hosts $(hostname)\n"
        "grep k8s- /etc/hosts > hosts-$SLURM_JOB_ID-$run; echo $SLURM_JOB_NODELIST $SLURM_JOB_NUM_NODES; sleep infinity",
        *TWO,
        "--requeue",
        "--open-mode=append",
        "--output=two-%j.out",
    )
    job = alice.wait_state(job_id, "RUNNING")
    nodes = nodes_of(job)
    for run in range(2):
        hosts = f"hosts-{job_id}-{run}"
        until("the script to have run", lambda hosts=hosts: alice.read(hosts).count("\n") == 2, patience_s=180)
        known = dict(reversed(line.split()) for line in alice.read(hosts).splitlines())
        there = addresses(pods, job_id)
        assert known == there
        nodes = nodes_of(alice.job(job_id))
        assert sorted(known) == nodes
        assert alice.read(f"self-{job_id}-{run}").split() == [there[nodes[0]]]
        if run == 0:
            assert f"k8s-[{nodes[0][-1]}-{nodes[1][-1]}] 2" in alice.read(f"two-{job_id}.out")
            asked = alice.shell(
                f"export NAMES='{' '.join(nodes)}'; srun --jobid={job_id} --overlap -N2 -n2 python3 probe.py"
            ).stdout.splitlines()
            assert sorted(asked) == sorted(f"{one} asked {name} {name} {name}" for one in nodes for name in nodes)
            gpus = alice.run(
                "srun", f"--jobid={job_id}", "--overlap", "-N2", "-n2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"
            )
            assert gpus.stdout.split() == ["0", "0"]
            detail = alice.run("scontrol", "show", "job", "-d", str(job_id)).stdout
            assert "IDX:1" in detail, "the first node's GPU 0 is the other job's"
            alice.run("scontrol", "requeue", str(job_id))
    assert alice.job(job_id)["Restarts"] == "1"


def test_all_pods_or_none(alice: SlurmUser, full: int, pods: Pods) -> None:
    """A quota that lets one of two pods be made: none stays, the job keeps its place and reads why."""
    first = alice.submit("true", "--gres=gpu:1", "--k8s-burst=now")
    alice.wait_end(first)
    namespace = f"sandbox-u{alice.run('id', '-u').stdout.strip()}"
    until("the pods to be gone", lambda: not pods.all())
    pods.kubectl("create", "quota", "one", "-n", namespace, "--hard=pods=1")
    try:
        job_id = alice.submit("true", *TWO)
        until("the reason to be told", lambda: "quota" in alice.comment(job_id))
        until("no pod to be left", lambda: not pods.of(job_id))
        job = alice.job(job_id)
        assert (job["JobState"], job["Partition"]) == ("PENDING", "gpu")
    finally:
        pods.kubectl("delete", "quota", "one", "-n", namespace)


def test_whole_nodes(alice: SlurmUser, full: int, pods: Pods) -> None:
    """--exclusive gets a virtual node with nothing on it, and a pod with all that it declares."""
    other = alice.submit("sleep infinity", "--k8s-burst=now")
    where = alice.wait_state(other, "RUNNING")["NodeList"]
    job_id = alice.submit("sleep infinity", "--exclusive", "--k8s-burst=now")
    job = alice.wait_state(job_id, "RUNNING")
    assert job["NodeList"] != where
    assert job["NumCPUs"] == "64"
    limits = pods.running(job_id)[0]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "8"


def test_salloc_and_srun_without_a_script(alice: SlurmUser, full: int, pods: Pods) -> None:
    """salloc's shell runs on the login node, the tasks of its steps in the pods; srun's tasks too, with their exit code."""
    shell = 'hostname; srun hostname; srun -n1 -N1 sh -c "exit 3"; echo $?'
    done = alice.run("salloc", *TWO, "-n2", "bash", "-c", shell)
    login, first, second, code = done.stdout.split()
    assert (login, code) == ("login", "3")
    assert first.startswith("k8s-")
    assert second.startswith("k8s-")
    assert first != second
    done = alice.run("srun", *TWO, "-n2", "sh", "-c", "ls -d /k8s-burst; exit $((SLURM_PROCID * 7))", check=False)
    assert done.returncode == 7
    assert done.stdout.split() == ["/k8s-burst"] * 2
    terminal = alice.run("script", "-qec", "srun --gres=gpu:1 --k8s-burst=now --pty sh -c 'tty; hostname'", "/dev/null")
    assert "/dev/pts/" in terminal.stdout
    assert "k8s-" in terminal.stdout
    until("the pods to be gone", lambda: not pods.all())


def test_heterogeneous_jobs_stay_in_their_queue(alice: SlurmUser, full: int, pods: Pods) -> None:
    """Slurm starts their components together, where they were submitted; each says so."""
    small = ("--k8s-burst=now", "--ntasks=1", "--mem=20M")
    job_id = alice.submit("true", "--output=/dev/null", *small, ":", *small)
    until(
        "both components to be refused", lambda: alice.comment(job_id).count("state=refused reason=components of") == 2
    )
    job = alice.job(job_id)
    assert (job["JobState"], job["Partition"], pods.of(job_id)) == ("PENDING", "gpu", [])


def test_nobody_elses_pods_come_in(alice: SlurmUser, bob: SlurmUser, full: int, pods: Pods) -> None:
    """Another user's pod does not reach the server that the user's own other pod reaches."""
    serve = "python3 -c 'import socket, time\ns = socket.create_server((\"\", 7200))\nprint(1, flush=True)\ntime.sleep(1e6)'"
    job_id = alice.submit(serve, *TWO, "--output=serve-%j.out")
    job = alice.wait_state(job_id, "RUNNING")
    until("the server to serve", lambda: alice.read(f"serve-{job_id}.out"))
    server, other = nodes_of(job)
    address = addresses(pods, job_id)[server]
    knock = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/7200'"
    own = ("srun", f"--jobid={job_id}", "--overlap", "-N1", "-n1", "-w", other, "sh", "-c", knock)
    until("the own pod to get in", lambda: alice.run(*own, check=False).returncode == 0)
    foreign = bob.run("srun", "--gres=gpu:1", "--k8s-burst=now", "sh", "-c", f"hostname; {knock}", check=False)
    assert foreign.stdout.startswith("k8s-")
    assert foreign.returncode != 0
    assert alice.run(*own, check=False).returncode == 0
