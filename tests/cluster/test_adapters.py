"""
The agent's adapters against the sandbox's own slurmctld, slurmdbd and munged: tests/slurm, run on the gateway.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox, checks

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = "/opt/checkout"


@pytest.fixture
def without_agent(sandbox: Sandbox, clean: None) -> Iterator[None]:
    """The agent is down: it would act on the tests' jobs too."""
    sandbox.service("k8s-burst-agent").stop()
    yield
    sandbox.service("k8s-burst-agent").start()


def test_adapters_hold_their_words(sandbox: Sandbox, without_agent: None) -> None:
    """Every test of tests/slurm passes on the gateway, with the agent's own Python and packages."""
    place, tools = sandbox.path("gateway", PLACE), sandbox.path("gateway", checks.TOOLS)
    shutil.copytree(CHECKOUT / "tests/slurm", place / "tests/slurm", dirs_exist_ok=True)
    shutil.copyfile(CHECKOUT / "pyproject.toml", place / "pyproject.toml")
    layer = checks.tools_layer(sandbox.cache, CHECKOUT)
    shutil.copytree(layer / checks.TOOLS.lstrip("/"), tools, symlinks=True, dirs_exist_ok=True)
    packages = next(tools.glob("lib/python*/site-packages")).relative_to(tools)
    done = sandbox.run(
        ["/opt/k8s-burst/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/slurm"],
        host="gateway",
        cwd=PLACE,
        env={"PYTHONPATH": f"{checks.TOOLS}/{packages}:{PLACE}", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
