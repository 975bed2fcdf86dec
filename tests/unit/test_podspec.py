"""
The pod, to the last field.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from burst_agent import podspec
from burst_agent.errors import ImageError
from burst_agent.model import EndWarning, Group, Tres, User
from burst_agent.podspec import Order, group_lines, manifest, passwd_lines
from burst_agent.target_file import Target

from .fakes import make_job, make_settings

CHECKOUT = Path(__file__).resolve().parents[2]

ALICE = User(
    "alice", 1000, 1000, "Alice A.", "/home/alice", "/bin/bash", (Group("alice", 1000), Group("physics", 2000))
)
SIZE = Tres(cpus=4, memory_mib=8192, nodes=1, gpus=2)
ORDER = Order("c1", Target(name="east"), make_job(), "k8s-1", ("k8s-1",), SIZE, ALICE, "", True, 360.0)

PLAIN = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "k8s-burst-7-0-k8s-1",
        "namespace": "c1-u1000",
        "labels": {
            "k8s-burst.slurm/cluster": "c1",
            "k8s-burst.slurm/target": "east",
            "k8s-burst.slurm/job-id": "7",
            "k8s-burst.slurm/restart": "0",
            "k8s-burst.slurm/node": "k8s-1",
            "k8s-burst.slurm/uid": "1000",
        },
        "annotations": {
            "k8s-burst.slurm/size": "cpus=4,memory-mib=8192,gpus=2",
            "k8s-burst.slurm/terms": "account=physics qos=normal partition=gpu gpu-type=",
            "k8s-burst.slurm/time-limit-min": "60",
            "k8s-burst.slurm/nodes": "k8s-1",
        },
    },
    "spec": {
        "activeDeadlineSeconds": 3600 + 3600 + 360,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "job",
                "image": "site/user:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/k8s-burst/bin/k8s-burst-pod"],
                "args": [
                    *("supervise", "--dir", "/k8s-burst", "--job-id", "7"),
                    *("--groups", "1000,2000", "--orphan-s", "3600", "--grace-s", "30", "--first-attach-s", "3600"),
                ],
                "resources": {
                    "limits": {"cpu": "4100m", "memory": "8256Mi", "nvidia.com/gpu": "2"},
                    "requests": {"cpu": "4000m", "memory": "8256Mi", "nvidia.com/gpu": "2"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [
                    {"name": "k8s-burst", "mountPath": "/k8s-burst"},
                    {"name": "k8s-burst", "mountPath": "/etc/passwd", "subPath": "etc/passwd"},
                    {"name": "k8s-burst", "mountPath": "/etc/group", "subPath": "etc/group"},
                    {"name": "k8s-burst", "mountPath": "/etc/hosts", "subPath": "etc/hosts"},
                    *(
                        {"name": "k8s-burst", "mountPath": f"/usr/bin/{name}", "subPath": f"bin/{name}"}
                        for name in podspec.COMMANDS
                    ),
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "enableServiceLinks": False,
        "hostname": "k8s-1",
        "initContainers": [
            {
                "name": "install",
                "image": "site/pod:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/k8s-burst-pod"],
                "args": [
                    *("install", "/k8s-burst"),
                    *("--passwd", "alice:x:1000:1000:Alice A.:/home/alice:/bin/bash"),
                    *("--group", "alice:x:1000:", "--group", "physics:x:2000:alice"),
                    *("--host", "$(K8S_BURST_POD_IP) k8s-1"),
                ],
                "env": [{"name": "K8S_BURST_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {
                    "limits": {"cpu": "500m", "memory": "64Mi"},
                    "requests": {"cpu": "10m", "memory": "64Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [{"name": "k8s-burst", "mountPath": "/k8s-burst"}],
            }
        ],
        "restartPolicy": "Never",
        "securityContext": {
            "runAsGroup": 1000,
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
            "supplementalGroups": [1000, 2000],
        },
        "serviceAccountName": "k8s-burst",
        "terminationGracePeriodSeconds": 30,
        "volumes": [
            {"name": "k8s-burst", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8192Mi"}},
        ],
    },
}


def test_a_plain_pod() -> None:
    """Default settings, two GPUs."""
    assert manifest(ORDER, make_settings().pods) == PLAIN


def test_through_kueue() -> None:
    """One pod is queued by itself, several as a group that is admitted as a whole and never filled up again."""
    target = Target(name="default", kueue_queue="slurm")
    one = manifest(replace(ORDER, target=target, nodes=("k8s-1",)), make_settings().pods)["metadata"]
    assert one["labels"]["kueue.x-k8s.io/queue-name"] == "slurm"
    assert "kueue.x-k8s.io/pod-group-name" not in one["labels"]
    group = replace(ORDER, target=target, nodes=("k8s-1", "k8s-2"), group="k8s-burst-7-0-a1")
    two = manifest(group, make_settings().pods)["metadata"]
    assert two["labels"]["kueue.x-k8s.io/pod-group-name"] == "k8s-burst-7-0-a1"
    assert two["annotations"]["kueue.x-k8s.io/pod-group-total-count"] == "2"
    assert two["annotations"]["kueue.x-k8s.io/retriable-in-group"] == "false"
    assert "kueue" not in str(PLAIN)


@pytest.mark.parametrize(
    ("warning", "grace_s", "words"),
    [
        (EndWarning(10, 60, batch_only=True), 90, ["--warn-signal", "10", "--warn-s", "60", "--warn-batch"]),
        (EndWarning(12, 600, batch_only=False), 150, ["--warn-signal", "12", "--warn-s", "120"]),
    ],
)
def test_a_job_that_wants_to_be_warned(warning: EndWarning, grace_s: int, words: list[str]) -> None:
    """The pod's grace has room for the warning, up to what the settings allow, and for TERM and KILL behind it."""
    spec = manifest(replace(ORDER, warning=warning), make_settings().pods)["spec"]
    assert spec["terminationGracePeriodSeconds"] == grace_s
    args = spec["containers"][0]["args"]
    assert args[args.index("--grace-s") + 1] == str(grace_s)
    assert args[args.index("--warn-signal") :] == words


def test_every_setting_has_its_effect() -> None:
    """All that a site can choose, at once."""
    pods = make_settings(
        """
        [[pods.tolerations]]
        key = "nvidia.com/gpu"
        effect = "NoSchedule"
        [[pods.volumes]]
        path = "/home"
        nfs = { server = "nfs", path = "/export/home" }
        [[pods.volumes]]
        path = "/software"
        pvc = "software"
        read_only = true
        """
    ).pods.model_copy(
        update={
            "image_pull_policy": "Never",
            "image_pull_secrets": ("pull",),
            "cpu_request_fraction": 0.25,
            "gpu_resource": "amd.com/gpu",
            "supervisor_cpu": 0.5,
            "supervisor_memory_mib": 100,
            "tmp_mib": 512,
            "kill_grace_s": 5,
            "orphan_s": 60,
            "node_selector": {"pool": "burst"},
            "priority_class": "low",
            "runtime_class": "gvisor",
            "supplemental_groups_policy": "Strict",
        }
    )
    made = manifest(replace(ORDER, image="nvcr.io#nvidia/pytorch:24.10"), pods)
    spec, container = made["spec"], made["spec"]["containers"][0]
    assert container["image"] == "nvcr.io/nvidia/pytorch:24.10"
    assert (container["imagePullPolicy"], spec["initContainers"][0]["imagePullPolicy"]) == ("Never", "Never")
    assert container["resources"] == {
        "limits": {"cpu": "4500m", "memory": "8292Mi", "amd.com/gpu": "2"},
        "requests": {"cpu": "1000m", "memory": "8292Mi", "amd.com/gpu": "2"},
    }
    assert container["args"][-6:] == ["--orphan-s", "60", "--grace-s", "5", "--first-attach-s", "60"]
    assert container["volumeMounts"][-2:] == [
        {"name": "shared-0", "mountPath": "/home", "readOnly": False},
        {"name": "shared-1", "mountPath": "/software", "readOnly": True},
    ]
    assert spec["volumes"][1] == {"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}}
    assert spec["volumes"][-2:] == [
        {
            "name": "shared-0",
            "persistentVolumeClaim": {"claimName": podspec.claim_name(pods.volumes[0]), "readOnly": False},
        },
        {"name": "shared-1", "persistentVolumeClaim": {"claimName": "software", "readOnly": True}},
    ]
    assert spec["terminationGracePeriodSeconds"] == 5
    assert spec["securityContext"]["supplementalGroupsPolicy"] == "Strict"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["nodeSelector"] == {"pool": "burst"}
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("low", "gvisor")
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "value": "", "effect": "NoSchedule"}]


def test_commands_are_those_that_have_a_stand_in() -> None:
    """A name that the init container does not make would keep the pod from starting."""
    made = (CHECKOUT / "runner/internal/names/names.go").read_text()
    listed = re.search(r"var Commands = \[\]string\{(.*?)\}", made, re.DOTALL)
    assert listed
    assert set(podspec.COMMANDS) <= set(re.findall(r'"(\w+)"', listed.group(1)))


def test_commands_by_path_can_be_left_out() -> None:
    """An image that can't take the mounts has Slurm's commands in PATH only."""
    pods = make_settings().pods.model_copy(update={"commands_dir": ""})
    mounts = manifest(ORDER, pods)["spec"]["containers"][0]["volumeMounts"]
    assert not [mount for mount in mounts if mount["mountPath"].startswith("/usr")]


def test_nothing_is_there_that_was_not_asked_for() -> None:
    """A pod without GPUs, without a memory request, without a time limit; its image can't have it see GPUs either."""
    job = make_job(time_limit_min=None)
    made = manifest(replace(ORDER, job=job, size=Tres(cpus=2, nodes=1)), make_settings().pods)
    assert made["spec"]["activeDeadlineSeconds"] == 30 * 86400
    container = made["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2100m", "memory": f"{2 * 2048 + 64}Mi"}
    assert container["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]


def test_the_same_values_make_the_same_pod() -> None:
    """Made twice it is one pod."""
    assert manifest(ORDER, make_settings().pods) == manifest(ORDER, make_settings().pods)


def test_the_jobs_group_counts() -> None:
    """sbatch --gid: files are made with the group that the job has in Slurm."""
    made = manifest(replace(ORDER, job=make_job(gid=2000)), make_settings().pods)
    assert made["spec"]["securityContext"]["runAsGroup"] == 2000


@pytest.mark.parametrize("order", [replace(ORDER, user=replace(ALICE, uid=0)), replace(ORDER, job=make_job(uid=0))])
def test_never_root(order: Order) -> None:
    """Whoever says so."""
    with pytest.raises(ValueError, match="never run as root"):
        manifest(order, make_settings().pods)


def test_a_bad_image_is_refused() -> None:
    """With the sentence for the user."""
    with pytest.raises(ImageError, match="no files"):
        manifest(replace(ORDER, image="/x.sqsh"), make_settings().pods)


def test_words_of_the_directory_stay_words() -> None:
    """Full names may hold anything; no line breaks, no fields and no variables of the kubelet come from them."""
    user = replace(ALICE, full_name="A:B\nroot::0:0 $(K8S_BURST_POD_IP)", groups=(Group("a:b", 5), Group("root", 0)))
    assert passwd_lines(user) == ["alice:x:1000:1000:A B root  0 0 $(K8S_BURST_POD_IP):/home/alice:/bin/bash"]
    assert group_lines(user) == ["a b:x:5:alice"]
    arguments = manifest(replace(ORDER, user=user), make_settings().pods)["spec"]["initContainers"][0]["args"]
    assert arguments[3].count("$$(K8S_BURST_POD_IP)") == 1


def test_only_the_pod_of_the_batch_script_ends_when_no_task_comes() -> None:
    """A second node's pod, or one of salloc, may get its first task hours after it was made."""
    args = manifest(replace(ORDER, has_script=False), make_settings().pods)["spec"]["containers"][0]["args"]
    assert "--first-attach-s" not in args
