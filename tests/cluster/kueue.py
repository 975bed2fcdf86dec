"""
The real Kueue in a sandbox's Kubernetes: its manager as a process on node0, which takes care of pods in queues only.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from sandbox import Sandbox, binaries, node, pki
from sandbox.hosts import tail
from sandbox.namespaces import HostProcess

from tests.cluster.pods import Pods
from tests.cluster.user import until

PORT = 9443
DIRECTORY = "/etc/kueue"
LOG = "log/kueue.log"

#: Of Kueue's kinds, those whose objects are converted between versions by the webhook.
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads")

#: Of Kueue's webhooks, those that pods and its own objects pass.
WEBHOOKS = ("pod", "workload", "clusterqueue", "resourceflavor", "cohort")

CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": "0"},
    "metrics": {"bindAddress": "0"},
    "webhook": {"host": "127.0.0.1", "port": PORT, "certDir": DIRECTORY},
    "leaderElection": {"leaderElect": False},
    "internalCertManagement": {"enable": False},
    "integrations": {"frameworks": ["pod"]},
}

FLAVOR = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "any"}}


def cluster_queue(name: str, **quota: str) -> dict[str, Any]:
    """Write a ClusterQueue for users' namespaces."""
    resources = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"k8s-burst.slurm/cluster": "sandbox"}},
            "resourceGroups": [
                {
                    "coveredResources": list(quota),
                    "flavors": [{"name": FLAVOR["metadata"]["name"], "resources": resources}],
                }
            ],
        },
    }


class Kueue:
    """
    Kueue in the sandbox's first Kubernetes.
    """

    def __init__(self, sandbox: Sandbox, pods: Pods) -> None:
        self.sandbox = sandbox
        self.pods = pods

    def create(self, *things: object) -> None:
        """Create objects as Kubernetes' administrator."""
        self.sandbox.kubectl("create", "-f", "-", input="\n---\n".join(map(json.dumps, things)))

    def workloads(self) -> list[dict[str, Any]]:
        """Every Workload that is there."""
        return list(self.pods.get("workloads.kueue.x-k8s.io", "--all-namespaces")["items"])

    def workload_of(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The Workload of a pod."""
        uid = pod["metadata"]["uid"]
        return next(
            one for one in self.workloads() if uid in {ref["uid"] for ref in one["metadata"]["ownerReferences"]}
        )

    @contextmanager
    def running(self) -> Iterator[Kueue]:
        """Have Kueue run; whatever becomes of the test, it and its webhooks are gone afterwards."""
        kubectl = self.pods.kubectl
        place = self.sandbox.path(node.FIRST.host, DIRECTORY)
        shutil.copytree(binaries.kueue(self.sandbox.cache), place)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, place)
            authority = self._configure(place)
            kinds = {".".join(reversed(path.stem.split("_"))) for path in (place / "crd").iterdir()}
            stack.callback(kubectl, "delete", "crd", *kinds, "--ignore-not-found", "--timeout=60s")
            kubectl("create", "-f", f"{DIRECTORY}/crd")
            until("its kinds to be served", lambda: self._served() == kinds)
            process = self._start()
            stack.callback(process.wait)
            stack.callback(process.kill)
            for thing in _hooks((place / "webhooks.yaml").read_text(), authority):
                stack.callback(kubectl, "delete", thing["kind"], thing["metadata"]["name"], "--ignore-not-found")
                self.create(thing)
            until("Kueue to answer", lambda: self._answers(process))
            # While it runs still: its finalizers are on them.
            stack.callback(until, "the Workloads to be gone", lambda: not self.workloads())
            for kind in ("resourceflavors", "clusterqueues", "localqueues"):
                words = (f"{kind}.kueue.x-k8s.io", "--all", "--all-namespaces", "--timeout=60s")
                stack.callback(kubectl, "delete", *words)
            yield self

    def _configure(self, place: Path) -> str:
        """Write its configuration and keys, complete its kinds, and give the authority of its certificate."""
        keys = self.sandbox.path(node.FIRST.host, pki.NODE_PATH)
        for ending, name in (("crt", "tls.crt"), ("key", "tls.key")):
            shutil.copyfile(keys / f"apiserver.{ending}", place / name)
        (place / "configuration.yaml").write_text(json.dumps(CONFIGURATION))
        authority = base64.b64encode((keys / "ca.crt").read_bytes()).decode()
        client = {"url": f"https://127.0.0.1:{PORT}/convert", "caBundle": authority}
        hook = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}
        for kind in CONVERTED:
            file = place / f"crd/kueue.x-k8s.io_{kind}.yaml"
            file.write_text(file.read_text().replace("\nspec:\n", f"\nspec:\n  conversion: {json.dumps(hook)}\n", 1))
        return authority

    def _served(self) -> set[str]:
        words = ("api-resources", "--api-group=kueue.x-k8s.io", "--output=name")
        return set(self.sandbox.kubectl(*words, check=False).stdout.split())

    def _start(self) -> HostProcess:
        with (self.sandbox.directory / LOG).open("w") as log:
            return self.sandbox.popen(
                [f"{DIRECTORY}/kueue", f"{DIRECTORY}/configuration.yaml"],
                host=node.FIRST.host,
                env={"KUBECONFIG": node.ADMIN_CONFIG},
                stdout=log.fileno(),
                stderr=log.fileno(),
            )

    def _answers(self, process: HostProcess) -> bool:
        """Whether its webhooks let its first object be made."""
        assert process.poll() is None, tail(self.sandbox.directory / LOG, 3)
        words = ("create", "-f", "-")
        return self.sandbox.kubectl(*words, input=json.dumps(FLAVOR), check=False).returncode == 0


def _hooks(text: str, authority: str) -> Iterator[dict[str, Any]]:
    """Kueue's own webhook configurations, cut to WEBHOOKS and pointed at the process."""
    for thing in yaml.safe_load_all(text):
        kind = thing["metadata"]["name"].split("-")[0]
        hooks = [hook for hook in thing["webhooks"] if hook["name"] in {f"{kind[0]}{name}.kb.io" for name in WEBHOOKS}]
        for hook in hooks:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{PORT}{path}", "caBundle": authority}
            if hook["rules"][0]["resources"] == ["pods"]:
                others = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
                hook["namespaceSelector"] = {"matchExpressions": [others]}
        yield {**thing, "metadata": {"name": f"kueue-{kind}"}, "webhooks": hooks}
