"""
The comparison of a job on a node with its twin in a pod: what differs twice fails, what differs once is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cluster.same import SIDES, Case, Comparison, Played, Results

CASE = Case("a-case", "#!/bin/bash\nfalse\n", steps={"step": "true"})


def comparison(*in_pods: list[str]) -> Comparison:
    """What came of the case natively is always the line `step/out: a`; in pods, the lines of each time in turn."""
    turns = iter(in_pods)

    def play(cases: Sequence[Case]) -> Results:
        assert list(cases) == [CASE]
        native, pods = (side.name for side in SIDES)
        return {(CASE.name, native): Played(["step/out: a"]), (CASE.name, pods): Played(next(turns))}

    return Comparison(play, [CASE], SIDES)


def test_what_is_equal_is_played_once() -> None:
    """No second turn is asked for."""
    compared = comparison(["step/out: a"])
    compared.check(CASE)
    compared.check_step(CASE, "step")


def test_what_differs_twice_fails() -> None:
    """The failure shows both times."""
    with pytest.raises(AssertionError, match=r"(?s)in the pod  out: b.*at first:.*in the pod  out: c"):
        comparison(["step/out: c"], ["step/out: b"]).check_step(CASE, "step")


def test_what_differs_once_is_a_warning() -> None:
    """It names the case and the line."""
    compared = comparison(["step/out: b"], ["step/out: a"])
    with pytest.warns(UserWarning, match=r"(?s)a-case.step differed once:.*out: b"):
        compared.check_step(CASE, "step")
