#!/usr/bin/env python3
"""
Build a wheel of pyslurm 25.11.2 for the sandbox's Slurm 24.11.

PyPI carries no pyslurm for 24.11, and 25.11.2 refuses every other minor. The agent needs ``pyslurm.db`` alone, so this
script downloads the source by pip, checks its digest, takes out the rest and what 24.11's slurmdb.h lacks, and builds
it. It runs inside the sandbox's root file system: libslurm-dev, slurm-wlm (for
libslurmfull.so), gcc, python3-dev and network are needed.

    build.py OUTDIR      leaves OUTDIR/pyslurm-25.11.2-*.whl

Each edit must match exactly once: a source that differs stops the build instead of being half patched.
A site with Slurm 25.11 does not need this: there ``pip install pyslurm==25.11.2`` builds as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path

VERSION = "25.11.2"
SHA256 = "6e0e4bc639ea3177591b102b77c1dd8df55a9e411ac42ef339a4adb3908cca34"
#: Pinned so that the same source gives the same wheel; the source asks for no upper bounds.
BUILD_TOOLS = ("Cython==3.1.3", "setuptools==80.9.0", "wheel==0.45.1", "packaging==25.0")

#: The part that speaks to slurmctld uses much that 24.11's slurm.h lacks; the agent does that through libslurm itself.
REMOVED_FILES = (
    "pyslurm/deprecated.pyx",
    "pyslurm/core/job",
    "pyslurm/core/node.pxd",
    "pyslurm/core/node.pyx",
    "pyslurm/core/partition.pxd",
    "pyslurm/core/partition.pyx",
    "pyslurm/core/reservation.pxd",
    "pyslurm/core/reservation.pyx",
    "pyslurm/core/slurmctld",
)

#: (file, from, to and with, replacement)
REPLACED_PASSAGES = (
    # The minor to build against.
    ("setup.py", "!= Version(SLURM_VERSION)", "", '!= Version("24.11")'),
    # The removed files are not imported.
    (
        "pyslurm/__init__.py",
        "from pyslurm.core.job import (",
        "ReservationReoccurrence,\n)\n",
        "",
    ),
    ("pyslurm/__init__.py", "from pyslurm.core import slurmctld\n", "from pyslurm.deprecated import *\n", ""),
    # libslurm has the cluster's name once it has read slurm.conf; asking slurmctld for it needs a removed file.
    ("pyslurm/settings.pyx", "    from pyslurm.core import slurmctld\n", "", ""),
    (
        "pyslurm/settings.pyx",
        "        slurm_conf = slurmctld.Config.load()\n",
        "slurm_conf.cluster_name\n",
        '        raise RuntimeError("libslurm has no ClusterName: slurm.conf was not read")\n',
    ),
    # A helper of the members removed below.
    ("pyslurm/db/step.pxd", "    cdef _get_stdio(self, char *path)", "", ""),
    ("pyslurm/db/job.pxd", "    cdef _get_stdio(self, char *path)", "", ""),
)

#: (file, members) that read fields which 24.11's slurmdb.h does not have.
REMOVED_MEMBERS = (
    (
        "pyslurm/db/step.pyx",
        ("working_directory", "_get_stdio", "standard_input", "standard_output", "standard_error", "time_limit"),
    ),
    (
        "pyslurm/db/job.pyx",
        (
            "requested_reservations",
            "_get_stdio",
            "standard_input",
            "standard_output",
            "standard_error",
            "segment_size",
        ),
    ),
)


def replace_passage(path: Path, start: str, end: str, new: str) -> None:
    """Replace the one passage that begins with ``start`` and ends with the next ``end`` (empty: with ``start``)."""
    text = path.read_text()
    before, found, rest = text.partition(start)
    _passage, ended, after = rest.partition(end) if end else ("", "", rest)
    if not found or (end and not ended) or start in rest:
        sys.exit(f"build.py: {path} does not hold {start!r} … {end!r} exactly once; is this pyslurm {VERSION}?")
    path.write_text(before + new + after)


def remove_member(path: Path, name: str) -> None:
    """Take one property or cdef method out of a class, up to the next member."""
    pattern = rf"^    (?:@property\n    def|cdef) {name}\(.*?\n(?=    @|    cdef |    def |\Z)"
    text, count = re.subn(pattern, "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        sys.exit(f"build.py: {path} has {count} members {name} instead of one; is this pyslurm {VERSION}?")
    path.write_text(text)


def fetch(python: Path, folder: Path) -> Path:
    """Download and unpack the source, and give its folder."""
    pip = (python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", "pyslurm")
    subprocess.run([*pip, "--dest", folder, f"pyslurm=={VERSION}"], check=True)
    archive = folder / f"pyslurm-{VERSION}.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"build.py: {archive.name} has SHA-256 {digest}, expected {SHA256}; nothing was built")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"pyslurm-{VERSION}"


def patch(source: Path) -> None:
    """Make the source fit 24.11's headers."""
    for name in REMOVED_FILES:
        path = source / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, start, end, new in REPLACED_PASSAGES:
        replace_passage(source / name, start, end, new)
    for name, members in REMOVED_MEMBERS:
        for member in members:
            remove_member(source / name, member)


def build(python: Path, source: Path, outdir: Path) -> None:
    """Compile the patched source into a wheel."""
    environment = os.environ | {
        "SLURM_INCLUDE_DIR": "/usr/include",
        "SLURM_LIB_DIR": f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
        "PYSLURM_BUILD_JOBS": str(os.cpu_count() or 1),
        # The modules move data about; optimising them would only double the time that the sandbox takes.
        "CFLAGS": "-O0 -w",
    }
    wheel = (python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run([*wheel, "--wheel-dir", outdir, source], check=True, env=environment)


def main(arguments: list[str]) -> int:
    """Build the wheel into the folder named."""
    if len(arguments) != 1:
        sys.stderr.write(__doc__ or "")
        return 2
    outdir = Path(arguments[0]).absolute()
    outdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pyslurm-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *BUILD_TOOLS], check=True)
        source = fetch(python, folder)
        patch(source)
        build(python, source, outdir)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
