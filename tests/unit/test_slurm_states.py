"""
Slurm's state words.
"""

import pytest
from burst_agent.model import JobState
from burst_agent.slurm.states import JOB_STATES, job_state, node_state, node_usable

IDLE, ALLOCATED, MIXED, DOWN, UNKNOWN, FUTURE = 2, 3, 5, 1, 0, 6
DRAIN, COMPLETING, NO_RESPOND, FAIL, MAINT, RES, PLANNED = (1 << bit for bit in (9, 10, 11, 13, 15, 5, 21))


def test_every_state_of_the_model_has_a_number() -> None:
    assert set(JOB_STATES) == set(JobState)
    assert len(JOB_STATES) == len(JobState)


def test_an_unknown_job_state_is_an_error() -> None:
    with pytest.raises(ValueError, match="job state 12"):
        job_state(12)


@pytest.mark.parametrize(
    ("number", "words", "usable"),
    [
        (IDLE, "IDLE", True),
        (MIXED, "MIXED", True),
        (ALLOCATED, "ALLOCATED", True),
        (IDLE | COMPLETING, "IDLE+COMPLETING", True),
        (IDLE | PLANNED, "IDLE+PLANNED", True),
        (IDLE | DRAIN, "IDLE+DRAIN", False),
        (MIXED | DRAIN | COMPLETING, "MIXED+DRAIN+COMPLETING", False),
        (DOWN | NO_RESPOND, "DOWN+NOT_RESPONDING", False),
        (IDLE | NO_RESPOND, "IDLE+NOT_RESPONDING", False),
        (IDLE | FAIL, "IDLE+FAIL", False),
        (IDLE | MAINT | RES, "IDLE+RESERVED+MAINTENANCE", False),
        (UNKNOWN, "UNKNOWN", False),
        (FUTURE, "FUTURE", False),
        (14, "STATE14", False),
    ],
)
def test_a_node_is_named_and_judged(number: int, words: str, usable: bool) -> None:
    assert node_state(number) == words
    assert node_usable(number) is usable
