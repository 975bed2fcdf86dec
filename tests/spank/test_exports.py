"""
The built file: what it exports, what it asks Slurm for, and how Slurm knows it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

EXPORTED = {
    "plugin_name",
    "plugin_type",
    "plugin_version",
    "spank_plugin_version",
    "slurm_spank_init",
    "slurm_spank_init_post_opt",
    "slurm_spank_task_init",
    "slurm_spank_exit",
}
#: What every Slurm from 23.11 on offers to plugins.
ASKED_FOR = {
    "slurm_error",
    "slurm_spank_log",
    "spank_context",
    "spank_get_item",
    "spank_getenv",
    "spank_job_control_setenv",
    "spank_option_register",
    "spank_setenv",
    "spank_strerror",
    "spank_unsetenv",
}
ASKED_FOR_IF_THERE = {"oci_conf", "slurm_conf", "spank_prepend_task_argv"}


def symbols(path: Path) -> dict[str, set[str]]:
    """Read the dynamic symbol table: names by nm's letter, without versions."""
    table: dict[str, set[str]] = {}
    for line in subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout.splitlines():
        *_, letter, name = line.split()
        table.setdefault(letter, set()).add(name.split("@")[0])
    return table


def test_exports_what_slurm_looks_up_and_nothing_else(plugin_so: Path) -> None:
    """plugin.map holds."""
    table = symbols(plugin_so)
    defined = set().union(*(names for letter, names in table.items() if letter not in "Uwv"))
    assert defined - {"__odr_asan." + name for name in defined} == EXPORTED


def test_asks_slurm_only_for_the_spank_interface(plugin_so: Path) -> None:
    """Nothing of Slurm's insides is needed; what is not in every Slurm is weak."""
    table = symbols(plugin_so)
    slurms = re.compile(r"(slurm|spank|oci)_")
    assert {name for name in table["U"] if slurms.match(name)} == ASKED_FOR
    assert {name for name in table["w"] if slurms.match(name)} == ASKED_FOR_IF_THERE


def test_links_no_library_beside_libc(plugin_so: Path) -> None:
    """A plugin's libraries would be loaded into every sbatch, srun and slurmstepd."""
    lines = subprocess.run(["readelf", "-d", plugin_so], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"Shared library: \[([^.\]]+)", lines))
    assert needed - {"libasan", "libubsan"} == {"libc"}


@pytest.mark.parametrize("slurm", ["host", "old_host"])
def test_identifies_itself_to_slurm(request: pytest.FixtureRequest, slurm: str) -> None:
    """Name, type, and the version of the headers that it was built against, which Slurm compares with its own."""
    header = (Path(os.environ["SLURM_INCLUDE_DIR"]) / "slurm" / "slurm_version.h").read_text()
    version = re.search(r"define SLURM_VERSION_NUMBER\s+(0x[0-9a-f]+)", header)
    assert version
    done = request.getfixturevalue(slurm).run("identify")
    assert (done.returncode, done.stderr) == (0, "")
    name, kind, number, _ = done.stdout.split()
    assert (name, kind, int(number, 16)) == ("k8s_burst", "spank", int(version.group(1), 16))
