"""
Kubernetes' own programs, built from its Go modules: one multi-call binary, as a layer for the node's root file system;
and kube-router's network policy controller with the tools that it calls, as another. Kueue's manager, for the tests
that ask for it, is a program by itself.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from . import golang
from .cache import Cache, key_of, key_of_files
from .rootfs import SUITE, debootstrap

MODULE = Path(__file__).with_name("kubernetes")
FENCE = Path(__file__).with_name("netpol")
KUEUE = Path(__file__).with_name("kueue")
FENCE_PACKAGES = ("iptables", "ipset")
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


def fence_layer(cache: Cache) -> Path:
    """Give the layer with /usr/local/bin/kube-router, iptables and ipset, built when missing."""
    sources = key_of_files(FENCE, [FENCE / name for name in ("main.go", "go.mod", "go.sum")])

    def build(directory: Path) -> None:
        # Unpacked only: the node's own root file system has what they link with.
        unpacked = directory / "unpacked"
        debootstrap("extract", FENCE_PACKAGES, unpacked)
        for name in ("sbin", "lib", "share"):
            (directory / "usr").mkdir(exist_ok=True)
            shutil.move(unpacked / "usr" / name, directory / "usr" / name)
        shutil.rmtree(unpacked)
        for name in ("iptables", "iptables-save", "iptables-restore"):
            (directory / "usr/sbin" / name).symlink_to("xtables-nft-multi")
        programs = directory / "usr/local/bin"
        programs.mkdir(parents=True)
        golang.build(cache, FENCE, ["."], programs / "kube-router")

    key = key_of(sources, SUITE, *FENCE_PACKAGES)
    return cache.entry("fence", key, "kube-router's network policies (a minute when Go's cache is cold)", build)


def kueue(cache: Cache) -> Path:
    """
    Give the folder with Kueue's manager, `kueue`, its CustomResourceDefinitions, `crd/*.yaml`, and its `webhooks.yaml`,
    built when missing.
    """

    def build(directory: Path) -> None:
        golang.build(cache, KUEUE, ["."], directory / "kueue")
        components = golang.source(cache, KUEUE, "sigs.k8s.io/kueue") / "config/components"
        (directory / "crd").mkdir()
        for path in (components / "crd/bases").glob("*.yaml"):
            shutil.copyfile(path, directory / "crd" / path.name)
        shutil.copyfile(components / "webhook/manifests.yaml", directory / "webhooks.yaml")

    key = key_of_files(KUEUE, [KUEUE / name for name in ("main.go", "go.mod", "go.sum")])
    return cache.entry("kueue", key, "Kueue (some minutes when Go's cache is cold)", build)


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
