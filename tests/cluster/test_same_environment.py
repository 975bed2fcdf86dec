"""
A script in a pod finds what it finds on a node: environment, directory, limits, files. The cases are in cases/environment.toml.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import Sandbox

from tests.cluster.conftest import empty
from tests.cluster.pods import Pods
from tests.cluster.same import Case, Played, Table, check, read_cases
from tests.cluster.user import SlurmUser

CASES = read_cases("environment.toml")


@pytest.fixture(scope="module")
def played(sandbox: Sandbox, root: SlurmUser, pods: Pods) -> Iterator[dict[tuple[str, str], Played]]:
    """All cases, played on both sides."""
    empty(sandbox, root, pods)
    yield Table(sandbox, SlurmUser(sandbox, "alice"), root, CASES).play()
    empty(sandbox, root, pods)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_on_a_node_and_in_a_pod(played: dict[tuple[str, str], Played], case: Case) -> None:
    """What the script prints differs by what has a reason only."""
    check(case, played)
