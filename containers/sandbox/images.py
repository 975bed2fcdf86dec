"""
Container images without a registry, and the containerd directory that holds them.

Importing and unpacking images takes seconds, so it is done once: a start takes the finished directory from the cache,
and the files of unpacked images, which containerd only ever reads, as hard links.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import oci
from .cache import Cache, key_of
from .layers import build as build_layer
from .layers import run
from .rootfs import SUITE, debootstrap

JOB_IMAGE = "localhost/k8s-burst/debian:13"
POD_IMAGE = "localhost/k8s-burst/pod:dev"
PAUSE_IMAGE = "localhost/k8s-burst/pause:1"

#: What jobs find in the pod: what ordinary scripts use.
JOB_PACKAGES = ("bash", "python3", "procps", "ca-certificates")

_IMPORT = Path(__file__).with_name("images.sh").read_text()


def job_image(cache: Cache) -> Path:
    """Give the archive of the image that jobs run in by default."""

    def build(directory: Path) -> None:
        layer = directory / "layer.tar"
        debootstrap("minbase", JOB_PACKAGES, layer)
        oci.write_archive(directory / "image.tar", JOB_IMAGE, [layer])
        layer.unlink()

    key = key_of(SUITE, *JOB_PACKAGES, JOB_IMAGE)
    return cache.entry("job-image", key, f"image {JOB_IMAGE}", build) / "image.tar"


def program_image(cache: Cache, reference: str, program: Path) -> Path:
    """Give the archive of an image that holds one static program and starts it."""

    def build(directory: Path) -> None:
        layer = directory / "layer.tar"
        oci.write_layer(layer, {program.name: program})
        oci.write_archive(directory / "image.tar", reference, [layer], [f"/{program.name}"])
        layer.unlink()

    key = key_of(reference, oci.Blob.of(program).digest)
    return cache.entry("program-image", key, f"image {reference}", build) / "image.tar"


def containerd_root(cache: Cache, root_file_system: Path, archives: Sequence[Path], base: Path | None = None) -> Path:
    """
    Give a directory of containerd's in which the images are imported and unpacked, beside those in another, `base`.

    What is in `base` takes no more room.
    """

    def build(directory: Path) -> None:
        store, images = directory / "store", directory / "images"
        if base:
            copy_containerd_root(base, store)
        else:
            store.mkdir()
        images.mkdir()
        for number, archive in enumerate(archives):
            os.link(archive, images / f"{number}.tar")
        binds = {"/images": images, "/var/lib/containerd": store}
        build_layer([root_file_system], directory / "scratch", _IMPORT, "importing images", binds=binds)
        shutil.rmtree(directory / "scratch")
        shutil.rmtree(images)

    names = [archive.parent.name for archive in archives]
    key = key_of(root_file_system.name, base.parent.name if base else "", *names, _IMPORT)
    return cache.entry("containerd", key, "containerd's image store", build) / "store"


def copy_containerd_root(template: Path, target: Path) -> None:
    """
    Copy a directory of containerd's, with hard links where that can be done.

    Unpacked files and blobs are only ever read or unlinked; the databases are written in place, so they are copied.
    """
    links = ["--link"] if _linkable(template, target.parent) else []
    run(["cp", "--archive", *links, str(template), str(target)], "copying containerd's image store")
    for database in target.glob("*/*.db"):
        database.unlink()
        shutil.copy2(template / database.relative_to(target), database)


def _linkable(template: Path, directory: Path) -> bool:
    """Whether files can be linked from one directory into the other: trying is the only way to know."""
    source = next(template.glob("*/*.db"))
    trial = directory / f".{source.name}"
    try:
        trial.hardlink_to(source)
    except OSError:
        return False
    trial.unlink()
    return True
