"""
The keys and certificates of one sandbox, made anew for each: Kubernetes' and the agent's.

Made with the node's openssl. Elliptic curve keys, because they are made in milliseconds.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .hosts import ADDRESSES, NODE, Host

DAYS = 30

# Strict verifiers, such as Python's from 3.13 on, want the key's usage to be said.
_AUTHORITY = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
_LEAF = ("basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature")
_CLIENT = "extendedKeyUsage=clientAuth"
_SERVER = "extendedKeyUsage=serverAuth"


@dataclass(frozen=True)
class Certificate:
    """
    A certificate to make: file name, subject, extensions, and the authority that signs it.
    """

    name: str
    subject: str
    extensions: tuple[str, ...]
    authority: str = "ca"


def certificates(host: str) -> tuple[Certificate, ...]:
    """Those of the Kubernetes on one host; beside the first one's, the agent's and gatewayd's."""
    address = ADDRESSES[host]
    return (
        Certificate("apiserver", "/CN=kube-apiserver", (_SERVER,
        f"subjectAltName=IP:{address},IP:127.0.0.1,IP:10.96.0.1,DNS:{host},DNS:kubernetes")),
        Certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", (_CLIENT,)),
        Certificate("admin", "/O=system:masters/CN=admin", (_CLIENT,)),
        Certificate("controller-manager", "/O=system:masters/CN=system:kube-controller-manager", (_CLIENT,)),
        Certificate("scheduler", "/CN=system:kube-scheduler", (_CLIENT,)),
        Certificate("kubelet", f"/O=system:nodes/CN=system:node:{host}", (_CLIENT,)),
        Certificate("kubelet-server", f"/CN={host}", (_SERVER, f"subjectAltName=IP:{address},DNS:{host}")),
        Certificate("k8s-burst-agent", "/CN=k8s-burst-agent", (_CLIENT,)),
        *(_BURST if host == NODE else ()),
    )  # fmt: skip


_BURST = (
    Certificate("burst-server", "/CN=gateway", (_SERVER, f"subjectAltName=DNS:gateway,IP:{ADDRESSES['gateway']}"),
    "burst-ca"),
    Certificate("burst-gateway", "/CN=gateway", (_CLIENT, "subjectAltName=DNS:gateway"), "burst-ca"),
)  # fmt: skip


#: Where the node has the directory of keys and certificates.
NODE_PATH = "/etc/kubernetes/pki"


def make(node: Host) -> None:
    """
    Fill the node's directory with NAME.crt and NAME.key of both authorities and all certificates, and the key for
    service accounts.
    """
    lines = ["umask 077", f"cd {NODE_PATH}", "openssl ecparam -name prime256v1 -genkey -noout -out sa.key"]
    lines += [_command(authority, f"/CN={authority}", _AUTHORITY, None) for authority in ("ca", "burst-ca")]
    for certificate in certificates(node.name):
        extensions = (*_LEAF, *certificate.extensions)
        lines.append(_command(certificate.name, certificate.subject, extensions, certificate.authority))
    node.shell("\n".join(lines))


def kubeconfig(name: str, contexts: Mapping[str, tuple[Path, str]]) -> str:
    """
    The text of a kubeconfig for the certificate `name`, complete in itself, the first context being its current one.

    `contexts` are, by name, a cluster's directory of keys, as seen from outside, and the URL of its API server.
    """

    def encoded(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    parts: dict[str, list[object]] = {"clusters": [], "users": [], "contexts": []}
    for context, (pki, server) in contexts.items():
        parts["clusters"].append(
            {"name": context, "cluster": {"server": server, "certificate-authority-data": encoded(pki / "ca.crt")}}
        )
        keys = {
            "client-certificate-data": encoded(pki / f"{name}.crt"),
            "client-key-data": encoded(pki / f"{name}.key"),
        }
        parts["users"].append({"name": context, "user": keys})
        parts["contexts"].append({"name": context, "context": {"cluster": context, "user": context}})
    # JSON is YAML.
    head = {"apiVersion": "v1", "kind": "Config", "current-context": next(iter(contexts))}
    return json.dumps({**head, **parts}, indent=1) + "\n"


def _command(name: str, subject: str, extensions: tuple[str, ...], authority: str | None) -> str:
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        str(DAYS),
    ]
    words += ["-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.crt"]
    for extension in extensions:
        words += ["-addext", extension]
    if authority:
        words += ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"]
    return shlex.join(words)
