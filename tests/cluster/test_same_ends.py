"""
A job in a pod ends as it ends on a node: states, exit codes, reasons, files. The cases are in cases/ends.toml.
"""

from __future__ import annotations

import pytest

from tests.cluster.same import Case, Comparison, read_cases

CASES = read_cases("ends.toml")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_on_a_node_and_in_a_pod(compared: Comparison, case: Case) -> None:
    """What the user and the records see of it differs by what has a reason only."""
    compared.check(case)
