"""
The agent's adapters against the sandbox's own slurmctld, slurmdbd and munged.
"""

from __future__ import annotations

from sandbox import Sandbox

from tests.slurm.__main__ import run


def test_adapters_hold_their_words(sandbox: Sandbox, clean: None) -> None:
    """Every test of tests/slurm passes on the gateway, with the agent's own Python and packages."""
    assert run(sandbox, ["-q"]) == 0
