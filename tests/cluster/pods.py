"""
What Kubernetes has of the burst jobs, seen as its administrator.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from sandbox import Sandbox, node
from sandbox.kubeapi import KubeAPI

from tests.cluster.user import PATIENCE_S

JOB_LABEL = "k8s-burst.slurm/job-id"

#: Name of the pod of a cluster's owner, in namespace default.
OWNER = "owner-of-the-cluster"


class Pods:
    """
    Pods of burst jobs in one of the sandbox's Kubernetes clusters.
    """

    def __init__(self, sandbox: Sandbox, cluster: node.Cluster = node.FIRST) -> None:
        self.sandbox = sandbox
        self.cluster = cluster
        # Tests look again and again: each look by kubectl would cost a tenth of what a pod does.
        self._api = KubeAPI(sandbox.host(cluster.host), sandbox.directory / cluster.pki, PATIENCE_S)

    def kubectl(self, *words: str) -> str:
        """Run kubectl as administrator and give its output."""
        return self.sandbox.kubectl(*words, cluster=self.cluster).stdout

    def get(self, *words: str) -> Any:
        """Give what ``kubectl get … -o json`` says."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def all(self) -> list[dict[str, Any]]:
        """Every pod made for a job."""
        return self._labelled(JOB_LABEL)

    def of(self, job_id: int) -> list[dict[str, Any]]:
        """The pods made for one job."""
        return self._labelled(f"{JOB_LABEL}={job_id}")

    def _labelled(self, selector: str) -> list[dict[str, Any]]:
        return list(self._api.get(f"/api/v1/pods?labelSelector={quote(selector)}")["items"])

    def running(self, job_id: int) -> list[dict[str, Any]]:
        """The pods of one job whose containers run."""
        return [pod for pod in self.of(job_id) if pod["status"].get("phase") == "Running"]

    def create_owners(self, gpus: int) -> None:
        """Have the cluster's owner run a pod, of ordinary priority, that uses so many GPUs."""
        container = {
            "name": "work",
            "image": "localhost/k8s-burst/debian:13",
            "imagePullPolicy": "Never",
            "command": ["sleep", "infinity"],
            "resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "100m", "memory": "64Mi"}},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": OWNER, "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
        }
        self.sandbox.kubectl("create", "-f", "-", input=json.dumps(pod), cluster=self.cluster)

    def delete_owners(self) -> None:
        """Delete the owner's pod, if there is one."""
        self.kubectl("delete", "pod", "-n", "default", OWNER, "--ignore-not-found")


def evict(pods: Pods, pod: dict[str, Any]) -> None:
    """Ask for a pod's eviction as a drain does."""
    where = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": where}
    path = f"/api/v1/namespaces/{where['namespace']}/pods/{where['name']}/eviction"
    pods.sandbox.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))
