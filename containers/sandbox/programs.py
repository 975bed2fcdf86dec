"""
Programs of real jobs, MPI, PyTorch, Ray and others, for the tests that compare a native node with a pod: one tree of
files, which is a layer of the hosts' root file systems and a layer of an image.

Debian's packages are unpacked, not installed: what the image for jobs lacks of them, so that the tree fits on it and on
the hosts, which have more. Built only where asked for: it takes a minute, and `make try` needs none of it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import layers, oci
from .cache import Cache, key_of
from .images import job_image

PROGRAMS_IMAGE = "localhost/k8s-burst/programs:13"

#: With all that they depend on.
PACKAGES = ("openmpi-bin", "mpich", "python3-mpi4py", "python3-torch", "parallel")

#: Without: headers, for a compiler that is there already.
HEADERS = ("libopenmpi-dev", "libmpich-dev")

#: Into the virtual environment VENV, which sees Debian's Python packages as well.
PYTHON_PACKAGES = ("ray==2.60.0", "submitit==1.5.4")
VENV = "/opt/programs"

#: Half of the size: documents, static libraries, and what serves AMD's GPUs only.
_EXCLUDED = (
    "./usr/share/doc", "./usr/share/man", "./usr/share/info", "./usr/share/locale", "./usr/lib/libtorch-test", "*.a",
    "*/libLLVM*", "*/libamd_comgr*", "*/libamdhip64*", "*rocm*",
)  # fmt: skip

#: /status is dpkg's of the image for jobs. Installing a package compiles its Python files, unpacking does not, and then
#: each `import torch` does; templates and tests that are no Python of this version are left as they are.
_SCRIPT = f"""
mkdir -p /run/packages /programs
apt-get update -qq
cd /run/packages
apt-get install -qq -y --no-install-recommends --download-only -o APT::Sandbox::User=root \
    -o Dir::State::status=/status -o Dir::Cache::archives=/run/packages {" ".join(PACKAGES)}
apt-get download -qq -o APT::Sandbox::User=root {" ".join(HEADERS)}
for package in *.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C /programs {" ".join(f"--exclude='{path}'" for path in _EXCLUDED)}
done
cd /programs/usr/bin
ln -s mpirun.openmpi mpirun
ln -s mpiexec.openmpi mpiexec
cd ../lib/x86_64-linux-gnu
ln -s blas/libblas.so.3 lapack/liblapack.so.3 .
python3 -m venv --system-site-packages {VENV}
{VENV}/bin/pip install --quiet --no-cache-dir --disable-pip-version-check {" ".join(PYTHON_PACKAGES)}
mkdir -p /programs/opt
mv {VENV} /programs{VENV}
python3 -m compileall -q -j 2 -s /programs /programs/usr/lib/python3/dist-packages > /dev/null || true
"""


def layer(cache: Cache, root: Path) -> Path:
    """Give the tree of the programs, to lie below the root file system `root`, which has some of its files too."""

    def build(directory: Path) -> None:
        status = directory / "status"
        (base,) = oci.layers_of(job_image(cache), directory)
        status.write_bytes(oci.read_file(base, "./var/lib/dpkg/status"))
        base.unlink()
        what = "unpacking the programs of the tests"
        changed = layers.build([root], directory / "scratch", _SCRIPT, what, binds={"/status": status}, network=True)
        status.unlink()
        for path in (changed / "programs").iterdir():
            path.rename(directory / path.name)
        shutil.rmtree(directory / "scratch")

    key = key_of(root.name, job_image(cache).parent.name, _SCRIPT)
    return cache.entry("programs", key, "MPI, PyTorch, Ray for the tests", build)


def image(cache: Cache, programs: Path) -> Path:
    """Give the archive of the image with the programs, on top of the image for jobs."""

    def build(directory: Path) -> None:
        added = directory / "layer.tar"
        layers.run(
            ["tar", "-C", str(programs), "--owner=0", "--group=0", "-cf", str(added), "."], "packing the programs"
        )
        tars = [*oci.layers_of(job_image(cache), directory), added]
        oci.write_archive(directory / "image.tar", PROGRAMS_IMAGE, tars)
        for path in tars:
            path.unlink()

    key = key_of(programs.name, job_image(cache).parent.name, PROGRAMS_IMAGE)
    return cache.entry("programs-image", key, f"image {PROGRAMS_IMAGE}", build) / "image.tar"
