"""
What a user's namespace holds: the template's objects, and a volume with its claim for each shared folder. Pure.

The template is YAML with ``${namespace}``, ``${cluster}``, ``${uid}``, ``${max_pods}``, ``${max_gpus}`` and
``${gpu_resource}``; its first object must be the Namespace itself. Labels that say whose it is are added here, so that
no template can forget them.
"""

from __future__ import annotations

import string
from typing import Any

import yaml

from burst_agent import names
from burst_agent.errors import SettingsError
from burst_agent.podspec import claim_name
from burst_agent.settings import Settings
from burst_agent.target_file import Volume

#: Kinds that a template may have: what the agent's rights (containers/kubernetes) let it make.
KINDS = frozenset(
    {
        "ConfigMap",
        "LimitRange",
        "LocalQueue",
        "Namespace",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    }
)

#: Nominal: Kubernetes wants a capacity, shared file systems have none.
_CAPACITY = "1Ti"


def objects(settings: Settings, uid: int, template: str, target: str) -> list[dict[str, Any]]:
    """
    Write all objects for a target, the Namespace first. Raises SettingsError where the template can't be used.
    """
    cluster = settings.slurm.cluster
    namespace = names.namespace(cluster, uid)
    # Twice the caps: pods of a requeued job's last incarnation may still be ending.
    values = {
        "namespace": namespace,
        "cluster": cluster,
        "uid": str(uid),
        "max_pods": str(2 * settings.policy.max_pods_per_user + 1),
        "max_gpus": str(2 * settings.policy.max_gpus_per_user),
        "gpu_resource": settings.pods_at(target).gpu_resource,
    }
    try:
        made = [thing for thing in yaml.safe_load_all(string.Template(template).substitute(values)) if thing]
    except (KeyError, ValueError, yaml.YAMLError) as e:
        msg = f"the namespace template can't be used: {type(e).__name__}: {e}"
        raise SettingsError(msg) from e
    if not made or made[0].get("kind") != "Namespace" or made[0].get("metadata", {}).get("name") != namespace:
        msg = "the namespace template can't be used: its first object must be the Namespace called ${namespace}"
        raise SettingsError(msg)
    others = sorted({str(thing.get("kind")) for thing in made} - KINDS)
    if others:
        msg = f"the namespace template has a {', '.join(others)}; only {', '.join(sorted(KINDS))} can be made"
        raise SettingsError(msg)
    place = next(one for one in settings.targets if one.name == target)
    if not place.kueue_queue:  # its cluster may know no such kind
        made = [thing for thing in made if thing["kind"] != "LocalQueue"]
    if place.kueue_cluster_queue:
        made.append(_local_queue(place.kueue_queue, place.kueue_cluster_queue))
    for volume in settings.pods_at(target).volumes:
        if volume.source is not None:
            made.extend(_shared(volume, namespace))
    for thing in made:
        thing["metadata"].setdefault("labels", {}).update(names.namespace_labels(cluster, uid))
        if thing["kind"] not in ("Namespace", "PersistentVolume"):
            thing["metadata"]["namespace"] = namespace
    return made


def _local_queue(name: str, cluster_queue: str) -> dict[str, Any]:
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta1",  # the adapter takes the one that the cluster has
        "kind": "LocalQueue",
        "metadata": {"name": name},
        "spec": {"clusterQueue": cluster_queue},
    }


def _shared(volume: Volume, namespace: str) -> list[dict[str, Any]]:
    """A PersistentVolume of its own for each namespace: a claim and a volume bind one to one."""
    claim = claim_name(volume)
    modes = ["ReadOnlyMany"] if volume.read_only else ["ReadWriteMany"]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{claim}"},
            "spec": {
                "accessModes": modes,
                "capacity": {"storage": _CAPACITY},
                "claimRef": {"namespace": namespace, "name": claim},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                **(volume.source or {}),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim},
            "spec": {
                "accessModes": modes,
                "resources": {"requests": {"storage": _CAPACITY}},
                "storageClassName": "",
                "volumeName": f"{namespace}-{claim}",
            },
        },
    ]
