"""
Kubernetes' own programs, built from its Go modules: one multi-call binary, as a layer for the node's root file system.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import golang
from .cache import Cache, key_of_files

MODULE = Path(__file__).with_name("kubernetes")
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
_VERSION_PACKAGE = "k8s.io/component-base/version"


def kubernetes_version() -> str:
    """The version of Kubernetes that go.mod names, such as v1.34.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found, "go.mod names no k8s.io/kubernetes"
    return found.group(1)


def kubernetes_layer(cache: Cache) -> Path:
    """Give the layer with /usr/local/bin/{kube-apiserver,…,kubectl}, built when missing."""
    key = key_of_files(MODULE, [MODULE / "main.go", MODULE / "go.mod", MODULE / "go.sum"])

    def build(directory: Path) -> None:
        programs = directory / "usr/local/bin"
        programs.mkdir(parents=True)
        golang.build(cache, MODULE, ["."], programs / "kube", ldflags=_ldflags(kubernetes_version()))
        for name in PROGRAMS:
            (programs / name).symlink_to("kube")

    return cache.entry(
        "kubernetes", key, f"Kubernetes {kubernetes_version()} (some minutes when Go's cache is cold)", build
    )


def pause_binary(cache: Cache) -> Path:
    """Give the static program that holds a pod's namespaces open."""
    key = key_of_files(MODULE, [MODULE / "pause/main.go"])

    def build(directory: Path) -> None:
        golang.build(cache, MODULE, ["./pause"], directory / "pause")

    return cache.entry("pause", key, "the pause program", build) / "pause"


def _ldflags(version: str) -> str:
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in values.items())])
