"""
The indices of a pending array.
"""

import pytest
from burst_agent.slurm.arrays import parse_array_tasks


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("", ()),
        ("5", (5,)),
        ("0-3", (0, 1, 2, 3)),
        ("7,1-2", (1, 2, 7)),
        ("0-10:5", (0, 5, 10)),
        ("0-9:5", (0, 5)),
        ("1-4%2", (1, 2, 3, 4)),
        ("[1-2,9]", (1, 2, 9)),
    ],
)
def test_a_list_is_expanded(text: str, tasks: tuple[int, ...]) -> None:
    assert parse_array_tasks(text) == tasks


@pytest.mark.parametrize("text", ["1,3,...", "1-", "a", "1-x", "1-3:y", "1-3:0", "3:2"])
def test_a_list_cut_short_or_broken_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="can't be read"):
        parse_array_tasks(text)


def test_a_large_array_is_read_whole() -> None:
    assert len(parse_array_tasks("0-4000000")) == 4000001
