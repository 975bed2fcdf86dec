"""
Steps in pods are what they are on nodes: placement, streams, ends, commands. The cases are in cases/steps.toml.
"""

from __future__ import annotations

import pytest

from tests.cluster.same import SIDES_OF_TWO, Case, Comparison, read_cases

CASES = read_cases("steps.toml")
SIDES = SIDES_OF_TWO
STEPS = [pytest.param(case, step, id=f"{case.name}.{step}") for case in CASES for step in case.steps]


@pytest.mark.parametrize(("case", "step"), STEPS)
def test_same_on_two_nodes_and_in_two_pods(compared: Comparison, case: Case, step: str) -> None:
    """What one small script prints, makes and ends with differs by what has a reason only."""
    compared.check_step(case, step)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_records(compared: Comparison, case: Case) -> None:
    """The job and each of its steps has the same record: state, exit code, nodes, tasks."""
    compared.check(case)
