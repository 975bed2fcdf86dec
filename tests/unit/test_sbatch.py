"""
What sbatch would make of a script.
"""

from __future__ import annotations

import pytest
from burst_agent import eligibility, sbatch
from burst_agent.model import Job, Tres
from hypothesis import given
from hypothesis import strategies as st


def draft(command_line: str, *directives: str) -> Job:
    """The job of a command line and directives."""
    given_ = sbatch.read(command_line.split(), [f"#SBATCH {line}" for line in directives])
    return sbatch.draft(given_, uid=1000, user="alice", now=100.0)


@pytest.mark.parametrize(
    ("command_line", "tres"),
    [
        ("-n4 -c 2 --mem=4G", Tres(8, 4096, 1, 0)),
        ("--nodes=2-4 --ntasks-per-node 8 --gres=gpu:a100:2", Tres(16, 0, 2, 4)),
        ("-N2 --gpus-per-node=a100:4 --mem-per-gpu=10G", Tres(2, 81920, 2, 8)),
        ("-G 3 --mem-per-cpu 500", Tres(1, 500, 1, 3)),
        ("-n 4 --gpus-per-task=1", Tres(4, 0, 1, 4)),
        ("--tres-per-task=cpu:1,gres/gpu:2", Tres(1, 0, 1, 2)),
        ("--gres=shard:4,gpu", Tres(1, 0, 1, 1)),
        ("--gres=gpu_memory:4", Tres(1, 0, 1, 0)),
        ("--nodes=many -n x --mem=lots --time=soon", Tres(1, 0, 1, 0)),
    ],
)
def test_sizes(command_line: str, tres: Tres) -> None:
    """Over the whole job; what can't be read is as if it were not there."""
    assert draft(command_line).requested == tres


def test_the_command_line_wins() -> None:
    """Over the script's directives; what follows the script is its own."""
    job = draft("-p gpu -A chem -t 1:30:00 job.sh -p other", "-p cpu --qos long  # a remark", "--time=10", "-J 'a b'")
    assert (job.partition, job.account, job.qos, job.time_limit_min, job.name) == ("gpu", "chem", "long", 90, "a b")
    assert draft("--gres=gpu:h100:1").gpu_type == "h100"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("1:30:00", 90), ("2-12", 3600), ("1-0:30", 1470), ("UNLIMITED", None)],
)
def test_time_limits(text: str, minutes: int | None) -> None:
    """As Slurm writes them."""
    assert draft(f"--time={text}").time_limit_min == minutes


def test_short_options_together_and_abbreviated_ones() -> None:
    """As getopt_long takes them."""
    names = [one.name for one in sbatch.read(["-HQ", "--job-n=x", "--exclusive", "--k8s-burst", "job.sh"], [])]
    assert names == ["hold", "quiet", "job-name", "exclusive", "k8s-burst"]


def test_directives_end_at_the_first_command() -> None:
    """Empty lines and remarks don't count."""
    text = "#!/bin/sh\n\n# x\n#SBATCH -n 2\ntrue\n#SBATCH -n 4\n"
    assert sbatch.directives(text) == ["#SBATCH -n 2"]


@pytest.mark.parametrize(
    ("command_line", "directives"),
    [("-n1 : -n4 job.sh", ()), ("job.sh", ("-n1", "hetjob", "-n4")), ("", ("packjob",))],
)
def test_components_of_a_heterogeneous_job(command_line: str, directives: tuple[str, ...]) -> None:
    """They can't burst, and the user hears so at submission."""
    assert "heterogeneous" in eligibility.refusal(draft(command_line, *directives))


def test_words_of_the_script_make_no_component() -> None:
    """They come after its name."""
    assert eligibility.refusal(draft("job.sh : hetjob", "-J hetjob")) == ""


def test_an_open_quote_is_no_error() -> None:
    """sbatch itself will say it."""
    assert draft("", "-n 2 -J 'open").requested.cpus == 2


@given(st.lists(st.text(max_size=20), max_size=8), st.lists(st.text(max_size=40), max_size=4))
def test_whatever_users_send(words: list[str], lines: list[str]) -> None:
    """Nothing that a user sends raises."""
    sbatch.draft(sbatch.read(words, lines), uid=1, user="u", now=0)


def test_options_are_told_apart() -> None:
    """No name and no letter stands for two."""
    names = [option.name for option in sbatch.OPTIONS]
    letters = [option.short for option in sbatch.OPTIONS if option.short]
    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)
    assert all(option.note for option in sbatch.OPTIONS if option.worth is not sbatch.Worth.HONOURED)
