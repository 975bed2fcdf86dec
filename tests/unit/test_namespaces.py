"""
What a user's namespace holds.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
from burst_agent.errors import SettingsError
from burst_agent.namespaces import objects

from .fakes import make_settings

TEMPLATE = resources.files("burst_agent").joinpath("namespace.yaml").read_text(encoding="utf-8")
OURS = {"k8s-burst.slurm/cluster": "c1", "k8s-burst.slurm/uid": "1000"}


def _by_kind(made: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {thing["kind"]: thing for thing in made}


def test_the_packaged_template() -> None:
    """Restricted pods, a role for exec alone, a quota, a network policy; all marked as ours."""
    made = objects(make_settings(), 1000, TEMPLATE, "default")
    assert [thing["kind"] for thing in made] == [
        *("Namespace", "ServiceAccount", "Role", "RoleBinding", "ResourceQuota", "NetworkPolicy"),
    ]
    assert all(thing["metadata"]["labels"].items() >= OURS.items() for thing in made)
    assert all(thing["metadata"]["namespace"] == "c1-u1000" for thing in made[1:])
    kinds = _by_kind(made)
    assert kinds["Namespace"]["metadata"]["name"] == "c1-u1000"
    assert kinds["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert kinds["ServiceAccount"]["automountServiceAccountToken"] is False
    assert kinds["Role"]["rules"] == [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]
    assert kinds["RoleBinding"]["subjects"][0]["namespace"] == "c1-u1000"
    assert kinds["ResourceQuota"]["spec"]["hard"]["pods"] == "33"


def test_the_quota_is_of_the_targets_gpus() -> None:
    """By the name that they have in its cluster."""
    made = objects(
        make_settings("[[targets]]\nname = 'default'\n[targets.pods]\ngpu_resource = 'amd.com/gpu'\n"),
        1000,
        TEMPLATE,
        "default",
    )
    assert _by_kind(made)["ResourceQuota"]["spec"]["hard"].keys() >= {"pods", "requests.amd.com/gpu"}


def test_shared_folders() -> None:
    """A volume and a claim of the user's own, bound to each other; none where a claim exists already."""
    made = objects(
        make_settings(
            """
            [[pods.volumes]]
            path = "/home"
            hostPath = { path = "/home", type = "Directory" }
            [[pods.volumes]]
            path = "/data"
            pvc = "data"
            [[pods.volumes]]
            path = "/software"
            csi = { driver = "d", volumeHandle = "h" }
            read_only = true
            """
        ),
        1000,
        TEMPLATE,
        "default",
    )
    volumes = [thing for thing in made if thing["kind"] == "PersistentVolume"]
    claims = [thing for thing in made if thing["kind"] == "PersistentVolumeClaim"]
    claim = claims[0]["metadata"]["name"]
    assert [volume["metadata"]["name"] for volume in volumes] == [
        f"c1-u1000-{one['metadata']['name']}" for one in claims
    ]
    assert volumes[0]["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "1Ti"},
        "claimRef": {"namespace": "c1-u1000", "name": claim},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "hostPath": {"path": "/home", "type": "Directory"},
    }
    assert volumes[1]["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert "namespace" not in volumes[0]["metadata"]
    assert [claim["spec"]["volumeName"] for claim in claims] == [volume["metadata"]["name"] for volume in volumes]


def test_a_shared_folder_keeps_its_name_as_long_as_it_is_the_same() -> None:
    """Its place in the settings says nothing; Kubernetes would refuse another server under the same name for ever."""
    home = "[[pods.volumes]]\npath = '/home'\nnfs = { server = 'a', path = '/home' }\n"
    software = "[[pods.volumes]]\npath = '/sw'\nnfs = { server = 'a', path = '/sw' }\n"

    def names_of(volumes: str) -> list[str]:
        made = objects(make_settings(volumes), 1000, TEMPLATE, "default")
        return [thing["metadata"]["name"] for thing in made if thing["kind"] == "PersistentVolume"]

    (name,) = names_of(home)
    assert name.startswith("c1-u1000-k8s-burst-shared-")
    assert names_of(software + home)[1] == name
    others = (
        home.replace("'a'", "'b'"),
        f"{home}read_only = true\n",
        home.replace("path = '/home'\nnfs", "path = '/h'\nnfs"),
    )
    assert len({name, *(other for one in others for other in names_of(one))}) == 4


def test_local_queues() -> None:
    """One is made where the target names a ClusterQueue; the template's goes to targets with Kueue only."""
    own = TEMPLATE + "---\napiVersion: kueue.x-k8s.io/v1beta1\nkind: LocalQueue\nmetadata: {name: own}\nspec: {}\n"
    for setting, template, queues in (
        ("", TEMPLATE, []),
        ("", own, []),
        ('kueue_queue = "own"', own, [("own", {})]),
        ('kueue_queue = "q"', TEMPLATE, []),
        ('kueue_queue = "q"\nkueue_cluster_queue = "hpc"', TEMPLATE, [("q", {"clusterQueue": "hpc"})]),
    ):
        made = objects(make_settings(f'[[targets]]\nname = "default"\n{setting}'), 1000, template, "default")
        found = [thing for thing in made if thing["kind"] == "LocalQueue"]
        assert [(thing["metadata"]["name"], thing["spec"]) for thing in found] == queues
        assert all(thing["metadata"]["namespace"] == "c1-u1000" for thing in found)
    with pytest.raises(SettingsError, match="kueue_cluster_queue needs kueue_queue"):
        make_settings('[[targets]]\nname = "default"\nkueue_cluster_queue = "hpc"')


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "first object must be the Namespace"),
        ("kind: Namespace\nmetadata: {name: other}", "first object must be the Namespace"),
        ("kind: ServiceAccount\nmetadata: {name: x}", "first object must be the Namespace"),
        ("kind: Namespace\nmetadata: {name: c1-u1000}\n---\nkind: Secret", "has a Secret; only ConfigMap"),
        ("name: ${nobody}", "nobody"),
        ("a: [", "ParserError"),
    ],
)
def test_templates_that_cannot_be_used(template: str, said: str) -> None:
    """Said with what is wrong."""
    with pytest.raises(SettingsError, match=said):
        objects(make_settings(), 1000, template, "default")
