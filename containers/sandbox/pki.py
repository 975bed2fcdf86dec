"""
The keys and certificates of one sandbox, made anew for each: Kubernetes' and the agent's.

Made with the node's openssl. Elliptic curve keys, because they are made in milliseconds.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path

from .hosts import ADDRESSES, NODE, Host

DAYS = 30

# Strict verifiers, such as Python's from 3.13 on, want the key's usage to be said.
_AUTHORITY = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")
_LEAF = ("basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature")
_CLIENT = "extendedKeyUsage=clientAuth"
_SERVER = "extendedKeyUsage=serverAuth"
_AUTHORITY = ("basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")


@dataclass(frozen=True)
class Certificate:
    """
    A certificate to make: file name, subject, extensions, and the authority that signs it.
    """

    name: str
    subject: str
    extensions: tuple[str, ...]
    authority: str = "ca"


CERTIFICATES = (
    Certificate("apiserver", "/CN=kube-apiserver", (_SERVER,
    f"subjectAltName=IP:{ADDRESSES[NODE]},IP:127.0.0.1,IP:10.96.0.1,DNS:{NODE},DNS:kubernetes")),
    Certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", (_CLIENT,)),
    Certificate("admin", "/O=system:masters/CN=admin", (_CLIENT,)),
    Certificate("controller-manager", "/O=system:masters/CN=system:kube-controller-manager", (_CLIENT,)),
    Certificate("scheduler", "/CN=system:kube-scheduler", (_CLIENT,)),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", (_CLIENT,)),
    Certificate("kubelet-server", f"/CN={NODE}", (_SERVER, f"subjectAltName=IP:{ADDRESSES[NODE]},DNS:{NODE}")),
    Certificate("k8s-burst-agent", "/CN=k8s-burst-agent", (_CLIENT,)),
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
    for certificate in CERTIFICATES:
        extensions = (
            "basicConstraints=critical,CA:false",
            "keyUsage=critical,digitalSignature",
            *certificate.extensions,
        )
        lines.append(_command(certificate.name, certificate.subject, extensions, certificate.authority))
    node.shell("\n".join(lines))


def kubeconfig(directory: Path, name: str, server: str) -> str:
    """
    The text of a kubeconfig for the certificate `name`, complete in itself; `directory` is the node's, as seen from
    outside.
    """
    authority, certificate, key = (
        base64.b64encode((directory / file).read_bytes()).decode() for file in ("ca.crt", f"{name}.crt", f"{name}.key")
    )
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n"
        f"clusters:\n- name: sandbox\n  cluster: {{server: '{server}', certificate-authority-data: {authority}}}\n"
        f"users:\n- name: {name}\n  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}\n"
        f"contexts:\n- name: sandbox\n  context: {{cluster: sandbox, user: {name}}}\n"
    )


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
