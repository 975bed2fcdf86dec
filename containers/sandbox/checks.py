"""
Tests that need the sandbox's own root file system, with Slurm's headers and libraries, but no sandbox.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import layers
from .cache import Cache, key_of
from .rootfs import root_file_system

#: Virtual environment of requirements/tests.txt in the layer.
TOOLS = "/opt/tests"


def tools_layer(cache: Cache, checkout: Path) -> Path:
    """The layer with the packages that tests in the root file system run with."""
    root = root_file_system(cache)
    requirements = checkout / "requirements/tests.txt"
    script = f"python3 -m venv {TOOLS} && {TOOLS}/bin/pip install --quiet --requirement /requirements.txt"

    def fill(directory: Path) -> None:
        binds = {"/requirements.txt": requirements}
        changed = layers.build([root], directory / "scratch", script, "packages for tests", binds=binds, network=True)
        layers.keep(changed, directory, ("opt",))

    return cache.entry("tests", key_of(root.name, script, requirements.read_bytes()), "packages for tests", fill)


def spank(cache: Cache, checkout: Path) -> None:
    """Run the tests of the plugin and of job_submit.lua against the real headers; raises BuildError."""
    stack = [tools_layer(cache, checkout), root_file_system(cache)]
    script = f"PYTHON={TOOLS}/bin/python PYTHONDONTWRITEBYTECODE=1 /checkout/tests/spank/run"
    cache.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.root, prefix="tests-") as scratch:
        layers.build(stack, Path(scratch), script, "tests of the plugin", binds={"/checkout": checkout}, aloud=True)
