"""
A script in a pod finds what it finds on a node: environment, directory, limits, files. The cases are in cases/environment.toml.
"""

from __future__ import annotations

import pytest

from tests.cluster.same import Case, Comparison, read_cases

CASES = read_cases("environment.toml")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_on_a_node_and_in_a_pod(compared: Comparison, case: Case) -> None:
    """What the script prints differs by what has a reason only."""
    compared.check(case)
