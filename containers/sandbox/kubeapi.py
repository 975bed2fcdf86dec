"""
Kubernetes' API as the sandbox itself uses it: a few plain requests as administrator, made from inside the node's
network.
"""

from __future__ import annotations

import http.client
import json
import ssl
from functools import cached_property
from pathlib import Path
from typing import Any

from . import node
from .hosts import ADDRESSES, Host
from .namespaces import connect

TIMEOUT_S = 10.0


class KubeError(OSError):
    """
    The API server answered with an error.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the API server answered {status}: {text[:500]}")
        self.status = status


class KubeAPI:
    """
    An API server of a sandbox, on its host, for its administrator. Every request opens a connection: nothing to keep,
    nothing to lose.

    An answer may take `timeout_s` seconds.
    """

    def __init__(self, host: Host, pki: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._host = host
        self._pki = pki
        self._timeout_s = timeout_s

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._pki / "ca.crt")
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        return context

    def get(self, path: str) -> Any:
        """GET an object."""
        return json.loads(self.request("GET", path))

    def patch(self, path: str, value: object) -> None:
        """Patch an object by a JSON patch."""
        self.request("PATCH", path, value, "application/json-patch+json")

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.request("GET", "/readyz") == "ok"
        except OSError:
            return False

    def node_known(self) -> bool:
        """Whether the kubelet has registered its node."""
        try:
            self.get(f"/api/v1/nodes/{self._host.name}")
        except OSError:
            return False
        return True

    def node_ready(self) -> bool:
        """Whether the node is Ready."""
        try:
            conditions = self.get(f"/api/v1/nodes/{self._host.name}")["status"].get("conditions", [])
        except OSError:
            return False
        return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

    def pods_admitted(self) -> bool:
        """Whether pods can be made in namespace default: its service account is there."""
        try:
            self.get("/api/v1/namespaces/default/serviceaccounts/default")
        except OSError:
            return False
        return True

    def set_gpus(self, count: int) -> None:
        """Let the node have GPUs, as a device plugin would: capacity, and allocatable at once."""
        values = [
            {"op": "add", "path": f"/status/{part}/nvidia.com~1gpu", "value": str(count)}
            for part in ("capacity", "allocatable")
        ]
        self.patch(f"/api/v1/nodes/{self._host.name}/status", values)

    def gpus(self) -> int:
        """How many GPUs pods may have in all."""
        try:
            return int(self.get(f"/api/v1/nodes/{self._host.name}")["status"]["allocatable"].get("nvidia.com/gpu", 0))
        except (OSError, KeyError):
            return 0

    def request(self, method: str, path: str, value: object = None, kind: str = "application/json") -> str:
        """Make a request and give the body of the answer; raises OSError, KubeError for an answer that is an error."""
        connection = http.client.HTTPConnection(ADDRESSES[self._host.name], node.API_PORT)
        plain = connect(self._host.pid, ADDRESSES[self._host.name], node.API_PORT, self._timeout_s)
        try:
            connection.sock = self._tls.wrap_socket(plain, server_hostname=ADDRESSES[self._host.name])
            body = None if value is None else json.dumps(value)
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            msg = f"the API server's answer broke off: {error}"
            raise OSError(msg) from error
        finally:
            connection.close()
            plain.close()
        if answer.status >= 300:
            raise KubeError(answer.status, text)
        return text
