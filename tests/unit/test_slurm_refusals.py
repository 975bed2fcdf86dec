"""
What slurmctld's answers become.
"""

import pytest
from burst_agent.errors import BurstError, JobRefusesMove, NoSuchJob, Retryable, SlurmRefused, SlurmUnavailable
from burst_agent.slurm.refusals import ERRORS, Refusal, error_of


@pytest.mark.parametrize(
    ("name", "sort"),
    [
        ("ESLURM_INVALID_JOB_ID", NoSuchJob),
        ("ESLURM_JOB_NOT_PENDING", JobRefusesMove),
        ("ESLURM_JOB_FINISHED", JobRefusesMove),
        ("ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE", JobRefusesMove),
        ("ESLURM_ACCESS_DENIED", SlurmRefused),
        ("ESLURM_DISABLED", SlurmRefused),
        ("SLURMCTLD_COMMUNICATIONS_CONNECTION_ERROR", SlurmUnavailable),
        ("ESLURM_IN_STANDBY_MODE", SlurmUnavailable),
        ("EAGAIN", SlurmUnavailable),
        ("", SlurmRefused),
    ],
)
def test_a_code_becomes_an_error_that_says_what_was_tried(name: str, sort: type[BurstError]) -> None:
    error = error_of(Refusal(name=name, code=4711, sentence="No luck", words="ask the admin"), "move job 7_3")

    assert type(error) is sort
    assert str(error) == f"could not move job 7_3: No luck ({name or 'code 4711'}) — ask the admin"


def test_only_silence_is_retryable() -> None:
    assert {sort for sort in ERRORS.values() if issubclass(sort, Retryable)} == {SlurmUnavailable}
