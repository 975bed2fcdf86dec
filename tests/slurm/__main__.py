"""
Run these tests on the gateway of a sandbox.

::

    PYTHONPATH=containers:. python -m tests.slurm [pytest's options]

Starts a sandbox of its own and removes it. ``K8S_BURST_SANDBOX=NAME`` uses one that is up already, and leaves it up with
its agent running again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sandbox import Sandbox, checks

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = "/opt/k8s-burst/bin/python"
#: On the gateway; gone with the sandbox.
FOLDER = "/opt/k8s-burst-tests"
AGENT = "k8s-burst-agent"


def main(options: list[str]) -> int:
    """Give pytest's exit code."""
    name = os.environ.get("K8S_BURST_SANDBOX")
    if name:
        return run(Sandbox(name), options)
    with Sandbox(f"slurm-{os.getpid()}") as sandbox:
        return run(sandbox, options)


def run(sandbox: Sandbox, options: list[str]) -> int:
    """Run the tests in a sandbox that is up."""
    prepare(sandbox)
    agent = sandbox.service(AGENT)
    agent.stop()
    try:
        tests = sandbox.popen(
            [PYTHON, "-B", "-m", "pytest", "-p", "no:cacheprovider", "tests/slurm", *options],
            user="root",
            host="gateway",
            env={"PYTHONPATH": f"{FOLDER}/tools:{FOLDER}"},
            cwd=FOLDER,
            stdout=None,
            stderr=None,
        )
        return tests.wait()
    finally:
        agent.start()


def prepare(sandbox: Sandbox) -> None:
    """Put the tests and pytest onto the gateway, which has no network."""
    folder = sandbox.path("gateway", FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(__file__).parent, folder / "tests/slurm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    tools = checks.tools_layer(sandbox.cache, CHECKOUT) / checks.TOOLS.lstrip("/")
    packages = next(tools.glob("lib/python*/site-packages"))
    shutil.copytree(packages, folder / "tools")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
