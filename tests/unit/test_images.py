"""
Enroot's notation in, Kubernetes' out.
"""

from __future__ import annotations

import pytest
from burst_agent.errors import ImageError
from burst_agent.images import oci_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ubuntu", "ubuntu"),
        ("ubuntu:24.04", "ubuntu:24.04"),
        ("docker://ubuntu:24.04", "ubuntu:24.04"),
        ("nvcr.io#nvidia/pytorch:24.10-py3", "nvcr.io/nvidia/pytorch:24.10-py3"),
        ("docker://nvcr.io#nvidia/pytorch", "nvcr.io/nvidia/pytorch"),
        ("nvcr.io/nvidia/pytorch:1", "nvcr.io/nvidia/pytorch:1"),
        ("registry.site:5000#team/app:v1", "registry.site:5000/team/app:v1"),
        ("localhost/k8s-burst/debian:13", "localhost/k8s-burst/debian:13"),
        (f"ubuntu@{DIGEST}", f"ubuntu@{DIGEST}"),
        (f"nvcr.io#nvidia/cuda:12@{DIGEST}", f"nvcr.io/nvidia/cuda:12@{DIGEST}"),
    ],
)
def test_references(written: str, meant: str) -> None:
    """What users of pyxis write reaches the kubelet as it understands it."""
    assert oci_reference(written) == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("alice@nvcr.io#nvidia/pytorch", "USER@"),
        ("$oauthtoken@nvcr.io#nvidia/pytorch", "USER@"),
        ("alice@ubuntu", "USER@"),
        ("/home/alice/image.sqsh", "no files"),
        ("./image.sqsh", "no files"),
        ("image.sqsh", "no files"),
        ("dockerd://ubuntu", "no files"),
        ("podman://ubuntu", "no files"),
        ("", "is no"),
        ("Ubuntu Linux", "is no"),
        ("a b", "is no"),
        ("a/../b", "is no"),
        ("nvcr.io##x", "is no"),
        ("nvcr.io#", "is no"),
        ("#x", "is no"),
        ("x:", "is no"),
        ("x\n", "is no"),
        ("x from=gpu", "is no"),
        ("a" * 300, "longer than"),
    ],
)
def test_what_is_refused(written: str, said: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(ImageError, match=said):
        oci_reference(written)
