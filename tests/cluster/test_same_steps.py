"""
Steps in pods are what they are on nodes: placement, streams, ends, commands. The cases are in cases/steps.toml.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import Sandbox

from tests.cluster.conftest import empty
from tests.cluster.pods import Pods
from tests.cluster.same import SIDES_OF_TWO, Case, Played, Table, check, check_step, read_cases
from tests.cluster.user import SlurmUser

CASES = read_cases("steps.toml")
STEPS = [pytest.param(case, step, id=f"{case.name}.{step}") for case in CASES for step in case.steps]


@pytest.fixture(scope="module")
def played(sandbox: Sandbox, root: SlurmUser, pods: Pods) -> Iterator[dict[tuple[str, str], Played]]:
    """All cases, played on two nodes and in two pods."""
    empty(sandbox, root, pods)
    yield Table(sandbox, SlurmUser(sandbox, "alice"), root, CASES, SIDES_OF_TWO).play()
    empty(sandbox, root, pods)


@pytest.mark.parametrize(("case", "step"), STEPS)
def test_same_on_two_nodes_and_in_two_pods(played: dict[tuple[str, str], Played], case: Case, step: str) -> None:
    """What one small script prints, makes and ends with differs by what has a reason only."""
    check_step(case, step, played, SIDES_OF_TWO)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_records(played: dict[tuple[str, str], Played], case: Case) -> None:
    """The job and each of its steps has the same record: state, exit code, nodes, tasks."""
    check(case, played, SIDES_OF_TWO)
